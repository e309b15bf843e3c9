"""The texts of findings: numbers, grammar, and how certain they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audit.clip_findings import Audited, ClipFinding, find_all
from earmark.audit.duplicates import Duplicates
from earmark.audit.inspect_clips import inspect, summarize
from earmark.audit.measure import Measures
from earmark.clips.clip import Clip, ClipTable
from earmark.settings.evaluation_flags import InspectOptions
from earmark.store.scan import BadClip
from tests.tiny import RATE_HZ


def audited(splits: list[str], labels: list[str | float | None], duplicates: Duplicates | None = None) -> Audited:
    """Clips of 1 s at the same level."""
    table = ClipTable([Clip(f"{row}.wav", label) for row, label in enumerate(labels)], "here")
    measures = Measures.empty(len(table))
    measures.duration_s[:], measures.rate_hz[:], measures.channels[:] = 1, RATE_HZ, 1
    measures.peak[:], measures.rms[:] = 0.5, 0.1
    return Audited(table, splits, measures, duplicates or Duplicates([], []), 20.0)


def found(one: Audited, kind: str) -> ClipFinding:
    (finding,) = [finding for finding in find_all(one) if finding.kind == kind]
    return finding


def test_each_clip_is_in_one_set_of_copies() -> None:
    pairs = [(0, 5, 0.95), (2, 4, 0.91), (2, 6, 0.99), (4, 6, 0.93)]
    sets = Duplicates([[0, 1], [7, 8]], pairs).sets()
    assert [one.rows for one in sets] == [[0, 1, 5], [2, 4, 6], [7, 8]]
    assert [one.is_certain for one in sets] == [False, False, True]
    assert sets[0].details == ["the same samples", "the same samples", "correlation 0.95"]
    assert sets[1].details == ["correlation 0.99", "correlation 0.93", "correlation 0.99"]


def test_copies_of_recordings_without_labels() -> None:
    pairs = [(0, 1, 0.95), (0, 2, 0.95), (1, 2, 0.95)]
    one = audited(["recordings"] * 6, [None] * 6, Duplicates([], pairs))
    assert found(one, "duplicate").text == "1 set of clips that may be copies (3 clips)"
    one = audited(["recordings"] * 6, [None] * 6, Duplicates([[3, 4]], pairs))
    finding = found(one, "duplicate")
    assert finding.text == "1 set of copies and 1 set of clips that may be copies (5 clips)"
    assert list(finding.rows) == [0, 1, 2, 3, 4]
    assert finding.details[3] == "set 2, the same samples"


def test_copies_in_two_splits_are_a_fact_only_if_their_samples_are_equal() -> None:
    splits, labels = ["train", "train", "validation", "validation"], list("aabb")
    equal = audited(splits, ["a"] * 4, Duplicates([[0, 2]], []))
    text = "1 set of copies in more than one split (2 clips), so scores on validation and test clips are too high"
    assert found(equal, "leak").text == text
    alike = audited(splits, ["a"] * 4, Duplicates([], [(0, 2, 0.94)]))
    assert "may be copies in more than one split (2 clips), so scores" in found(alike, "leak").text
    assert found(alike, "leak").text.endswith("may be too high")
    assert found(audited(splits, ["a"] * 4, Duplicates([[0, 1]], [])), "duplicate").text == (
        "1 set of copies within one split (2 clips)"
    )
    conflict = found(audited(splits, labels, Duplicates([[0, 2]], [])), "label conflict")
    assert conflict.text == "1 set of copies under different labels (2 clips)"


def test_equal_recordings_with_two_numbers_contradict_each_other_whatever_is_like_them() -> None:
    exact, near = [[0, 1]], [(0, 2, 0.95)]
    assert found(audited(["train"] * 3, [1.0, 2.0, 1.5], Duplicates(exact, near)), "label conflict").rows == [0, 1, 2]
    kinds = [one.kind for one in find_all(audited(["train"] * 3, [1.0, 1.0, 1.5], Duplicates(exact, near)))]
    assert "label conflict" not in kinds


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 clip is damaged or incomplete, or has a wrong header, and is read as far as possible"),
        (2, "2 clips are damaged or incomplete, or have a wrong header, and are read as far as possible"),
    ],
)
def test_damaged_clips_are_counted_in_a_sentence(count: int, text: str) -> None:
    one = audited(["train"] * 2, ["a", "b"])
    one.measures.incomplete += [BadClip(row, f"{row}.wav", "cut short") for row in range(count)]
    assert found(one, "incomplete").text == text


@pytest.mark.parametrize(("count", "start"), [(1, "1 clip is"), (2, "2 clips are")])
def test_clips_far_above_full_scale(count: int, start: str) -> None:
    one = audited(["train"] * 3, ["a"] * 3)
    one.measures.peak[:count] = 30_000
    refused = "it" if count == 1 else "them"
    assert found(one, "above full scale").text.startswith(
        f"{start} far above full scale (1), so training rejects {refused}: "
    )


def test_a_level_below_a_limit_does_not_read_as_the_limit() -> None:
    one = audited(["train"] * 3, ["a"] * 3)
    one.measures.peak[:2] = 10 ** (-60.04 / 20), 0.0
    one.measures.rms[:] = 10 ** (-60.5 / 20), 0.0, 10 ** (-55.01 / 20)
    assert found(one, "silent").details == ["peak -200.0 dB", "peak -60.1 dB"]
    assert found(one, "quiet").details == ["-55.1 dB"]


def test_no_lengths_and_levels_are_given_if_no_clip_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF....")
    out = tmp_path / "out"
    summary = inspect(InspectOptions(data_dir=str(tmp_path), output_dir=str(out))).summary
    assert summary.startswith("recordings  1 clip, no labels; no clip could be read, so lengths and levels are unknown")
    assert '"duration_s": null' in (out / "inspect.json").read_text()
    soundfile.write(tmp_path / "b.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE_HZ), RATE_HZ)
    again = inspect(InspectOptions(data_dir=str(tmp_path)))
    assert "1.00 to 1.00 s" in summarize(again.audited, again.findings)


def test_a_telling_format_names_only_the_classes_without_it() -> None:
    one = audited(["train"] * 4, ["low", "both", "both", "high"])
    one.measures.rate_hz[:] = [8000, 8000, 16000, 16000]
    text = found(one, "telling rates").text
    assert text.startswith("all clips of 'low' have 8000 Hz, and no clip of 'high' has: ")
