"""From samples of any number type and any number of channels to mono float32 samples: the one place for both rules.

**Scale.** Floats are within [-1, 1], a little beyond at most. Integers are divided by the full scale of their type:
uint8 (centred first), int16, int32. Other integer types say nothing about their full scale and are refused, as are
int32 values that are really 16-bit ones, and floats that were never scaled.

**Channels.** The mean of all channels, unless they cancel in it: channels of opposite phase would be silence. Then the
first channel is used, or the loudest if that is more than 3 dB louder, and a warning says so. The first block of 2**20
frames of a clip that is not digital silence decides for the whole clip, so every way to decode it gives the same
samples; a clip that is cut out of a recording decides for itself.
"""

from __future__ import annotations

import logging
import threading

import numpy as np

from earmark.errors import AudioError
from earmark.text import and_more

logger = logging.getLogger(__name__)

BLOCK = 1 << 20  # frames decoded at a time, so that a header that promises petabytes allocates little
# Times full scale: real float recordings stay below, and 16-bit values that were not scaled lie above.
FULL_SCALE_LIMIT = 8.0
_ABOUT_AS_LOUD = 0.5  # of the power of the loudest channel: 3 dB
LEAST_LEFT = 0.1  # of power in mono: 10 dB below the mean of channels that have nothing in common

_MOST_CHANNELS = 64  # wider arrays with fewer rows than columns are (channels, samples), the wrong way round
_FULL_SCALE = {"uint8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}


def as_floats(samples: np.ndarray, source: str) -> np.ndarray:
    """Return samples of any type as floating point ones within [-1, 1].

    Args:
        samples: ``(samples,)`` or ``(samples, channels)``.
        source: names the recording in messages.

    Raises:
        AudioError: another shape, or a type without a known full scale.
    """
    if samples.ndim == 0:
        raise AudioError(
            source,
            "a single number is no recording. Pass the samples of a recording as one array: numpy.array(samples)",
        )
    if samples.ndim not in (1, 2):
        raise AudioError(source, f"shape {samples.shape} is neither (samples,) nor (samples, channels)")
    if is_channels_first(samples.shape):
        raise AudioError(
            source,
            f"shape {samples.shape} looks like (channels, samples): pass the transpose, (samples, channels)",
        )
    if samples.dtype.kind == "f":
        return samples
    if samples.dtype.kind not in "iu":
        raise AudioError(source, f"samples of type {samples.dtype} are no sound: give floats or integers")
    full_scale = _FULL_SCALE.get(samples.dtype.name)
    how = "convert 16-bit samples with .astype(numpy.int16), or divide the samples by their full scale"
    if full_scale is None:
        raise AudioError(source, f"samples of type {samples.dtype} have no known full scale: {how}")
    if samples.dtype.kind == "u":
        return samples / full_scale - 1.0
    if samples.dtype == np.int32 and 0 < np.abs(samples.astype(np.int64)).max(initial=0) <= 2**15:
        raise AudioError(source, f"int32 samples of at most 32768 would be silence at 32 bits: {how}")
    return samples / full_scale


def is_channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape is certainly not ``(samples, channels)`` but the other way round."""
    return len(shape) == 2 and shape[1] > max(_MOST_CHANNELS, shape[0])


class PowerLeft:
    """What averaging the channels leaves: the power of their mean over that of channels that have nothing in common."""

    def __init__(self) -> None:
        self._mixed = self._alone = 0.0

    def add(self, block: np.ndarray) -> None:
        """Add a block of a recording, floats (samples, channels)."""
        count = block.shape[1]
        if count > 1:
            mean = block.mean(axis=1)
            self._mixed += count * float(np.dot(mean, mean))
            self._alone += float(np.vdot(block, block)) / count

    @property
    def share(self) -> float:
        """1 where channels have nothing in common, their number where they are alike, 0 where they cancel.

        They cancel as two of opposite phase do. One channel, and silence, give 1.
        """
        return self._mixed / self._alone if self._alone > 0 else 1.0


class Mixer:
    """Makes mono of the blocks of one clip, from first to last.

    Args:
        source: names the recording in messages.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._decided = False
        self._channel: int | None = None  # the one that is used; None for the mean of all

    def mono(self, block: np.ndarray) -> np.ndarray:
        """Return float32 (samples,) of a block (samples,) or (samples, channels) of any type.

        Raises:
            AudioError: as for :func:`as_floats`.
        """
        samples = as_floats(block, self._source)
        if samples.ndim == 2 and samples.shape[1] > 1:
            if not self._decided and samples.any():
                self._decide(samples)
            samples = samples.mean(axis=1) if self._channel is None else samples[:, self._channel]
        elif samples.ndim == 2:
            samples = samples[:, 0]
        if samples.dtype == np.float32 and samples.flags.c_contiguous:
            return samples
        with np.errstate(over="ignore"):  # values that do not fit become infinite, which the caller reports
            return np.ascontiguousarray(samples, dtype=np.float32)

    def mono_whole(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 (samples,) of a whole recording, mixed as its blocks would be."""
        blocks = [self.mono(samples[start : start + BLOCK]) for start in range(0, len(samples), BLOCK)]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def _decide(self, samples: np.ndarray) -> None:
        self._decided = True
        left = PowerLeft()
        with np.errstate(over="ignore", invalid="ignore"):
            left.add(samples)
            if left.share < LEAST_LEFT:
                powers = np.square(samples, dtype=np.float64).sum(axis=0)
                # the first of channels that are about as loud, whatever their encoding has rounded
                self._channel = int(np.argmax(powers >= _ABOUT_AS_LOUD * powers.max()))
                CANCELLED.add(self._source)


class Cancelled:
    """The recordings whose channels cancel, until they are logged. Threads may share it."""

    def __init__(self) -> None:
        self._sources: dict[str, None] = {}
        self._logged: set[str] = set()
        self._lock = threading.RLock()  # re-entrant, see earmark.audio.incomplete

    def add(self, *sources: str) -> None:
        """Remember recordings, each once."""
        with self._lock:
            self._sources.update(dict.fromkeys(sources))

    def take(self) -> list[str]:
        """Return the recordings since the last call, and forget them."""
        with self._lock:
            sources, self._sources = list(self._sources), {}
        return sources

    def log(self, *, again: bool = False) -> None:
        """Log one warning for all recordings since the last call; nothing if there are none.

        Args:
            again: also for recordings that were logged before, as for another command.
        """
        sources = [source for source in self.take() if again or source not in self._logged]
        self._logged.update(sources)
        if sources:
            logger.warning(
                "%s: channels of opposite phase, which cancel in their mean; one channel is used instead",
                f"{len(sources):,} recordings ({and_more(sources)})" if len(sources) > 1 else sources[0],
            )


CANCELLED = Cancelled()
