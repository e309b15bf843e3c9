from __future__ import annotations

import numpy as np
import pytest
import torch

from earmark.models.hidden_spans import _filtered, can_hide, hide, within
from tests.train.small import build

RATE_HZ = 16_000
NONE = [[0.0, 0.0]] * 4


def spans(*four: list[float]) -> torch.Tensor:
    return torch.tensor([four])


@pytest.mark.parametrize("count", [1, 5, 9, 10, 49, 200])
def test_spans_are_shares_of_the_clip_and_stay_within_it(count: int) -> None:
    torch.manual_seed(0)
    drawn = torch.rand(500, 2, 2) * torch.tensor([1.0, 0.1])
    masked = within(drawn, torch.full((500,), count), 200)
    assert not masked[:, count:].any()
    assert masked.sum(1).max() <= 2 * int(0.1 * count)
    if count >= 49:
        assert masked[:, :count].any(0).all()  # every position has its turn
    longest = within(torch.tensor([[[0.5, 0.1]]]), torch.tensor([count]), 200)
    assert longest.sum() == int(0.1 * count)


@pytest.mark.parametrize("kind", ["whisper", "audio-spectrogram-transformer", "wav2vec2-bert"])
@pytest.mark.parametrize("seconds", [0.5, 0.12])
def test_frames_and_bins_of_a_spectrogram_become_its_mean(kind: str, seconds: float) -> None:
    frontend = build(kind, length_s=0.5).frontend
    count = int(seconds * RATE_HZ)
    samples = torch.zeros(2, 8000)
    samples[:, :count] = torch.randn(2, count)
    lengths = torch.tensor([count, count])
    before = frontend.inputs(samples, lengths)
    hidden = torch.tensor([[[0.5, 0.5], [0.0, 0.0], [0.0, 0.25], [0.0, 0.0]], NONE])
    after = hide(before, hidden, lengths, frontend)
    name = "input_features" if kind != "audio-spectrogram-transformer" else "input_values"
    was, now = before[name], after[name]
    torch.testing.assert_close(now[1], was[1])  # nothing hidden of the second
    if kind == "whisper":
        was, now = was.transpose(1, 2), now.transpose(1, 2)
    stride = 2 if kind == "wav2vec2-bert" else 1
    bins = was.shape[2] // stride
    changed = (was[0] != now[0]).view(-1, stride, bins)
    frames, low = changed.all(dim=(1, 2)), changed[:, :, : bins // 4]
    valid = (count // 160 if kind == "whisper" else (count - 400) // 160 + 1) // stride
    assert frames.sum() == pytest.approx(0.5 * valid, abs=1)
    assert low[:valid].float().mean() > 0.98
    assert not changed[~frames][:, :, bins // 4 :].any()
    assert not changed[valid:].any()  # of padding, nothing
    assert now[0][frames].unique().numel() == 1  # the mean
    assert float(now[0][frames][0, 0]) == pytest.approx(float(was[0, :valid].mean()), abs=0.15)


@pytest.mark.parametrize("kind", ["wav2vec2", "tc_resnet", "sew"])
def test_waveforms_lose_stretches_and_bands(kind: str) -> None:
    frontend = build(kind, length_s=0.5).frontend
    torch.manual_seed(0)
    samples = torch.randn(2, 8000)
    samples[1, 6000:] = 0
    lengths = torch.tensor([8000, 6000])
    before = frontend.inputs(samples, lengths)
    time = torch.tensor([[0.5, 0.2], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    band = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.5, 0.2], [0.0, 0.0]])
    quiet = hide(before, torch.stack([time, time]), lengths, frontend)["input_values"]
    assert [int((row[:length] == 0).sum()) for row, length in zip(quiet, lengths, strict=True)] == [1600, 1200]
    left = quiet[0] != 0
    torch.testing.assert_close(quiet[0][left], before["input_values"][0][left], rtol=0, atol=1e-5)
    dull = hide(before, torch.stack([band, band]), lengths, frontend)["input_values"]
    assert not dull[1, 6000:].any()
    low, high = (700 * (10 ** (share * np.log10(1 + 8000 / 700)) - 1) for share in (0.4, 0.6))
    hertz = np.fft.rfftfreq(8000, 1 / RATE_HZ)
    power = [np.abs(np.fft.rfft(row.numpy())) ** 2 for row in (before["input_values"][0], dull[0])]
    inside, outside = (hertz > low + 200) & (hertz < high - 200), (hertz < low - 200) | (hertz > high + 200)
    assert power[1][inside].sum() / power[0][inside].sum() < 0.02
    assert power[1][outside].sum() / power[0][outside].sum() == pytest.approx(1, abs=0.03)


def test_the_filter_is_a_convolution() -> None:
    torch.manual_seed(0)
    for length in (40, 1000):
        samples, taps = torch.randn(3, length), torch.randn(3, 15)
        direct = torch.nn.functional.conv1d(samples[None], taps[:, None], padding=7, groups=3)[0]
        torch.testing.assert_close(_filtered(samples, taps), direct, rtol=1e-5, atol=1e-5)


def test_an_extractor_it_does_not_know_is_told_apart() -> None:
    frontend = build("whisper").frontend
    assert can_hide(frontend)
    frontend._features = None
    assert not can_hide(frontend)
