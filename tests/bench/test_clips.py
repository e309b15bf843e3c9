"""Synthetic clips: their lengths and their samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.bench.bench_clips import RATE_HZ, TONES_HZ, draw_lengths_s, write_split
from earmark.errors import OutputError, UsageError


def test_lengths_follow_their_distribution() -> None:
    rng = np.random.default_rng(0)
    assert set(draw_lengths_s("fixed:1.5", 9, rng)) == {1.5}
    uniform = draw_lengths_s("uniform:0.5,16", 4000, rng)
    assert 0.5 <= uniform.min() < 0.6
    assert 15.9 < uniform.max() <= 16
    assert np.mean(uniform) == pytest.approx(8.25, rel=0.05)
    lognormal = draw_lengths_s("lognormal:2.0,0.8,0.5,16", 4000, rng)
    assert np.median(lognormal) == pytest.approx(2.0, rel=0.05)
    assert lognormal.min() == 0.5
    assert lognormal.max() <= 16
    inside = (lognormal > 0.5) & (lognormal < 16)
    assert np.std(np.log(lognormal[inside])) == pytest.approx(0.74, rel=0.05)  # 0.8, cut at the bounds


@pytest.mark.parametrize(
    "spec",
    ["normal:1,2", "fixed:a", "fixed:1,2", "uniform:1", "", "lognormal:0,1,1,2", "lognormal:1,-1,1,2", "fixed:"],
)
def test_what_is_no_distribution_is_named(spec: str) -> None:
    with pytest.raises(UsageError, match=r"--lengths .*: not a distribution of seconds\. Use fixed:1\.0"):
        draw_lengths_s(spec, 3, np.random.default_rng(0))


@pytest.mark.parametrize(
    "spec", ["fixed:0", "fixed:0.02", "fixed:nan", "fixed:inf", "uniform:2,1", "uniform:0.01,1", "lognormal:1,1,0,9"]
)
def test_clips_have_at_least_25_ms(spec: str) -> None:
    with pytest.raises(UsageError, match=r"invalid lengths\. Give 0\.025 s or more"):
        draw_lengths_s(spec, 3, np.random.default_rng(0))


def test_a_split_has_the_classes_in_turn(tmp_path: Path) -> None:
    write_split(tmp_path / "five", np.full(5, 0.1), np.random.default_rng(0))
    written = {path.parent.name: soundfile.info(path) for path in sorted((tmp_path / "five").rglob("00000[0-3].wav"))}
    assert list(written) == sorted(TONES_HZ)
    assert {(info.frames, info.samplerate, info.subtype) for info in written.values()} == {(1600, RATE_HZ, "PCM_16")}
    assert (tmp_path / "five" / "tone_250" / "000004.wav").is_file()
    write_split(tmp_path / "one", np.array([0.1]), np.random.default_rng(0))
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["tone_250"]


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"the clips need 3,200\.0 GB"):
        write_split(tmp_path / "large", np.full(4, 2.5e7), np.random.default_rng(0))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write_split(tmp_path / "file", np.full(4, 0.1), np.random.default_rng(0))
