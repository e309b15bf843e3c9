"""Load the recordings for augmentation, and augment training clips."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from earmark.batch.augment import AugmentedClips, describe
from earmark.batch.dataset import TrainingClips
from earmark.batch.sample_functions import SampleFunction
from earmark.errors import UsageError
from earmark.models.build_model import AudioModel
from earmark.models.hidden_spans import can_hide
from earmark.settings.augmentation_flags import AugmentArguments, Augmentation
from earmark.settings.data_flags import DataArguments
from earmark.sources.sounds import RESPONSES, Sounds, load_sounds
from earmark.store.scan import BadClip
from earmark.text import with_article

logger = logging.getLogger(__name__)


# used if there are only functions of the caller
_NO_KIND = Augmentation({}, (1.0, 1.0), 0.0, (0.0, 0.0), (0.0, 0.0), 1.0, 0.0, 0.0)


@dataclass(frozen=True)
class AugmentationSounds:
    """Recordings and functions that augmentation uses.

    Attributes:
        noise: recordings to mix in; ``None`` without noise.
        rooms: impulse responses; ``None`` without reverb.
        functions: functions of the caller, applied to the samples of each clip.
    """

    noise: Sounds | None = None
    rooms: Sounds | None = None
    functions: tuple[SampleFunction, ...] = ()

    def facts(self) -> dict[str, str]:
        """Describe recordings and functions, to compare ranks, and a resumed run with its checkpoint."""
        named = {"noise recordings": self.noise, "impulse responses": self.rooms}
        facts = {name: sounds.fingerprint() for name, sounds in named.items() if sounds is not None}
        return {**facts, "augmentation functions": self.function_names() or "none"}

    def function_names(self) -> str:
        """Return the names of the functions, separated by commas."""
        return ", ".join(function.name for function in self.functions)

    def bad(self) -> list[tuple[str, BadClip]]:
        """Return ``(flag, clip)`` for every recording that is left out."""
        return [bad for sounds in (self.noise, self.rooms) if sounds is not None for bad in sounds.bad]


NO_SOUNDS = AugmentationSounds()


def load_augmentation(
    settings: AugmentArguments,
    data: DataArguments,
    sampling_rate_hz: int,
    functions: tuple[SampleFunction, ...] = (),
) -> AugmentationSounds:
    """Decode the recordings in the folders that the settings name.

    Args:
        settings: kinds of augmentation, and the folders of their recordings.
        data: settings for reading recordings.
        sampling_rate_hz: sampling rate of the training clips.
        functions: functions of the caller.

    Raises:
        UsageError: see :meth:`AugmentArguments.augmentation`.
        DataError: see :func:`earmark.sources.sounds.load_sounds`.
    """
    wanted = settings.augmentation()
    if wanted is None:
        return AugmentationSounds(functions=functions)
    given = {"noise": settings.augment_noise, "reverb": settings.augment_reverb}
    folders = {f"augment_{kind}": folder for kind, folder in given.items() if kind in wanted.chances and folder}
    sounds = load_sounds(folders, sampling_rate_hz, data) if folders else {}
    return AugmentationSounds(sounds.get("augment_noise"), sounds.get(RESPONSES), functions)


def describe_settings(settings: AugmentArguments, sounds: AugmentationSounds | None) -> str:
    """Return a description of the augmentation, for the model card."""
    wanted = settings.augmentation()
    functions = f"functions {sounds.function_names()}" if sounds is not None and sounds.functions else ""
    return ", ".join(filter(None, [wanted.in_words() if wanted else "", functions])) or "none"


def augmented(
    clips: TrainingClips, audio: AudioModel, settings: AugmentArguments, sounds: AugmentationSounds | None
) -> TrainingClips:
    """Return the training clips with the augmentation of the settings, if any, and log it.

    Raises:
        UsageError: SpecAugment does not support the inputs of this model.
    """
    sounds = sounds or NO_SOUNDS
    wanted = settings.augmentation()
    if wanted is None and not sounds.functions:
        return clips
    wanted = wanted or _NO_KIND
    frontend = audio.frontend
    if "spec" in wanted.chances and not can_hide(frontend):
        raise UsageError(
            f"--augment spec: SpecAugment does not support the inputs of "
            f"{with_article(type(frontend.extractor).__name__)} with these settings. Leave spec out."
        )
    if "gain" in wanted.chances and frontend.levels_out:
        logger.warning(
            "--augment gain has no effect: the model's frontend gives every clip the same level. Leave gain out"
        )
    changed = AugmentedClips(clips, wanted, frontend.sampling_rate_hz, sounds.noise, sounds.rooms, sounds.functions)
    logger.info("%s", describe(changed))
    return changed
