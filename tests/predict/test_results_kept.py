"""Names that collide and jobs that are stopped, from end to end: every recording's results are there, once, unmixed.

Each recording has a number of windows of its own, so that the rows of one can be told from those of another.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.cli.main import main
from earmark.models.build_model import ModelSource, build_for_training
from earmark.predict.part_file import PartFile
from earmark.predict.table_folder import TableFolder
from tests.tiny import RATE_HZ, overrides, save_model, tone

SRC = Path(__file__).parents[2] / "src"
WINDOW_S = 0.1

# names that some program, format or file system takes for another one, or for something else than a name
NAMES = [
    *("siteA/rec.wav", "siteB/rec.wav", "siteA/rec.flac", "siteA/day1/rec.wav", "siteB/day1/rec.wav"),
    *("siteA/a b.wav", "siteA/a_b.wav", "siteA/a\tb.wav", "siteA/a\nb.wav", "siteA/a\rb.wav", "siteA/a\r\nb.wav"),
    *("siteA/Rec.wav", "siteA/rec..wav", "siteA/rec.wav.wav", "siteA/-rec.wav", "siteA/~rec.wav", "siteA/#rec.wav"),
    *('siteA/"rec".wav', "siteA/re,c.wav", "siteA/re;c.wav", "siteA/rec'.wav"),
    *("siteA/caf\N{LATIN SMALL LETTER E WITH ACUTE}.wav", "siteA/cafe\N{COMBINING ACUTE ACCENT}.wav"),
    *("siteA/rec.wav.selections.txt/rec.wav", f"siteA/{'x' * 250}1.wav", f"siteA/{'x' * 250}2.wav"),
    *(os.fsdecode(b"siteA/caf\xe9.wav"), "siteB/\N{SMILING FACE WITH OPEN MOUTH}.wav", "siteB/100%.wav"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), 0.5)


@pytest.fixture(scope="module")
def tapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Recordings, and how many windows each has."""
    root = tmp_path_factory.mktemp("tapes")
    made: dict[str, int] = {}
    for name in NAMES:
        path = root / name
        windows = len(made) + 1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():  # a file system that takes two of the names for one
                continue
            with open(path, "wb") as stream:
                form = path.suffix[1:].upper()
                soundfile.write(stream, tone(300, windows * WINDOW_S, seed=windows), RATE_HZ, format=form)
        except OSError:  # a name that this file system does not take
            continue
        made[str(path)] = windows
    assert len(made) > 15
    return made


@pytest.fixture(scope="module")
def folders(tapes: dict[str, int]) -> list[str]:
    root = Path(os.path.commonpath(tapes))
    return [str(root / "siteA"), str(root / "siteB")]


def predict(model: Path, *words: object) -> int:
    flags = ["--rows", "windows", "--window_seconds", WINDOW_S, "--device", "cpu"]
    return main(["predict", str(model), *map(str, (*words, *flags))])


