"""Convert samples of any number type and number of channels to mono float32: the rules for scale and channels.

**Scale.** Floats must be within [-1, 1], or a little beyond. Integers are divided by the full scale of their type:
uint8 (centred first), int16, int32. Other integer types have no known full scale and are rejected, and so are int32
values that are really 16-bit values and floats that were never scaled.

**Channels.** The mean of all channels, unless they cancel out: channels of opposite phase would give silence. Then
earmark uses the first channel that is at most 3 dB quieter than the loudest, and logs a warning. The first block of
2**20 frames that is not digital silence decides for the whole clip, so every way of decoding it gives the same samples.
Each clip that is cut from a recording is decided separately.
"""

from __future__ import annotations

import logging
import threading

import numpy as np

from earmark.errors import AudioError
from earmark.text import and_more

logger = logging.getLogger(__name__)

BLOCK = 1 << 20  # frames decoded at a time; a header that claims petabytes then allocates little memory
# As a multiple of full scale. Real float recordings stay below; unscaled 16-bit values are above.
FULL_SCALE_LIMIT = 8.0
_ABOUT_AS_LOUD = 0.5  # fraction of the power of the loudest channel: 3 dB
LEAST_LEFT = 0.1  # below this PowerLeft.ratio, channels cancel out: 10 dB less than uncorrelated channels

_MOST_CHANNELS = 64  # wider arrays with fewer rows than columns are (channels, samples), transposed
_FULL_SCALE = {"uint8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}


def as_floats(samples: np.ndarray, source: str) -> np.ndarray:
    """Return samples of any type as floats within [-1, 1].

    Args:
        samples: ``(samples,)`` or ``(samples, channels)``.
        source: name of the recording in messages.

    Raises:
        AudioError: a wrong shape, or a type without a known full scale.
    """
    if samples.ndim == 0:
        raise AudioError(
            source,
            "the recording is a single number. Pass the samples of a recording as one array: numpy.array(samples)",
        )
    if samples.ndim not in (1, 2):
        raise AudioError(source, f"shape {samples.shape} is neither (samples,) nor (samples, channels)")
    if samples.shape[1:] == (0,):
        raise AudioError(source, "holds no samples")
    if is_channels_first(samples.shape):
        raise AudioError(
            source,
            f"shape {samples.shape} looks like (channels, samples). Pass its transpose, (samples, channels)",
        )
    if samples.dtype.kind == "f":
        return samples
    if samples.dtype.kind not in "iu":
        raise AudioError(source, f"samples of type {samples.dtype} are not audio. Pass floats or integers")
    full_scale = _FULL_SCALE.get(samples.dtype.name)
    how = "Convert 16-bit samples with .astype(numpy.int16), or divide the samples by their full scale"
    if full_scale is None:
        raise AudioError(source, f"samples of type {samples.dtype} have no known full scale. {how}")
    if samples.dtype.kind == "u":
        return samples / full_scale - 1.0
    if samples.dtype == np.int32 and 0 < np.abs(samples.astype(np.int64)).max(initial=0) <= 2**15:
        raise AudioError(source, f"int32 samples of at most 32768 would be silence at 32 bits. {how}")
    return samples / full_scale


def is_channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape must be ``(channels, samples)`` instead of ``(samples, channels)``."""
    return len(shape) == 2 and shape[1] > max(_MOST_CHANNELS, shape[0])


class PowerLeft:
    """Power left after averaging the channels, relative to the power left for uncorrelated channels."""

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
    def ratio(self) -> float:
        """Ratio: 1 for uncorrelated channels, the number of channels if they are equal, 0 if they cancel out.

        Two channels of opposite phase cancel out. A single channel and silence give 1.
        """
        return self._mixed / self._alone if self._alone > 0 else 1.0


class Mixer:
    """Mixer that converts the blocks of one clip to mono, from first to last.

    Args:
        source: name of the recording in messages.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._decided = False
        self._channel: int | None = None  # the only channel to use; None for the mean of all

    def mono(self, block: np.ndarray) -> np.ndarray:
        """Return a block (samples,) or (samples, channels) of any type as mono float32 (samples,).

        Raises:
            AudioError: see :func:`as_floats`.
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
        with np.errstate(over="ignore"):  # values that overflow become infinite and are reported
            return np.ascontiguousarray(samples, dtype=np.float32)

    def mono_whole(self, samples: np.ndarray) -> np.ndarray:
        """Return a whole recording as mono float32 (samples,), mixed like its blocks."""
        blocks = [self.mono(samples[start : start + BLOCK]) for start in range(0, len(samples), BLOCK)]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def _decide(self, samples: np.ndarray) -> None:
        self._decided = True
        left = PowerLeft()
        with np.errstate(over="ignore", invalid="ignore"):
            left.add(samples)
            if left.ratio < LEAST_LEFT:
                powers = np.square(samples, dtype=np.float64).sum(axis=0)
                # The first of about equally loud channels: a rounding error of the encoder must not decide.
                self._channel = int(np.argmax(powers >= _ABOUT_AS_LOUD * powers.max()))
                CANCELLED.add(self._source)


class Cancelled:
    """Recordings whose channels cancel out and that are not logged yet. Safe to share between threads."""

    def __init__(self) -> None:
        self._sources: dict[str, None] = {}
        self._logged: set[str] = set()
        self._lock = threading.RLock()  # re-entrant, see earmark.audio.incomplete

    def add(self, *sources: str) -> None:
        """Add recordings. A recording that is already there is ignored."""
        with self._lock:
            self._sources.update(dict.fromkeys(sources))

    def take(self) -> list[str]:
        """Return the recordings added since the last call, and forget them."""
        with self._lock:
            sources, self._sources = list(self._sources), {}
        return sources

    def log(self, *, again: bool = False) -> None:
        """Log one warning for all recordings added since the last call; nothing if there are none.

        Args:
            again: also log recordings that were logged before, for a new command.
        """
        sources = [source for source in self.take() if again or source not in self._logged]
        self._logged.update(sources)
        if sources:
            logger.warning(
                "%s: the channels have opposite phase and cancel out in the mean. earmark uses one channel instead",
                f"{len(sources):,} recordings ({and_more(sources)})" if len(sources) > 1 else sources[0],
            )


CANCELLED = Cancelled()
