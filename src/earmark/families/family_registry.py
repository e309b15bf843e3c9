"""Find the family of an architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from earmark.families.family import Family
from earmark.families.frontend_settings import FrontendSettings
from earmark.families.spectrogram_transformer import SpectrogramTransformer
from earmark.families.temporal_resnet import TemporalResNet
from earmark.families.wav2vec2 import Conformer, Sew, Wav2Vec2, WavLM
from earmark.families.wav2vec2_bert import Wav2Vec2Bert
from earmark.families.whisper import Whisper

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FAMILIES: tuple[Family, ...] = (
    Wav2Vec2(),
    WavLM(),
    Conformer(),
    Sew(),
    Wav2Vec2Bert(),
    Whisper(),
    SpectrogramTransformer(),
    TemporalResNet(),
)
_OTHERS = Family()


def own_model_types() -> list[str]:
    """Return the ``model_type`` of earmark's own models."""
    return [model_type for family in FAMILIES if family.is_own for model_type in family.model_types]


def find_family(config: PreTrainedConfig) -> Family:
    """Return the family of a configuration of Transformers, or of a ``model_type``."""
    model_type = config if isinstance(config, str) else config.model_type
    return next((family for family in FAMILIES if model_type in family.model_types), _OTHERS)


def find_frontend(extractor_type: str) -> type[FrontendSettings] | None:
    """Return the kind of frontend that a feature extractor of Transformers computes; ``None`` if there is none."""
    kinds = (family.frontend for family in (*FAMILIES, _OTHERS))
    return next((kind for kind in kinds if kind.extractor_type == extractor_type), None)
