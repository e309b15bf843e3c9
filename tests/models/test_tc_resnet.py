"""The small model: its frontend, padding that changes no answer, gain that changes no answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor

from earmark.families.temporal_layers import LogMel
from earmark.models.tc_resnet import TCResNetConfig, TCResNetForAudioClassification
from tests.tiny import tone


@pytest.fixture(scope="module")
def model() -> TCResNetForAudioClassification:
    torch.manual_seed(0)
    model = TCResNetForAudioClassification(TCResNetConfig(num_labels=5))
    for module in model.modules():  # trained statistics, so that masking has something to go wrong with
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2.0)
            module.bias.data.normal_(0, 0.5)
    return model.eval()


def test_it_has_about_a_million_parameters(model: TCResNetForAudioClassification) -> None:
    assert 0.9e6 < sum(parameter.numel() for parameter in model.parameters()) < 1.2e6


@pytest.mark.parametrize("lengths", [(16_000, 9_999), (401, 16_000), (3_333, 5_001, 12_345)])
def test_padding_behind_a_clip_changes_no_answer(
    model: TCResNetForAudioClassification, lengths: tuple[int, ...]
) -> None:
    clips = [torch.from_numpy(tone(500, n / 16_000, seed=n)) for n in lengths]
    longest = max(lengths)
    batch = torch.stack([torch.nn.functional.pad(clip, (0, longest - len(clip))) for clip in clips])
    mask = torch.stack([(torch.arange(longest) < len(clip)).long() for clip in clips])
    with torch.inference_mode():
        together = model(batch, attention_mask=mask).logits
        alone = torch.cat([model(clip[None]).logits for clip in clips])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(model(batch).logits, alone, atol=1e-3)  # without the mask it does


def test_level_changes_no_answer(model: TCResNetForAudioClassification) -> None:
    noise = 0.3 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))  # well above the log's floor
    with torch.inference_mode():
        torch.testing.assert_close(model(noise * 0.5).logits, model(noise).logits, atol=1e-2, rtol=0)


def test_a_tone_lights_up_the_mel_bin_at_its_frequency() -> None:
    log_mel = LogMel(TCResNetConfig())
    centres_mel = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 8000 / 700), 42)[1:-1]
    for frequency_hz in (250.0, 1000.0, 4000.0):
        energies = log_mel(torch.from_numpy(tone(frequency_hz, 0.5))[None])  # (1, F, M)
        expected = np.abs(centres_mel - 2595 * np.log10(1 + frequency_hz / 700)).argmin()
        assert abs(int(energies.mean(1).argmax()) - int(expected)) <= 1


def test_log_mel_agrees_with_a_fourier_transform() -> None:
    config = TCResNetConfig()
    log_mel = LogMel(config)
    clip = tone(700, 0.1)
    frames = np.lib.stride_tricks.sliding_window_view(clip.astype(np.float64), 400)[::160]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(frames * hann) * 2 / hann.sum()) ** 2
    expected = np.log(power @ log_mel.filters.numpy() + 1e-6)
    np.testing.assert_allclose(log_mel(torch.from_numpy(clip)[None])[0].numpy(), expected, atol=1e-4)


def test_silence_is_finite(model: TCResNetForAudioClassification) -> None:
    assert torch.isfinite(model(torch.zeros(1, 16_000)).logits).all()


def test_training_augments_and_evaluation_does_not(model: TCResNetForAudioClassification) -> None:
    clip = torch.from_numpy(tone(500, 1.0))[None].repeat(2, 1)
    with torch.inference_mode():
        assert torch.equal(*model.tc_resnet.encode(clip, None)[0])
        model.tc_resnet.training = True  # the body's own switch: augmentation on, batch statistics off
        try:
            assert not torch.equal(*model.tc_resnet.encode(clip, None)[0])
        finally:
            model.tc_resnet.training = False


@pytest.mark.slow
def test_a_saved_model_loads_in_a_fresh_process(model: TCResNetForAudioClassification, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(tmp_path)
    clip = tone(500, 1.0)
    np.save(tmp_path / "clip.npy", clip)
    code = (
        "import sys, numpy as np, earmark.models.tc_resnet; from transformers import pipeline;"
        "p = pipeline('audio-classification', model=sys.argv[1], device='cpu');"
        "rows = p({'raw': np.load(sys.argv[1] + '/clip.npy'), 'sampling_rate': 16000}, top_k=5);"
        "print(*(f\"{r['label']}={r['score']:.6f}\" for r in rows))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    with torch.inference_mode():
        expected = model(torch.from_numpy(clip)[None]).logits.softmax(-1)[0]
    found = dict(pair.split("=") for pair in out.stdout.split())
    for i, probability in enumerate(expected.tolist()):
        assert float(found[f"LABEL_{i}"]) == pytest.approx(probability, abs=1e-4)
