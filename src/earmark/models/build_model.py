"""Build a classifier: body from a checkpoint or from random weights, head of the right size, and frontend.

This works for all architectures of Transformers' audio classification mapping, and for earmark's TC-ResNet.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import transformers
from transformers import AutoConfig, AutoModelForAudioClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

from earmark.errors import ModelError, first_line
from earmark.families.family import Family
from earmark.families.family_registry import find_family, own_model_types
from earmark.families.frontend_settings import Extractor
from earmark.models import (
    adapters,
    tc_resnet,  # noqa: F401  # registers the model with Transformers
)
from earmark.models.clip_length import cut_to_length, length_for_training_s
from earmark.models.extractor import UNREADABLE, load_extractor
from earmark.models.forward import install_forward
from earmark.models.freeze import head_parameters
from earmark.models.frontend import Frontend
from earmark.models.head import Loaded, place_rows, saved_head
from earmark.models.model_source import ModelSource
from earmark.models.saved_names import accept_saved_names
from earmark.models.stated_task import CONFIG_KEY, settle_task
from earmark.sources.background import find_background
from earmark.tasks import SINGLE_LABEL, Task, task_of_config, write_task
from earmark.tasks.decision import FILE_NAME as DECISION
from earmark.tasks.decision import PLAIN, Decision, read_decision
from earmark.text import suggestion

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

logger = logging.getLogger(__name__)

# Transformers' bars for loading and writing weights would disturb earmark's own progress bars.
transformers.utils.logging.disable_progress_bar()

# Longest window for a model that takes any length and was not trained by earmark.
_DEFAULT_WINDOW_S = 30.0


@dataclass
class AudioModel:
    """A classifier with its frontend.

    Attributes:
        model: Transformers classifier; ``model(**frontend(waveforms)).logits`` is (B, C) float32.
        family: family of its architecture.
        frontend: waveforms to model inputs.
        labels: class names in the order of the logits.
        decision: how to turn probabilities into predictions; the forward of ``model`` applies its temperature.
    """

    model: Any
    family: Family
    frontend: Frontend
    labels: list[str]
    decision: Decision = PLAIN

    @property
    def architecture(self) -> str:
        """Model type, as in Transformers."""
        return str(self.model.config.model_type)

    @property
    def task(self) -> Task:
        """Task of the model."""
        return task_of_config(self.model.config)

    @property
    def background_class(self) -> str | None:
        """Name of the background class, which means "none of the other classes"; ``None`` without one."""
        return find_background(self.labels, getattr(self.model.config, "background_class", None))

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration and preprocessor in Transformers' format."""
        self.model.save_pretrained(folder)
        self.frontend.save(folder)
        let_others_read(Path(folder))


def let_others_read(folder: Path) -> None:
    """Give weights the permissions of other new files: safetensors makes them readable by their owner only."""
    mask = os.umask(0)
    os.umask(mask)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o666 & ~mask)


def supported_architectures() -> list[str]:
    """Return the ``model_type`` of every architecture that can be an audio classifier."""
    return sorted([*MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES, *own_model_types()])


def build_for_training(
    source: ModelSource,
    labels: Sequence[str],
    length_s: float | None,
    longest_s: float,
    task: Task = SINGLE_LABEL,
    unit: tuple[float, float] | None = None,
) -> AudioModel:
    """Build a model to train on ``labels`` with clips of at most ``length_s``.

    Args:
        source: checkpoint or architecture.
        labels: class names, or the name of the number for a regression. Classes that the checkpoint also has keep
            their row of its head (see :mod:`earmark.models.head`).
        length_s: requested clip length in seconds; ``None`` for the length of the longest training clip, or the longest
            that the architecture allows.
        longest_s: duration of the longest training clip, in seconds.
        task: task of the model.
        unit: mean and standard deviation of the numbers to learn, for a regression.

    Raises:
        ModelError: weights of the body are missing; or see :func:`load_config` and :mod:`earmark.models.checkpoint`.
    """
    folder = source.folder()
    if folder is not None and adapters.is_adapter(folder):
        raise ModelError(f"{folder}: training cannot start from an adapter. Name its base model, or a merged model.")
    config = load_config(source, folder)
    family = find_family(config)
    before = copy.deepcopy(config if source.config_name is None or folder is None else _read_config(folder, source))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.id2label = dict(enumerate(labels))
    write_task(config, task)
    if folder is None:
        model = _random_weights(config, source)
    else:
        loaded = _load_weights(folder, config, family, source, fresh_head=True)
        model = loaded.model
        head = saved_head(
            loaded, folder, before, lambda: _load_weights(folder, before, family, source, fresh_head=False)
        )
        how = place_rows(loaded, head, labels, task, unit, keep=source.keep_head)
        if not source.replaces_head:
            logger.info("%s", how)
        if (folder / DECISION).is_file():
            logger.info("%s: ignored, because it was fitted for the weights before training", folder / DECISION)
    accept_saved_names(model)
    extractor = load_extractor(source, folder, model.config, family)
    length_s = length_for_training_s(model.config, family, extractor, length_s, longest_s)
    extractor = cut_to_length(model, family, extractor, length_s)
    saved: dict[str, Any] = {"max_length_seconds": length_s}
    if unit is not None:
        saved["unit"] = {"mean": unit[0], "deviation": unit[1]}
    setattr(model.config, CONFIG_KEY, saved)
    frontend = _frontend(ModelDescription(model.config, family, extractor), length_s)
    return AudioModel(install_forward(model, family), family, frontend, list(labels), Decision(task=task))


