"""Make a classifier: body from a checkpoint or from random weights, a head of the right size, its frontend.

Every architecture of Transformers' audio-classification mapping takes this way, and so does this project's TC-ResNet.
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
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForAudioClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

from earmark.errors import ModelError, first_line
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
from earmark.models.head import CONFIG_KEY, Loaded, place_rows, saved_head
from earmark.models.model_source import ModelSource
from earmark.models.saved_names import accept_saved_names
from earmark.models.stated_task import settle_task
from earmark.sources.background import find_background
from earmark.tasks import SINGLE_LABEL, Task, task_of_config, write_task
from earmark.tasks.decision import FILE_NAME as DECISION
from earmark.tasks.decision import PLAIN, Decision, read_decision
from earmark.text import suggestion

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

logger = logging.getLogger(__name__)

# bars for "loading weights" and "writing shards", which take no time here, would tear this project's own apart
transformers.utils.logging.disable_progress_bar()

# Longest window scored at once by a model that has no length of its own and was not trained here.
_DEFAULT_WINDOW_S = 30.0


@dataclass
class AudioModel:
    """A classifier with its frontend.

    Attributes:
        model: Transformers classifier; ``model(**frontend(waveforms)).logits`` is (B, C) float32.
        frontend: waveforms to model inputs.
        labels: class names, index by index.
        decision: how answers come of its probabilities; the forward of ``model`` knows its temperature.
    """

    model: Any
    frontend: Frontend
    labels: list[str]
    decision: Decision = PLAIN

    @property
    def architecture(self) -> str:
        """Model type, as in Transformers."""
        return str(self.model.config.model_type)

    @property
    def task(self) -> Task:
        """What it is asked."""
        return task_of_config(self.model.config)

    @property
    def background_class(self) -> str | None:
        """Its class of clips in which none of the other classes occurs; ``None`` without one."""
        return find_background(self.labels, getattr(self.model.config, "background_class", None))

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration and preprocessor, readable by plain Transformers."""
        self.model.save_pretrained(folder)
        self.frontend.save(folder)
        let_others_read(Path(folder))


