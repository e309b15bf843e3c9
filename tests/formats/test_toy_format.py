"""How to add a format: one file like this one, with its line in :data:`earmark.formats.format_registry.FORMATS`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark.errors import UsageError
from earmark.formats import format_registry
from earmark.formats.format import Format, RowSettings, SegmentRows, Wanted, Writer
from earmark.formats.segments import Segment
from earmark.formats.sheet import Sheet
from earmark.formats.text_encoding import decoded_text
from earmark.settings import flags
from earmark.settings.prediction_flags import PredictOptions
from earmark.sources.manifests import load_manifest

# ---------------------------------------------------------------- the file of the format


class ToyRows(SegmentRows):
    """``label @ start-end in recording``."""

    def segment(self, source: str, segment: Segment) -> str:
        """Return one line."""
        return f"{segment.label} @ {segment.start_s:g}-{segment.end_s:g} in {source}\n"


def read_toy(path: Path, wanted: Wanted) -> Sheet:
    """Read one clip a line."""
    text, reasons = decoded_text(path)
    cells: dict[str, list[str]] = {"label": [], "start": [], "end": [], "path": []}
    for line in text.splitlines():
        label, _, rest = line.partition(" @ ")
        times, _, recording = rest.partition(" in ")
        for column, cell in zip(cells.values(), (label, *times.split("-"), recording), strict=True):
            column.append(cell)
    return Sheet(str(path), str(path.parent), cells, range(1, len(cells["label"]) + 1), reasons, is_text=True)


TOY = Format(
    "toy",
    suffixes=(".toy",),
    read=read_toy,
    writer=Writer(ToyRows, suffix=".toy", has_score=False, whole_recordings=False),
)

# ---------------------------------------------------------------- what follows from it


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The format in the registry; flags are declared once a process."""
    flags._flags_of_class.cache_clear()
    monkeypatch.setattr(format_registry, "FORMATS", (*format_registry.FORMATS, TOY))
    yield
    flags._flags_of_class.cache_clear()


def test_it_is_a_value_of_the_flag_and_its_suffix_chooses_it() -> None:
    options = PredictOptions(model_name_or_path="m", inputs=["a.wav"], output="heard.toy")
    assert (options.format, options.rows, options.writer.rows) == ("toy", "segments", ToyRows)
    with pytest.raises(UsageError, match="--format toy --rows clips: this format needs a start and an end in each row"):
        PredictOptions(model_name_or_path="m", inputs=["a.wav"], format="toy", rows="clips")


def test_it_is_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    rows = format_registry.usable_writer("toy").rows(RowSettings("segments"))
    (tmp_path / "heard.toy").write_text(rows.head() + rows.segment("a.wav", Segment(1.5, 2.0, "owl", 0.9)))
    (clip,) = load_manifest(tmp_path / "heard.toy")
    assert (clip.path, clip.offset_s, clip.duration_s, clip.label) == (str(tmp_path / "a.wav"), 1.5, 0.5, "owl")
    assert ".toy" in format_registry.table_suffixes()
