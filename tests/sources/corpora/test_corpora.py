"""Readers of public data sets, on synthetic trees of their layout."""

from __future__ import annotations

import shlex
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from earmark.clips.columns import Columns
from earmark.errors import DataError, OutputError, UsageError
from earmark.sources.archives import extracted
from earmark.sources.corpora.gtzan import FAULTY, GENRES
from earmark.sources.corpora.prepare_corpus import CORPORA, Prepared, find_corpus, prepare
from earmark.sources.manifests import load_manifest
from tests.rows import rows_in
from tests.sources.corpora.trees import TREES, write_clip, zipped

GROUPS = {"esc50": "src_file", "urbansound8k": "fsID", "ravdess": "actor", "common_language": "speaker"}
# of the synthetic trees: clips, classes, groups
SIZES = {"esc50": (30, 3, 15), "urbansound8k": (20, 2, 20), "gtzan": (20, 10, 0), "ravdess": (32, 8, 4)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EARMARK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(name: str, source: Path, output: Path, **options: bool) -> Prepared:
    return prepare(name, str(source), str(output), **options)


def left_out(prepared: Prepared) -> dict[str, str]:
    assert prepared.left_out is not None
    return {Path(row["path"]).name: row["reason"] for row in rows_in(prepared.left_out)}


def refused(error: type[Exception], name: str, source: Path, output: Path, **options: bool) -> str:
    with pytest.raises(error) as caught:
        run(name, source, output, **options)
    assert "\n" not in str(caught.value)
    assert not list(output.glob("*")) or options
    return str(caught.value)


@pytest.mark.parametrize("name", list(SIZES))
def test_a_manifest_has_every_clip_with_its_label_fold_and_group(name: str, tmp_path: Path) -> None:
    prepared = run(name, TREES[name](tmp_path / "tree"), tmp_path / "out")
    assert list(prepared.manifests) == ["all"]
    table = load_manifest(prepared.manifests["all"], Columns(group=GROUPS.get(name)))
    clips, classes, groups = SIZES[name]
    assert (len(table), len(table.labels())) == (clips, classes)
    assert len({clip.group for clip in table} - {None}) == groups
    assert all(Path(clip.path or "").is_file() for clip in table)
    folds = Counter(clip.fold for clip in table)
    if name == "esc50":
        assert folds == dict.fromkeys("12345", 6)
        assert all(Path(clip.source).name.split("-")[0] == clip.fold for clip in table)
    if name == "urbansound8k":
        assert folds == {str(fold): 2 for fold in range(1, 11)}
        assert all(Path(clip.source).parent.name == f"fold{clip.fold}" for clip in table)
    text = "\n".join(prepared.lines)
    assert f"{clips} clips, {classes} classes" in text
    assert f"{clips} clips instead of the published {CORPORA[name].published.clips:,}" in text


@pytest.mark.parametrize("name", list(TREES))
def test_archives_parents_and_folders_give_the_same(name: str, tmp_path: Path) -> None:
    tree = TREES[name](tmp_path / "parent" / "tree")
    contents = []
    sources = {"folder": tree, "parent": tree.parent, "zip": zipped(tree)}
    for kind, source in sources.items():
        manifests = run(name, source, tmp_path / kind).manifests
        rows = [rows_in(path) for path in manifests.values()]
        contents.append([[{**row, "path": Path(row["path"]).name} for row in table] for table in rows])
    assert contents[0] == contents[1] == contents[2]
    assert list((tmp_path / "cache" / "archives").iterdir())


def test_labels_of_ravdess_come_from_the_names(tmp_path: Path) -> None:
    tree = TREES["ravdess"](tmp_path / "tree")
    write_clip(tree / "Actor_01" / "03-01-05-02-01-01-02.wav")
    write_clip(tree / "Actor_02" / "notes.wav")
    write_clip(tree / "Actor_02" / "03-01-09-01-01-01-02.wav")
    write_clip(tree / "copy" / "Actor_01" / "03-01-01-01-02-01-01.wav")
    prepared = run("ravdess", tree, tmp_path / "out")
    rows = rows_in(prepared.manifests["all"])
    (row,) = (row for row in rows if row["path"].endswith("03-01-06-01-02-01-03.wav"))
    assert (row["label"], row["actor"], row["gender"], row["intensity"], row["statement"], row["repetition"]) == (
        "fearful", "03", "male", "normal", "02", "01"
    )  # fmt: skip
    assert {row["gender"] for row in rows if row["actor"] in ("02", "04")} == {"female"}
    reasons = left_out(prepared)
    assert "song" in reasons["03-02-03-01-01-01-01.wav"]
    assert reasons["03-01-05-02-01-01-02.wav"] == "its name has actor 02, but its folder has actor 01"
    assert "seven" in reasons["notes.wav"]
    assert "does not define" in reasons["03-01-09-01-01-01-02.wav"]
    assert "not in a folder Actor_NN" in reasons["03-01-01-01-02-01-01.wav"]
    assert len(rows) == 32


@pytest.mark.parametrize("suffix", [".wav", ".au"])
def test_gtzan_lists_its_faulty_clip_and_says_what_is_known(suffix: str, tmp_path: Path) -> None:
    tree = TREES["gtzan"](tmp_path / "Data" / "genres_original", suffix)  # type: ignore[call-arg]
    shutil.copy(tree / "rock" / f"rock.00000{suffix}", tree / "rock" / "rock.00000.aiff")
    write_clip(tree / "polka" / "polka.00000.wav")
    prepared = run("gtzan", tmp_path, tmp_path / "out")
    reasons = left_out(prepared)
    assert "unreadable in common copies" in reasons.pop(f"jazz.00054{suffix}")
    assert reasons.pop("polka.00000.wav") == "polka is not a genre of GTZAN"
    assert [reason for name, reason in reasons.items() if name.startswith("rock.00000")] == list(reasons.values())
    assert "arXiv:1306.1461" in "\n".join(prepared.lines)
    table = load_manifest(prepared.manifests["all"])
    assert len(table) == 20
    assert "1 of 70 clips known to be faulty" in "\n".join(prepared.lines)
    assert [Path(clip.source).stem for clip in table if clip.metadata["known_faulty"] == "yes"] == ["hiphop.00001"]
    shutil.rmtree(tree / "rock")
    assert "no folder rock" in refused(DataError, "gtzan", tree, tmp_path / "other")


def test_the_faulty_clips_of_gtzan_are_those_that_the_filtered_split_lacks() -> None:
    # 443 training, 197 validation and 290 test clips are left of 1,000 (Kereliuk et al. 2015)
    assert sum(map(len, FAULTY.values())) == 1_000 - 443 - 197 - 290
    assert all(len(set(numbers)) == len(numbers) for numbers in FAULTY.values())
    assert set(FAULTY) < set(GENRES)


def test_pictures_beside_the_recordings_of_gtzan_do_not_count(tmp_path: Path) -> None:
    TREES["gtzan"](tmp_path / "Data" / "genres_original")
    for genre in GENRES:
        (tmp_path / "Data" / "images_original" / genre).mkdir(parents=True)
        (tmp_path / "Data" / "images_original" / genre / f"{genre}00000.png").write_bytes(b"picture")
    assert "20 clips, 10 classes" in run("gtzan", tmp_path, tmp_path / "out").lines[0]


def test_common_language_keeps_its_splits(tmp_path: Path) -> None:
    tree = TREES["common_language"](tmp_path / "tree")
    converted = (tree / "Basque" / "train.csv").read_bytes().decode("utf-16")
    (tree / "Basque" / "train.csv").write_text(converted, encoding="utf-8")
    prepared = run("common_language", tree, tmp_path / "out")
    tables = {split: load_manifest(path, Columns(group="speaker")) for split, path in prepared.manifests.items()}
    assert {split: len(table) for split, table in tables.items()} == {"train": 6, "validation": 2, "test": 2}
    assert tables["train"].labels() == ["Basque", "Chinese_Hongkong"]
    assert tables["train"][0].group == "Basque/train_sp_0"
    assert "--eval_file" in prepared.lines[-1]
    (tree / "Basque" / "train.csv").write_bytes(converted.encode("utf-16-le"))  # without the mark at the beginning
    assert run("common_language", tree, tmp_path / "unmarked").lines[1] == prepared.lines[1]
    assert not any("instead of the published" in line and " clips " in line for line in prepared.lines)


def test_of_speech_and_song_side_by_side_speech_is_read(tmp_path: Path) -> None:
    speech = TREES["ravdess"](tmp_path / "both" / "Audio_Speech_Actors_01-24")
    song = tmp_path / "both" / "Audio_Song_Actors_01-24"
    for actor in ("01", "02"):
        write_clip(song / f"Actor_{actor}" / f"03-02-03-01-01-01-{actor}.wav")
    prepared = run("ravdess", tmp_path / "both", tmp_path / "out")
    assert {Path(row["path"]).parents[1] for row in rows_in(prepared.manifests["all"])} == {speech}
    message = refused(DataError, "ravdess", song, tmp_path / "song")
    assert "has the song recordings of RAVDESS" in message
    assert "Extract Audio_Speech_Actors_01-24.zip" in message
    TREES["ravdess"](tmp_path / "both" / "again")
    assert "both hold RAVDESS (speech)" in refused(DataError, "ravdess", tmp_path / "both", tmp_path / "two")


def test_the_command_to_train_with_can_be_pasted(tmp_path: Path) -> None:
    prepared = run("esc50", TREES["esc50"](tmp_path / "tree"), tmp_path / "a b")
    words = shlex.split(prepared.lines[-1])
    assert words[:5] == ["train:", "earmark", "train", "--train_file", str(prepared.manifests["all"])]


def test_rows_of_common_language_may_be_numbered_under_a_header_that_does_not_say_so(tmp_path: Path) -> None:
    tree = TREES["common_language"](tmp_path / "tree")
    table = tree / "Basque" / "train.csv"
    text = table.read_bytes().decode("utf-16")
    table.write_bytes(text.removeprefix("\t").encode("utf-16"))
    prepared = run("common_language", tree, tmp_path / "out")
    rows = [row for row in rows_in(prepared.manifests["train"]) if row["label"] == "Basque"]
    assert [row["speaker"] for row in rows] == [f"Basque/train_sp_{i}" for i in range(3)]
    assert {row["gender"] for row in rows} == {"male_masculine"}
    table.write_bytes(text.replace("\tmale_masculine", "", 1).encode("utf-16"))
    message = refused(DataError, "common_language", tree, tmp_path / "cut")
    assert "train.csv row 2: 5 cells, but the header has 6" in message


def test_files_that_no_table_names_are_listed(tmp_path: Path) -> None:
    for name, place in (("esc50", "audio"), ("urbansound8k", "audio/fold2"), ("common_language", "Basque/train/x")):
        tree = TREES[name](tmp_path / name)
        write_clip(tree / place / "additional.wav")
        assert "not listed in" in left_out(run(name, tree, tmp_path / f"{name}_out"))["additional.wav"]


FIRST = {
    "esc50": "audio/1-1001-A-0.wav",
    "urbansound8k": "audio/fold1/1003-3-0-0.wav",
    "common_language": "Basque/dev/dev_sp_0/common_voice_dev_0.wav",
}


@pytest.mark.parametrize("name", list(FIRST))
def test_missing_files_are_an_error_or_left_out(name: str, tmp_path: Path) -> None:
    tree = TREES[name](tmp_path / "tree")
    (tree / FIRST[name]).unlink()
    message = refused(DataError, name, tree, tmp_path / "out")
    assert FIRST[name] in message
    assert "--on_missing skip" in message
    prepared = run(name, tree, tmp_path / "out", skip_missing=True)
    assert left_out(prepared) == {Path(FIRST[name]).name: "listed in the metadata, but missing"}


def without_column(tree: Path, table: str, column: str, encoding: str = "utf-8") -> None:
    path = tree / table
    path.write_bytes(path.read_bytes().decode(encoding).replace(column, "other", 1).encode(encoding))


DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    ("esc50", lambda tree: without_column(tree, "meta/esc50.csv", "src_file"), "no column 'src_file'"),
    ("urbansound8k", lambda tree: without_column(tree, "metadata/UrbanSound8K.csv", "fsID"), "no column 'fsID'"),
    ("common_language", lambda tree: without_column(tree, "Basque/dev.csv", "client_id", "utf-16"), "'client_id'"),
    ("common_language", lambda tree: (tree / "Basque" / "dev.csv").unlink(), "dev.csv: cannot be read"),
    ("common_language", lambda tree: (tree / "Basque" / "dev.csv").write_bytes(b"\xff"), "neither UTF-16 nor UTF-8"),
    ("common_language", lambda tree: (tree / "Basque" / "dev.csv").write_text("client_id\n"), "dev.csv: has no rows"),
    (
        "common_language",
        lambda tree: (tree / "Basque" / "dev.csv").write_text("client_id\tpath\nx\n"),
        "dev.csv row 2: 1 cell, but the header has 2",
    ),
    (
        "common_language",
        lambda tree: (tree / "Basque" / "dev.csv").write_text("client_id\tpath\nx\t\n"),
        "dev.csv row 2: has no speaker",
    ),
    ("esc50", lambda tree: (tree / "meta" / "esc50.csv").write_text(""), "esc50.csv: the file is empty"),
    ("esc50", lambda tree: shutil.rmtree(tree / "meta"), "not ESC-50: no meta/esc50.csv in this folder"),
    ("esc50", lambda tree: shutil.rmtree(tree / "audio"), "30 of 30 files"),
    ("esc50", lambda tree: shutil.copytree(tree, tree.parent / "zwei"), "tree and zwei both hold ESC-50"),
    ("ravdess", lambda tree: [shutil.rmtree(folder) for folder in tree.glob("Actor*")], "not RAVDESS"),
    ("ravdess", lambda tree: [path.unlink() for path in tree.glob("*/03-01*")], "has the song recordings of RAVDESS"),
    ("gtzan", lambda tree: [shutil.rmtree(tree / name) for name in ("blues", "rock")], "no folder blues, rock"),
    ("urbansound8k", shutil.rmtree, "not UrbanSound8K"),
]