def csv_rows(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return list(csv.reader(stream))


def paths_in_csv(path: Path) -> Counter[str]:
    return Counter(row[0] for row in csv_rows(path)[1:])


def paths_in_jsonl(path: Path) -> Counter[str]:
    return Counter(json.loads(line)["path"] for line in path.read_text(encoding="utf-8").splitlines())


def paths_in_kaleidoscope(path: Path) -> Counter[str]:
    return Counter(os.path.join(*row[:3]) for row in csv_rows(path)[1:])


@pytest.mark.parametrize(
    ("output", "flags", "found"),
    [
        ("w.csv", [], paths_in_csv),
        ("w.jsonl", [], paths_in_jsonl),
        ("k.csv", ["--format", "kaleidoscope"], paths_in_kaleidoscope),
    ],
)
def test_every_recording_has_its_rows(
    model: Path,
    tapes: dict[str, int],
    folders: list[str],
    tmp_path: Path,
    output: str,
    flags: list[str],
    found: Callable[[Path], Counter[str]],
) -> None:
    assert predict(model, *folders, "--output", tmp_path / output, *flags) == 0
    assert found(tmp_path / output) == tapes


def test_parquet_takes_names_that_are_not_utf8(
    model: Path, tapes: dict[str, int], folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert predict(model, *folders, "--output", tmp_path / "w.parquet") == 0
    expected = {os.fsencode(path).decode("utf-8", "backslashreplace"): count for path, count in tapes.items()}
    assert Counter(parquet.read_table(tmp_path / "w.parquet")["path"].to_pylist()) == expected
    assert ("not UTF-8" in capsys.readouterr().err) == (list(expected) != list(tapes))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.parquet", "w.parquet.earmark.json"]


def test_rttm_ids_do_not_collide(model: Path, tapes: dict[str, int], folders: list[str], tmp_path: Path) -> None:
    assert predict(model, *folders, "--output", tmp_path / "w.rttm") == 0
    lines = (tmp_path / "w.rttm").read_bytes().split(b"\n")[:-1]
    assert all(len(line.split()) == 10 for line in lines)
    assert sorted(Counter(line.split()[1] for line in lines).values()) == sorted(tapes.values())


@pytest.mark.parametrize(("format", "head_lines"), [("audacity", 0), ("raven", 1)])
def test_every_recording_has_its_table(
    model: Path, tapes: dict[str, int], folders: list[str], tmp_path: Path, format: str, head_lines: int
) -> None:
    assert predict(model, *folders, "--format", format, "--output", tmp_path) == 0
    journal = [json.loads(line) for line in (tmp_path / "earmark.jsonl").read_text().splitlines()][1:]
    lines = {
        entry["recording"]: len((tmp_path / entry["file"]).read_bytes().split(b"\n")) - 1 - head_lines
        for entry in journal
    }
    assert lines == tapes
    assert len([path for path in tmp_path.rglob("*.txt") if path.is_file()]) == len(tapes)
    assert (tmp_path / "siteB" / "day1").is_dir()  # folders are kept


def test_one_raven_table_has_every_selection(
    model: Path, tapes: dict[str, int], folders: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "all.txt"
    assert predict(model, *folders, "--format", "raven", "--one_table", "--output", output) == 0
    head, *rows = (line.split("\t") for line in output.read_text(errors="surrogateescape").split("\n")[:-1])
    assert all(len(row) == len(head) for row in rows)
    assert [row[0] for row in rows] == [str(number + 1) for number in range(sum(tapes.values()))]
    starts = [float(row[head.index("Begin Time (s)")]) for row in rows]
    assert starts == pytest.approx([WINDOW_S * number for number in range(len(rows))], abs=1e-4)
    assert sum(row[head.index("File Offset (s)")] == "0.000000" for row in rows) == len(tapes)


def test_inputs_that_name_a_recording_twice_give_it_one_row(
    model: Path, tapes: dict[str, int], folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders[0])
    inputs = [*folders, folders[0], ".", "./rec.wav", str(Path(folders[0]) / ".." / "siteB" / "rec.wav")]
    assert predict(model, *inputs, "--output", tmp_path / "w.csv") == 0
    assert paths_in_csv(tmp_path / "w.csv") == tapes


def test_links_get_rows_and_tables_of_their_own(model: Path, tapes: dict[str, int], tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    (place / "a.wav").write_bytes(Path(next(iter(tapes))).read_bytes())
    (place / "b.wav").symlink_to(place / "a.wav")
    assert predict(model, place, "--output", tmp_path / "w.csv") == 0
    assert set(paths_in_csv(tmp_path / "w.csv")) == {str(place / "a.wav"), str(place / "b.wav")}
    assert predict(model, place, "--format", "raven", "--output", place) == 0  # beside the recordings
    assert len(list(place.glob("*.selections.txt"))) == 2


class _Interrupt:
    """Press Ctrl-C when the given recording is finished, before or after it is noted."""

    def __init__(self, at: int, real: Callable[..., object]) -> None:
        self.at, self.real, self.count = at, real, 0

    def __get__(self, sink: object, owner: type | None = None) -> Callable[..., object]:
        def finish(*args: object, **how: object) -> object:
            self.count += 1
            if self.count == self.at and self.at % 2:
                raise KeyboardInterrupt
            done = self.real(sink, *args, **how)
            if self.count == self.at:
                raise KeyboardInterrupt
            return done

        return finish


STOPPED = [("w.csv", []), ("tables", ["--format", "raven"])]
OTHERS_STOPPED = [("w.jsonl", []), ("w.rttm", []), ("all.txt", ["--format", "raven", "--one_table"])]
STOPPED += [pytest.param(*one, marks=pytest.mark.slow) for one in OTHERS_STOPPED]


@pytest.mark.parametrize(("output", "flags"), STOPPED)
def test_stopped_jobs_are_resumed_to_the_same_results(
    model: Path,
    folders: list[str],
    tmp_path: Path,
    output: str,
    flags: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stop three times: at the first recording, within the job, and near its end."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for place in (whole, stopped):
        place.mkdir()
    assert predict(model, *folders, "--output", whole / output, *flags) == 0
    for at in (1, 8, 5):
        with monkeypatch.context() as patch:
            for kind in (PartFile, TableFolder):
                patch.setattr(kind, "finish", _Interrupt(at, kind.finish))
            assert predict(model, *folders, "--output", stopped / output, "--resume", *flags) == 130
    assert predict(model, *folders, "--output", stopped / output, "--resume", *flags) == 0

    def results(place: Path) -> dict[str, bytes]:
        files = [path for path in place.rglob("*") if path.is_file() and "earmark.json" not in path.name]
        return {str(path.relative_to(place)): path.read_bytes() for path in files}

    assert results(stopped) == results(whole)
    assert predict(model, *folders, "--output", stopped / output, "--resume", *flags) == 0  # nothing left to do


_JOB = """
import sys
from pathlib import Path
from earmark.clips.clip import Clip
from earmark.predict.part_file import open_part_file
from earmark.predict.provenance import Provenance
from earmark.predict.table_folder import open_table_folder

output, sources = Path(sys.argv[1]), [f"in/{number}.wav" for number in range(300)]
how = {"provenance": Provenance.of_now("predict", "m", "1", {}), "sources": sources, "head": "head\\n", "resume": True}
if output.suffix == ".csv":
    opened = open_part_file(output, **how)
else:
    opened = open_table_folder(output, inputs=["in"], ending=".txt", **how)
with opened as sink:
    for clip in sink.remaining([Clip(source) for source in sources]):
        for row in range(200):
            sink.write(f"{clip.source} {row}\\n")
        sink.finish(clip.source)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w.csv", "tables"])
def test_kill_9_and_resume(tmp_path: Path, name: str) -> None:
    """Kill a job four times while it writes; the last job completes, and the results are as if nothing had happened."""
    output = tmp_path / name
    progress = Path(f"{output}.part.done") if name == "w.csv" else output / "earmark.jsonl"

    def start() -> subprocess.Popen[bytes]:
        env = {**os.environ, "PYTHONPATH": str(SRC)}
        return subprocess.Popen([sys.executable, "-c", _JOB, str(output)], env=env, stderr=subprocess.PIPE)

    for kill_at in (5, 60, 120, 250):
        with start() as process:
            while process.poll() is None and (not progress.exists() or progress.read_bytes().count(b"\n") < kill_at):
                time.sleep(0.001)
            process.kill()
    with start() as process:
        assert process.wait() == 0, process.stderr.read() if process.stderr else ""
    rows = [[f"in/{number}.wav {row}" for row in range(200)] for number in range(300)]
    if name == "w.csv":
        assert output.read_text().splitlines() == ["head", *(row for one in rows for row in one)]
    else:
        tables = [(output / f"{number}.wav.txt").read_text().splitlines() for number in range(300)]
        assert tables == [["head", *one] for one in rows]
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.parametrize("output", ["w.csv", "tables", "e.npy"])
def test_other_weights_under_the_same_path_are_refused(
    tapes: dict[str, int],
    tmp_path: Path,
    output: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    recordings = list(tapes)[:4]
    save_model(folder, 0.5)
    command = ["embed"] if output == "e.npy" else ["predict"]
    words = [*command, str(folder), *recordings, "--output", str(tmp_path / output), "--device", "cpu"]
    words += ["--format", "raven"] if output == "tables" else []
    with monkeypatch.context() as patch:
        for kind in (PartFile, TableFolder):
            patch.setattr(kind, "finish", _Interrupt(2, kind.finish))
        assert main(words) == 130
    source = ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2"))
    other = build_for_training(source, ["high", "low", "mid"], 0.5, longest_s=0.5)
    other.save(folder)
    capsys.readouterr()
    assert main([*words, "--resume"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "with other weights or another configuration of" in error
    assert "--overwrite" in error
    assert main([*words, "--resume", "--overwrite"] if output == "tables" else [*words, "--overwrite"]) == 0


def test_embed_is_resumed_to_the_same_embeddings(
    model: Path, tapes: dict[str, int], folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embed(output: Path, *flags: str) -> int:
        words = ["--rows", "windows", "--window_seconds", str(WINDOW_S), "--device", "cpu", "--output", str(output)]
        return main(["embed", str(model), *folders, *words, *flags])

    assert embed(tmp_path / "whole.npy") == 0
    for at in (1, 8, 5):
        with monkeypatch.context() as patch:
            patch.setattr(PartFile, "finish", _Interrupt(at, PartFile.finish))
            assert embed(tmp_path / "e.npy", "--resume") == 130
    assert embed(tmp_path / "e.npy", "--resume") == 0
    assert np.load(tmp_path / "e.npy").shape[0] == sum(tapes.values())
    np.testing.assert_allclose(np.load(tmp_path / "e.npy"), np.load(tmp_path / "whole.npy"), atol=1e-5)
    assert paths_in_csv(tmp_path / "e.npy.rows.csv") == tapes
    parquet = pytest.importorskip("pyarrow.parquet")
    assert embed(tmp_path / "e.parquet") == 0
    assert len(parquet.read_table(tmp_path / "e.parquet")) == sum(tapes.values())


def test_one_failing_file_among_many(
    model: Path, tapes: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "in"
    place.mkdir()
    good = Path(next(iter(tapes))).read_bytes()
    for i in range(20):
        (place / f"{i:02}.wav").write_bytes(good)
    (place / "07.wav").write_bytes(b"RIFF broken")
    (place / "x\ny\r.wav").write_bytes(b"")
    (place / "gone.wav").symlink_to("nowhere.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "12.wav.selections.txt").mkdir()  # where its table has to go
    assert predict(model, place, "--format", "raven", "--output", tmp_path / "out", "--overwrite") == 2
    said = capsys.readouterr().err.splitlines()
    assert "19 recordings could be" not in said
    assert any(line.startswith("18 recordings scored, 3 could not be read, listed in ") for line in said), said
    assert said[-1].startswith("earmark: error: ")
    assert "the results of 1 recording could not be written" in said[-1]
    assert len([path for path in (tmp_path / "out").glob("*.txt") if path.is_file()]) == 18
    assert len(csv_rows(tmp_path / "out" / "bad_audio.csv")) == 5
    assert predict(model, place, "--output", tmp_path / "w.csv") == 0
    assert "19 recordings scored, 3 could not be read, listed in " in capsys.readouterr().err
    assert len(paths_in_csv(tmp_path / "w.csv")) == 19


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_standard_output_that_is_not_utf8(tapes: dict[str, int], encoding: str, tmp_path: Path) -> None:
    """The names of recordings reach the reader of a pipe as they are, whatever the locale says."""
    code = (
        "import sys; from earmark.predict.sink import StandardOutput; s = StandardOutput('head\\n')\n"
        "for name in sys.argv[1:]: s.write(name + '\\n'); s.finish(name)"
    )
    names = [name for name in tapes if "\n" not in name and "\r" not in name]
    done = subprocess.run(
        [sys.executable, "-c", code, *names],
        env={**os.environ, "PYTHONPATH": str(SRC), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.split(b"\n")[1:-1] == [os.fsencode(name) for name in names]


def test_an_output_that_is_an_input_is_refused(
    model: Path,
    tapes: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recording = tmp_path / "a.wav"
    recording.write_bytes(Path(next(iter(tapes))).read_bytes())
    before = recording.read_bytes()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    for output in ("a.wav", "./a.wav", tmp_path / "link" / "a.wav"):
        assert predict(model, recording, "--format", "csv", "--output", output, "--overwrite") == 2
        assert "this file is one of the recordings" in capsys.readouterr().err
    assert recording.read_bytes() == before
