"""The feature extractor of a model: from its checkpoint, from another one, or as its architecture has it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoFeatureExtractor

from earmark.errors import ModelError, first_line
from earmark.models.clip_length import takes_one_length

if TYPE_CHECKING:
    from earmark.models.build import ModelSource

logger = logging.getLogger(__name__)

# what Transformers raises for a JSON file that is not one, or holds values of the wrong kind
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, StrictDataclassError)


def load_extractor(source: ModelSource, folder: Path | None, config: Any) -> Any:
    """The feature extractor: of the checkpoint, of another model, or the architecture's own.

    Raises:
        ModelError: ``preprocessor_config.json`` cannot be read.
    """
    place = source.find(source.feature_extractor) if source.feature_extractor else folder
    if place is not None and (place / "preprocessor_config.json").is_file():
        try:
            extractor = AutoFeatureExtractor.from_pretrained(place, trust_remote_code=source.trust_remote_code)
        except UNREADABLE as exc:
            raise ModelError(f"{place}: preprocessor_config.json cannot be read ({first_line(exc)})") from exc
        rate_hz = getattr(extractor, "sampling_rate", None)
        if not isinstance(rate_hz, int) or rate_hz < 1:
            raise ModelError(f"{place}: preprocessor_config.json has the sampling_rate {rate_hz}, not a rate in hertz")
    else:
        extractor = _default_extractor(config)
        if place is not None:
            logger.info(
                "%s: no preprocessor_config.json; using the %s of its architecture", place, type(extractor).__name__
            )
    if hasattr(extractor, "return_attention_mask") and not takes_one_length(config):
        extractor.return_attention_mask = source.attention_mask
    return extractor


def _default_extractor(config: Any) -> Any:
    kind = config.model_type
    if kind == "whisper":
        seconds = config.max_source_positions * 2 // 100  # 100 mel frames a second, two frames a position
        return transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds)
    if kind == "audio-spectrogram-transformer":
        return transformers.ASTFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length)
    if kind == "wav2vec2-bert":
        return transformers.SeamlessM4TFeatureExtractor(stride=config.feature_projection_input_dim // 80)
    # TC-ResNet normalises its own log-mel; the others were trained on clips of zero mean and unit variance
    return transformers.Wav2Vec2FeatureExtractor(do_normalize=kind != "tc_resnet", return_attention_mask=True)