@pytest.mark.parametrize(("name", "damage", "said"), DAMAGES)
def test_what_is_not_the_data_set_is_one_line(
    name: str, damage: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    damage(TREES[name](tmp_path / "in" / "tree"))
    assert said in refused(DataError, name, tmp_path / "in", tmp_path / "out")


def test_an_empty_cell_names_its_row(tmp_path: Path) -> None:
    tree = TREES["esc50"](tmp_path / "tree")
    table = tree / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace(".wav,1,", ".wav,,", 1))
    assert "row 2: column 'fold' is empty" in refused(DataError, "esc50", tree, tmp_path / "out")


def test_sources_and_names_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 cut")
    assert "no such file" in refused(DataError, "esc50", tmp_path / "nowhere", tmp_path / "out")
    assert "not a folder or an archive" in refused(DataError, "esc50", tmp_path / "notes.txt", tmp_path / "out")
    assert "not a valid zip archive" in refused(DataError, "esc50", tmp_path / "cut.zip", tmp_path / "out")
    assert "Choose one of esc50, urbansound8k" in refused(UsageError, "esc51", tmp_path, tmp_path / "out")
    assert find_corpus("ESC-50") is CORPORA["esc50"]
    assert find_corpus("Common-Language") is CORPORA["common_language"]


