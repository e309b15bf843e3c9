"""Whisper's encoder and a head without Transformers, for scoring.

The modules hold the weights under the names of Transformers' classes.

Shapes: B batch, M mel bins, F frames, P positions (half as many as frames), D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from earmark.families.attention import dot_product_attention
from earmark.families.plain_model import PlainClassifier, PlainConfig, PlainOutput
from earmark.io.json_values import is_size


class PlainWhisper(PlainClassifier):
    """The classifier, which projects each position and then averages over the positions."""

    library_classes = ("WhisperForAudioClassification",)
    settings: ClassVar[Mapping[str, Callable[[object], bool]]] = {
        **dict.fromkeys(("num_mel_bins", "max_source_positions", "d_model", "encoder_layers"), is_size),
        **dict.fromkeys(("encoder_attention_heads", "encoder_ffn_dim", "classifier_proj_size"), is_size),
        "activation_function": ("gelu",).__contains__,
        "use_weighted_layer_sum": lambda value: value is False,
    }

    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        self.encoder = _Encoder(config)
        self.projector = nn.Linear(config.d_model, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)

    @classmethod
    def fits(cls, config: PlainConfig) -> bool:
        """See the base class."""
        return super().fits(config) and config.d_model % config.encoder_attention_heads == 0

    @property
    def base_model(self) -> nn.Module:
        """The encoder."""
        return self.encoder

    def forward(self, input_features: torch.Tensor) -> PlainOutput:
        """Return logits of log-mel spectrograms (B, M, F)."""
        (hidden,) = self.encoder(input_features)
        return PlainOutput(self.classifier(self.projector(hidden).mean(dim=1)))


class _Encoder(nn.Module):
    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        width = config.d_model
        self.conv1 = nn.Conv1d(config.num_mel_bins, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        # from_pretrained, because drawing random embeddings on the meta device imports torch's compiler
        self.embed_positions = nn.Embedding.from_pretrained(torch.empty(config.max_source_positions, width))
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, input_features: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the positions of the last layer, (B, P, D), of log-mel spectrograms (B, M, F)."""
        hidden = F.gelu(self.conv2(F.gelu(self.conv1(input_features))))  # (B, D, P)
        hidden = hidden.transpose(1, 2) + self.embed_positions.weight
        for layer in self.layers:
            hidden = layer(hidden)
        return (self.layer_norm(hidden),)


class _Layer(nn.Module):
    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.self_attn = _SelfAttention(config.d_model, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.activation_fn = nn.GELU()
        self.fc1 = nn.Linear(config.d_model, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (B, P, D)."""
        hidden = hidden + self.self_attn(self.self_attn_layer_norm(hidden))
        hidden = hidden + self.fc2(self.activation_fn(self.fc1(self.final_layer_norm(hidden))))
        if hidden.dtype == torch.float16:  # whose range the sums of some checkpoints exceed
            limit = torch.finfo(hidden.dtype).max - 1000
            hidden = hidden.clamp(-limit, limit)
        return hidden


class _SelfAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return self-attention over the positions of (B, P, D)."""
        shape = (*hidden.shape[:2], self.num_heads, -1)
        query, key, value = (
            project(hidden).view(shape).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )  # (B, H, P, D / H)
        attended = dot_product_attention(query, key, value)
        rows: torch.Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return rows
