"""Load the preprocessor of a model: from its checkpoint, from another model, or the default of its architecture.

The preprocessor's file is read as JSON into earmark's settings. Custom code, and feature extractors that earmark cannot
compute, are loaded and called through Transformers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.errors import ModelError, first_line
from earmark.families.family_registry import find_frontend
from earmark.families.frontend_settings import Extractor, FrontendSettings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from earmark.families.family import Family
    from earmark.models.model_source import ModelSource

logger = logging.getLogger(__name__)

# Files with a preprocessor, in the order in which Transformers searches them. The first is for processors of
# Transformers 5, which may include a tokenizer; the second for single feature extractors and older processors.
_PROCESSOR, _PREPROCESSOR = "processor_config.json", "preprocessor_config.json"
_NESTED = ("feature_extractor", "audio_processor")
_TYPE = "feature_extractor_type"
_DECIDE_PREDICTIONS = ("sampling_rate", "do_normalize")  # warn if a default is assumed for these settings


def load_extractor(source: ModelSource, folder: Path | None, config: PreTrainedConfig, family: Family) -> Extractor:
    """Return the preprocessor of the checkpoint, of another model, or the architecture's default.

    Warn once per source about important settings that are not saved.

    Raises:
        ModelError: a file of the preprocessor cannot be read, or has an invalid value.
    """
    place = source.find(source.feature_extractor) if source.feature_extractor else folder
    saved = None if place is None else saved_settings(place)
    extractor: Extractor
    if place is None or saved is None:
        extractor = family.default_frontend(config)
        assumed = list(_DECIDE_PREDICTIONS)
    else:
        file, settings = saved
        kind = _frontend_kind(settings, family, trust_remote_code=source.trust_remote_code)
        extractor = _from_transformers(file, source) if kind is None else _from_json(file, settings, kind)
        assumed = [name for name in _DECIDE_PREDICTIONS if name not in settings]
    _warn_of_assumed(source, place, extractor, assumed)
    if family.takes_one_length:
        return extractor
    if isinstance(extractor, FrontendSettings):
        return replace(extractor, return_attention_mask=source.attention_mask)
    if hasattr(extractor, "return_attention_mask"):
        extractor.return_attention_mask = source.attention_mask
    return extractor


def _frontend_kind(
    settings: Mapping[str, Any], family: Family, *, trust_remote_code: bool
) -> type[FrontendSettings] | None:
    """Return the kind of frontend that a file describes; ``None`` if it must be computed by Transformers.

    A file without a class has the frontend of the model's family. The same applies to a file whose class does
    not exist in the installed Transformers, if it has only settings of that frontend.
    """
    custom = "AutoFeatureExtractor" in (settings.get("auto_map") or {}) and trust_remote_code
    # Tensor code supports neither padding on the left, which is for generation, nor random dither.
    if custom or settings.get("padding_side", "right") != "right" or settings.get("dither"):
        return None
    kind, name = family.frontend, settings.get(_TYPE)
    if name is None:
        return kind
    found = find_frontend(name)
    if found is not None or not settings.keys() <= kind.setting_names() | {_TYPE, "processor_class"}:
        return found
    import transformers

    return None if hasattr(transformers, str(name)) else kind


def _from_json(file: Path, settings: Mapping[str, object], kind: type[FrontendSettings]) -> FrontendSettings:
    try:
        return kind.from_json(settings)
    except ValueError as exc:
        raise ModelError(f"{file}: {exc}. Fix it, or copy the file again from the model's source.") from exc


def _from_transformers(file: Path, source: ModelSource) -> Extractor:
    import transformers

    try:
        extractor: Extractor = transformers.AutoFeatureExtractor.from_pretrained(
            file.parent, trust_remote_code=source.trust_remote_code
        )
    except unreadable_errors() as exc:
        raise ModelError(f"{file}: cannot be read ({first_line(exc)}). Copy it again from the model's source.") from exc
    rate_hz = getattr(extractor, "sampling_rate", None)
    if not isinstance(rate_hz, int) or rate_hz < 1:
        raise ModelError(f"{file}: the sampling_rate {rate_hz} is not a rate in hertz. Fix the file.")
    return extractor


def unreadable_errors() -> tuple[type[Exception], ...]:
    """Return the errors of Transformers for invalid JSON files and values of a wrong type."""
    from huggingface_hub.errors import StrictDataclassError

    return (OSError, ValueError, LookupError, TypeError, AttributeError, StrictDataclassError)


def saved_settings(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """Return the file that holds the preprocessor of a checkpoint, and its settings; ``None`` if there is none.

    Raises:
        ModelError: a file is damaged.
    """
    processor = _read(folder / _PROCESSOR)
    for name in _NESTED:
        if isinstance(processor.get(name), Mapping):
            return folder / _PROCESSOR, processor[name]
    if (folder / _PREPROCESSOR).is_file():
        return folder / _PREPROCESSOR, _read(folder / _PREPROCESSOR)
    return None


def _read(path: Path) -> Mapping[str, Any]:
    """Return the JSON object in a file; empty if the file does not exist."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ModelError(f"{path}: cannot be read ({first_line(exc)}). Copy it again from the model's source.") from exc
    if not isinstance(values, Mapping):
        raise ModelError(f"{path}: not a JSON object. Copy it again from the model's source.")
    return values


def _warn_of_assumed(source: ModelSource, place: Path | None, extractor: Extractor, assumed: Sequence[str]) -> None:
    values = [f"{name} {getattr(extractor, name)}" for name in assumed if hasattr(extractor, name)]
    if place is None or not values or place in source.warned:
        return
    source.warned.add(place)
    logger.warning(
        "%s: the model is saved without some settings of its preprocessor, so earmark assumes %s. If the model was "
        "trained with other settings, its predictions are wrong. Copy its original %s into the folder.",
        place,
        ", ".join(values),
        _PREPROCESSOR,
    )
