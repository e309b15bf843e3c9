"""Train an audio classifier with plain Transformers: its Trainer, its feature extractor, its defaults.

This is the reference of ``compare.py train``. Each access to a recording decodes it and crops it at random. The feature
extractor in the collator normalises the samples or computes log-mel spectrograms. The last line of the output is JSON.
Its seconds are the time of training, without saving and evaluation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_common import peak_memory_bytes, print_results, read_recording, recordings_in
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    HfArgumentParser,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

_PAD_THEMSELVES = ("whisper", "audio-spectrogram-transformer")  # their extractors pad to the fixed length of the model


@dataclass
class PlainArguments:
    """Settings in addition to those of Transformers."""

    model_name_or_path: str = field(metadata={"help": "checkpoint: a local folder or a name on the hub"})
    data_dir: Path = field(metadata={"help": "folder with train/CLASS/*.wav and validation/CLASS/*.wav"})
    max_length_seconds: float = field(default=20.0, metadata={"help": "longer training clips are cropped at random"})
    freeze: str | None = field(
        default=None,
        metadata={
            "help": "part to freeze: none, feature_encoder or encoder (all but the head) "
            "(default: feature_encoder if the model has one)",
            "choices": ["none", "feature_encoder", "encoder"],
        },
    )


class FolderDataset(Dataset[dict[str, Any]]):
    """One split of a folder of class folders, which decodes a recording on each access.

    Args:
        folder: folder with one subfolder for each class.
        label2id: index of each class name.
        sampling_rate_hz: sampling rate of the returned samples.
        max_samples: longer clips are cropped to this length at random; ``None`` for no cropping.
    """

    def __init__(self, folder: Path, label2id: dict[str, int], sampling_rate_hz: int, max_samples: int | None) -> None:
        self.paths = recordings_in(folder)
        self.label2id = label2id
        self.sampling_rate_hz = sampling_rate_hz
        self.max_samples = max_samples

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        waveform = read_recording(path, self.sampling_rate_hz)
        if self.max_samples is not None and len(waveform) > self.max_samples:
            start = int(torch.randint(len(waveform) - self.max_samples + 1, (1,)))
            waveform = waveform[start : start + self.max_samples]
        return {"waveform": waveform, "label": self.label2id[path.parent.name]}


class ExtractorCollator:
    """Runs the feature extractor over the clips of a batch."""

    def __init__(self, extractor: Any, model_type: str) -> None:
        self.extractor = extractor
        self.padding = {} if model_type in _PAD_THEMSELVES else {"padding": True}

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the model inputs and ``labels`` (B,) of B examples."""
        clips = [example["waveform"] for example in examples]
        rate_hz = self.extractor.sampling_rate
        batch = dict(self.extractor(clips, sampling_rate=rate_hz, return_tensors="pt", **self.padding))
        mask = batch.get("attention_mask")
        if mask is not None and bool(mask.all()):
            del batch["attention_mask"]  # nothing is padded, so the reference need not compute the mask
        batch["labels"] = torch.tensor([example["label"] for example in examples])
        return batch


class Clock(TrainerCallback):
    """Measures the seconds from the start to the end of training, without pauses."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started: float | None = None

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop the clock."""
        if self._started is not None:
            self.seconds += time.perf_counter() - self._started
            self._started = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock inside the block, if it is running."""
        was_running = self._started is not None
        self.on_train_end()
        yield
        if was_running:
            self.on_train_begin()


class TimedTrainer(Trainer):
    """Transformers' Trainer, with a count of the clips and a clock that stops during evaluation and saving."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.trained_clips = 0
        self.clock = Clock()
        self.add_callback(self.clock)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Train on one batch."""
        self.trained_clips += len(inputs["labels"])
        return super().training_step(model, inputs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate with the clock stopped."""
        with self.clock.paused():
            return super().evaluate(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with self.clock.paused():
            super()._save_checkpoint(*args, **kwargs)


def load_model(plain: PlainArguments, labels: list[str]) -> tuple[Any, Any]:
    """Return a model with a new head for ``labels``, and its feature extractor."""
    extractor = AutoFeatureExtractor.from_pretrained(plain.model_name_or_path)
    model = AutoModelForAudioClassification.from_pretrained(
        plain.model_name_or_path,
        label2id={label: i for i, label in enumerate(labels)},
        id2label=dict(enumerate(labels)),
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
    )
    if model.config.model_type == "whisper":
        extractor = cut_whisper(model, extractor, math.ceil(plain.max_length_seconds))
    if plain.freeze == "encoder":
        body = model.encoder if model.config.model_type == "whisper" else model.base_model
        body.requires_grad_(False)
    elif plain.freeze != "none" and hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
    return model, extractor


def cut_whisper(model: Any, extractor: Any, seconds: int) -> Any:
    """Keep the first ``seconds`` of Whisper's position table; return an extractor that pads to this length."""
    positions = 50 * seconds
    if positions >= model.config.max_source_positions:
        return extractor
    encoder = model.encoder
    encoder.embed_positions = nn.Embedding.from_pretrained(encoder.embed_positions.weight[:positions].detach().clone())
    encoder.max_source_positions = model.config.max_source_positions = positions
    return type(extractor)(feature_size=extractor.feature_size, chunk_length=seconds)


def accuracy(prediction: Any) -> dict[str, float]:
    """Return the fraction of correct predictions, for Trainer."""
    return {"accuracy": float(np.mean(prediction.predictions.argmax(axis=1) == prediction.label_ids))}


def main() -> None:
    """Train, evaluate once and print the results."""
    parser = HfArgumentParser((PlainArguments, TrainingArguments), description=__doc__)
    parser.set_defaults(remove_unused_columns=False)  # the collator needs the columns waveform and label
    plain, training = parser.parse_args_into_dataclasses()
    set_seed(training.seed)
    train_dir, validation_dir = plain.data_dir / "train", plain.data_dir / "validation"
    labels = sorted({path.parent.name for path in recordings_in(train_dir)})
    label2id = {label: i for i, label in enumerate(labels)}
    model, extractor = load_model(plain, labels)
    rate_hz = extractor.sampling_rate
    trainer = TimedTrainer(
        model=model,
        args=training,
        train_dataset=FolderDataset(train_dir, label2id, rate_hz, round(plain.max_length_seconds * rate_hz)),
        eval_dataset=FolderDataset(validation_dir, label2id, rate_hz, None),
        data_collator=ExtractorCollator(extractor, model.config.model_type),
        processing_class=extractor,
        compute_metrics=accuracy,
    )
    trainer.train()
    trainer.save_model()
    evaluated = trainer.evaluate()
    print_results(
        {
            "train_clips": trainer.trained_clips,
            "train_seconds": trainer.clock.seconds,
            "clips_per_second": trainer.trained_clips / trainer.clock.seconds,
            "eval_clips_per_second": evaluated["eval_samples_per_second"],
            "accuracy": evaluated["eval_accuracy"],
            "peak_memory_bytes": peak_memory_bytes(),
            "device": str(training.device),
        }
    )


if __name__ == "__main__":
    main()
