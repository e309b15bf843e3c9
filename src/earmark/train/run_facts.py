"""Facts about a run that a checkpoint stores, to compare with a resumed run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from earmark.clips.clip import fingerprint
from earmark.models.build_model import AudioModel
from earmark.settings.config_files import plain
from earmark.settings.flags import Scope, Settings, names_with
from earmark.store.usable import UsableClips
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.augmentation import AugmentationSounds
from earmark.train.ema import average_fact
from earmark.train.layer_decay import rates_fact
from earmark.train.reproducibility import arithmetic_facts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# settings that RunFacts compares by their effect instead of their value
_RESOLVED = {"bf16", "fp16", "precision", "max_length_seconds", "store", "task"}


def result_settings(*parts: Settings) -> dict[str, object]:
    """Return the settings that change the result if they differ when a run is resumed."""
    return {
        name: plain(getattr(part, name))
        for part in parts
        for name in names_with(Scope.RESULT, type(part))
        if name not in _RESOLVED
    }


class RunFacts:
    """Facts, settings and arithmetic of a run, as plain values, to compare a resumed run with its checkpoint.

    Args:
        audio: the model before training.
        args: training settings.
        clips: training clips.
        precision: training precision: ``fp32``, ``bf16`` or ``fp16``.
        settings: settings outside ``args`` that change the result; see :func:`result_settings`.
        sounds: recordings and functions for augmentation.
    """

    def __init__(
        self,
        audio: AudioModel,
        args: EarmarkTrainingArguments,
        clips: UsableClips,
        precision: str,
        settings: Mapping[str, Any],
        sounds: AugmentationSounds | None,
    ) -> None:
        self._args = args
        self._facts = _facts_of_model(audio.model) | {
            "clips": f"{len(clips.table):,} clips {fingerprint(clips.table)}",
            "rates": rates_fact(args),
            **average_fact(args.ema),
            "labels": audio.labels,
        }
        self._settings = {
            **settings,
            "precision": precision,  # not args.bf16, which is False if the weights are cast
            "processes": args.world_size,
            "samples": getattr(clips.waveforms, "dtype", "float32"),
            "max_samples": audio.frontend.max_samples,
            **({} if sounds is None else sounds.facts()),
        }

    def __call__(self) -> dict[str, object]:
        """Return the current facts."""
        settings = {**result_settings(self._args), **self._settings}
        return {**self._facts, "settings": settings, "arithmetic": arithmetic_facts(self._args.device)}


def _facts_of_model(model: PreTrainedModel) -> dict[str, object]:
    """Return fingerprints of a model: of its shapes, and of its frozen weights and buffers."""
    shapes, frozen = hashlib.sha256(), hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        shapes.update(repr((name, tuple(weight.shape))).encode())
    still = [(name, weight) for name, weight in model.named_parameters() if not weight.requires_grad]
    for name, values in sorted(still + list(model.named_buffers())):
        frozen.update(name.encode() + values.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    learns_not = f"{len(still)} frozen weights {frozen.hexdigest()[:12]}" if still else "no frozen weights"
    return {"model": f"{model.config.model_type} {shapes.hexdigest()[:12]}", "frozen": learns_not}
