"""The feature extractor of a model: from its checkpoint, from another one, or as its architecture has it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoFeatureExtractor

from earmark.errors import ModelError, first_line
from earmark.families.registry import find_family

if TYPE_CHECKING:
    from earmark.models.source import ModelSource

logger = logging.getLogger(__name__)

# what Transformers raises for a JSON file that is not one, or holds values of the wrong kind
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, StrictDataclassError)


# The files that hold a preprocessor, and where in them it is, as Transformers searches: processors of Transformers 5
# (with a tokenizer, say) are one file; feature extractors alone, and older processors, are the other.
_PROCESSOR, _PREPROCESSOR = "processor_config.json", "preprocessor_config.json"
_NESTED = ("feature_extractor", "audio_processor")
_DECIDE_PREDICTIONS = ("sampling_rate", "do_normalize")  # settings whose default is worth a warning


def load_extractor(source: ModelSource, folder: Path | None, config: Any) -> Any:
    """Return the feature extractor: of the checkpoint, of another model, or the architecture's own.

    Whatever is not saved and has to be assumed is logged as a warning, once for each source.

    Raises:
        ModelError: a file of the preprocessor cannot be read, or has no sampling rate that can be one.
    """
    place = source.find(source.feature_extractor) if source.feature_extractor else folder
    saved = None if place is None else saved_settings(place)
    if place is None or saved is None:
        extractor = find_family(config).default_extractor(config)
        assumed = list(_DECIDE_PREDICTIONS)
    else:
        file, settings = saved
        try:
            extractor = AutoFeatureExtractor.from_pretrained(place, trust_remote_code=source.trust_remote_code)
        except UNREADABLE as exc:
            raise ModelError(f"{file}: cannot be read ({first_line(exc)})") from exc
        rate_hz = getattr(extractor, "sampling_rate", None)
        if not isinstance(rate_hz, int) or rate_hz < 1:
            raise ModelError(f"{file}: has the sampling_rate {rate_hz}, not a rate in hertz")
        assumed = [name for name in _DECIDE_PREDICTIONS if name not in settings]
    _warn_of_assumed(source, place, extractor, assumed)
    if hasattr(extractor, "return_attention_mask") and not find_family(config).takes_one_length:
        extractor.return_attention_mask = source.attention_mask
    return extractor


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
    """The JSON object in a file; empty if there is no file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ModelError(f"{path}: cannot be read ({first_line(exc)})") from exc
    if not isinstance(values, Mapping):
        raise ModelError(f"{path}: cannot be read (not a JSON object)")
    return values


def _warn_of_assumed(source: ModelSource, place: Path | None, extractor: Any, assumed: Sequence[str]) -> None:
    values = [f"{name} {getattr(extractor, name)}" for name in assumed if hasattr(extractor, name)]
    if place is None or not values or place in source.warned:
        return
    source.warned.add(place)
    logger.warning(
        "%s: its preprocessor is not saved with it; assuming %s. If it was trained with other settings, its "
        "predictions are wrong. Copy its %s into the folder.",
        place,
        ", ".join(values),
        _PREPROCESSOR,
    )
