"""Train the self-test's model on one device, in a separate process, and report losses and weights.

``python -m earmark.doctor.selftest_worker DEVICE FOLDER``: ``DEVICE`` is ``cpu``, or a backend, whose first visible
card is used. Training is the same as in ``earmark train``; only the clips are generated in memory, so that files and
codecs do not matter.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from earmark.clips.clip import Clip, ClipTable
from earmark.device import describe_device, select_device, supports_bf16
from earmark.doctor.probes import emit
from earmark.errors import DeviceError
from earmark.models.build_model import AudioModel, build_for_training
from earmark.models.model_source import ModelSource
from earmark.store.usable import UsableClips
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.trainer import AudioTrainer

STEPS = 20

_BATCH = 8
_CLIPS = 40
_RATE_HZ = 16_000
_LENGTH_S = 0.5
_TONES_HZ = {"low": 250.0, "middle": 900.0, "high": 3000.0}
_SCALE = 1 / 32768
_WITH_LOSS_SCALER = ("npu", "cuda", "xpu")
# a small wav2vec2 without any random operations
_MODEL: dict[str, Any] = {
    "conv_dim": [16, 16, 16],
    "conv_stride": [5, 8, 8],
    "conv_kernel": [10, 8, 8],
    "num_feat_extract_layers": 3,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
    **dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0),
    **dict.fromkeys(("final_dropout", "layerdrop", "mask_time_prob", "mask_feature_prob"), 0.0),
}


class Tones:
    """Samples of N clips of one length, in memory: tones in noise, cycling through the classes.

    Attributes:
        num_samples: length of each clip, int64 (N,).
        scales: factor to samples in [-1, 1], float32 (N,).
        samples: int16 (N, T).
    """

    sampling_rate_hz = _RATE_HZ

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        time_s = np.arange(round(_LENGTH_S * _RATE_HZ)) / _RATE_HZ
        frequencies_hz = np.resize(list(_TONES_HZ.values()), count) * rng.uniform(0.9, 1.1, count)
        waves = 0.3 * np.sin(2 * np.pi * frequencies_hz[:, None] * time_s) + 0.05 * rng.standard_normal(
            (count, len(time_s))
        )
        self.samples = np.round(waves / _SCALE).clip(-32768, 32767).astype(np.int16)
        self.num_samples = np.full(count, len(time_s), dtype=np.int64)
        self.scales = np.full(count, _SCALE, dtype=np.float32)

    def read_batch(
        self, indices: Sequence[int] | np.ndarray, starts: np.ndarray, counts: np.ndarray, width: int
    ) -> np.ndarray:
        """Return parts of B clips, int16 (B, width)."""
        rows = zip(indices, starts, counts, strict=True)
        return np.stack([np.resize(self.samples[i, start : start + count], width) for i, start, count in rows])

    def iterate(self, indices: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Yield whole clips, float32 (T,)."""
        return (self.samples[i].astype(np.float32) * _SCALE for i in indices)


def train_once(device: torch.device, precision: str, folder: Path) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Train for :data:`STEPS` steps.

    Args:
        device: device that the trainer is expected to choose.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        folder: folder for the trainer.

    Returns:
        ``(results, changes)``: losses and seconds; and how far each weight has moved, float32.

    Raises:
        DeviceError: the trainer chooses another device.
    """
    transformers.set_seed(0)
    audio = _build()
    start = {name: weight.detach().clone() for name, weight in audio.model.named_parameters()}
    args = EarmarkTrainingArguments(
        output_dir=str(folder / "run"),
        use_cpu=device.type == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        per_device_train_batch_size=_BATCH,
        max_steps=STEPS,
        learning_rate=3e-3,
        warmup_steps=0,
        adam_epsilon=1e-3,  # otherwise Adam makes full steps from gradients that are only rounding errors
        optim="adamw_torch",
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    if args.device.type != device.type:
        raise DeviceError(f"--device {device}: training uses {args.device}. Hide the other cards")
    trainer = AudioTrainer(audio, args, _clips(), None)
    of_steps: list[torch.Tensor] = []
    trainer.batch_observers.append(lambda batch, loss: of_steps.append(loss.detach()))
    began_s = time.perf_counter()
    trainer.train()
    losses = [float(loss) for loss in of_steps]
    seconds = time.perf_counter() - began_s
    moved = {
        name: (weight.detach().cpu().float() - start[name]).numpy() for name, weight in audio.model.named_parameters()
    }
    finite = all(map(math.isfinite, losses)) and all(np.isfinite(change).all() for change in moved.values())
    return {"losses": losses if finite else [], "finite": finite, "seconds": seconds}, moved


def _build() -> AudioModel:
    source = ModelSource(model_type="wav2vec2", config_overrides=json.dumps(_MODEL))
    return build_for_training(source, sorted(_TONES_HZ), _LENGTH_S, longest_s=_LENGTH_S)


def _clips() -> UsableClips:
    labels = list(_TONES_HZ)
    table = ClipTable([Clip(f"tone {i}", label=labels[i % len(labels)]) for i in range(_CLIPS)], "the self-test")
    return UsableClips(table, Tones(_CLIPS))


def _full_float32(kind: str) -> None:
    """Disable the 10-bit mantissas that cards use for float32 convolutions (TF32, HF32)."""
    if kind == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    for operation in ("conv", "matmul"):
        setting = getattr(torch.npu, operation, None) if kind == "npu" else None  # type: ignore[attr-defined]
        if setting is not None:
            setting.allow_hf32 = False


def main(kind: str, folder: Path) -> None:
    """Train in every precision that the device supports, and report after each."""
    device = select_device(kind)
    _full_float32(device.type)
    emit(device=str(device), name=describe_device(device))
    values, moved = train_once(device, "fp32", folder)
    np.savez(folder / "moved.npz", **moved)  # type: ignore[arg-type]  # the stub takes the names for its own flags
    emit(fp32=values)
    if device.type == "cpu":
        return
    halves = ["bf16"] if supports_bf16(device) else []
    halves += ["fp16"] if device.type in _WITH_LOSS_SCALER else []
    for precision in halves:
        emit(trying=precision)
        emit(**{precision: train_once(device, precision, folder)[0]})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