def test_what_a_mac_packs_beside_the_folder_does_not_count(tmp_path: Path) -> None:
    archive = zipped(TREES["esc50"](tmp_path / "tree"))
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("__MACOSX/._tree", "x")
    assert extracted(archive).name == "tree"


def test_a_zip_cannot_write_outside_its_folder(tmp_path: Path, cache: Path) -> None:
    archive = zipped(TREES["esc50"](tmp_path / "tree"))
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("../../outside.wav", "x")
    run("esc50", archive, tmp_path / "out")
    (outside,) = tmp_path.rglob("outside.wav")
    assert cache / "archives" in outside.parents


def test_manifests_that_are_there_are_kept(tmp_path: Path) -> None:
    tree, output = TREES["gtzan"](tmp_path / "tree"), tmp_path / "out"
    manifest = run("gtzan", tree, output).manifests["all"]
    manifest.write_text("mine")
    with pytest.raises(OutputError, match=r"all\.csv: already exists.*--overwrite"):
        run("gtzan", tree, output)
    assert manifest.read_text() == "mine"
    (tree / "jazz" / "jazz.00054.wav").unlink()
    assert run("gtzan", tree, output, overwrite=True).left_out is None
    assert sorted(path.name for path in output.iterdir()) == ["all.csv"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        run("gtzan", tree, tmp_path / "file")


def test_a_path_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    tree = TREES["gtzan"](tmp_path / "tree").rename(tmp_path / "caf\udce9")
    with pytest.raises(DataError, match="not UTF-8"):
        run("gtzan", tree, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
