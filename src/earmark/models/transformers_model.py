"""Load configurations and weights with Transformers, and build models with random weights.

Importing this module imports Transformers' model classes, which takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForAudioClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

from earmark.errors import ModelError, first_line
from earmark.families.family import Family
from earmark.families.family_registry import find_family, own_model_types
from earmark.models import (
    adapters,
    tc_resnet,  # noqa: F401  # registers the model with Transformers
)
from earmark.models.clip_length import cut_to_length
from earmark.models.extractor import load_extractor, unreadable_errors
from earmark.models.freeze import head_parameters
from earmark.models.head import Loaded
from earmark.models.model_source import ModelSource
from earmark.models.stated_task import saved_section
from earmark.text import suggestion, with_article

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Transformers' bars for loading and writing weights would disturb earmark's own progress bars.
transformers.utils.logging.disable_progress_bar()


def supported_architectures() -> list[str]:
    """Return the ``model_type`` of every architecture that can be an audio classifier."""
    return sorted([*MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES, *own_model_types()])


def load_config(source: ModelSource, folder: Path | None) -> Any:
    """Return the configuration with the overrides applied.

    Raises:
        ModelError: the configuration cannot be read, its architecture has no audio classification head, an override is
            unknown, or no model can run with a value.
    """
    name = source.config_name or source.name_or_path
    if name is None:
        config = _config_of_type(source.model_type)
    else:
        place = source.find(source.config_name) if source.config_name else folder
        config = read_config(place or Path(name), source)
    if source.config_overrides:
        _override(config, source.config_overrides)
    if config.model_type not in supported_architectures() and not source.trust_remote_code:
        raise ModelError(
            f"{name}: {config.model_type} has no audio classification head in Transformers. Use one of "
            f"{', '.join(supported_architectures())}."
        )
    if (setting := find_family(config).invalid_setting(config)) is not None:
        where, fix = f"{name}: config.json", "Copy the file again from the model's source."
        if source.config_overrides:
            where, fix = "--config_overrides: the config", "Fix the value."
        raise ModelError(f"{where} has the {setting} {getattr(config, setting)!r}, with which no model can run. {fix}")
    return config


def read_config(folder: Path, source: ModelSource) -> Any:
    """Return the configuration of a checkpoint.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=source.trust_remote_code)
    except unreadable_errors() as exc:
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
    """Apply ``name=value,...``, with each value in the type of the old one, or a JSON object to ``config``."""
    try:
        if text.lstrip().startswith("{"):
            values = json.loads(text)
            unknown = [name for name in values if not hasattr(config, name)]
            if unknown:
                raise ValueError(f"no setting {unknown[0]!r}")
            config.update(values)
        else:
            config.update_from_string(text)
    except unreadable_errors() as exc:
        raise ModelError(
            f"--config_overrides: {first_line(exc)} in {with_article(config.model_type)} configuration. Write "
            "name=value,name=value, "
            'or a JSON object {"name": value} if a value is a list.'
        ) from exc


def random_weights(config: PreTrainedConfig, source: ModelSource) -> Any:
    """Return a classifier with random weights.

    Raises:
        ModelError: the settings contradict each other.
    """
    try:
        return AutoModelForAudioClassification.from_config(config, trust_remote_code=source.trust_remote_code)
    except Exception as exc:  # errors for sizes that do not match differ between architectures
        raise ModelError(
            f"{with_article(config.model_type)} model cannot be built with these settings ({first_line(exc)}). Fix "
            "--config_overrides."
        ) from exc


def load_weights(
    folder: Path, config: PreTrainedConfig, family: Family, source: ModelSource, *, fresh_head: bool
) -> Loaded:
    """Load the weights of a checkpoint into a classifier.

    Raises:
        ModelError: weights of the body are missing, or of the head without ``fresh_head``.
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


def load_classifier(source: ModelSource, folder: Path) -> Any:
    """Return a trained classifier with its head, in evaluation mode. Adapters are merged.

    Raises:
        ModelError: this is not an audio classifier, or weights are missing, for example those of the head.
    """
    config = load_config(source, folder)
    family = find_family(config)
    if adapters.is_adapter(folder):
        return _load_adapted(source, folder, config, family).eval()
    return load_weights(folder, config, family, source, fresh_head=False).model.eval()


def _load_adapted(source: ModelSource, folder: Path, config: PreTrainedConfig, family: Family) -> Any:
    """Return the base model of an adapter, cut to the adapter's clip length, with the adapter merged."""
    length_s = saved_section(config, folder).get("max_length_seconds")
    if length_s is None:
        raise ModelError(
            f"{folder}: config.json does not state max_length_seconds, which earmark saves with an adapter. Copy the "
            "file again from the model's source."
        )
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
    family.restore_length(config, of_base)  # the weights have the base model's positions, and are cut below
    model = load_weights(place, config, family, base, fresh_head=True).model
    extractor = load_extractor(base, place, of_base, family)
    cut_to_length(model, family, extractor, length_s)
    adapters.load_merged(model, family, folder)
    return model


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
