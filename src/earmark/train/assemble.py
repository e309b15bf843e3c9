"""Build the trainer of a plan: the model, its trainable parts, learning rates, number of epochs and precision."""

from __future__ import annotations

import dataclasses
import logging

import transformers
from huggingface_hub.errors import HTTPError

from earmark.clips.targets import table_targets
from earmark.errors import NetworkError, UsageError, first_line
from earmark.models.build_model import AudioModel, build_for_training
from earmark.models.freeze import freeze
from earmark.settings.data_flags import DEFAULT_LONGEST_S
from earmark.settings.training_flags import TrainingArguments
from earmark.sources.background import background_classes
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.callbacks import set_tensorboard_folder
from earmark.train.checked_precision import with_checked_precision
from earmark.train.checks import check_flags_of_model, check_optimizer
from earmark.train.few_shot import check_classes, check_head
from earmark.train.layer_decay import learning_rates
from earmark.train.lora import add_adapters
from earmark.train.plan import Plan
from earmark.train.prepared_data import PreparedData
from earmark.train.recipe import choose_rates, global_batch_size, training_needs
from earmark.train.run_facts import result_settings
from earmark.train.schedule import with_length
from earmark.train.trainer import AudioTrainer

logger = logging.getLogger(__name__)


def build_model(plan: Plan, prepared: PreparedData) -> AudioModel:
    """Build the model, with its frozen part and its adapters.

    Raises:
        ModelError: the checkpoint cannot be loaded, or the head cannot be fitted.
        UsageError: the model does not support a flag.
    """
    transformers.set_seed(plan.training.seed)  # before the head's random weights are drawn
    longest_s = min(prepared.longest_s, DEFAULT_LONGEST_S)
    unit = plan.task.unit(table_targets(prepared.train.table, prepared.labels, plan.task))
    length_s = plan.data.max_length_seconds
    audio = build_for_training(plan.source, prepared.labels, length_s, longest_s, plan.task, unit)
    if plan.data.has_background:  # saved in config.json, because the name of the class may not show it
        audio.model.config.background_class = plan.data.background_class
    _note_background(audio)
    few_shot = plan.model.few_shot
    frozen = f"--freeze {freeze(audio, 'encoder' if few_shot else plan.model.freeze)}"
    learns = add_adapters(audio, plan.training, plan.model) or ("--few_shot: the head" if few_shot else frozen)
    _log_model(audio, learns)
    check_flags_of_model(plan.training, audio.model)
    if few_shot:
        check_classes(prepared.train.table)
        check_head(audio)
    return audio


def _note_background(audio: AudioModel) -> None:
    """Log the classes whose segments are omitted, because the user may not know that their names mean background."""
    found = background_classes(audio.task, audio.labels, audio.decision, audio.background_class)
    if found:
        logger.info(
            "background %s: %s. Predicted segments of %s are omitted unless --include_background is given",
            "class" if len(found) == 1 else "classes",
            ", ".join(map(repr, found)),
            "it" if len(found) == 1 else "them",
        )


def _log_model(audio: AudioModel, learns: str) -> None:
    total = sum(parameter.numel() for parameter in audio.model.parameters())
    learning = sum(parameter.numel() for parameter in audio.model.parameters() if parameter.requires_grad)
    logger.info(
        "model: %s, %s parameters, %s of them learning (%s), clips of at most %.4g s",
        type(audio.model).__name__,
        f"{total:,}",
        f"{learning:,}",
        learns,
        audio.frontend.max_samples / audio.frontend.sampling_rate_hz,
    )


def make_trainer(plan: Plan, prepared: PreparedData, audio: AudioModel) -> AudioTrainer:
    """Choose learning rates, number of epochs and precision, which depend on clips and model, and make the trainer.

    Raises:
        UsageError: Transformers rejects a combination of settings.
        DeviceError: the device computes the model wrongly.
        NetworkError: the repository of ``--push_to_hub`` cannot be created.
    """
    training = _with_length(plan, _with_rates(plan, audio), prepared, audio)
    arguments = EarmarkTrainingArguments.of(training)
    half = not plan.model.few_shot
    if half:
        check_optimizer(arguments, audio.model)
    arguments = with_checked_precision(audio, arguments, prepared.train, plan.precision_flag, half=half)
    try:
        trainer = AudioTrainer(
            audio,
            arguments,
            prepared.train,
            prepared.validation,
            bucket_waste=training.bucket_waste,
            sounds=prepared.sounds,
            extra_metrics=plan.extra_metrics,
            settings=result_settings(plan.data, plan.model, plan.run),
        )
    except (OSError, HTTPError) as exc:  # with --push_to_hub, Trainer creates the repository
        raise NetworkError(
            f"--push_to_hub: {first_line(exc).rstrip('.')}. Check network and token, or leave the flag out."
        ) from exc
    except (ValueError, RuntimeError, ImportError) as exc:  # Transformers rejects contradictory settings with these
        raise UsageError(first_line(exc)) from exc
    set_tensorboard_folder(trainer.trackers, plan.run.logging_dir)
    return trainer


def _with_rates(plan: Plan, audio: AudioModel) -> TrainingArguments:
    if plan.model.few_shot:
        return dataclasses.replace(plan.training, learning_rate=0.0, head_learning_rate=0.0)
    rates = choose_rates(plan.training, audio.family, pretrained=plan.pretrained, freeze=plan.model.freeze)
    head = f", of the head {rates.head:g}" if rates.head != rates.body else ""
    logger.info("peak learning rate: %g (%s)%s", rates.body, rates.reason, head)
    training = dataclasses.replace(plan.training, learning_rate=rates.body, head_learning_rate=rates.head)
    learning_rates(audio, training)  # raises before anything is written if the model has no stack of layers
    return training


def _with_length(
    plan: Plan, training: TrainingArguments, prepared: PreparedData, audio: AudioModel
) -> TrainingArguments:
    if plan.model.few_shot:
        return training
    return with_length(
        training,
        len(prepared.train.table),
        global_batch_size(training),
        training_needs(training, audio.family, pretrained=plan.pretrained, freeze=plan.model.freeze),
        pretrained=plan.pretrained,
        validates=prepared.validation is not None,
    )
