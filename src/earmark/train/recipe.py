"""Defaults that depend on what is trained. Each says where it comes from; a flag overrides it."""

from __future__ import annotations

# Peak learning rates at 32 clips a step.
_PRETRAINED = {
    # OpenAI's Whisper encoder cut to 1 s on Speech Commands: 0.962 validation accuracy after 4 epochs at this rate
    "whisper": 1e-4,
    # the AST authors' rate for ESC-50 and AudioSet (Gong et al. 2021, arXiv:2104.01778, 1e-5), raised for a new head
    "audio-spectrogram-transformer": 5e-5,
}
# Transformers' audio-classification example, wav2vec2-base on SUPERB KS: 0.9826
_WAVEFORM_ENCODERS = 3e-5
# Only a linear head learns, on features that stay put.
_FROZEN_ENCODER = 1e-3
_FROM_SCRATCH = {"tc_resnet": 4e-3}
_FROM_SCRATCH_OTHERS = 3e-4


def default_learning_rate(model_type: str, *, pretrained: bool, freeze: str | None) -> float:
    """Peak learning rate for AdamW where none was given.

    Args:
        model_type: architecture.
        pretrained: whether the body starts from a checkpoint.
        freeze: what ``--freeze`` says.
    """
    if not pretrained:
        return _FROM_SCRATCH.get(model_type, _FROM_SCRATCH_OTHERS)
    if freeze == "encoder":
        return _FROZEN_ENCODER
    return _PRETRAINED.get(model_type, _FROM_SCRATCH.get(model_type, _WAVEFORM_ENCODERS))