def load_trained(source: ModelSource, *, decided: bool = True) -> AudioModel:
    """Load a trained classifier with its head and labels, in evaluation mode.

    Args:
        source: folder or name of the model.
        decided: whether to use fitted temperature and thresholds; ``False`` for the uncalibrated probabilities.

    Raises:
        ModelError: this is not an audio classifier, weights such as the head are missing, or ``decision.json`` cannot
            be used.
        UsageError: the task of the model is not ``source.task``.
    """
    assert source.name_or_path is not None, "a trained model has a folder or a name"
    folder = source.find(source.name_or_path)
    config = load_config(source, folder)
    settle_task(config, source.task, source.name_or_path)
    family = find_family(config)
    if adapters.is_adapter(folder):
        model = _load_adapted(source, folder, config, family).eval()
    else:
        model = _load_weights(folder, config, family, source, fresh_head=False).model.eval()
    extractor = load_extractor(source, folder, config, family)
    saved = getattr(config, CONFIG_KEY, None) or {}
    native_s = family.native_length_s(config, extractor)
    length_s = saved.get("max_length_seconds") or native_s or _DEFAULT_WINDOW_S
    labels = [config.id2label[i] for i in range(config.num_labels)]
    task = task_of_config(config)
    decision = read_decision(folder, labels, task) if decided else Decision(task=task)
    install_forward(model, family).forward.temperature = decision.temperature
    frontend = _frontend(ModelDescription(config, family, extractor), length_s)
    return AudioModel(model, family, frontend, labels, decision)


class ModelDescription(NamedTuple):
    """Configuration, family and feature extractor of a model, without its weights."""

    config: PreTrainedConfig
    family: Family
    extractor: Extractor

    def limits(self, length_s: float) -> tuple[int, int]:
        """Return the shortest and longest clip, in samples, if clips have at most ``length_s``."""
        rate_hz = int(self.extractor.sampling_rate)
        return self.family.min_samples(self.config, rate_hz), max(1, round(length_s * rate_hz))

    def limits_for_training(self, length_s: float | None, longest_s: float) -> tuple[int, int]:
        """Return :meth:`limits` of the model that :func:`build_for_training` would build with these lengths."""
        return self.limits(length_for_training_s(*self, length_s, longest_s))


def load_description(source: ModelSource) -> ModelDescription:
    """Return the description of a model.

    Raises:
        ModelError: see :func:`load_config` and :func:`earmark.models.extractor.load_extractor`.
    """
    folder = source.folder()
    config = load_config(source, folder)
    family = find_family(config)
    return ModelDescription(config, family, load_extractor(source, folder, config, family))


def load_config(source: ModelSource, folder: Path | None) -> Any:
    """Return the configuration with the overrides applied.

    Raises:
        ModelError: the configuration cannot be read, its architecture has no audio classification head, or an override
            is unknown.
    """
    name = source.config_name or source.name_or_path
    if name is None:
        config = _config_of_type(source.model_type)
    else:
        place = source.find(source.config_name) if source.config_name else folder
        config = _read_config(place or Path(name), source)
    if source.config_overrides:
        _override(config, source.config_overrides)
    if config.model_type not in supported_architectures() and not source.trust_remote_code:
        raise ModelError(
            f"{name}: {config.model_type} has no audio classification head in Transformers. Use one of "
            f"{', '.join(supported_architectures())}."
        )
    return config


def _read_config(folder: Path, source: ModelSource) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=source.trust_remote_code)
    except UNREADABLE as exc:
        raise ModelError(
            f"{folder}: config.json cannot be read ({first_line(exc)}). Copy the file again from the model's source."
        ) from exc


