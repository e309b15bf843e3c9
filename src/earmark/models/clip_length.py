"""Choose the clip length of a model, and cut encoders that take only one length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from earmark.errors import ModelError
from earmark.families.frontend_settings import Extractor

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from earmark.families.family import Family


def length_for_training_s(
    config: PreTrainedConfig, family: Family, extractor: Extractor, length_s: float | None, longest_s: float
) -> float:
    """Return the maximum clip length of a model to train, in seconds.

    Args:
        config: configuration of the model, with the clip length of its checkpoint.
        family: its family.
        extractor: its feature extractor.
        length_s: requested length in seconds; ``None`` for ``longest_s``, or the encoder's limit if that is shorter.
        longest_s: duration of the longest clip, in seconds.

    Returns:
        The length, rounded up to one that the encoder can be cut to.

    Raises:
        ModelError: the requested length exceeds the position table.
    """
    native_s = family.native_length_s(config, extractor)
    if native_s is None:
        return longest_s if length_s is None else length_s
    if length_s is None:
        length_s = min(longest_s, native_s)
    if length_s > native_s + 1e-6:
        raise ModelError(
            f"--max_length_seconds {length_s:g}: this {config.model_type} model has positions for {native_s:g} "
            f"s. Use at most {native_s:g}."
        )
    return native_s if length_s >= native_s - 1e-6 else family.possible_length_s(config, extractor, length_s)


def cut_to_length(model: PreTrainedModel, family: Family, extractor: Extractor, length_s: float) -> Extractor:
    """Cut an encoder that takes only one length to the clip length; leave other models unchanged.

    Args:
        model: classifier, with the clip length of its checkpoint.
        family: its family.
        extractor: its feature extractor.
        length_s: clip length in seconds, returned by :func:`length_for_training_s`.

    Returns:
        The extractor for that length.
    """
    native_s = family.native_length_s(model.config, extractor)
    if native_s is None or length_s >= native_s - 1e-6:
        return extractor
    return family.cut(model, extractor, length_s)
