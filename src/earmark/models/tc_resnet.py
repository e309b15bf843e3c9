"""TC-ResNet (:mod:`earmark.families.temporal_layers`) as a Transformers model.

Importing this module registers the model with Transformers' Auto classes.

Shapes: B batch, T samples, F frames, D channels, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    PreTrainedConfig,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
)
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from earmark.families.temporal_layers import LogMel, PlainTCResNet, TemporalBody, TemporalClassifier


class TCResNetConfig(PreTrainedConfig):
    """Configuration of :class:`TCResNetForAudioClassification`; the defaults give the model with 1 M parameters.

    Args:
        sampling_rate: sampling rate of the waveforms, in hertz.
        window_samples: length of a spectrogram frame (25 ms at 16 kHz).
        hop_samples: distance between frames (10 ms at 16 kHz).
        num_mel_bins: mel filters between ``min_frequency`` and half the sampling rate.
        min_frequency: lower edge of the first mel filter, in hertz.
        stem_channels: output channels of the first convolution, which has a kernel of 3.
        channels: output channels of each residual block; a block with more channels than the one before it halves the
            frame rate.
        kernel_size: kernel of the convolutions in a block, in frames.
        dropout: dropout before the classifier, in training.
        time_shift_ms: largest shift of a clip in either direction, in training.
        time_mask_frames: longest time mask in frames, two per clip, in training (SpecAugment, arXiv:1904.08779).
        frequency_mask_bins: widest frequency mask in mel bins, one per clip, in training.
        colour_dropout: fraction of clips whose colour (mean spectrum) is removed, in training.
    """

    model_type = "tc_resnet"

    sampling_rate: int = 16_000
    window_samples: int = 400
    hop_samples: int = 160
    num_mel_bins: int = 40
    min_frequency: float = 20.0
    stem_channels: int = 48
    channels: list[int] | tuple[int, ...] = (72, 72, 96, 96, 128, 128)
    kernel_size: int = 9
    dropout: float = 0.2
    time_shift_ms: float = 100.0
    time_mask_frames: int = 10
    frequency_mask_bins: int = 4
    colour_dropout: float = 0.7

    def __post_init__(self, **kwargs: Any) -> None:
        self.channels = list(self.channels)  # a list, as in a saved configuration
        for name, supports in PlainTCResNet.settings.items():
            if not supports(getattr(self, name)):
                raise ValueError(f"{name} has the invalid value {getattr(self, name)!r}")
        super().__post_init__(**kwargs)


class TCResNetPreTrainedModel(PreTrainedModel):
    """Base class of the body and the classifier."""

    config_class = TCResNetConfig
    base_model_prefix = "tc_resnet"
    main_input_name = "input_values"
    input_modalities = ("audio",)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
            module.reset_running_stats()
        elif isinstance(module, LogMel):
            module.compute_matrices(self.config)


class TCResNetModel(TCResNetPreTrainedModel, TemporalBody):
    """Maps waveforms to frame features."""

    def __init__(self, config: TCResNetConfig) -> None:
        super().__init__(config)
        self.add_layers()
        TCResNetPreTrainedModel.post_init(self)

    def forward(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: object
    ) -> BaseModelOutput:
        """Return frame features ``last_hidden_state`` (B, F / 8, D).

        Args:
            input_values: waveforms (B, T) float32.
            attention_mask: (B, T), 1 for samples and 0 for padding after them.
        """
        hidden, _ = self.encode(input_values, attention_mask)
        return BaseModelOutput(last_hidden_state=hidden.transpose(1, 2))


class TCResNetForAudioClassification(TCResNetPreTrainedModel, TemporalClassifier):
    """A linear classifier on frame features averaged over the clip."""

    def __init__(self, config: TCResNetConfig) -> None:
        super().__init__(config)
        self.tc_resnet = TCResNetModel(config)
        self.add_head()
        TCResNetPreTrainedModel.post_init(self)

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: object,
    ) -> SequenceClassifierOutput:
        """Classify waveforms.

        Args:
            input_values: (B, T) float32, at the configuration's sampling rate.
            attention_mask: (B, T), 1 for samples and 0 for padding after them, which then has no effect on logits.
            labels: (B,) int64 class indices.

        Returns:
            ``logits`` (B, C), and ``loss``, the mean cross-entropy, if there are labels.
        """
        logits = self.logits(input_values, attention_mask)
        loss = F.cross_entropy(logits.float(), labels) if labels is not None else None
        return SequenceClassifierOutput(loss=loss, logits=logits)


AutoConfig.register(TCResNetConfig.model_type, TCResNetConfig, exist_ok=True)
AutoModel.register(TCResNetConfig, TCResNetModel, exist_ok=True)
AutoModelForAudioClassification.register(TCResNetConfig, TCResNetForAudioClassification, exist_ok=True)
AutoFeatureExtractor.register(TCResNetConfig, Wav2Vec2FeatureExtractor, exist_ok=True)
