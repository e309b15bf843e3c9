"""The settings of augmentation, behind the flags of ``earmark train`` and ``earmark augment-preview``.

Imports neither torch nor Transformers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields

from earmark.config import DataArguments, ModelArguments, flag, require_value
from earmark.errors import UsageError

# kind -> flags that mean something with it only
KINDS: dict[str, tuple[str, ...]] = {
    "speed": ("augment_speed",),
    "reverb": ("augment_reverb",),
    "shift": ("augment_shift_seconds",),
    "noise": ("augment_noise", "augment_snr_db"),
    "gain": ("augment_gain_db",),
    "mixup": ("augment_mixup_alpha",),
    "spec": ("augment_spec_time", "augment_spec_band"),
}
_LOUDEST_DB, _FASTEST = 60.0, 4.0  # beyond these is a slip of the pen


@dataclass(frozen=True)
class Augmentation:
    """What :class:`AugmentArguments` say, as numbers.

    Attributes:
        chances: probability of each kind of augmentation, for each clip; kinds that are off are not in it.
        speed: slowest and fastest factor.
        shift_s: most that a clip is moved either way, in seconds.
        snr_db: worst and best ratio of clip to noise, in decibels.
        gain_db: lowest and highest gain, in decibels.
        mixup_alpha: of the Beta distribution that weights two clips.
        spec_time: longest stretch hidden, as a share of the clip.
        spec_band: widest band hidden, as a share of the mel bins.
    """

    chances: dict[str, float]
    speed: tuple[float, float]
    shift_s: float
    snr_db: tuple[float, float]
    gain_db: tuple[float, float]
    mixup_alpha: float
    spec_time: float
    spec_band: float

    def in_words(self) -> str:
        """For a log line and the model card."""
        detail = {
            "speed": "{:g} to {:g} times".format(*self.speed),
            "shift": f"up to {self.shift_s:g} s",
            "noise": "{:g} to {:g} dB SNR".format(*self.snr_db),
            "gain": "{:+g} to {:+g} dB".format(*self.gain_db),
            "mixup": f"alpha {self.mixup_alpha:g}",
            "spec": f"2 stretches up to {self.spec_time:g} of the clip, 2 bands up to {self.spec_band:g} of the bins",
        }
        parts = [[f"p {chance:g}", detail.get(kind, "")] for kind, chance in self.chances.items()]
        return ", ".join(
            f"{kind} ({', '.join(filter(None, part))})" for kind, part in zip(self.chances, parts, strict=True)
        )


@dataclass
class AugmentArguments:
    """How training clips are changed at random, clip by clip and epoch by epoch. Off unless ``augment`` is given."""

    augment: str | None = flag(
        None,
        "change training clips at random: any of speed, reverb, shift, noise, gain, mixup and spec (SpecAugment), with "
        "commas between, each with a probability of its own if you like: noise:0.8,gain,spec:1 (default: none of them)",
    )
    augment_probability: float = flag(0.5, "chance of each of them for each clip, where it has none of its own")
    augment_noise: str | None = flag(None, "noise: folder of recordings that are mixed in")
    augment_snr_db: str = flag("5,20", "noise: lowest and highest ratio of clip to noise, in decibels")
    augment_gain_db: str = flag("-6,6", "gain: lowest and highest, in decibels")
    augment_shift_seconds: float = flag(0.1, "shift: most that a clip is moved either way; a quarter of it at most")
    augment_speed: str = flag("0.9,1.1", "speed: slowest and fastest factor; pitch goes with it")
    augment_reverb: str | None = flag(None, "reverb: folder of impulse responses, of rooms or of microphones")
    augment_mixup_alpha: float = flag(
        0.2, "mixup: of the Beta distribution that weights two clips and their labels; 1 mixes all ratios alike"
    )
    augment_spec_time: float = flag(0.1, "spec: longest of two stretches that are hidden, as a share of the clip")
    augment_spec_band: float = flag(
        0.15,
        "spec: widest of two bands that are hidden, as a share of the mel bins (of the mel scale up to half the rate)",
    )

    def augmentation(self) -> Augmentation | None:
        """The settings as numbers; ``None`` where nothing is changed.

        Raises:
            UsageError: a kind or a value that there is not, a folder that is missing, or a flag that would do nothing.
        """
        chances = self._chances()
        for kind, names in KINDS.items():
            given = [name for name in names if getattr(self, name) != _DEFAULTS[name]]
            if given and kind not in chances:
                raise UsageError(f"--{given[0]} does nothing without {kind}: add it to --augment")
        if not chances:
            if self.augment_probability != _DEFAULTS["augment_probability"]:
                raise UsageError("--augment_probability does nothing without --augment: add what is to be done")
            return None
        for kind in ("noise", "reverb"):
            if kind in chances and not getattr(self, f"augment_{kind}"):
                what = "recordings to mix in" if kind == "noise" else "impulse responses"
                raise UsageError(f"--augment {kind}: from where? add --augment_{kind} FOLDER, with {what}")
        return Augmentation(
            chances,
            speed=_range("augment_speed", self.augment_speed, 1 / _FASTEST, _FASTEST),
            shift_s=_above_0("augment_shift_seconds", self.augment_shift_seconds, math.inf),
            snr_db=_range("augment_snr_db", self.augment_snr_db, -_LOUDEST_DB, 2 * _LOUDEST_DB),
            gain_db=_range("augment_gain_db", self.augment_gain_db, -_LOUDEST_DB, _LOUDEST_DB),
            mixup_alpha=_above_0("augment_mixup_alpha", self.augment_mixup_alpha, math.inf),
            spec_time=_above_0("augment_spec_time", self.augment_spec_time, 0.5),
            spec_band=_above_0("augment_spec_band", self.augment_spec_band, 0.5),
        )

    def _chances(self) -> dict[str, float]:
        chance = self.augment_probability
        require_value(0 < chance <= 1, "augment_probability", chance, "above 0, at most 1")
        given: dict[str, float] = {}
        if self.augment is None or self.augment in ("none", "None", ""):
            return given
        for word in self.augment.split(","):
            kind, _, own = (part.strip() for part in word.partition(":"))
            known = f"some of {', '.join(KINDS)}, with commas between"
            require_value(kind in KINDS and kind not in given, "augment", self.augment, known)
            value = _number(own) if own else chance
            require_value(0 < value <= 1, "augment", self.augment, f"a probability above 0, at most 1, for {kind}")
            given[kind] = value
        return {kind: given[kind] for kind in KINDS if kind in given}  # in the order they are done


_DEFAULTS = {field.name: field.default for field in fields(AugmentArguments)}


def _range(name: str, text: str, least: float, most: float) -> tuple[float, float]:
    numbers = [_number(part) for part in str(text).split(",")]
    ok = len(numbers) == 2 and least <= numbers[0] <= numbers[1] <= most
    require_value(ok, name, text, f"LOWEST,HIGHEST, two numbers from {least:g} to {most:g}")
    return numbers[0], numbers[1]


def _above_0(name: str, value: float, most: float) -> float:
    ok = math.isfinite(value) and 0 < value <= most
    require_value(ok, name, value, "a number above 0" if most == math.inf else f"above 0, at most {most:g}")
    return value


def _number(text: str) -> float:
    """NaN, which is in no range, for what is no number."""
    return float(text) if re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", text, re.IGNORECASE) else math.nan


@dataclass
class AugmentPreviewOptions(AugmentArguments, ModelArguments, DataArguments):
    """``earmark augment-preview``: which recordings, what is done to them for which model, where to hear and see it.

    Raises:
        UsageError: nothing to do, no folder, or a number is out of range.
    """

    output_dir: str | None = flag(None, "folder for preview.html, spectrograms.svg and the wav files (required)")
    num_clips: int = flag(4, "training clips to show, of as many classes as there are")
    num_variants: int = flag(3, "times that each of them is changed, as in so many epochs")
    sampling_rate: int | None = flag(
        None, "rate of the clips, in hertz, where no model is named (default: 16000; that of the model)"
    )
    seed: int = flag(42, "the same as in training gives the clips of training")

    def __post_init__(self) -> None:
        DataArguments.__post_init__(self)
        ModelArguments.__post_init__(self)
        if not self.output_dir:
            raise UsageError("where to? add --output_dir FOLDER")
        if self.augmentation() is None:
            raise UsageError(f"nothing to show: add --augment with some of {', '.join(KINDS)}")
        require_value(1 <= self.num_clips <= 50, "num_clips", self.num_clips, "1 to 50")
        require_value(1 <= self.num_variants <= 20, "num_variants", self.num_variants, "1 to 20")
        rate_hz = self.sampling_rate
        require_value(rate_hz is None or rate_hz >= 1000, "sampling_rate", rate_hz, "a rate in hertz, 1000 or more")
        if rate_hz is not None and self.names_a_model:
            raise UsageError(f"--sampling_rate {rate_hz}: a model has a rate of its own; leave it out, or the model")
        require_value(0 <= self.seed < 2**32, "seed", self.seed, "a whole number from 0 to 4294967295")

    @property
    def names_a_model(self) -> bool:
        """Whether it is said for which model."""
        return self.model_name_or_path is not None or self.model_type is not None or self.config_name is not None