def let_others_read(folder: Path) -> None:
    """Give weights the mode that other new files have: safetensors writes them for their owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o666 & ~mask)


def supported_architectures() -> list[str]:
    """``model_type`` of every architecture that can become an audio classifier."""
    return sorted([*MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES, *own_model_types()])


def build_for_training(
    source: ModelSource,
    labels: Sequence[str],
    length_s: float | None,
    longest_s: float,
    task: Task = SINGLE_LABEL,
    unit: tuple[float, float] | None = None,
) -> AudioModel:
    """A model ready to learn ``labels`` from clips of at most ``length_s``.

    Args:
        source: checkpoint or architecture.
        labels: class names, in a regression the name of the number; the head gets a row for each, which a class of
            the checkpoint keeps by name (see :mod:`earmark.models.head`).
        length_s: clip length asked for, in seconds; ``None``: as long as the longest training clip, as far as the
            architecture allows.
        longest_s: duration of the longest training clip, in seconds.
        task: what the model is asked.
        unit: mean and deviation of the numbers to learn, in a regression.

    Raises:
        ModelError: see :func:`load_config` and :mod:`earmark.models.checkpoint`; weights missing from the body.
    """
    folder = source.folder()
    if folder is not None and adapters.is_adapter(folder):
        raise ModelError(f"{folder}: an adapter, not a model to start from; name its base, or a model saved merged")
    config = load_config(source, folder)
    before = copy.deepcopy(config if source.config_name is None or folder is None else _read_config(folder, source))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.id2label = dict(enumerate(labels))
    write_task(config, task)
    if folder is None:
        model = _random_weights(config, source)
    else:
        loaded = _load_weights(folder, config, source, fresh_head=True)
        model = loaded.model
        head = saved_head(loaded, folder, before, lambda: _load_weights(folder, before, source, fresh_head=False).model)
        how = place_rows(model, head, labels, task, unit, keep=source.keep_head)
        if not source.replaces_head:
            logger.info("%s", how)
        if (folder / DECISION).is_file():
            logger.info("%s: not carried over; it was fitted for the weights before training", folder / DECISION)
    accept_saved_names(model)
    extractor = load_extractor(source, folder, model.config)
    length_s = length_for_training_s(model.config, extractor, length_s, longest_s)
    extractor = cut_to_length(model, extractor, length_s)
    saved: dict[str, Any] = {"max_length_seconds": length_s}
    if unit is not None:
        saved["unit"] = {"mean": unit[0], "deviation": unit[1]}
    setattr(model.config, CONFIG_KEY, saved)
    frontend = _frontend(extractor, model.config, length_s)
    return AudioModel(install_forward(model), frontend, list(labels), Decision(task=task))


def limits_for_training(
    config: PreTrainedConfig, extractor: Extractor, length_s: float | None, longest_s: float
) -> tuple[int, int]:
    """Shortest and longest clip, in samples, of the model that :func:`build_for_training` makes; needs no weights.

    Args:
        config: see :func:`load_config`.
        extractor: see :func:`load_extractor`.
        length_s: as there.
        longest_s: as there.
    """
    return _limits(extractor, config, length_for_training_s(config, extractor, length_s, longest_s))


def load_trained(source: ModelSource, *, decided: bool = True) -> AudioModel:
    """A classifier as it was saved, head and labels included, in evaluation mode.

    Args:
        source: its folder or name.
        decided: with what was fitted for its answers; ``False`` for the model's own probabilities.

    Raises:
        ModelError: not an audio classifier, or its weights do not fill it (a checkpoint without a trained head), or its
            ``decision.json`` cannot be used.
        UsageError: the model says another task than ``source.task``.
    """
    assert source.name_or_path is not None, "a trained model has a folder or a name"
    folder = source.find(source.name_or_path)
    config = load_config(source, folder)
    settle_task(config, source.task, source.name_or_path)
    if adapters.is_adapter(folder):
        model = _load_adapted(source, folder, config).eval()
    else:
        model = _load_weights(folder, config, source, fresh_head=False).model.eval()
    extractor = load_extractor(source, folder, config)
    saved = getattr(config, CONFIG_KEY, None) or {}
    native_s = find_family(config).native_length_s(config, extractor)
    length_s = saved.get("max_length_seconds") or native_s or _DEFAULT_WINDOW_S
    labels = [config.id2label[i] for i in range(config.num_labels)]
    task = task_of_config(config)
    decision = read_decision(folder, labels, task) if decided else Decision(task=task)
    install_forward(model).forward.temperature = decision.temperature
    return AudioModel(model, _frontend(extractor, config, length_s), labels, decision)


def load_description(source: ModelSource) -> tuple[object, Extractor]:
    """Return configuration and feature extractor of a model, without its weights.

    Raises:
        ModelError: see :func:`load_config` and :func:`earmark.models.extractor.load_extractor`.
    """
    folder = source.folder()
    config = load_config(source, folder)
    return config, load_extractor(source, folder, config)


def load_config(source: ModelSource, folder: Path | None) -> Any:
    """The configuration, with the overrides applied.

    Raises:
        ModelError: unreadable, of an architecture that has no audio-classification head, or unknown overrides.
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
            f"{name}: {config.model_type} has no audio-classification head in Transformers; "
            f"those that do: {', '.join(supported_architectures())}"
        )
    return config


def _read_config(folder: Path, source: ModelSource) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=source.trust_remote_code)
    except UNREADABLE as exc:
        raise ModelError(f"{folder}: config.json cannot be read ({first_line(exc)})") from exc


def _config_of_type(model_type: str | None) -> Any:
    if model_type is None:
        raise ModelError(
            "no model: give --model_name_or_path FOLDER_OR_NAME, or --model_type for random weights "
            f"(tc_resnet learns from scratch on a CPU; others: {', '.join(supported_architectures())})"
        )
    if model_type not in supported_architectures():
        known = supported_architectures()
        raise ModelError(f"--model_type {model_type}: not one of {', '.join(known)}{suggestion(model_type, known)}")
    return CONFIG_MAPPING[model_type]()


