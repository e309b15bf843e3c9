"""Names of the files that recordings get: folders are kept, and no two recordings get one name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from earmark.predict.table_names import table_names, tells_case

END = ".selections.txt"


def test_folders_are_kept(tmp_path: Path) -> None:
    for folder in ("siteA/day1", "siteB/day1"):
        (tmp_path / folder).mkdir(parents=True)
    one, other = str(tmp_path / "siteA/day1/rec.wav"), str(tmp_path / "siteB/day1/rec.wav")
    folders = [str(tmp_path / "siteA"), str(tmp_path / "siteB")]
    names = table_names([one, other], folders, END)
    assert list(names.values()) == [f"siteA/day1/rec.wav{END}", f"siteB/day1/rec.wav{END}"]
    assert table_names([one, other], [one, other], END) == names  # files of several folders keep these, too
    assert list(table_names([one], folders[:1], END).values()) == [f"day1/rec.wav{END}"]
    assert list(table_names([one], [one], END).values()) == [f"rec.wav{END}"]


def test_relative_paths_and_paths_above_stay_below_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    sources = ["../a.wav", "b.wav", "./c/../b2.wav", str(tmp_path / "x" / "a.wav")]
    names = list(table_names(sources, sources, END).values())
    assert names == [f"{name}{END}" for name in ("a.wav", "here/b.wav", "here/b2.wav", "x/a.wav")]


@pytest.mark.parametrize("case_sensitive", [True, False])
def test_names_that_a_file_system_takes_for_one(case_sensitive: bool) -> None:
    sources = [
        "/d/A.wav",
        "/d/a.wav",
        "/d/caf\N{LATIN SMALL LETTER E WITH ACUTE}.wav",
        "/d/cafe\N{COMBINING ACUTE ACCENT}.wav",
    ]
    names = list(table_names(sources, ["/d"], END, case_sensitive=case_sensitive).values())
    assert len(set(names)) == 4
    assert names[::2] == [f"{os.path.basename(source)}{END}" for source in sources[::2]]
    assert (names[1] == f"a.wav{END}") == case_sensitive
    assert ("~" in names[3]) != case_sensitive
    assert all(name.endswith(END) for name in names)


def test_long_names_fit_and_stay_different() -> None:
    stem = "ü" * 120  # 240 bytes
    sources = [f"/d/{stem}{i}.wav" for i in range(10)] + [f"/d/{'x' * 251}.wav", "/d/short.wav"]
    names = list(table_names(sources, ["/d"], END, longest=255).values())
    assert len(set(names)) == len(names)
    assert max(len(os.fsencode(name)) for name in names) <= 255
    assert names[-1] == f"short.wav{END}"
    odd = os.fsdecode(b"/d/" + b"\xff" * 250 + b".wav")
    assert len(os.fsencode(table_names([odd], ["/d"], END)[odd])) <= 255


def test_a_folder_may_be_called_like_a_table() -> None:
    sources = ["/d/a.wav", f"/d/a.wav{END}/b.wav", "/d/c.wav"]
    names = list(table_names(sources, ["/d"], END).values())
    assert len({name.split("/")[0] for name in names}) == 3
    assert len(set(table_names(sources[::-1], ["/d"], END).values())) == 3


def test_names_of_an_earlier_job_stay() -> None:
    given = {"/d/x/rec.wav": f"rec.wav{END}", "/other/a.wav": f"x/a.wav{END}"}
    names = table_names(["/d/x/rec.wav", "/d/x/a.wav", "/d/rec.wav"], ["/d"], END, given=given)
    assert names["/d/x/rec.wav"] == f"rec.wav{END}"
    assert len({*names.values(), *given.values()}) == 4


def test_case_is_probed(tmp_path: Path) -> None:
    (tmp_path / "Aa").touch()
    assert tells_case(tmp_path) == (not (tmp_path / "aA").exists())
    assert [path.name for path in tmp_path.iterdir()] == ["Aa"]
