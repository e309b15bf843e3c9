"""The layers of wav2vec2, HuBERT, UniSpeech and UniSpeech-SAT without Transformers, for scoring.

The modules hold the weights under the names of Transformers' classes;
:class:`earmark.families.wav2vec2_forward.Wav2Vec2Forward` computes with them.

Shapes: B batch, F frames, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import nn

from earmark.families.plain_model import PlainClassifier, PlainConfig
from earmark.io.json_values import are_sizes, is_flag, is_fraction, is_positive, is_size

_BODIES = {"wav2vec2": "wav2vec2", "hubert": "hubert", "unispeech": "unispeech", "unispeech-sat": "unispeech_sat"}
# Names of the two factors of a weight norm: torch's, and those in files of earlier versions of Transformers.
_WEIGHT_NORM = (
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
    (".weight_g", ".weight_v"),
)


class PlainWav2Vec2(PlainClassifier):
    """The classifier. Its only forward is the family's static forward."""

    library_classes = (
        *("Wav2Vec2ForSequenceClassification", "HubertForSequenceClassification"),
        *("UniSpeechForSequenceClassification", "UniSpeechSatForSequenceClassification"),
    )
    settings: ClassVar[Mapping[str, Callable[[object], bool]]] = {
        **dict.fromkeys(("conv_dim", "conv_kernel", "conv_stride"), are_sizes),
        **dict.fromkeys(("conv_bias", "do_stable_layer_norm", "apply_spec_augment"), is_flag),
        **dict.fromkeys(("num_feat_extract_layers", "hidden_size", "num_hidden_layers"), is_size),
        **dict.fromkeys(("intermediate_size", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups"), is_size),
        **dict.fromkeys(("num_attention_heads", "classifier_proj_size", "mask_time_length"), is_size),
        **dict.fromkeys(("attention_dropout", "activation_dropout", "hidden_dropout"), is_fraction),
        **dict.fromkeys(("feat_proj_dropout", "mask_time_prob"), is_fraction),
        **dict.fromkeys(("hidden_act", "feat_extract_activation"), ("gelu",).__contains__),
        "feat_extract_norm": ("group", "layer").__contains__,
        "layer_norm_eps": is_positive,
    }

    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        self._body = _BODIES[config.model_type]
        self.add_module(self._body, _Body(config))
        self.projector = nn.Linear(config.hidden_size, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)

    @classmethod
    def fits(cls, config: PlainConfig) -> bool:
        """See the base class."""
        if not super().fits(config) or not is_flag(getattr(config, "feat_proj_layer_norm", True)):
            return False
        of_layers = (config.conv_dim, config.conv_kernel, config.conv_stride)
        has_whole_heads = config.hidden_size % config.num_attention_heads == 0
        return has_whole_heads and {len(values) for values in of_layers} == {config.num_feat_extract_layers}

    @classmethod
    def own_weights(cls, saved: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """See the base class; the position embedding has plain weights, and SpecAugment's vector is for training."""
        weights = _fold_weight_norms(saved)
        return {name: value for name, value in weights.items() if not name.endswith("masked_spec_embed")}

    @property
    def base_model(self) -> nn.Module:
        """The body, as in Transformers."""
        return self.get_submodule(self._body)


def _fold_weight_norms(saved: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights with each weight norm multiplied out, (D, D / groups, kernel) with a norm per kernel position."""
    weights = dict(saved)
    for magnitudes, directions in _WEIGHT_NORM:
        for name in [name for name in saved if name.endswith(magnitudes)]:
            stem = name.removesuffix(magnitudes)
            magnitude, direction = weights.pop(name).float(), weights.pop(stem + directions).float()
            norm = torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True)
            weights[stem + ".weight"] = direction * (magnitude / norm)
    return weights


class _Body(nn.Module):
    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.feature_extractor = _FeatureEncoder(config)
        self.feature_projection = _FeatureProjection(config)
        self.encoder = (_EncoderStableLayerNorm if config.do_stable_layer_norm else _Encoder)(config)


class _FeatureEncoder(nn.Module):
    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(_Convolution(config, i) for i in range(config.num_feat_extract_layers))


class _Convolution(nn.Module):
    """A convolution with its norm: a layer norm in each layer, or a group norm in the first layer only."""

    def __init__(self, config: PlainConfig, index: int) -> None:
        super().__init__()
        before, after = [1, *config.conv_dim][index : index + 2]
        kernel, stride = config.conv_kernel[index], config.conv_stride[index]
        self.conv = nn.Conv1d(before, after, kernel, stride, bias=config.conv_bias)
        self.activation = nn.GELU()
        if config.feat_extract_norm == "layer":
            self.layer_norm: nn.Module = nn.LayerNorm(after)
        elif index == 0:
            self.layer_norm = nn.GroupNorm(after, after)


class _FeatureProjection(nn.Module):
    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        if getattr(config, "feat_proj_layer_norm", True):  # a setting of HuBERT
            self.layer_norm = nn.LayerNorm(config.conv_dim[-1], eps=config.layer_norm_eps)
        self.projection = nn.Linear(config.conv_dim[-1], config.hidden_size)
        self.dropout = nn.Dropout(config.feat_proj_dropout)


class _Encoder(nn.Module):
    """Normalizes the output of each layer; :class:`_EncoderStableLayerNorm` normalizes the input of each layer."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.pos_conv_embed = _Positions(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))


class _EncoderStableLayerNorm(_Encoder):
    pass


class _Positions(nn.Module):
    """The convolutional position embedding."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        width, kernel = config.hidden_size, config.num_conv_pos_embeddings
        groups = config.num_conv_pos_embedding_groups
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        self.activation = nn.GELU()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return positions (B, F, D) of ``hidden`` (B, F, D)."""
        frames = hidden.shape[1]  # an even kernel gives one extra frame
        positions: torch.Tensor = self.activation(self.conv(hidden.transpose(1, 2))[..., :frames]).transpose(1, 2)
        return positions


class _Layer(nn.Module):
    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = _FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class _Attention(nn.Module):
    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.num_heads: int = config.num_attention_heads
        self.dropout: float = config.attention_dropout
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            self.add_module(name, nn.Linear(config.hidden_size, config.hidden_size))


class _FeedForward(nn.Module):
    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.intermediate_dropout = nn.Dropout(config.activation_dropout)
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.intermediate_act_fn = nn.GELU()
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.output_dropout = nn.Dropout(config.hidden_dropout)
