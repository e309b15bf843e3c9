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

NO_CONTENT = 0  # of a clip that cannot be read
_SOUND_FROM = 1 << 40  # below: the number of samples of a clip that is digital silence


class ContentHash:
    """Hashes the samples of one clip, block by block; how they are cut into blocks does not matter."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=8)
        self._silent = True
        self._num_samples = 0

    def update(self, samples: np.ndarray) -> None:
        """Add the next samples, float32 (T,), 1 is full scale."""
        # Steps of 16 bits as float32, because samples may be far above full scale. Adding 0 turns -0 into 0.
        steps = np.rint(np.asarray(samples, dtype="<f4") * np.float32(32768)) + np.float32(0)
        self._silent = self._silent and not steps.any()
        self._num_samples += len(steps)
        self._hash.update(steps.tobytes())

    def value(self, rate_hz: int) -> int:
        """Return the content, from 1 to 2**64 - 1, of a clip at this rate."""
        if self._silent:
            return min(self._num_samples, _SOUND_FROM - 1)
        self._hash.update(str(rate_hz).encode())
        return max(int.from_bytes(self._hash.digest(), "little"), _SOUND_FROM)


def hash_samples(samples: np.ndarray, rate_hz: int) -> int:
    """Return the content of samples, float32 (T,), at the recording's own rate; see :class:`ContentHash`."""
    hashed = ContentHash()
    hashed.update(samples)
    return hashed.value(rate_hz)


def is_sound(contents: np.ndarray) -> np.ndarray:
    """Return where uint64 (N,) are contents of clips with sound: readable, and not digital silence, bool (N,).

    Silent clips of one length are all equal, which makes none of them a copy.
    """
    return contents >= np.uint64(_SOUND_FROM)


def are_among(contents: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which clips, by contents uint64 (N,), have the samples of one of ``others`` (M,), bool (N,)."""
    return is_sound(contents) & np.isin(contents, others)


def equal_content(contents: np.ndarray) -> list[list[int]]:
    """Group the rows of clips that have equal samples.

    Args:
        contents: uint64 (N,); rows of digital silence and of clips that cannot be read are in no group.

    Returns:
        One list of rows, in order, for each content that two clips or more have.
    """
    rows: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(is_sound(contents)).tolist():
        rows[int(contents[row])].append(row)
    return [same for same in rows.values() if len(same) > 1]


def content_text(content: int) -> str:
    """Return a content as files have it: 16 hexadecimal digits."""
    return f"{content:016x}"
