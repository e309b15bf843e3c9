"""The clip length that a model is made for; encoders that take one length only are cut to the clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from earmark.errors import ModelError
from earmark.families.family_registry import find_family
from earmark.families.frontend_settings import Extractor

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def length_for_training_s(
    config: PreTrainedConfig, extractor: Extractor, length_s: float | None, longest_s: float
) -> float:
    """The longest clip that a model takes which is trained on such clips, in seconds.

    Args:
        config: of the model, at the length its checkpoint was made for.
        extractor: its feature extractor.
        length_s: length asked for, in seconds; ``None``: that of the longest clip, as far as the encoder goes.
        longest_s: duration of the longest clip, in seconds.

    Returns:
        The length, rounded up to one that the encoder can be cut to.

    Raises:
        ModelError: the clips are longer than the position table.
    """
    family = find_family(config)
    native_s = family.native_length_s(config, extractor)
    if native_s is None:
        return longest_s if length_s is None else length_s
    if length_s is None:
        length_s = min(longest_s, native_s)
    if length_s > native_s + 1e-6:
        raise ModelError(
            f"--max_length_seconds {length_s:g}: this {config.model_type} model has positions for {native_s:g} "
            f"s; use at most {native_s:g}"
        )
    return native_s if length_s >= native_s - 1e-6 else family.possible_length_s(config, extractor, length_s)


def cut_to_length(model: PreTrainedModel, extractor: Extractor, length_s: float) -> Extractor:
    """Make an encoder that takes one length as long as the clips; leave all other models alone.

    Args:
        model: classifier, at the length its checkpoint was made for.
        extractor: its feature extractor.
        length_s: clip length, in seconds, one that :func:`length_for_training_s` gives.

    Returns:
        The extractor for that length.
    """
    family = find_family(model.config)
    native_s = family.native_length_s(model.config, extractor)
    if native_s is None or length_s >= native_s - 1e-6:
        return extractor
    return family.cut(model, extractor, length_s)
