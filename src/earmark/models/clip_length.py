"""Clip lengths: encoders that take one length only are cut to the clip, and every model's shortest input is computed.

Whisper and AST are built for 30 s and 10.24 s and refuse anything else. Their position tables are learned (AST) or
fixed (Whisper) per position, so a shorter model is the same model with the first positions of the table; a 1 s clip
then costs 1 s.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from earmark.errors import ModelError

_WHISPER_FRAMES_PER_POSITION = 2  # the second convolution has stride 2
_AST_WINDOW_S, _AST_HOP_S = 0.025, 0.010  # Kaldi's filter bank, in ASTFeatureExtractor


def takes_one_length(config: Any) -> bool:
    """Whether the encoder takes clips of one length only, which its feature extractor then pads to."""
    return config.model_type in ("whisper", "audio-spectrogram-transformer")


def native_length_s(config: Any, extractor: Any) -> float | None:
    """The one clip length a fixed-length encoder takes, in seconds; ``None`` where any length goes."""
    if config.model_type == "whisper":
        frames = config.max_source_positions * _WHISPER_FRAMES_PER_POSITION
        return frames * extractor.hop_length / extractor.sampling_rate
    if config.model_type == "audio-spectrogram-transformer":
        return _ast_seconds(config.max_length)
    return None


def length_for_training_s(config: Any, extractor: Any, length_s: float | None, longest_s: float) -> float:
    """The longest clip that a model takes which is trained on such clips, in seconds.

    Args:
        config: of the model, at the length its checkpoint was made for.
        extractor: its feature extractor.
        length_s: length asked for, in seconds; ``None``: that of the longest clip, as far as the encoder goes.
        longest_s: duration of the longest clip, in seconds.

    Returns:
        The length, which a fixed-length encoder may not be able to take to the point: Whisper's extractor knows whole
        seconds only, so its length is rounded up, and AST takes a patch at least.

    Raises:
        ModelError: the clips are longer than the position table.
    """
    native_s = native_length_s(config, extractor)
    if native_s is None:
        return longest_s if length_s is None else length_s
    if length_s is None:
        length_s = min(longest_s, native_s)
    if length_s > native_s + 1e-6:
        raise ModelError(
            f"--max_length_seconds {length_s:g}: this {config.model_type} model has positions for {native_s:g} "
            f"s; use at most {native_s:g}"
        )
    if length_s >= native_s - 1e-6:
        return native_s
    if config.model_type == "whisper":
        return float(min(math.ceil(length_s), round(native_s)))
    return max(length_s, _ast_seconds(_ast_frames(config, extractor, length_s)))


def cut_to_length(model: Any, extractor: Any, length_s: float) -> Any:
    """Make a fixed-length encoder as long as the clips; leaves all other models alone.

    Args:
        model: classifier, at the length its checkpoint was made for.
        extractor: its feature extractor.
        length_s: clip length, in seconds, one that :func:`length_for_training_s` gives.

    Returns:
        The extractor for that length.
    """
    native_s = native_length_s(model.config, extractor)
    if native_s is None or length_s >= native_s - 1e-6:
        return extractor
    if model.config.model_type == "whisper":
        return _cut_whisper(model, extractor, round(length_s))
    return _cut_ast(model, extractor, _ast_frames(model.config, extractor, length_s))


def _cut_whisper(model: Any, extractor: Any, seconds: int) -> Any:
    frames = seconds * extractor.sampling_rate // extractor.hop_length
    positions = frames // _WHISPER_FRAMES_PER_POSITION
    encoder = model.get_submodule("encoder")
    table = encoder.embed_positions.weight.detach()[:positions].clone()  # (positions, width)
    encoder.embed_positions = nn.Embedding.from_pretrained(table, freeze=True)
    encoder.max_source_positions = positions
    model.config.max_source_positions = positions
    settings = {**extractor.to_dict(), "chunk_length": seconds}
    return type(extractor).from_dict(settings)


def _ast_frames(config: Any, extractor: Any, length_s: float) -> int:
    """Frames of a clip: at least one patch, and no more than the table has columns for."""
    samples = round(length_s * extractor.sampling_rate)
    window, hop = (round(s * extractor.sampling_rate) for s in (_AST_WINDOW_S, _AST_HOP_S))
    return min(max(config.patch_size, 1 + max(0, samples - window) // hop), config.max_length)


def _cut_ast(model: Any, extractor: Any, frames: int) -> Any:
    config = model.config
    embeddings = model.get_submodule("audio_spectrogram_transformer.embeddings")
    rows, old_columns = embeddings.get_shape(config)
    config.max_length = frames
    columns = embeddings.get_shape(config)[1]
    table = embeddings.position_embeddings.detach()  # (1, 2 + rows * old_columns, width)
    special, grid = table[:, :2], table[:, 2:].reshape(1, rows, old_columns, -1)
    # The extractor pads at the end, so the first columns are where short clips lay when the table was learned.
    cut = grid[:, :, :columns].reshape(1, rows * columns, -1)
    embeddings.position_embeddings = nn.Parameter(torch.cat([special, cut], dim=1))
    return type(extractor).from_dict({**extractor.to_dict(), "max_length": frames})


def _ast_seconds(frames: int) -> float:
    """Seconds of sound that fill ``frames`` frames; AST's 1,024 are 10.24 s by its authors' count."""
    return frames * _AST_HOP_S


def min_samples(config: Any, sampling_rate_hz: int) -> int:
    """The fewest samples a model can take; shorter clips are padded with silence up to here.

    For convolutional waveform encoders: enough for one frame, or for one SpecAugment span where that is longer, since
    Transformers refuses to mask a sequence shorter than a span. For mel models: one window (25 ms); Wav2Vec2-BERT
    normalises over frames and so needs a few of them.
    """
    if hasattr(config, "min_samples"):  # TC-ResNet knows its own
        return int(config.min_samples)
    spans = _span_frames(config)
    window, hop = round(0.025 * sampling_rate_hz), round(0.010 * sampling_rate_hz)
    if hasattr(config, "conv_kernel") and hasattr(config, "conv_stride"):
        frames = spans * getattr(config, "squeeze_factor", 1)
        samples = frames
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples
    if config.model_type == "wav2vec2-bert":
        stride = config.feature_projection_input_dim // 80  # mel frames stacked into one
        return window + hop * (max(spans, 2) * stride - 1)
    return window


def _span_frames(config: Any) -> int:
    masks = getattr(config, "apply_spec_augment", True) and getattr(config, "mask_time_prob", 0.0) > 0
    return max(1, int(getattr(config, "mask_time_length", 1))) if masks else 1
