"""A clip has one answer: alone, in any mixed batch, in training-time evaluation and in ``predict``; all architectures.

Every later way to score is to be held against :func:`answers_alone`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoFeatureExtractor

from earmark.clips.clip import Clip, ClipTable
from earmark.models.build_model import AudioModel, ModelSource, build_for_training, load_trained
from earmark.models.forward import pads_exactly
from earmark.predict.classifier import Classifier
from earmark.scoring.inference import score_waveforms
from earmark.settings.data_flags import DataArguments
from earmark.store.usable import UsableClips, keep_usable
from earmark.tasks import softmax
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.trainer import AudioTrainer
from tests.tiny import ARCHITECTURES, RATE_HZ, tone

CPU = torch.device("cpu")
SECONDS = [0.31, 1.0, 0.5, 0.31, 0.77, 2.3, 0.05, 0.99]
KINDS = sorted(ARCHITECTURES)
LIKE_LARGE_MODELS = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
VARIANTS = [(kind, {}) for kind in KINDS]
VARIANTS += [(kind, LIKE_LARGE_MODELS) for kind in ("wav2vec2", "hubert", "wavlm", "unispeech-sat")]


def build(kind: str, overrides: dict[str, object]) -> AudioModel:
    """A tiny classifier whose logits differ from clip to clip."""
    torch.manual_seed(0)
    settings = json.dumps({**ARCHITECTURES[kind], **overrides})
    audio = build_for_training(ModelSource(model_type=kind, config_overrides=settings), ["a", "b", "c"], 1.0, 1.0)
    with torch.no_grad():
        for parameter in audio.model.parameters():
            if parameter.ndim > 1 and kind != "tc_resnet":
                parameter.mul_(3)
    audio.model.eval()
    return audio


def clips() -> list[np.ndarray]:
    # 16-bit values, so that recordings written from them hold the same samples
    waves = [tone(300 + 200 * i, seconds, seed=i) for i, seconds in enumerate(SECONDS)]
    return [(np.round(wave * 32767) / 32768).astype(np.float32) for wave in waves]


def answers_alone(audio: AudioModel, waveforms: list[np.ndarray]) -> np.ndarray:
    """Logits (N, C), each clip by itself."""
    one_by_one = [
        list(score_waveforms(audio.model, audio.frontend, [wave], batch_size=1, device=CPU)) for wave in waveforms
    ]
    return np.concatenate(one_by_one)


def write(folder: Path, waveforms: list[np.ndarray]) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{i}.wav" for i in range(len(waveforms))]
    for path, wave in zip(paths, waveforms, strict=True):
        soundfile.write(path, wave, RATE_HZ, subtype="PCM_16")
    return paths


def usable(paths: list[Path]) -> UsableClips:
    table = ClipTable([Clip(str(path), "abc"[i % 3], str(path)) for i, path in enumerate(paths)], "test")
    return keep_usable({"validation": table}, RATE_HZ, DataArguments())[0]["validation"]


@pytest.mark.parametrize(("kind", "overrides"), VARIANTS)
def test_one_answer_whatever_the_way(kind: str, overrides: dict[str, object], tmp_path: Path) -> None:
    audio = build(kind, overrides)
    waveforms = clips()
    alone = answers_alone(audio, waveforms)
    assert alone.std(axis=0).max() > 1e-3, "logits that hardly differ show nothing"
    audio.save(tmp_path / "saved")
    np.testing.assert_allclose(library_logits(audio, tmp_path / "saved", waveforms[1]), alone[1], atol=1e-4)

    for size in (3, 64):
        mixed = score_waveforms(audio.model, audio.frontend, waveforms, batch_size=size, device=CPU)
        np.testing.assert_allclose(np.stack(list(mixed)), alone, atol=1e-4)
    backwards = score_waveforms(audio.model, audio.frontend, waveforms[::-1], batch_size=64, device=CPU)
    np.testing.assert_allclose(np.stack(list(backwards))[::-1], alone, atol=1e-4)

    paths = write(tmp_path / "clips", waveforms)
    arguments = EarmarkTrainingArguments(
        output_dir=str(tmp_path / "out"), use_cpu=True, bf16=True, learning_rate=1e-3, eval_strategy="no",
        save_strategy="no",
    )  # fmt: skip
    trainer = AudioTrainer(audio, arguments, usable(paths), usable(paths))
    audio.model.train()
    np.testing.assert_allclose(trainer.scorer.score(usable(paths)), alone, atol=1e-4)

    classifier = Classifier(load_trained(ModelSource(name_or_path=str(tmp_path / "saved"))), device="cpu")
    np.testing.assert_allclose(classifier.predict_proba([str(path) for path in paths]), softmax(alone), atol=1e-4)


def library_logits(audio: AudioModel, folder: Path, waveform: np.ndarray) -> np.ndarray:
    """Logits (C,) of plain Transformers: its extractor, its forward."""
    batch = AutoFeatureExtractor.from_pretrained(folder)(waveform, sampling_rate=RATE_HZ, return_tensors="pt")
    with torch.no_grad():
        return type(audio.model).forward(audio.model, **batch).logits[0].numpy()


def test_most_architectures_share_batches_between_lengths() -> None:
    assert [kind for kind in KINDS if not pads_exactly(build(kind, {}).model)] == ["sew", "sew-d", "wav2vec2-conformer"]