def _override(config: PreTrainedConfig, text: str) -> None:
    """Apply ``name=value,...`` or a JSON object to ``config``, each value in the type of the one it replaces."""
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
            f"--config_overrides: {first_line(exc)} in a {config.model_type} configuration; write name=value,"
            'name=value or a JSON object {"name": value} where a value is a list'
        ) from exc


def _random_weights(config: PreTrainedConfig, source: ModelSource) -> Any:
    try:
        return AutoModelForAudioClassification.from_config(config, trust_remote_code=source.trust_remote_code)
    except Exception as exc:  # each architecture fails in its own way on sizes that do not go together
        raise ModelError(
            f"a {config.model_type} cannot be built with these settings ({first_line(exc)}); see --config_overrides"
        ) from exc


def _load_weights(folder: Path, config: PreTrainedConfig, source: ModelSource, *, fresh_head: bool) -> Loaded:
    """Fill a classifier from a checkpoint.

    Raises:
        ModelError: something of the body is lacking; with ``fresh_head`` false, or something of the head.
    """
    try:
        with _quiet_transformers():
            model, report = AutoModelForAudioClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # told apart below: only a head may be replaced
                use_safetensors=None if source.allow_pickle else True,
                trust_remote_code=source.trust_remote_code,
                output_loading_info=True,
            )
    except Exception as exc:  # safetensors, torch and Transformers share no base class for a broken weights file
        raise ModelError(f"{folder}: its weights cannot be loaded ({first_line(exc)})") from exc
    head = head_parameters(model)
    missing, mismatched = set(report["missing_keys"]), {key for key, *_ in report["mismatched_keys"]}
    lacking = sorted((missing | mismatched) - (head if fresh_head else set()))
    lacking = [name for name in lacking if not name.endswith(find_family(config).training_only)]
    if lacking:
        what = "the head" if set(lacking) <= head else f"{len(lacking)} weights"
        raise ModelError(
            f"{folder}: {what} of {type(model).__name__} cannot be filled from it, first {lacking[0]}; "
            + (
                "is this checkpoint of another size or kind?"
                if fresh_head
                else "train it first, or give a trained model"
            )
        )
    return Loaded(model, missing, mismatched)


def _load_adapted(source: ModelSource, folder: Path, config: PreTrainedConfig) -> Any:
    """The base model of an adapter, as long as its clips were, with the adapter merged into it."""
    name, revision = adapters.adapter_base(folder)
    base = replace(source, name_or_path=name, revision=revision, _found={})
    try:
        place = base.find(name)
    except ModelError as exc:
        raise ModelError(f"{folder}: an adapter of {name}, which is not there ({exc})") from exc
    of_base = load_config(base, place)
    find_family(config).restore_length(config, of_base)  # the weights have the positions of the base: cut once more
    model = _load_weights(place, config, base, fresh_head=True).model
    cut_to_length(model, load_extractor(base, place, of_base), config.earmark["max_length_seconds"])
    adapters.load_merged(model, folder)
    return model


def _frontend(extractor: Extractor, config: PreTrainedConfig, length_s: float) -> Frontend:
    shortest, longest = _limits(extractor, config, length_s)
    pads_itself = find_family(config).takes_one_length
    return Frontend(extractor, min_samples=shortest, max_samples=longest, pads_itself=pads_itself)


def _limits(extractor: Extractor, config: PreTrainedConfig, length_s: float) -> tuple[int, int]:
    rate_hz = int(extractor.sampling_rate)
    return find_family(config).min_samples(config, rate_hz), max(1, round(length_s * rate_hz))


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No table of fresh head weights: a new head is what was asked for, and anything else missing is an error here."""
    log = logging.getLogger("transformers")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
