"""Tensor features beside Transformers' own extractors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from earmark.models.features import make_features

# AST's own filters at its usual 128 bins: the lowest are narrower than a bin of the spectrum
pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter:UserWarning")

RATE_HZ = 16_000
EXTRACTORS: dict[str, Any] = {
    "wav2vec2": lambda: transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True),
    "wav2vec2-raw": lambda: transformers.Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True),
    "whisper-1s": lambda: transformers.WhisperFeatureExtractor(chunk_length=1),
    "whisper-128": lambda: transformers.WhisperFeatureExtractor(feature_size=128, chunk_length=3),
    "ast": lambda: transformers.ASTFeatureExtractor(),
    "ast-short": lambda: transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=100, do_normalize=False),
    "seamless": lambda: transformers.SeamlessM4TFeatureExtractor(),
}
NEEDS_LENGTHS = ("wav2vec2", "wav2vec2-raw", "seamless")


def sounds(seconds: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    count = round(seconds * RATE_HZ)
    time = np.arange(count) / RATE_HZ
    noise = rng.standard_normal(count)
    waves = {
        "noise": 0.1 * noise,
        "speech-like": 0.3 * np.sin(2 * np.pi * 220 * time) * (1 + np.sin(2 * np.pi * 4 * time)) + 0.01 * noise,
        "quiet": 1e-4 * noise,
        "offset": 0.4 + 0.05 * noise,
        "silence": np.zeros(count),
        "half silence": 0.1 * noise * (time < seconds / 2),
    }
    return {name: wave.astype(np.float32) for name, wave in waves.items()}


def theirs(extractor: Any, clips: list[np.ndarray]) -> dict[str, torch.Tensor]:
    pads_itself = isinstance(extractor, (transformers.WhisperFeatureExtractor, transformers.ASTFeatureExtractor))
    padding = {} if pads_itself else {"padding": True}
    return dict(extractor(clips, sampling_rate=RATE_HZ, return_tensors="pt", **padding))


def ours(extractor: Any, clips: list[np.ndarray], extra: int = 0) -> dict[str, torch.Tensor]:
    features = make_features(extractor)
    assert features is not None
    lengths = [len(clip) for clip in clips]
    samples = torch.zeros(len(clips), max(lengths) + extra)
    for row, clip in zip(samples, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    return features(samples, torch.tensor(lengths))


@pytest.mark.parametrize("seconds", [0.025, 0.3, 1.0, 2.713])
@pytest.mark.parametrize("name", sorted(EXTRACTORS))
def test_equal_to_the_extractor(name: str, seconds: float) -> None:
    if name == "seamless" and seconds < 0.05:
        pytest.skip("one frame has no variance: the extractor itself gives NaN")
    extractor = EXTRACTORS[name]()
    for what, clip in sounds(seconds).items():
        if name == "seamless" and what == "silence":
            continue  # equal frames: theirs is the rounding of their mean over sqrt(1e-7), ours is 0
        expected, got = theirs(extractor, [clip]), ours(extractor, [clip])
        for key, values in expected.items():
            np.testing.assert_allclose(got[key], values, atol=1e-4, rtol=1e-4, err_msg=f"{what}, {key}")


@pytest.mark.parametrize("name", sorted(EXTRACTORS))
def test_a_mixed_batch_is_the_extractor_s_and_padding_changes_nothing(name: str) -> None:
    extractor = EXTRACTORS[name]()
    clips = [sounds(seconds)["noise"] for seconds in (0.3, 0.95, 0.611)]
    expected, got = theirs(extractor, clips), ours(extractor, clips)
    wider = ours(extractor, clips, extra=4_321)
    for key, values in expected.items():
        torch.testing.assert_close(got[key].to(values.dtype), values, atol=1e-4, rtol=1e-4)
        alike = wider[key][:, : values.shape[1]] if name in NEEDS_LENGTHS else wider[key]
        torch.testing.assert_close(alike, got[key], atol=1e-5, rtol=1e-5)
    if name in NEEDS_LENGTHS:
        assert not wider["attention_mask"][:, expected["attention_mask"].shape[1] :].any()


@pytest.mark.parametrize("name", sorted(EXTRACTORS))
def test_one_graph(name: str) -> None:
    extractor = EXTRACTORS[name]()
    features = make_features(extractor)
    samples, lengths = torch.randn(2, 8_000), torch.tensor([8_000, 5_000])
    torch._dynamo.reset()
    compiled = torch.compile(features, fullgraph=True, backend="eager")
    for key, values in compiled(samples, lengths).items():
        torch.testing.assert_close(values, features(samples, lengths)[key])


def test_silence_is_nothing_once_normalised() -> None:
    got = ours(EXTRACTORS["seamless"](), [np.zeros(16_000, dtype=np.float32)])["input_features"]
    assert not got.any()


def test_float32_under_autocast() -> None:
    features = make_features(EXTRACTORS["whisper-1s"]())
    samples, lengths = torch.randn(1, 8_000), torch.tensor([8_000])
    plain = features(samples, lengths)["input_features"]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(features(samples, lengths)["input_features"], plain)


def test_what_is_not_known_is_left_to_the_extractor() -> None:
    assert make_features(transformers.WhisperFeatureExtractor(dither=0.1)) is None
    assert make_features(transformers.SpeechT5FeatureExtractor()) is None


def test_normalised_whisper() -> None:
    extractor = transformers.WhisperFeatureExtractor(chunk_length=1)
    clip = sounds(0.7)["offset"]
    expected = extractor(clip, sampling_rate=RATE_HZ, return_tensors="pt", do_normalize=True)["input_features"]
    extractor.do_normalize = True
    torch.testing.assert_close(ours(extractor, [clip])["input_features"], expected, atol=1e-4, rtol=1e-4)
