"""The longest batch that a CPU scores at once, by architecture. It imports no torch, because exports also use it."""

from __future__ import annotations

import math

# Each batch reads all weights of the transformer once, so very short batches are slow. Batches longer than 8 s gain
# little, and need padding and memory: with unpacked weights, 6.5 MB per second of audio after the first convolution.
_LONGEST_S = dict.fromkeys(("wav2vec2", "hubert", "unispeech", "unispeech-sat", "data2vec-audio", "wavlm"), 8.0)


def longest_cpu_batch_s(model_type: str) -> float:
    """Return the longest batch that a CPU scores at once, in seconds with padding; infinity without a limit."""
    return _LONGEST_S.get(model_type, math.inf)
