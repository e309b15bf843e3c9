"""Every format: what is written is read back, after a stop, with odd names, and an output without rows is reported."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark.clips.clip import Clip
from earmark.clips.columns import Columns
from earmark.errors import DataError
from earmark.formats.format import Rows, RowSettings, Writer
from earmark.formats.format_registry import readable_suffixes, usable_writer, writers, writers_with
from earmark.formats.output_names import write_names
from earmark.formats.segments import Segment, Window
from earmark.sources.manifests import load_manifest
from earmark.tasks import MULTI_LABEL
from earmark.tasks.decision import Prediction

RECORDINGS = ("plain.wav", "two blanks.flac", "sub/Vögel 雨 🦉.wav", "it's, a; mix.ogg")
LABELS = ("red kite", "Größe", "雨", "a, b; c")
SEGMENTS = [
    Segment(start, start + 0.5, label, 0.75) for start, label in zip((0.0, 1.25, 59.999, 7200.5), LABELS, strict=True)
]
Place = tuple[str, float, float | None, Any]


@pytest.fixture(autouse=True)
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings below the working directory; the tables are written into a folder beside them."""
    monkeypatch.chdir(tmp_path)
    for name in RECORDINGS:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("out").mkdir()


def rows_for(writer: Writer, **settings: Any) -> Rows:
    ids = {} if writer.ids is None else writer.ids(RECORDINGS)
    return writer.rows(RowSettings(**{"kind": "segments", "ids": ids, **settings}))


def write(
    writer: Writer, found: Mapping[str, Sequence[Segment]], *, stopped: bool = False, one_table: bool = False
) -> list[Path]:
    """Write segments as ``earmark predict`` does; ``stopped`` after each recording, and resumed."""
    rows = rows_for(writer, one_table=one_table)
    text: dict[Path, str] = {}
    for source, segments in found.items():
        name = one_file(writer) if writer.table_ending is None or one_table else source + writer.table_ending
        start = text.setdefault(Path(name), rows.head())
        if stopped:
            state, rows = rows.state(), rows_for(writer, one_table=one_table)
            rows.restore(state)
        rows.start(source)
        text[Path(name)] = start + "".join(rows.segment(source, segment) for segment in segments)
        rows.end(8000.0)
    return [save(writer, name, content) for name, content in text.items()]


def one_file(writer: Writer) -> str:
    return f"out/all{writer.suffix or ('.txt' if writer.table_ending else '.csv')}"


def save(writer: Writer, path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8", newline="")
    if writer.convert is not None:
        rows = path.rename(f"{path}.part")
        writer.convert(rows, path)
    if writer.ids is not None:
        write_names(path, writer.ids(RECORDINGS))
    return path


def place(clip: Clip) -> Place:
    assert clip.path is not None
    return (
        os.path.relpath(clip.path),
        round(clip.offset_s, 3),
        clip.duration_s and round(clip.duration_s, 3),
        clip.label,
    )


def expected(writer: Writer, found: Mapping[str, Sequence[Segment]]) -> list[Place]:
    return [
        (os.path.normpath(source), one.start_s, round(one.end_s - one.start_s, 3), writer.label(one.label))
        for source, segments in found.items()
        for one in segments
    ]


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("name", list(writers()))
def test_segments_are_read_back(name: str, stopped: bool) -> None:
    writer = usable_writer(name)
    found = {source: SEGMENTS[: number + 1] for number, source in enumerate(RECORDINGS)}
    clips = [clip for path in write(writer, found, stopped=stopped) for clip in load_manifest(path)]
    assert sorted(map(place, clips)) == sorted(expected(writer, found))
    if writer.has_score:
        assert {float(score) for clip in clips for name, score in clip.metadata.items() if name.lower() == "score"} == {
            0.75
        }


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("name", writers_with(lambda writer: writer.table_ending and writer.has_path))
def test_one_table_for_many_recordings_is_read_back(name: str, stopped: bool) -> None:
    writer = usable_writer(name)
    found = {source: SEGMENTS[: number + 1] for number, source in enumerate(RECORDINGS)}
    (path,) = write(writer, found, stopped=stopped, one_table=True)
    assert sorted(map(place, load_manifest(path))) == sorted(expected(writer, found))


@pytest.mark.parametrize("name", list(writers()))
def test_windows_are_read_back_with_the_most_likely_class(name: str) -> None:
    writer = usable_writer(name)
    rows = rows_for(writer, kind="windows", top_k=2)
    top: list[Prediction] = [{"label": "owl", "score": 0.75}, {"label": "bat", "score": 0.25}]
    rows.start("plain.wav")
    text = rows.head() + "".join(rows.window("plain.wav", Window(t, t + 0.5, np.zeros(2)), top) for t in (0.0, 0.5))
    path = Path(f"plain.wav{writer.table_ending}" if writer.table_ending else one_file(writer))
    assert [place(clip) for clip in load_manifest(save(writer, path, text))] == [
        ("plain.wav", 0.0, 0.5, "owl"),
        ("plain.wav", 0.5, 0.5, "owl"),
    ]


@pytest.mark.parametrize("name", [name for name, writer in writers().items() if writer.whole_recordings])
def test_whole_recordings_are_read_back_and_unreadable_ones_have_no_label(name: str) -> None:
    writer = usable_writer(name)
    top: list[Prediction] = [
        {"label": "a, b", "score": 0.75, "present": True},
        {"label": "owl", "score": 0.625, "present": True},
        {"label": "bat", "score": 0.25, "present": False},
    ]
    rows = rows_for(writer, kind="clips", several=True)
    text = rows.head() + rows.clip(RECORDINGS[0], top) + rows.bad(RECORDINGS[1], "damaged")
    path = save(writer, Path(f"out/all{writer.suffix}"), text)
    clips = load_manifest(path, Columns(task=MULTI_LABEL, needs_labels=False))
    assert clips[0].label == ("a, b", "owl")
    rows = rows_for(writer, kind="clips")
    text = rows.head() + rows.clip(RECORDINGS[0], [{"label": "a, b", "score": 0.75}])
    text += rows.bad(RECORDINGS[1], "damaged")
    path = save(writer, Path(f"out/one{writer.suffix}"), text)
    assert [place(clip) for clip in load_manifest(path, Columns(needs_labels=False))] == [
        (RECORDINGS[0], 0.0, None, "a, b"),
        (RECORDINGS[1], 0.0, None, None),
    ]
    with pytest.raises(DataError, match="has no label"):
        load_manifest(path)
    assert len(load_manifest(path, Columns(skip_missing_labels=True))) == 1


@pytest.mark.parametrize("name", list(writers()))
def test_a_table_without_rows_is_reported(name: str) -> None:
    writer = usable_writer(name)
    for path in write(writer, {"plain.wav": []}):
        with pytest.raises(DataError, match=f"^{path}: .*(has no rows|is empty)"):
            load_manifest(path)


def test_every_suffix_that_is_written_can_be_read() -> None:
    endings = [ending for one in writers().values() for ending in (one.suffix, one.table_ending) if ending]
    assert all(Path(f"a{ending}").suffix in readable_suffixes() for ending in endings)
