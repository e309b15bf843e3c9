"""Augment training batches: differently in each epoch, identically in each run with the same seed.

The changes to a clip depend only on the seed, the epoch, the row and, if a clip is drawn several times in an epoch, on
how often it was drawn before. So they are the same for any number of worker processes and cards, and in a resumed run.
For the same reason, the second clip of a mixup comes from all rows: which rows are in a batch depends on the number of
cards.

This module changes samples, with :mod:`earmark.batch.transforms` and with functions of the caller. Mixup and
SpecAugment run on the model's device: a batch says which clips to mix and which parts of the spectrogram to mask.

Shapes: B batch, W samples of the batch, P clips that are mixed with another, T samples.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from earmark.batch import transforms
from earmark.batch.dataset import TrainingClips, rows_and_labels
from earmark.batch.sample_functions import SampleFunction, function_seed
from earmark.settings.augmentation_flags import KINDS, Augmentation
from earmark.sources.sounds import Sounds
from earmark.tasks.task import NO_LABEL
from earmark.text import counted

logger = logging.getLogger(__name__)

_OF_AUGMENTATION = 0xA06  # makes these draws independent of crops and of the order, which use the same seed
# One uniform number per kind, always drawn, so that enabling one kind does not change the others.
_NUMBERS = ("speed", "response", "shift", "noise", "place", "snr", "gain", "partner")
_HIDDEN = 4  # masks: two in time and two in frequency
_TIMED_CLIPS = 32


@dataclass(frozen=True)
class Draw:
    """The random changes to one clip in one epoch.

    Attributes:
        speed: speed factor.
        response: index of the impulse response; ``None`` for none.
        shift: shift as a fraction of the largest one, -1 to 1.
        noise: index of the noise recording; ``None`` for none.
        place: where in the recording the noise begins, 0 to 1.
        snr_db: signal-to-noise ratio.
        gain_db: gain after all other changes.
        partner: row of the clip to mix in; ``None`` for none.
        own_weight: weight of the clip itself in the mix, 0.5 to 1.
        hidden: start and width of two time masks, then of two frequency masks, as fractions, float32 (4, 2); width 0
            masks nothing.
        seed: seed of all these draws.
    """

    speed: float
    response: int | None
    shift: float
    noise: int | None
    place: float
    snr_db: float
    gain_db: float
    partner: int | None
    own_weight: float
    hidden: np.ndarray
    seed: tuple[int, ...] = ()


def draw(settings: Augmentation, seed: tuple[int, ...], num_clips: int, num_noises: int, num_rooms: int) -> Draw:
    """Draw the changes to a clip.

    Args:
        settings: kinds of augmentation with their probabilities and strengths.
        seed: seed of the run, epoch, row of the clip; then how often it was drawn before in this epoch, if it was.
        num_clips: number of clips to draw a partner from.
        num_noises: number of noise recordings.
        num_rooms: number of impulse responses.
    """
    rng = np.random.default_rng((*seed[:3], _OF_AUGMENTATION, *seed[3:]))
    happens = {
        kind: chance < settings.chances.get(kind, 0) for kind, chance in zip(KINDS, rng.random(len(KINDS)), strict=True)
    }
    number = dict(zip(_NUMBERS, rng.random(len(_NUMBERS)).tolist(), strict=True))
    hidden = rng.random((_HIDDEN, 2)).astype(np.float32)  # start, width
    hidden[:, 1] *= np.repeat(np.array([settings.spec_time, settings.spec_band], dtype=np.float32), 2) * happens["spec"]
    weight = float(rng.beta(settings.mixup_alpha, settings.mixup_alpha))  # last: takes a varying count of numbers
    return Draw(
        speed=_between(settings.speed, number["speed"]) if happens["speed"] else 1.0,
        response=int(number["response"] * num_rooms) if happens["reverb"] else None,
        shift=2 * number["shift"] - 1 if happens["shift"] else 0.0,
        noise=int(number["noise"] * num_noises) if happens["noise"] else None,
        place=number["place"],
        snr_db=_between(settings.snr_db, number["snr"]),
        gain_db=_between(settings.gain_db, number["gain"]) if happens["gain"] else 0.0,
        partner=int(number["partner"] * num_clips) if happens["mixup"] else None,
        own_weight=max(weight, 1 - weight),
        hidden=hidden,
        seed=seed,
    )


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + share * (limits[1] - limits[0])


class AugmentedClips(TrainingClips):
    """Labelled clips with random changes, read one batch at a time.

    Args:
        clips: the unchanged clips.
        settings: kinds of augmentation.
        sampling_rate_hz: sampling rate of the clips, of ``noise`` and of ``rooms``.
        noise: noise recordings.
        rooms: impulse responses.
        functions: functions of the caller, applied in turn after all other changes of the samples.

    Attributes:
        lengths: samples of each clip at the slowest speed, int64 (N,).
    """

    def __init__(
        self,
        clips: TrainingClips,
        settings: Augmentation,
        sampling_rate_hz: int,
        noise: Sounds | None = None,
        rooms: Sounds | None = None,
        functions: Sequence[SampleFunction] = (),
    ) -> None:
        vars(self).update(vars(clips))
        self.settings = settings
        self.sampling_rate_hz = sampling_rate_hz
        self.noise = noise
        self.rooms = rooms
        self.functions = functions
        chance = settings.chances.get("speed", 0)
        slowest = min([1.0] * (chance < 1) + [settings.speed[0]] * (chance > 0))
        self.lengths = self._lengths(np.arange(len(self)), np.array(slowest))
        # Shared by this process and its workers, so that only one of them warns.
        self._told_of_silence = torch.zeros((), dtype=torch.bool).share_memory_()

    @property
    def changes_lengths(self) -> bool:
        """Whether the length of a clip changes between epochs."""
        return "speed" in self.settings.chances

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return one batch on the CPU.

        Returns:
            The entries of :meth:`TrainingClips.__getitems__`, with ``samples`` in float32. Mixup adds
            ``partner_samples`` float32 (P, W), which are mixed into the clips at the positions ``partners`` int64 (P,)
            of the batch. It also adds ``partner_labels`` int64 (B,) and ``own_weights`` float32 (B,) of all clips.
            SpecAugment adds ``hidden`` float32 (B, 4, 2), see :class:`Draw`.
        """
        rows, labels = rows_and_labels(indices, self.labels)
        before = np.asarray(indices) // (2 * len(self))
        draws = [self.draw(row, times) for row, times in zip(rows.tolist(), before.tolist(), strict=True)]
        lengths = self._lengths(rows, _speeds(draws))
        width = self.batch_width(lengths)
        batch = {
            "samples": torch.from_numpy(self._sounding(rows, draws, lengths, width)),
            "scales": torch.ones(len(rows)),
            "labels": torch.from_numpy(labels),
            "rows": torch.from_numpy(rows),
        }
        if (lengths < width).any():
            batch["num_samples"] = torch.from_numpy(lengths)
        if "mixup" in self.settings.chances:
            batch |= self._partners(draws, labels, lengths, width)
        if "spec" in self.settings.chances:
            batch["hidden"] = torch.from_numpy(np.stack([one.hidden for one in draws]))
        return batch

    def draw(self, row: int, times: int = 0) -> Draw:
        """Draw the changes to the clip of ``row`` in this epoch, if it was drawn ``times`` times before."""
        seed = (self.seed, int(self._epoch), row, *([times] if times else []))
        num_noises, num_rooms = (0 if sounds is None else len(sounds) for sounds in (self.noise, self.rooms))
        return draw(self.settings, seed, len(self), num_noises, num_rooms)

    def shift_samples(self, one: Draw, row: int) -> int:
        """Return by how many samples the clip of ``row`` is shifted; a positive shift moves it later."""
        return self._shift_samples(one, int(self._lengths(np.array([row]), _speeds([one]))[0]))

    def _shift_samples(self, one: Draw, count: int) -> int:
        return round(one.shift * min(self.settings.shift_s * self.sampling_rate_hz, count / 4))

    def _counts(self, rows: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        """Return how many samples of clips (B,) to read, int64 (B,): at most what fills the model at ``speeds``."""
        most = np.ceil(self.max_samples * speeds).astype(np.int64)
        return np.minimum(self.waveforms.num_samples[rows], most)

    def _lengths(self, rows: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        """Return the lengths of the clips after the change of speed, int64 (B,)."""
        played = np.rint(self._counts(rows, speeds) / speeds).astype(np.int64)
        return np.maximum(np.minimum(played, self.max_samples), self.min_samples)

    def _partners(
        self, draws: Sequence[Draw], labels: np.ndarray, lengths: np.ndarray, width: int
    ) -> dict[str, torch.Tensor]:
        places = np.array([i for i, one in enumerate(draws) if one.partner is not None], dtype=np.int64)
        rows = np.array([draws[i].partner for i in places], dtype=np.int64)
        samples = self._sounding(rows, [self.draw(row) for row in rows.tolist()], lengths[places], width)
        partner_labels, own_weights = labels.copy(), np.ones(len(draws), dtype=np.float32)
        fills_up = labels[places] == NO_LABEL
        partner_labels[places] = np.where(fills_up, labels[places], self.labels[rows])
        own_weights[places] = [draws[i].own_weight for i in places]
        return {
            "partner_samples": torch.from_numpy(samples),
            "partners": torch.from_numpy(places),
            "partner_labels": torch.from_numpy(partner_labels),
            "own_weights": torch.from_numpy(own_weights),
        }

    def _sounding(self, rows: np.ndarray, draws: Sequence[Draw], longest: np.ndarray, width: int) -> np.ndarray:
        """Return changed clips, float32 (len(rows), width), cut to ``longest`` (len(rows),), zero-padded."""
        sounding = np.zeros((len(rows), width), dtype=np.float32)
        if not len(rows):
            return sounding
        counts, lengths = self._counts(rows, _speeds(draws)), self._lengths(rows, _speeds(draws))
        stored = self.waveforms.read_batch(rows, self.starts(rows, counts), counts, int(counts.max()))
        for i, row in enumerate(rows):
            samples = stored[i, : counts[i]].astype(np.float32) * np.float32(self.waveforms.scales[row])
            changed = self._changed(samples, draws[i], int(lengths[i]))[: longest[i]]
            sounding[i, : len(changed)] = changed
        return sounding

    def _changed(self, samples: np.ndarray, one: Draw, count: int) -> np.ndarray:
        """Return one changed clip, float32 (count,): speed, room, shift, noise and gain, as in a real recording."""
        if one.speed != 1.0:
            samples = transforms.change_speed(samples, one.speed)
        samples = transforms.fitted(samples, count)  # padded if the model does not accept a clip this short
        if one.response is not None and self.rooms is not None:
            length = int(self.rooms.lengths()[one.response])
            samples = transforms.reverberate(samples, self.rooms.read(one.response, 0, length))
        if one.shift:
            samples = transforms.shift(samples, self._shift_samples(one, count))
        if one.noise is not None and self.noise is not None:
            samples = self._with_noise(samples, one)
        if one.gain_db:
            samples = samples * np.float32(transforms.decibels_to_factor(one.gain_db))
        for number, function in enumerate(self.functions):
            samples = function(samples, self.sampling_rate_hz, function_seed(one.seed, number))
        return samples

    def _with_noise(self, samples: np.ndarray, one: Draw) -> np.ndarray:
        assert self.noise is not None
        assert one.noise is not None
        length, count = int(self.noise.lengths()[one.noise]), len(samples)
        if length >= count:
            noise = self.noise.read(one.noise, int(one.place * (length - count + 1)), count)
        else:
            noise = transforms.looped(self.noise.read(one.noise, 0, length), int(one.place * length), count)
        noisy = transforms.add_noise(samples, noise, one.snr_db)
        if noisy is None and not self._told_of_silence:
            self._told_of_silence.fill_(True)
            logger.warning(
                "noise: a clip or the noise for it is digital silence, so no SNR is defined and the clip gets no noise"
            )
        return samples if noisy is None else noisy


def _speeds(draws: Sequence[Draw]) -> np.ndarray:
    return np.array([one.speed for one in draws])


def describe(clips: AugmentedClips) -> str:
    """Return one line for the log: the kinds of augmentation and their cost."""
    functions = f"functions {', '.join(one.name for one in clips.functions)}" if clips.functions else ""
    notes = [f"augmentation: {', '.join(filter(None, [clips.settings.in_words(), functions]))}"]
    if clips.noise is not None:
        short = int((clips.noise.lengths() < clips.lengths.max()).sum())
        looped = f" ({short} shorter than a clip, repeated)" if short else ""
        notes.append(f"noise from {counted(len(clips.noise), 'recording')}{looped}")
    if clips.rooms is not None:
        notes.append(f"impulse responses: {len(clips.rooms):,}")
    seconds = _seconds_a_clip(clips)
    notes.append(
        f"{1000 * seconds:.2f} ms per clip in the data loader ({1 / max(seconds, 1e-9):,.0f} clips/s per process)"
    )
    return "; ".join(notes)


def _seconds_a_clip(clips: AugmentedClips) -> float:
    rows = np.linspace(0, len(clips) - 1, min(_TIMED_CLIPS, len(clips))).astype(int).tolist()
    clips.__getitems__(rows)  # untimed, because it opens files
    start = time.perf_counter()
    clips.__getitems__(rows)
    return (time.perf_counter() - start) / len(rows)


def is_augmented(clips: object) -> bool:
    """Return whether clips change at random, so that nothing about them can be computed in advance."""
    return isinstance(clips, AugmentedClips)
