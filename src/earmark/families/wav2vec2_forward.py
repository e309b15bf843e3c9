"""A static forward for the wav2vec2 family, over the modules of the model, which ignores padding.

It computes the same as the library's forward for wav2vec2, HuBERT, WavLM, UniSpeech, UniSpeech-SAT and data2vec-audio,
with these differences:

* Padding has no effect. The group norm of the first convolution uses mean and variance over the valid frames of each
  clip, padded frames are zero before every positional convolution, and attention and pooling ignore them. The logits of
  a clip are the same alone and in any batch; with the library's forward, models with a group norm lack this property.
* SpecAugment's spans and LayerDrop are drawn on the device, so nothing waits for the host, and ``torch.compile`` makes
  one full graph. A dropped layer is computed and its output discarded; on a CPU without compilation, it is skipped.
* The caller can pass the output of the convolutional feature encoder if it is already computed.

Shapes: B batch, T samples, F frames, D width, H heads, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from earmark.families.attention import dot_product_attention
from earmark.families.dropout import dropout
from earmark.families.fused import activated, encode_waveforms, is_gelu, packing_for
from earmark.families.model_parts import StepPart, part_range
from earmark.families.spec_augment import draw_spans

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Wav2Vec2Forward:
    """The forward of a classifier.

    Args:
        model: classifier without adapters and layer sums (:mod:`earmark.families.wav2vec2`). Its modules are looked up
            at each call, so they may be replaced between calls.
        first_dropped: the first layer that LayerDrop may skip.

    Attributes:
        inputs: names of its arguments; others (labels, output_attentions) need the library's forward.
    """

    inputs = frozenset({"input_values", "attention_mask", "features", "num_frames"})

    def __init__(self, model: PreTrainedModel, *, first_dropped: int = 0) -> None:
        self.model = model
        self.config = model.config
        self._first_dropped = first_dropped

    def logits(self, input_values: torch.Tensor, num_samples: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits (B, C) of normalized waveforms.

        Args:
            input_values: (B, T), zero after each clip.
            num_samples: length of each clip, int64 (B,); ``None`` if all are T.
        """
        return self.logits_of_features(self.features(input_values, num_samples), self.num_frames(num_samples))

    def num_frames(self, num_samples: torch.Tensor | None) -> torch.Tensor | None:
        """Return the number of frames that the feature encoder makes from ``num_samples``, int64 (B,)."""
        if num_samples is None:
            return None
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            num_samples = (num_samples - kernel) // stride + 1
        return num_samples

    @property
    def features_are_frozen(self) -> bool:
        """Whether the feature encoder is frozen."""
        return not any(parameter.requires_grad for parameter in self._body.feature_extractor.parameters())

    def features(self, input_values: torch.Tensor, num_samples: torch.Tensor | None = None) -> torch.Tensor:
        """Return the output of the convolutional feature encoder (B, F, D); frames of padding are undefined."""
        layers = self._body.feature_extractor.conv_layers
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.features_are_frozen):
            with part_range(StepPart.FEATURES):
                packed = encode_waveforms(layers, input_values, num_samples)
            if packed is not None:
                return packed
            hidden = input_values[:, None]  # (B, 1, T)
            for layer in layers:
                hidden = layer.conv(hidden)
                norm = getattr(layer, "layer_norm", None)
                if isinstance(norm, nn.GroupNorm):
                    hidden = _group_norm(norm, hidden, _frames_after(layer.conv, num_samples))
                elif norm is not None:
                    hidden = norm(hidden.transpose(1, 2)).transpose(1, 2)
                hidden = layer.activation(hidden)
        return hidden.transpose(1, 2)

    def logits_of_features(self, features: torch.Tensor, num_frames: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits (B, C) of feature encoder output (B, F, D) with ``num_frames`` valid frames per clip."""
        hidden, valid = self._hidden(features, num_frames)
        # Project each frame, as the library does: in bfloat16, projecting the mean gives other values.
        logits: torch.Tensor = self.model.classifier(_mean(self.model.projector(hidden), valid))
        return logits

    def embeddings(self, input_values: torch.Tensor, num_samples: torch.Tensor | None = None) -> torch.Tensor:
        """Return the frames of the last layer averaged over each clip, (B, D); arguments as for :meth:`logits`."""
        return _mean(*self._hidden(self.features(input_values, num_samples), self.num_frames(num_samples)))

    def _hidden(
        self, features: torch.Tensor, num_frames: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the frames of the last layer (B, F, D), and which of them are valid, bool (B, F)."""
        valid = None
        if num_frames is not None:
            valid = torch.arange(features.shape[1], device=features.device) < num_frames[:, None]
        return self._encoded(self._augmented(self._projected(features), num_frames), valid), valid

    @property
    def _body(self) -> Any:
        return self.model.base_model

    def _projected(self, features: torch.Tensor) -> torch.Tensor:
        projection = self._body.feature_projection
        norm = getattr(projection, "layer_norm", None)  # some HuBERT models have none
        hidden = projection.projection(features if norm is None else norm(features))
        return dropout(hidden, projection.dropout.p, self._body.training)

    def _augmented(self, hidden: torch.Tensor, num_frames: torch.Tensor | None) -> torch.Tensor:
        """Apply SpecAugment to (B, F, D) in training."""
        config, (batch, frames, width) = self.config, hidden.shape
        if not (self._body.training and getattr(config, "apply_spec_augment", True)):
            return hidden
        if config.mask_time_prob > 0:
            if num_frames is None:
                num_frames = torch.full((batch,), frames, device=hidden.device)
            masked = draw_spans(
                num_frames,
                frames,
                mask_prob=config.mask_time_prob,
                mask_length=config.mask_time_length,
                min_masks=config.mask_time_min_masks,
            )
            hidden = torch.where(masked[..., None], self._body.masked_spec_embed.to(hidden.dtype), hidden)
        if config.mask_feature_prob > 0:
            masked = draw_spans(
                torch.full((batch,), width, device=hidden.device),
                width,
                mask_prob=config.mask_feature_prob,
                mask_length=config.mask_feature_length,
                min_masks=getattr(config, "mask_feature_min_masks", 0),  # WavLM has none
            )
            hidden = hidden.masked_fill(masked[:, None], 0)
        return hidden

    def _encoded(self, hidden: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """Apply the transformer: (B, F, D) to (B, F, D)."""
        encoder, training = self._body.encoder, self._body.training
        norm_first = "StableLayerNorm" in type(encoder).__name__
        if valid is not None:
            hidden = hidden * valid[..., None]
        hidden = hidden + _positions(encoder.pos_conv_embed, hidden, valid)
        if not norm_first:
            hidden = encoder.layer_norm(hidden)
        hidden = dropout(hidden, encoder.dropout.p, training)
        run = partial(
            _layer_norm_first if norm_first else _layer_norm_last,
            bias=self._attention_bias(encoder, hidden.shape[1], valid),
            valid=valid,
            attend=_attend_gated if _has_gated_bias(encoder) else _attend,
        )
        for i, layer in enumerate(encoder.layers):
            hidden = self._layer_or_drop(i, layer, hidden, run)
        return encoder.layer_norm(hidden) if norm_first else hidden

    def _attention_bias(self, encoder: Any, frames: int, valid: torch.Tensor | None) -> torch.Tensor | None:
        """Return WavLM's position bias (H, F, F), or for other models the valid keys, bool (B, 1, 1, F)."""
        if _has_gated_bias(encoder):
            bias: torch.Tensor = encoder.layers[0].attention.compute_bias(frames, frames)
            return bias
        return None if valid is None else valid[:, None, None]

    def _layer_or_drop(
        self, index: int, layer: Any, hidden: torch.Tensor, run: Callable[..., torch.Tensor]
    ) -> torch.Tensor:
        """Apply a layer, or skip it in training with LayerDrop's probability (Fan et al. 2019, arXiv:1909.11556)."""
        if not self._body.training:  # a configuration for scoring may lack settings of training
            return run(layer, hidden)
        if getattr(layer, "gradient_checkpointing", False):
            run = partial(layer._gradient_checkpointing_func, run)
        rate = 0.0 if index < self._first_dropped else self.config.layerdrop
        if rate == 0.0:
            return run(layer, hidden)
        kept = torch.rand((), device=hidden.device) >= rate
        if hidden.device.type == "cpu" and not torch.compiler.is_compiling():
            return run(layer, hidden) if kept else hidden
        return torch.where(kept, run(layer, hidden), hidden)


def _has_gated_bias(encoder: Any) -> bool:
    """Return whether the attention has WavLM's position bias."""
    return hasattr(encoder.layers[0].attention, "gru_rel_pos_linear")


def _frames_after(conv: nn.Conv1d, num_samples: torch.Tensor | None) -> torch.Tensor | None:
    if num_samples is None:
        return None
    return (num_samples - conv.kernel_size[0]) // conv.stride[0] + 1


def _group_norm(norm: nn.GroupNorm, hidden: torch.Tensor, num_frames: torch.Tensor | None) -> torch.Tensor:
    """Apply a group norm with one group per channel to (B, D, F), over the valid frames of each clip."""
    if num_frames is None:
        return norm(hidden)
    assert norm.num_groups == norm.num_channels, "wav2vec2's group norm has a group for each channel"
    valid = (torch.arange(hidden.shape[-1], device=hidden.device) < num_frames[:, None])[:, None]  # (B, 1, F)
    count = num_frames[:, None, None]
    # With zeros in padded frames, sums over all frames are sums over the valid ones, without copies in float32.
    # Subtracting one frame changes no result, but removes an offset whose square would make the variance inaccurate.
    hidden = (hidden - hidden[..., :1]) * valid
    mean = hidden.sum(dim=-1, keepdim=True, dtype=torch.float32) / count  # (B, D, 1)
    mean_square = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=torch.float32).square() / count
    variance = (mean_square - mean.square()).clamp(min=0)
    scale = norm.weight[:, None] * (variance + norm.eps).rsqrt()
    shift = norm.bias[:, None] - mean * scale
    return torch.addcmul(shift.to(hidden.dtype), hidden, scale.to(hidden.dtype))


def _mean(hidden: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Average (B, F, D) over the valid frames."""
    if valid is None:
        return hidden.mean(dim=1)
    return ((hidden * valid[..., None]).sum(dim=1) / valid.sum(dim=1, keepdim=True)).to(hidden.dtype)


def _positions(embedding: Any, hidden: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Return the convolutional position embedding of (B, F, D), whose padded frames are zero."""
    layers = getattr(embedding, "layers", None)
    if layers is None:
        conv, frames = embedding.conv, hidden.shape[1]
        packing = packing_for(conv, hidden) if is_gelu(embedding.activation) else None
        if packing is None:
            positions: torch.Tensor = embedding(hidden)
            return positions
        with part_range(StepPart.POSITIONS):
            # A kernel of even width gives one extra frame, which the library drops.
            return packing.convolution(conv, hidden, gelu=True)[:, :frames]
    # data2vec-audio has five convolutions in a row: without masking, each would see the output of the last on padding
    within = None if valid is None else valid[:, None]  # (B, 1, F)
    inner = hidden.transpose(1, 2)
    for layer in layers:
        inner = layer(inner if within is None else inner * within)
    return inner.transpose(1, 2)


def _layer_norm_last(layer: Any, hidden: torch.Tensor, bias: Any, valid: Any, attend: Any) -> torch.Tensor:
    attended = attend(layer.attention, hidden, bias, valid)
    hidden = layer.layer_norm(hidden + dropout(attended, layer.dropout.p, layer.training))
    return layer.final_layer_norm(hidden + _feed_forward(layer.feed_forward, hidden))


def _layer_norm_first(layer: Any, hidden: torch.Tensor, bias: Any, valid: Any, attend: Any) -> torch.Tensor:
    attended = attend(layer.attention, layer.layer_norm(hidden), bias, valid)
    hidden = hidden + dropout(attended, layer.dropout.p, layer.training)
    return hidden + _feed_forward(layer.feed_forward, layer.final_layer_norm(hidden))


def _feed_forward(block: Any, hidden: torch.Tensor) -> torch.Tensor:
    with part_range(StepPart.MLP):
        inner = activated(block.intermediate_dense, block.intermediate_act_fn, hidden)
    inner = dropout(inner, block.intermediate_dropout.p, block.training)
    return dropout(block.output_dense(inner), block.output_dropout.p, block.training)


def _attend(attention: object, hidden: torch.Tensor, bias: torch.Tensor | None, valid: object) -> torch.Tensor:
    """Apply self-attention to (B, F, D); ``bias`` bool (B, 1, 1, F) marks the valid keys."""
    query, key, value = (_heads(attention, name, hidden) for name in ("q_proj", "k_proj", "v_proj"))
    return _merged(attention, query, key, value, bias)


def _attend_gated(attention: Any, hidden: torch.Tensor, bias: torch.Tensor, valid: Any) -> torch.Tensor:
    """Apply WavLM's attention with a gated position bias (H, F, F) (Chen et al. 2021, arXiv:2110.13900, 3.2)."""
    query, key, value = (_heads(attention, name, hidden) for name in ("q_proj", "k_proj", "v_proj"))
    frames = hidden.view(*hidden.shape[:2], attention.num_heads, -1).transpose(1, 2)  # (B, H, F, D / H)
    gates = attention.gru_rel_pos_linear(frames).unflatten(-1, (2, 4)).sum(dim=-1)  # (B, H, F, 2)
    update, reset = gates.sigmoid().chunk(2, dim=-1)
    gated = (update * (reset * attention.gru_rel_pos_const - 1.0) + 2.0) * bias  # (B, H, F, F)
    if valid is not None:
        gated = gated.masked_fill(~valid[:, None, None], float("-inf"))
    return _merged(attention, query, key, value, gated.to(query.dtype))


def _heads(attention: Any, name: str, hidden: torch.Tensor) -> torch.Tensor:
    """Apply the projection ``name``: (B, F, D) to (B, H, F, D / H)."""
    projected = getattr(attention, name)(hidden)
    return projected.view(*hidden.shape[:2], attention.num_heads, -1).transpose(1, 2)


def _merged(
    attention: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Return the output (B, F, D) of all heads, with dropout on the attention weights in training."""
    rate = attention.dropout if attention.training else 0.0
    heads = dot_product_attention(query, key, value, bias, dropout_rate=rate)
    return attention.out_proj(heads.transpose(1, 2).flatten(2))
