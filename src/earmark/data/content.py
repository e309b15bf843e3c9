"""The content of a clip: a number that equal recordings share, whatever their files are called and how they are stored.

Made of the decoded samples of the clip's own stretch, in mono, at the recording's own rate, before resampling: so the
sampling rate of a model, the type of a waveform store and the container of the recording (wav, flac) do not change it,
and integer recordings give the same number on every processor. Another excerpt of the same recording is another clip.
A copy that was recoded with loss, resampled or made louder has another content; ``earmark inspect`` finds such copies.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np

NO_CONTENT = 0  # of digital silence, which is equal everywhere and says nothing, and of clips that cannot be read


class ContentHash:
    """Hashes the samples of one clip, block by block; how they are cut into blocks does not matter."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=8)
        self._silent = True

    def update(self, samples: np.ndarray) -> None:
        """Add the next samples, float32 (T,), 1 is full scale."""
        # Steps of 16 bits as float32, because samples may be far above full scale. Adding 0 turns -0 into 0.
        steps = np.rint(np.asarray(samples, dtype="<f4") * np.float32(32768)) + np.float32(0)
        self._silent = self._silent and not steps.any()
        self._hash.update(steps.tobytes())

    def value(self, rate_hz: int) -> int:
        """Return the content, from 0 to 2**64 - 1, of a clip at this rate; ``NO_CONTENT`` for digital silence."""
        if self._silent:
            return NO_CONTENT
        self._hash.update(str(rate_hz).encode())
        return int.from_bytes(self._hash.digest(), "little") or 1


def content_of(samples: np.ndarray, rate_hz: int) -> int:
    """Return the content of samples, float32 (T,), at the recording's own rate; see :class:`ContentHash`."""
    hashed = ContentHash()
    hashed.update(samples)
    return hashed.value(rate_hz)


def equal_content(contents: np.ndarray) -> list[list[int]]:
    """Group the rows of clips that have equal samples.

    Args:
        contents: uint64 (N,); rows of ``NO_CONTENT`` are in no group.

    Returns:
        One list of rows, in order, for each content that two clips or more have.
    """
    rows: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(contents != NO_CONTENT).tolist():
        rows[int(contents[row])].append(row)
    return [same for same in rows.values() if len(same) > 1]


def content_text(content: int) -> str:
    """Return a content as files have it: 16 hexadecimal digits."""
    return f"{content:016x}"
