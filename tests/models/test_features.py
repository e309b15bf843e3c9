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
    "seamless-stride-1": lambda: transformers.SeamlessM4TFeatureExtractor(stride=1),
    "whisper-30s": lambda: transformers.WhisperFeatureExtractor(),
}
NEEDS_LENGTHS = ("wav2vec2", "wav2vec2-raw", "seamless", "seamless-stride-1")


def sounds(seconds: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    count = round(seconds * RATE_HZ)
    time = np.arange(count) / RATE_HZ
    noise = rng.standard_normal(count)
    sweep = 0.7 * np.sin(2 * np.pi * (100 * time + 3_500 * time**2 / seconds))
    waves = {
        "noise": 0.1 * noise,
        "speech-like": 0.3 * np.sin(2 * np.pi * 220 * time) * (1 + np.sin(2 * np.pi * 4 * time)) + 0.01 * noise,
        "quiet": 1e-4 * noise,
        "offset": 0.4 + 0.05 * noise,
        "silence": np.zeros(count),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time),
        # loud, of 16 bits: all bands but one hold nothing but the rounding to 16 bits, 90 dB below
        "sweep": np.round(sweep * 2**15) / 2**15,
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
    normalised_by_bin = name.startswith("seamless")
    if normalised_by_bin and seconds < 0.05:
        pytest.skip("one frame has no variance: the extractor itself gives NaN")
    extractor = EXTRACTORS[name]()
    for what, clip in sounds(seconds).items():
        if normalised_by_bin and what in ("silence", "tone"):
            continue  # all frames (nearly) alike: theirs is the rounding of their mean over sqrt(1e-7)
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
    compiled = torch.compile(features, fullgraph=True, backend="aot_eager")
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
    assert make_features(transformers.WhisperFeatureExtractor(padding_side="left")) is None
    assert make_features(transformers.SpeechT5FeatureExtractor()) is None
    same_name = type("WhisperFeatureExtractor", (transformers.WhisperFeatureExtractor,), {})
    assert make_features(same_name()) is None


def test_silence_and_a_tone_are_the_extractor_s_before_bins_are_normalised() -> None:
    extractor = EXTRACTORS["seamless-stride-1"]()
    features = make_features(extractor)
    for what in ("silence", "tone"):
        clip = np.round(sounds(1.0)[what] * 2**15).astype(np.float32) / 2**15
        expected = extractor(clip, sampling_rate=RATE_HZ, return_tensors="pt", do_normalize_per_mel_bins=False)
        log_mel = features.log_mel(torch.from_numpy(clip)[None])
        torch.testing.assert_close(log_mel, expected["input_features"], atol=1e-4, rtol=1e-4)


def test_the_coarse_product_is_exact() -> None:
    basis = make_features(EXTRACTORS["seamless"]()).coarse_basis
    loudest = basis.sign().T * 0.7  # a frame for each bin in which all products have one sign
    large = loudest.abs().amax() * 2.0**15
    coarse = (loudest + large) - large
    assert torch.equal((coarse @ basis).double(), coarse.double() @ basis.double())


def test_ast_without_a_whole_frame() -> None:
    extractor = EXTRACTORS["ast-short"]()
    for samples in (240, 399):  # shorter clips are refused by the extractor itself
        clip = sounds(0.025)["noise"][:samples]
        torch.testing.assert_close(ours(extractor, [clip], extra=800), theirs(extractor, [clip]), atol=1e-6, rtol=0)


def test_settings_the_extractor_does_not_look_at() -> None:
    extractor = transformers.WhisperFeatureExtractor(chunk_length=1, do_normalize=True)
    clip = sounds(0.7)["offset"]
    torch.testing.assert_close(ours(extractor, [clip]), theirs(extractor, [clip]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["WhisperFeatureExtractor", "Wav2Vec2FeatureExtractor", "SeamlessM4TFeatureExtractor"])
def test_what_padding_is_filled_with(kind: str) -> None:
    settings = {"chunk_length": 1} if kind.startswith("Whisper") else {"return_attention_mask": True}
    extractor = getattr(transformers, kind)(padding_value=0.5, **settings)
    clips = [sounds(seconds)["noise"] for seconds in (0.3, 0.7)]
    expected, got = theirs(extractor, clips), ours(extractor, clips)
    for key, values in expected.items():
        torch.testing.assert_close(got[key].to(values.dtype), values, atol=1e-4, rtol=1e-4)


def test_the_extractor_s_own_window_and_filters() -> None:
    extractor = EXTRACTORS["ast-short"]()
    extractor.window = extractor.window**2
    extractor.mel_filters = extractor.mel_filters[:, ::-1]
    clip = sounds(0.5)["speech-like"]
    torch.testing.assert_close(ours(extractor, [clip]), theirs(extractor, [clip]), atol=1e-4, rtol=1e-4)


def test_nothing_is_saved_with_the_weights() -> None:
    assert all(not make_features(EXTRACTORS[name]()).state_dict() for name in EXTRACTORS)
