"""Convolutional waveform encoders with a transformer: wav2vec2, HuBERT, UniSpeech, data2vec-audio, and WavLM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from earmark.families.family import Family
from earmark.families.wav2vec2_forward import Wav2Vec2Forward
from earmark.families.wav2vec2_layers import PlainWav2Vec2
from earmark.io.json_values import is_size

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from earmark.families.plain_model import PlainConfig

_UNUSUAL = ("add_adapter", "adapter_attn_dim", "conv_pos_batch_norm", "use_weighted_layer_sum")


class Wav2Vec2(Family):
    """Classifiers use :class:`Wav2Vec2Forward`, unless they have adapters or a sum of layers."""

    model_types: ClassVar[tuple[str, ...]] = ("wav2vec2", "hubert", "unispeech", "unispeech-sat", "data2vec-audio")

    def plain_class(self, config: PlainConfig) -> type[PlainWav2Vec2] | None:
        """See the class docstring of :class:`PlainWav2Vec2`."""
        return None if _is_unusual(config) else PlainWav2Vec2

    def static_forward(self, model: PreTrainedModel) -> Wav2Vec2Forward | None:
        """See the class docstring."""
        is_usual = isinstance(model, PlainWav2Vec2) or type(model).__name__.endswith("ForSequenceClassification")
        if not is_usual or _is_unusual(model.config):
            return None
        return Wav2Vec2Forward(model, first_dropped=self.first_dropped_layer)

    def parts_behind_layers(self, config: PreTrainedConfig) -> tuple[str, ...]:
        """See the base class."""
        stable = getattr(config, "do_stable_layer_norm", False)
        return ("adapter", "encoder.layer_norm") if stable else ("adapter",)

    def is_collapse_measured(self, config: PreTrainedConfig) -> bool:
        """See the base class: wav2vec2-base, on SUPERB KS."""
        return (config.model_type, config.hidden_size, config.num_hidden_layers) == ("wav2vec2", 768, 12)

    def embeddings(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """See the base class."""
        forward = self.static_forward(model)
        if forward is None:
            return super().embeddings(model, inputs)
        mask = inputs.get("attention_mask")
        return forward.embeddings(inputs["input_values"], None if mask is None else mask.sum(dim=-1))


def _is_unusual(config: object) -> bool:
    """Return whether a model has adapters, a batch norm before the layers, or a sum of layers."""
    return any(getattr(config, name, None) for name in _UNUSUAL)


class WavLM(Wav2Vec2):
    """WavLM, whose first layer computes the position bias of all layers (Chen et al. 2021, arXiv:2110.13900)."""

    model_types: ClassVar[tuple[str, ...]] = ("wavlm",)
    first_dropped_layer = 1

    def invalid_setting(self, config: PreTrainedConfig) -> str | None:
        """See the base class.

        The position bias has a bucket for each of the ``num_buckets // 4`` smallest distances, and larger distances
        share buckets. So there must be at least four buckets, and distances beyond that quarter.
        """
        if not is_size(config.num_buckets) or config.num_buckets < 4:
            return "num_buckets"
        if not is_size(config.max_bucket_distance) or config.max_bucket_distance <= config.num_buckets // 4:
            return "max_bucket_distance"
        return super().invalid_setting(config)

    def check_adapters(self, model: PreTrainedModel) -> str | None:
        """See the base class."""
        return None if model.forward.static is not None else "the attention of this WavLM bypasses its adapters"


class Conformer(Family):
    """Wav2Vec2-Conformer."""

    model_types = ("wav2vec2-conformer",)

    def parts_behind_layers(self, config: PreTrainedConfig) -> tuple[str, ...]:
        """See the base class."""
        return ("adapter", "encoder.layer_norm")


class Sew(Family):
    """SEW and SEW-D, which pool frames before the layers and upsample them after (Wu et al. 2021, arXiv:2109.06870)."""

    model_types = ("sew", "sew-d")

    def body(self, model: PreTrainedModel) -> Any:
        """See the base class; in Transformers 5.17, ``base_model`` of SEW-D is the whole classifier."""
        body = getattr(model, "sew_d", None)
        return super().body(model) if body is None else body

    def min_frames(self, config: PreTrainedConfig) -> int:
        """See the base class."""
        return int(super().min_frames(config) * config.squeeze_factor)

    def example_samples(self, config: PreTrainedConfig, length: int) -> int:
        """See the base class.

        Transformers pads the output if pooling has dropped an incomplete last group of frames, in a branch that tracing
        cannot follow. Tracing a clip with such a group puts the padding into the graph, where it does not affect other
        lengths.
        """
        while config.squeeze_factor > 1 and _num_frames(config, length) % config.squeeze_factor == 0:
            length += 1
        return length

    def invalid_setting(self, config: PreTrainedConfig) -> str | None:
        """See the base class.

        SEW-D divides by half of its position buckets, and its attention by the part that dropout leaves.
        """
        names = ("position_buckets", "activation_dropout", "attention_dropout")
        is_sew_d = hasattr(config, "position_buckets")
        invalid = next((name for name in names if is_sew_d and getattr(config, name) == 1), None)
        return invalid or super().invalid_setting(config)

    def parts_behind_layers(self, config: PreTrainedConfig) -> tuple[str, ...]:
        """See the base class."""
        return ("encoder.upsample",)


def _num_frames(config: PreTrainedConfig, samples: int) -> int:
    """Return the number of frames that the convolutions make from ``samples``."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples
