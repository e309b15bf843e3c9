"""Augmentation of training clips: the settings, and their values as numbers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from earmark.errors import UsageError
from earmark.settings.data_flags import DataArguments
from earmark.settings.flags import PROBABILITY, SEED, Scope, Settings, above, at_least, flag, within
from earmark.settings.kinds import alternatives
from earmark.settings.model_flags import NetworkArguments

KINDS = ("speed", "reverb", "shift", "noise", "gain", "mixup", "spec")  # in the order they are applied
_LOUDEST_DB, _FASTEST = 60.0, 4.0  # larger values are probably typing errors


@dataclass(frozen=True)
class Augmentation:
    """The values of :class:`AugmentArguments` as numbers.

    Attributes:
        chances: probability of each kind of augmentation that is on, for each clip.
        speed: slowest and fastest factor.
        shift_s: longest shift in either direction, in seconds.
        snr_db: lowest and highest ratio of clip to noise, in decibels.
        gain_db: lowest and highest gain, in decibels.
        mixup_alpha: parameter of the Beta distribution that weights two clips.
        spec_time: longest hidden time span, as a fraction of the clip.
        spec_band: widest hidden band, as a fraction of the mel bins.
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
        """Return a description for the log and the model card."""
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
class AugmentArguments(Settings, page="augmentation", scope=Scope.TRAINED):
    """Random changes of training clips, different for each clip and epoch. Off unless ``augment`` is given."""

    augment: str | None = flag(
        None,
        "Random changes of training clips: any of speed, reverb, shift, noise, gain, mixup and spec (SpecAugment), "
        "separated by commas, each optionally with its own probability: noise:0.8,gain,spec:1 (default: none).",
        metavar="KINDS",
        commas=True,
    )
    augment_probability: float = flag(
        0.5, "Probability of each change for each clip, unless --augment gives one.", check=PROBABILITY
    )
    augment_noise: str | None = flag(
        None,
        "folder of recordings that are mixed in.",
        scope=Scope.RESULT | Scope.MACHINE | Scope.EPOCHS,
        metavar="DIR",
        only="noise",
    )
    augment_snr_db: str = flag(
        "5,20", "lowest and highest ratio of clip to noise, in decibels.", commas=True, only="noise"
    )
    augment_gain_db: str = flag("-6,6", "lowest and highest gain, in decibels.", commas=True, only="gain")
    augment_shift_seconds: float = flag(
        0.1, "longest shift either way, in seconds; at most a quarter of the clip.", check=above(0), only="shift"
    )
    augment_speed: str = flag(
        "0.9,1.1", "slowest and fastest factor; the pitch changes with it.", commas=True, only="speed"
    )
    augment_reverb: str | None = flag(
        None,
        "folder of impulse responses of rooms or microphones.",
        metavar="DIR",
        scope=Scope.RESULT | Scope.MACHINE | Scope.EPOCHS,
        only="reverb",
    )
    augment_mixup_alpha: float = flag(
        0.2,
        "parameter of the Beta distribution that weights two clips and their labels; with 1 all ratios are equally "
        "likely.",
        check=above(0),
        only="mixup",
    )
    augment_spec_time: float = flag(
        0.1,
        "longest hidden time span, as a fraction of the clip; two are hidden.",
        check=within(0, 0.5, "above 0, at most 0.5", low_open=True),
        only="spec",
    )
    augment_spec_band: float = flag(
        0.15,
        "widest hidden band, as a fraction of the mel bins (for waveforms: of the mel scale up to half the sampling "
        "rate); two are hidden.",
        check=within(0, 0.5, "above 0, at most 0.5", low_open=True),
        only="spec",
    )

    def validate(self) -> None:
        """Check kinds, ranges and folders."""
        super().validate()
        self.augmentation()

    def augmentation(self) -> Augmentation | None:
        """Return the settings as numbers; ``None`` without augmentation.

        Raises:
            UsageError: an unknown kind, a value out of range, a folder that is missing, or a flag without effect.
        """
        chances = self._chances()
        self.reject_without(
            chances, lambda one: f"--{one.name} has no effect without --augment {alternatives(one.only)}."
        )
        if not chances:
            if self.is_set("augment_probability"):
                raise UsageError("--augment_probability has no effect without --augment. Add --augment KINDS.")
            return None
        for kind in ("noise", "reverb"):
            if kind in chances and not getattr(self, f"augment_{kind}"):
                what = "recordings to mix in" if kind == "noise" else "impulse responses"
                raise UsageError(f"--augment {kind} needs {what}. Add --augment_{kind} FOLDER.")
        return Augmentation(
            chances,
            speed=_range("augment_speed", self.augment_speed, 1 / _FASTEST, _FASTEST),
            shift_s=self.augment_shift_seconds,
            snr_db=_range("augment_snr_db", self.augment_snr_db, -_LOUDEST_DB, 2 * _LOUDEST_DB),
            gain_db=_range("augment_gain_db", self.augment_gain_db, -_LOUDEST_DB, _LOUDEST_DB),
            mixup_alpha=self.augment_mixup_alpha,
            spec_time=self.augment_spec_time,
            spec_band=self.augment_spec_band,
        )

    def _chances(self) -> dict[str, float]:
        chance = self.augment_probability
        given: dict[str, float] = {}
        if self.augment is None or self.augment in ("none", "None", ""):
            return given
        for word in self.augment.split(","):
            kind, _, own = (part.strip() for part in word.partition(":"))
            if kind not in KINDS or kind in given:
                expected = f"some of {', '.join(KINDS)}, separated by commas"
                raise UsageError(f"--augment {self.augment}: expected {expected}")
            value = _number(own) if own else chance
            if not 0 < value <= 1:
                raise UsageError(f"--augment {self.augment}: expected a probability above 0, at most 1, for {kind}")
            given[kind] = value
        return {kind: given[kind] for kind in KINDS if kind in given}


