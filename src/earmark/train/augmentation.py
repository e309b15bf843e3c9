"""From the settings of augmentation to training clips that are augmented."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

from earmark.batch.augment import AugmentedClips, describe
from earmark.batch.dataset import TrainingClips
from earmark.data.scan import BadClip
from earmark.data.sounds import RESPONSES, Sounds, load_sounds
from earmark.errors import UsageError
from earmark.models.build import AudioModel
from earmark.models.hidden_spans import can_hide
from earmark.settings.augmentation import AugmentArguments
from earmark.settings.data import DataArguments

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AugmentationSounds:
    """What augmentation takes from folders.

    Attributes:
        noise: recordings to mix in; ``None`` where none are.
        rooms: impulse responses; ``None`` where none are used.
    """

    noise: Sounds | None = None
    rooms: Sounds | None = None

    def facts(self) -> dict[str, str]:
        """Which sounds these are, to compare machines, and a run with the one it goes on from."""
        named = {"noise recordings": self.noise, "impulse responses": self.rooms}
        return {name: sounds.fingerprint() for name, sounds in named.items() if sounds is not None}

    def bad(self) -> list[tuple[str, BadClip]]:
        """``(flag, clip)`` for every recording that is left out."""
        return [bad for sounds in (self.noise, self.rooms) if sounds is not None for bad in sounds.bad]


def load_augmentation(settings: AugmentArguments, data: DataArguments, sampling_rate_hz: int) -> AugmentationSounds:
    """Decode what the folders of the settings hold.

    Raises:
        UsageError: see :meth:`AugmentArguments.augmentation`.
        DataError: see :func:`earmark.data.sounds.load_sounds`.
    """
    wanted = settings.augmentation()
    if wanted is None:
        return AugmentationSounds()
    given = {"noise": settings.augment_noise, "reverb": settings.augment_reverb}
    folders = {f"augment_{kind}": folder for kind, folder in given.items() if kind in wanted.chances and folder}
    sounds = load_sounds(folders, sampling_rate_hz, data) if folders else {}
    return AugmentationSounds(sounds.get("augment_noise"), sounds.get(RESPONSES))


def augmented(
    clips: TrainingClips, audio: AudioModel, settings: AugmentArguments, sounds: AugmentationSounds | None
) -> TrainingClips:
    """Training clips as the settings change them; the same where they change nothing. Says what is done.

    Raises:
        UsageError: the model's inputs are of a kind that SpecAugment is not made for here.
    """
    wanted = settings.augmentation()
    if wanted is None:
        return clips
    frontend = audio.frontend
    if "spec" in wanted.chances and not can_hide(frontend):
        raise UsageError(
            f"--augment spec: not made for the inputs of a {type(frontend.extractor).__name__} with these settings; "
            "leave spec out"
        )
    if "gain" in wanted.chances and _levels_out(frontend.extractor):
        logger.warning("--augment gain changes nothing here: the model's frontend brings every clip to one level")
    sounds = sounds or AugmentationSounds()
    changed = AugmentedClips(clips, wanted, frontend.sampling_rate_hz, sounds.noise, sounds.rooms)
    logger.info("%s", describe(changed))
    return changed


def _levels_out(extractor: Any) -> bool:
    if isinstance(extractor, SeamlessM4TFeatureExtractor):  # each mel bin's mean is taken away, in decibels
        return True
    return isinstance(extractor, Wav2Vec2FeatureExtractor) and bool(extractor.do_normalize)
