"""The interface of a family of architectures; its defaults fit most waveform encoders.

A new architecture is one file with a subclass of :class:`Family`, and a line in
:mod:`earmark.families.family_registry`. An architecture that belongs to no family uses the base class.

Shapes: B batch, T samples, F frames, D width, C classes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from earmark.families.cpu_batches import longest_cpu_batch_s
from earmark.families.frontend_settings import Extractor, FrontendSettings, WaveformSettings
from earmark.families.model_parts import StepPart, part_by_name
from earmark.io.json_values import is_fraction, is_size

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

    from earmark.families.plain_model import PlainClassifier, PlainConfig

_MEL_WINDOW_S, MEL_HOP_S = 0.025, 0.010  # the same for all mel spectrograms here
_LAYERS = re.compile(r"(^|\.)(layers|layer|blocks)$")


@dataclass(frozen=True)
class Recipe:
    """Settings that are known to train a model well with AdamW.

    Attributes:
        rate: peak learning rate.
        clips: clips per step for which the rate was found.
        steps: number of steps that training needs at this rate and batch size.
        ema: decay of the moving average of the weights; ``None`` for no average.
    """

    rate: float
    clips: int
    steps: int
    ema: float | None = None


class StaticForward(Protocol):
    """earmark's forward over a model's modules, which ignores padding and compiles to one graph.

    For any argument that is not in :attr:`inputs`, the library's forward is called.
    """

    @property
    def inputs(self) -> frozenset[str]:
        """Names of its arguments."""
        ...

    @property
    def features_are_frozen(self) -> bool:
        """Whether the feature encoder is frozen."""
        ...

    def num_frames(self, num_samples: torch.Tensor | None) -> torch.Tensor | None:
        """Return the number of frames that the feature encoder makes from ``num_samples``, int64 (B,)."""
        ...

    def features(self, input_values: torch.Tensor, num_samples: torch.Tensor | None = None) -> torch.Tensor:
        """Return the output of the feature encoder (B, F, D) for clips (B, T)."""
        ...

    def logits_of_features(self, features: torch.Tensor, num_frames: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits (B, C) of the output of the feature encoder."""
        ...

    def logits(self, input_values: torch.Tensor, num_samples: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits (B, C) of clips (B, T)."""
        ...


class Family:
    """One architecture, or several that need the same code.

    Attributes:
        model_types: ``model_type`` of their configurations.
        frontend: class of the frontend settings, which a checkpoint stores.
        is_own: whether the models are earmark's own, which it registers with Transformers' Auto classes.
        takes_one_length: whether the encoder takes only one clip length, to which its feature extractor pads.
        masks_padding: whether the library's forward gives a clip the same logits with and without padding.
        feature_encoder: the parts of the body that turn samples or mel bins into the first frame features; empty if
            the model has a method ``freeze_feature_encoder``.
        layer_drop: name of the configuration's setting for the probability of skipping a layer in training.
        first_dropped_layer: the first layer that LayerDrop may skip.
        queries_and_values: names of the linear layers that LoRA adapts by default, as its authors do (Hu et al.
            2021, arXiv:2106.09685, section 4.2).
        training_only: the last part of the name of a weight that only training needs; checkpoints may lack it.
        imported_by_users: module that users import so that plain Transformers knows the architecture.
        takes_float32: whether the model takes float32 samples whatever the type of its weights.
        normalizes_clips: whether clips are normalized to zero mean and unit variance, unless the checkpoint says
            otherwise.
        pretrained: recipe for training from a checkpoint.
        from_scratch: recipe for training from random weights.
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    frontend: ClassVar[type[FrontendSettings]] = WaveformSettings
    is_own = False
    takes_one_length = False
    masks_padding = False
    feature_encoder: ClassVar[tuple[str, ...]] = ()
    layer_drop = "layerdrop"
    first_dropped_layer = 0
    queries_and_values = ("q_proj", "v_proj", "query_proj", "value_proj", "linear_q", "linear_v")
    training_only = "masked_spec_embed"
    imported_by_users: str | None = None
    takes_float32 = False
    normalizes_clips = True
    # Transformers' audio classification example with wav2vec2-base on SUPERB KS reaches an accuracy of 0.9826 after
    # 2,000 steps; 1,200 steps are enough (earmark.scoring.diagnosis).
    pretrained = Recipe(3e-5, 128, 1200)
    from_scratch = Recipe(3e-4, 32, 2000, ema=0.99)

    @property
    def cpu_batch_s(self) -> float:
        """Longest batch that a CPU scores at once; see :mod:`earmark.families.cpu_batches`."""
        return min(map(longest_cpu_batch_s, self.model_types), default=math.inf)

    def native_length_s(self, config: PreTrainedConfig, extractor: Extractor) -> float | None:
        """Return the only clip length that the encoder takes, in seconds; ``None`` if it takes any length."""
        return None

    def possible_length_s(self, config: PreTrainedConfig, extractor: Extractor, length_s: float) -> float:
        """Return the shortest length of at least ``length_s`` that the encoder can be cut to, in seconds."""
        return length_s

    def cut(self, model: PreTrainedModel, extractor: Extractor, length_s: float) -> Extractor:
        """Cut the encoder to ``length_s``, a possible length, and return the extractor for that length."""
        return extractor

    def restore_length(self, config: PreTrainedConfig, other: object) -> None:
        """Set the clip length of ``config`` to that of ``other``, a configuration of the same architecture."""

    def invalid_setting(self, config: PreTrainedConfig) -> str | None:
        """Return the name of a setting with which the model can be built but not run; ``None`` if there is none."""
        counts = ["num_attention_heads", "num_hidden_layers", "num_feat_extract_layers", "squeeze_factor", "patch_size"]
        counts += [f"mask_{axis}_length" for axis in ("time", "feature") if getattr(config, f"mask_{axis}_prob", 0.0)]
        invalid = [name for name in counts if not is_size(getattr(config, name, 1))]
        settings = vars(config).items()
        rates = {name: value for name, value in settings if name.endswith(("dropout", "dropout_prob"))}
        invalid += [name for name, value in rates.items() if value is not None and not is_fraction(value)]
        if not getattr(config, "return_dict", True):  # the forward needs outputs with names
            invalid.append("return_dict")
        if getattr(config, "output_hidden_states", None) not in (True, False, None):
            invalid.append("output_hidden_states")
        strides = getattr(config, "conv_stride", [1])
        are_valid = isinstance(strides, (list, tuple)) and all(map(is_size, strides))
        return next(iter(invalid), None if are_valid else "conv_stride")

    def min_samples(self, config: PreTrainedConfig, rate_hz: int) -> int:
        """Return the shortest input of a model, in samples; shorter clips are padded with silence.

        This is one frame of a convolutional encoder, or one span of SpecAugment if that is longer, because
        Transformers cannot mask a sequence shorter than a span. For mel spectrograms, it is one window.
        """
        if not hasattr(config, "conv_kernel") or not hasattr(config, "conv_stride"):
            return round(_MEL_WINDOW_S * rate_hz)
        samples = self.min_frames(config)
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return int(samples)

    def min_frames(self, config: PreTrainedConfig) -> int:
        """Return the minimum number of frames that a convolutional encoder must produce."""
        return span_frames(config)

    def example_samples(self, config: PreTrainedConfig, length: int) -> int:
        """Return the length of the clips to trace an export with, at least ``length`` samples."""
        return length

    def default_frontend(self, config: PreTrainedConfig) -> FrontendSettings:
        """Return the frontend of a model that is saved without one."""
        return WaveformSettings(do_normalize=self.normalizes_clips, return_attention_mask=True)

    def plain_class(self, config: PlainConfig) -> type[PlainClassifier] | None:
        """Return the class for scoring without Transformers; ``None`` if there is none for this configuration."""
        return None

    def static_forward(self, model: PreTrainedModel) -> StaticForward | None:
        """Return earmark's forward for this model, which ignores padding; ``None`` to use the library's."""
        return None

    def check_adapters(self, model: PreTrainedModel) -> str | None:
        """Return why LoRA cannot adapt this model; ``None`` if it can."""
        return None

    def is_collapse_measured(self, config: PreTrainedConfig) -> bool:
        """Return whether the rate sums in :mod:`earmark.scoring.diagnosis` were measured with this model."""
        return False

    def body(self, model: PreTrainedModel) -> Any:
        """Return the part that outputs frames ``(B, F, D)``; the model itself if that is unknown."""
        body = getattr(model, "base_model", model)
        # Whisper's classifier holds its encoder under another name than its base_model_prefix
        return getattr(model, "encoder", model) if body is model else body

    def layers(self, model: PreTrainedModel) -> nn.ModuleList | None:
        """Return the stack of equal layers in the body, first to last; ``None`` if there is none."""
        from torch import nn

        stacks = [
            module
            for name, module in self.body(model).named_modules()
            # data2vec-audio has a second list with its positional convolutions
            if isinstance(module, nn.ModuleList) and _LAYERS.search(name) and "conv" not in name
        ]
        return max(stacks, key=len, default=None)

    def part(self, name: str, module: nn.Module) -> StepPart | None:
        """Return the part of a profile that a module of the model belongs to; ``None`` if it only holds modules."""
        return part_by_name(name, module, self.feature_encoder)

    def activated_linears(self, model: Any) -> list[tuple[Any, Any]]:
        """Return linear layers, each with the GELU that the library's forward applies to its output, and only there."""
        return []

    def parts_behind_layers(self, config: PreTrainedConfig) -> tuple[str, ...]:
        """Return the names of the modules that run after the layers of the body; its other modules run before them."""
        return ("adapter",)

    def freezes_by_default(self, model: PreTrainedModel) -> bool:
        """Return whether the feature encoder is frozen unless ``--freeze`` is given, as in Transformers' example."""
        return hasattr(model, "freeze_feature_encoder")

    def freeze_feature_encoder(self, model: PreTrainedModel) -> bool:
        """Freeze the feature encoder; return False if this part of the model is unknown."""
        if hasattr(model, "freeze_feature_encoder"):  # this method also skips the gradient of the input
            model.freeze_feature_encoder()
            return True
        for name in self.feature_encoder:
            self.body(model).get_submodule(name).requires_grad_(False)
        return bool(self.feature_encoder)

    def sums_layers(self, config: PreTrainedConfig) -> bool:
        """Return whether the head takes a learned sum of all layers, so that a clip has no single embedding."""
        return bool(getattr(config, "use_weighted_layer_sum", False))

    def embeddings(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return frames averaged over each clip, (B, D), in the type of the weights."""
        hidden = self.body(model)(**inputs)[0]  # (B, F, D)
        mask = inputs.get("attention_mask")
        if mask is None:
            return hidden.mean(dim=1)
        valid = model._get_feature_vector_attention_mask(hidden.shape[1], mask)  # (B, F)
        return (hidden * valid[..., None]).sum(dim=1) / valid.sum(dim=1, keepdim=True)

    def classify(self, model: PreTrainedModel, embeddings: torch.Tensor) -> torch.Tensor:
        """Return logits (B, C) of embeddings (B, D)."""
        projector = self.projector(model)
        return model.classifier(embeddings if projector is None else projector(embeddings))

    def projector(self, model: PreTrainedModel) -> nn.Linear | None:
        """Return the linear layer between embeddings and classifier; ``None`` if there is none."""
        return getattr(model, "projector", None)

    def classifier_norm(self, model: PreTrainedModel) -> nn.Module | None:
        """Return the norm in front of the last layer; ``None`` if there is none."""
        return None

    def last_layer(self, model: PreTrainedModel) -> object:
        """Return the last layer of the head; ``None`` if it is unknown."""
        return getattr(model, "classifier", None)


def span_frames(config: PreTrainedConfig) -> int:
    """Return the number of frames in a span of SpecAugment, at least 1."""
    masks = getattr(config, "apply_spec_augment", True) and getattr(config, "mask_time_prob", 0.0) > 0
    return max(1, int(getattr(config, "mask_time_length", 1))) if masks else 1
