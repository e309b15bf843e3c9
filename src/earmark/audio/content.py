"""The content of a clip: a number that is the same for equal samples under any file name and in any lossless format.

It is a hash of the decoded samples of the clip in mono, at the recording's own rate, before resampling. So it does not
depend on the model's sampling rate, on the type of a waveform store, or on the container, if that is lossless (wav,
flac). Integer recordings give the same number on every processor. Another excerpt of a recording has another content,
and so does a copy with lossy compression, another rate or another volume; ``earmark inspect`` finds such copies.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np

NO_CONTENT = 0  # content of an unreadable clip
_SOUND_FROM = 1 << 40  # the content of a silent clip is its number of samples, which is smaller


class ContentHash:
    """Hash of the samples of one clip, added block by block. The size of the blocks does not matter."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=8)
        self._silent = True
        self._num_samples = 0

    def update(self, samples: np.ndarray) -> None:
        """Add the next samples, float32 (T,); 1 is full scale."""
        # 16-bit steps, but as float32, because samples may be far above full scale. Adding 0 turns -0 into 0.
        steps = np.rint(np.asarray(samples, dtype="<f4") * np.float32(32768)) + np.float32(0)
        self._silent = self._silent and not steps.any()
        self._num_samples += len(steps)
        self._hash.update(steps.tobytes())

    def value(self, rate_hz: int) -> int:
        """Return the content of a clip at this rate, from 1 to 2**64 - 1."""
        if self._silent:
            return min(self._num_samples, _SOUND_FROM - 1)
        self._hash.update(str(rate_hz).encode())
        return max(int.from_bytes(self._hash.digest(), "little"), _SOUND_FROM)


def hash_samples(samples: np.ndarray, rate_hz: int) -> int:
    """Return the content of samples, float32 (T,), at the recording's own rate. See :class:`ContentHash`."""
    hashed = ContentHash()
    hashed.update(samples)
    return hashed.value(rate_hz)


def is_sound(contents: np.ndarray) -> np.ndarray:
    """Return which contents, uint64 (N,), belong to clips that are readable and not digital silence, bool (N,).

    Silent clips of one length are all equal, but they are not copies.
    """
    return contents >= np.uint64(_SOUND_FROM)


def are_among(contents: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which contents, uint64 (N,), also occur in ``others`` (M,), bool (N,)."""
    return is_sound(contents) & np.isin(contents, others)


def equal_content(contents: np.ndarray) -> list[list[int]]:
    """Group the rows of clips that have equal samples.

    Args:
        contents: uint64 (N,). Digital silence and unreadable clips are in no group.

    Returns:
        One sorted list of rows for each content that at least two clips have.
    """
    rows: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(is_sound(contents)).tolist():
        rows[int(contents[row])].append(row)
    return [same for same in rows.values() if len(same) > 1]


def content_text(content: int) -> str:
    """Return a content in text form: 16 hexadecimal digits."""
    return f"{content:016x}"