def _range(name: str, text: str, least: float, most: float) -> tuple[float, float]:
    numbers = [_number(part) for part in str(text).split(",")]
    if len(numbers) != 2 or not least <= numbers[0] <= numbers[1] <= most:
        raise UsageError(
            f"--{name} {text}: expected two numbers from {least:g} to {most:g}. Write them as LOWEST,HIGHEST."
        )
    return numbers[0], numbers[1]


def _number(text: str) -> float:
    """Return the number in a text; NaN, which is in no range, if it is not a number."""
    return float(text) if re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", text, re.IGNORECASE) else math.nan


@dataclass
class AugmentPreviewOptions(AugmentArguments, NetworkArguments, DataArguments, page="preview"):
    """Settings of ``earmark augment-preview``: recordings, augmentation, model and output folder.

    Raises:
        UsageError: no augmentation or no folder is given, or a number is out of range.
    """

    REQUIRED = ("output_dir",)
    MISSING = "no output folder. Add --output_dir FOLDER."

    UNUSED = ("max_eval_samples",)  # only training clips are shown

    output_dir: str | None = flag(None, "Folder for preview.html, spectrograms.svg and the wav files (required).")
    num_clips: int = flag(
        4, "Number of training clips to show, of as many classes as possible.", check=within(1, 50, "1 to 50")
    )
    num_variants: int = flag(
        3, "Number of augmented variants of each clip, one for each epoch.", check=within(1, 20, "1 to 20")
    )
    sampling_rate: int | None = flag(
        None,
        "Sampling rate of the clips, in hertz, if no model is named (default: 16000; with a model, its rate).",
        check=at_least(1000, "a rate in hertz"),
    )
    seed: int = flag(42, "Seed; give the seed of a training run to see the clips that it trains on.", check=SEED)

    def validate(self) -> None:
        """Check that an augmentation is given, and one sampling rate."""
        super().validate()
        if self.augmentation() is None:
            raise UsageError(f"nothing to show. Add --augment with some of {', '.join(KINDS)}.")
        if self.sampling_rate is not None and self.names_a_model:
            raise UsageError(
                f"--sampling_rate {self.sampling_rate}: the model has its own rate. Leave out --sampling_rate or the "
                "model."
            )