def _config_of_type(model_type: str | None) -> Any:
    if model_type is None:
        raise ModelError(
            "no model is named. Add --model_name_or_path FOLDER_OR_NAME, or --model_type for random weights "
            f"(tc_resnet trains from scratch on a CPU; others: {', '.join(supported_architectures())})"
        )
    if model_type not in supported_architectures():
        known = supported_architectures()
        near = suggestion(str(model_type), known) or "."
        raise ModelError(f"--model_type {model_type}: unknown architecture{near} Choose from {', '.join(known)}.")
    return CONFIG_MAPPING[model_type]()


def _override(config: PreTrainedConfig, text: str) -> None:
    """Apply ``name=value,...`` or a JSON object to ``config``, with each value in the type of the old one."""
    try:
        if text.lstrip().startswith("{"):
            values = json.loads(text)
            unknown = [name for name in values if not hasattr(config, name)]
            if unknown:
                raise ValueError(f"no setting {unknown[0]!r}")
            config.update(values)
        else:
            config.update_from_string(text)
    except UNREADABLE as exc:
        raise ModelError(
            f"--config_overrides: {first_line(exc)} in a {config.model_type} configuration. Write "
            "name=value,name=value, "
            'or a JSON object {"name": value} if a value is a list.'
        ) from exc


def _random_weights(config: PreTrainedConfig, source: ModelSource) -> Any:
    try:
        return AutoModelForAudioClassification.from_config(config, trust_remote_code=source.trust_remote_code)
    except Exception as exc:  # each architecture raises other errors if sizes do not match
        raise ModelError(
            f"a {config.model_type} cannot be built with these settings ({first_line(exc)}). Fix --config_overrides."
        ) from exc


def _load_weights(
    folder: Path, config: PreTrainedConfig, family: Family, source: ModelSource, *, fresh_head: bool
) -> Loaded:
    """Load the weights of a checkpoint into a classifier.

    Raises:
        ModelError: weights of the body are missing; or of the head, unless ``fresh_head``.
    """
    try:
        with _quiet_transformers():
            model, report = AutoModelForAudioClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # checked below, because only a head may be replaced
                use_safetensors=None if source.allow_pickle else True,
                trust_remote_code=source.trust_remote_code,
                output_loading_info=True,
            )
    except Exception as exc:  # safetensors, torch and Transformers share no base class for a broken weights file
        raise ModelError(
            f"{folder}: the weights cannot be loaded ({first_line(exc)}). Copy them again from the model's source."
        ) from exc
    head = head_parameters(model, family)
    missing, mismatched = set(report["missing_keys"]), {key for key, *_ in report["mismatched_keys"]}
    lacking = sorted((missing | mismatched) - (head if fresh_head else set()))
    lacking = [name for name in lacking if not name.endswith(family.training_only)]
    if lacking:
        what = "the head" if set(lacking) <= head else f"{len(lacking)} weights"
        raise ModelError(
            f"{folder}: the checkpoint lacks {what} of {type(model).__name__}, first {lacking[0]}. "
            + (
                "Check that config.json and the weights belong together."
                if fresh_head
                else "Train it first, or give a trained model."
            )
        )
    return Loaded(model, family, missing, mismatched)


def _load_adapted(source: ModelSource, folder: Path, config: PreTrainedConfig, family: Family) -> Any:
    """Return the base model of an adapter, cut to the adapter's clip length, with the adapter merged."""
    name, revision = adapters.adapter_base(folder)
    base = replace(source, name_or_path=name, revision=revision, _found={})
    try:
        place = base.find(name)
    except ModelError as exc:
        raise ModelError(
            f"{folder}: an adapter of {name}, which cannot be found ({exc}). Fix base_model_name_or_path in "
            "adapter_config.json."
        ) from exc
    of_base = load_config(base, place)
    family.restore_length(config, of_base)  # the weights have the base's positions, and are cut below
    model = _load_weights(place, config, family, base, fresh_head=True).model
    extractor = load_extractor(base, place, of_base, family)
    cut_to_length(model, family, extractor, config.earmark["max_length_seconds"])
    adapters.load_merged(model, family, folder)
    return model


def _frontend(model: ModelDescription, length_s: float) -> Frontend:
    shortest, longest = model.limits(length_s)
    pads_itself = model.family.takes_one_length
    return Frontend(model.extractor, min_samples=shortest, max_samples=longest, pads_itself=pads_itself)


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence Transformers' report on new weights: a new head is intended, and earmark raises if others are missing."""
    log = logging.getLogger("transformers")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
