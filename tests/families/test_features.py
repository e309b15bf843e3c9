"""Frontends as tensor code: beside golden files, and beside Transformers' own extractors where it has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from earmark.families.frontend_settings import FrontendSettings, WaveformSettings
from earmark.families.kaldi import KaldiFeatures
from earmark.families.mel_filters import MelScale, mel_filters
from earmark.families.wav2vec2_bert import StackedMelSettings
from earmark.families.whisper import WhisperSettings
from tests.families.frontend_cases import (
    GOLDEN,
    IN_FILES,
    MIXED_S,
    SETTINGS,
    golden_clips,
    of_transformers,
    sampled,
    sounds,
)

# AST's own filters at its usual 128 bins: the lowest are narrower than a bin of the spectrum
pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter:UserWarning")

NEEDS_LENGTHS = ("wav2vec2", "wav2vec2-raw", "seamless", "seamless-stride-1", "seamless-padding")


def in_transformers(name: str) -> FrontendSettings:
    settings = SETTINGS[name]
    if not hasattr(transformers, settings.extractor_type):
        pytest.skip(f"this Transformers has no {settings.extractor_type}")
    return settings


def ours(settings: FrontendSettings, clips: list[np.ndarray], extra: int = 0) -> dict[str, torch.Tensor]:
    lengths = [len(clip) for clip in clips]
    samples = torch.zeros(len(clips), max(lengths) + extra)
    for row, clip in zip(samples, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    return settings.features()(samples, torch.tensor(lengths))


@pytest.mark.parametrize("name", IN_FILES)
def test_equal_to_the_golden_file(name: str) -> None:
    got = ours(SETTINGS[name], golden_clips())
    with np.load(GOLDEN / f"{name}.npz") as golden:
        keys = [key for key in golden if not key.endswith("_shape")]
        assert keys
        for key in keys:
            assert got[key].shape == tuple(golden[f"{key}_shape"])
            np.testing.assert_allclose(sampled(got[key].numpy()), golden[key], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("seconds", [0.025, 0.3, 1.0, 2.713])
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_equal_to_the_extractor(name: str, seconds: float) -> None:
    normalised_by_bin = name.startswith("seamless")
    if normalised_by_bin and seconds < 0.05:
        pytest.skip("one frame has no variance: the extractor itself gives NaN")
    settings = in_transformers(name)
    for what, clip in sounds(seconds).items():
        if normalised_by_bin and what in ("silence", "tone"):
            continue  # all frames (nearly) alike: theirs is the rounding of their mean over sqrt(1e-7)
        expected, got = of_transformers(settings, [clip]), ours(settings, [clip])
        for key, values in expected.items():
            np.testing.assert_allclose(got[key], values, atol=1e-4, rtol=1e-4, err_msg=f"{what}, {key}")


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_mixed_batch_is_the_extractor_s_and_padding_changes_nothing(name: str) -> None:
    settings = in_transformers(name)
    clips = [sounds(seconds)["noise"] for seconds in MIXED_S]
    expected, got = of_transformers(settings, clips), ours(settings, clips)
    wider = ours(settings, clips, extra=4_321)
    for key, values in expected.items():
        torch.testing.assert_close(got[key].to(values.dtype), values, atol=1e-4, rtol=1e-4)
        alike = wider[key][:, : values.shape[1]] if name in NEEDS_LENGTHS else wider[key]
        torch.testing.assert_close(alike, got[key], atol=1e-5, rtol=1e-5)
    if name in NEEDS_LENGTHS:
        assert not wider["attention_mask"][:, expected["attention_mask"].shape[1] :].any()


FIRST = {type(SETTINGS[name]): name for name in sorted(SETTINGS, reverse=True)}.values()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FIRST else pytest.mark.slow) for name in sorted(SETTINGS)]
)
def test_one_graph(name: str) -> None:
    features = SETTINGS[name].features()
    samples, lengths = torch.randn(2, 8_000), torch.tensor([8_000, 5_000])
    torch._dynamo.reset()
    compiled = torch.compile(features, fullgraph=True, backend="aot_eager")
    for key, values in compiled(samples, lengths).items():
        torch.testing.assert_close(values, features(samples, lengths)[key])


def test_silence_is_nothing_once_normalised() -> None:
    got = ours(SETTINGS["seamless"], [np.zeros(16_000, dtype=np.float32)])["input_features"]
    assert not got.any()


def test_float32_under_autocast() -> None:
    features = SETTINGS["whisper-1s"].features()
    samples, lengths = torch.randn(1, 8_000), torch.tensor([8_000])
    plain = features(samples, lengths)["input_features"]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(features(samples, lengths)["input_features"], plain)


def test_silence_and_a_tone_are_the_extractor_s_before_bins_are_normalised() -> None:
    settings = in_transformers("seamless-stride-1")
    features = settings.features()
    assert isinstance(features, KaldiFeatures)
    extractor = transformers.SeamlessM4TFeatureExtractor(stride=1)
    for what in ("silence", "tone"):
        clip = np.round(sounds(1.0)[what] * 2**15).astype(np.float32) / 2**15
        expected = extractor(clip, sampling_rate=16_000, return_tensors="pt", do_normalize_per_mel_bins=False)
        log_mel = features.log_mel(torch.from_numpy(clip)[None])
        torch.testing.assert_close(log_mel, expected["input_features"], atol=1e-4, rtol=1e-4)


def test_the_coarse_product_is_exact() -> None:
    features = SETTINGS["seamless"].features()
    assert isinstance(features, KaldiFeatures)
    basis = features.coarse_basis
    loudest = basis.sign().T * 0.7  # a frame for each bin in which all products have one sign
    large = loudest.abs().amax() * 2.0**15
    coarse = (loudest + large) - large
    assert torch.equal((coarse @ basis).double(), coarse.double() @ basis.double())


def test_ast_without_a_whole_frame() -> None:
    settings = in_transformers("ast-short")
    for samples in (240, 399):  # shorter clips are refused by the extractor itself
        clip = sounds(0.025)["noise"][:samples]
        torch.testing.assert_close(
            ours(settings, [clip], extra=800), of_transformers(settings, [clip]), atol=1e-6, rtol=0
        )


def test_settings_the_extractor_does_not_look_at() -> None:
    in_transformers("whisper-1s")
    settings = WhisperSettings.from_json({"chunk_length": 1, "do_normalize": True})
    clip = sounds(0.7)["offset"]
    torch.testing.assert_close(ours(settings, [clip]), of_transformers(settings, [clip]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        WhisperSettings(padding_value=0.5, chunk_length=1),
        WaveformSettings(padding_value=0.5, return_attention_mask=True),
        StackedMelSettings(padding_value=0.5),
    ],
    ids=lambda settings: settings.extractor_type,
)
def test_what_padding_is_filled_with(settings: FrontendSettings) -> None:
    clips = [sounds(seconds)["noise"] for seconds in (0.3, 0.7)]
    expected, got = of_transformers(settings, clips), ours(settings, clips)
    for key, values in expected.items():
        torch.testing.assert_close(got[key].to(values.dtype), values, atol=1e-4, rtol=1e-4)


def test_nothing_is_saved_with_the_weights() -> None:
    assert all(not settings.features().state_dict() for settings in SETTINGS.values())


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_saved_settings_are_what_transformers_saves(name: str, tmp_path: Path) -> None:
    settings = in_transformers(name)
    assert getattr(transformers, settings.extractor_type)(**settings.to_json()).to_dict() == settings.to_json()
    settings.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert type(settings).from_json(saved).to_json() == saved == settings.to_json()


@pytest.mark.parametrize("scale", list(MelScale))
def test_mel_filters_are_those_of_the_field(scale: MelScale) -> None:
    audio_utils = pytest.importorskip("transformers.audio_utils")
    if not hasattr(audio_utils, "mel_filter_bank"):
        pytest.skip("this Transformers has no mel_filter_bank")
    theirs = audio_utils.mel_filter_bank(
        257, 40, 20.0, 7600.0, 16_000, norm="slaney" if scale is MelScale.SLANEY else None, mel_scale=scale.value,
        triangularize_in_mel_space=scale is MelScale.KALDI,
    )  # fmt: skip
    own = mel_filters(scale, num_bins=257, num_mels=40, lowest_hz=20.0, highest_hz=7600.0, rate_hz=16_000)
    np.testing.assert_allclose(own, theirs, atol=1e-12)


@pytest.mark.parametrize("scale", list(MelScale))
def test_hertz_is_the_inverse_of_mel(scale: MelScale) -> None:
    hertz = np.array([0.0, 100.0, 999.0, 1000.0, 1001.0, 8000.0])
    np.testing.assert_allclose(scale.hertz(scale.mel(hertz)), hertz, rtol=1e-12, atol=1e-9)
    assert scale.mel(np.array([1000.0]))[0] == pytest.approx(15 if scale is MelScale.SLANEY else 1000, abs=0.02)
