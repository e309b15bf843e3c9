"""``--lora``: train adapters instead of the pretrained body, and merge them or keep them separate at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from earmark.distributed.launched import is_main_process
from earmark.errors import ModelError, UsageError
from earmark.models import adapters
from earmark.models.build_model import AudioModel, let_others_read
from earmark.models.checkpoint import hub_name, local_folder
from earmark.settings.model_flags import ModelArguments

_ALPHA_FOR_EACH_RANK = 2.0  # a common ratio in published settings


def add_adapters(audio: AudioModel, training: Any, model: ModelArguments) -> str:
    """Add the adapters that ``--lora`` asks for to the model.

    Args:
        audio: classifier from a checkpoint; changed in place.
        training: settings with ``lora``, ``lora_alpha`` and ``lora_target_modules``.
        model: settings with the source of the weights and ``freeze``.

    Returns:
        A description for the log; empty without ``--lora``.

    Raises:
        UsageError: a setting contradicts ``--lora``.
        ModelError: see :func:`earmark.models.adapters.attach`.
    """
    rank, alpha = training.lora, training.lora_alpha
    if rank is None:
        return ""
    if model.model_name_or_path is None:
        raise UsageError(
            "--lora adapts pretrained weights, and --model_type starts from random ones. Keep one of them."
        )
    if model.freeze is not None:
        raise UsageError(f"--freeze {model.freeze}: --lora trains only adapters and head. Leave --freeze out.")
    alpha = _ALPHA_FOR_EACH_RANK * rank if alpha is None else alpha
    kinds = adapters.attach(audio, rank, alpha, training.lora_target_modules)
    return f"--lora {rank}, alpha {alpha:g}, on {', '.join(kinds)}, and the head"


def save_kept(audio: AudioModel, folder: Path, training: Any, model: ModelArguments) -> None:
    """Write the model that a run keeps. Afterwards adapters are merged in memory, on every rank.

    Args:
        audio: the model at the end of training.
        folder: the run folder.
        training: settings with ``lora`` and ``lora_save``.
        model: settings with the source of the weights.
    """
    apart = training.lora is not None and training.lora_save == "separate"
    if apart and is_main_process():
        _save_apart(audio, folder, model)
    if training.lora is not None:
        adapters.merge(audio.model)
    if not apart and is_main_process():
        audio.save(folder)


def _save_apart(audio: AudioModel, folder: Path, model: ModelArguments) -> None:
    name = str(model.model_name_or_path)
    try:
        local = local_folder(name)
    except ModelError:  # training from ``org/name`` of the hub has just created a local folder ``org``
        local = None
    base = hub_name(name) if local is None else str(local.resolve())
    adapters.save(audio, folder, base, model.model_revision)
    audio.model.config.save_pretrained(folder)
    audio.frontend.save(folder)
    let_others_read(folder)
