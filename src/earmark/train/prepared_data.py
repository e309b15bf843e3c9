"""Load and check the clips of a run before the model is built: splits, labels, durations, unreadable recordings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from earmark.audio.content import are_among
from earmark.audit.clip_findings import find_without_listening
from earmark.audit.training_copies import find_copies
from earmark.clips.class_counts import describe_classes
from earmark.clips.clip import ClipTable, Splits, fingerprint
from earmark.clips.columns import NUMBER, Columns
from earmark.clips.split_names import SHOWN_NAMES
from earmark.errors import DataError
from earmark.runs.split_record import find_record, recording_split
from earmark.settings.data_flags import DataArguments
from earmark.sources.background import recordings_of_splits
from earmark.sources.load_clips import load_splits
from earmark.sources.source import PUBLIC, HubAccess
from earmark.store.scan import BadClip, check_tables
from earmark.store.usable import UsableClips, keep_usable
from earmark.tasks import find_task
from earmark.text import counted
from earmark.train.augmentation import NO_SOUNDS, AugmentationSounds

logger = logging.getLogger(__name__)


@dataclass
class PreparedData:
    """The readable clips of each split.

    Attributes:
        train: training clips.
        validation: clips for evaluation during training, if any.
        test: clips for one evaluation at the end, if any.
        labels: sorted class names of the whole training split, by class index; for a regression, the name of the
            number.
        longest_s: duration of the longest training clip, in seconds.
        bad: ``(split, clip)`` for every clip that is left out.
        pretrained: content hashes of the clips that the pretrained model was trained on, uint64 (N,); empty if its run
            has not recorded them.
        sounds: recordings and functions for augmentation.
    """

    train: UsableClips
    validation: UsableClips | None
    test: UsableClips | None
    labels: list[str]
    longest_s: float
    bad: list[tuple[str, BadClip]] = field(default_factory=list)
    pretrained: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    sounds: AugmentationSounds = NO_SOUNDS

    def evaluated(self) -> dict[str, UsableClips]:
        """Return the validation and test clips, if any, by split."""
        splits = {"validation": self.validation, "test": self.test}
        return {name: clips for name, clips in splits.items() if clips is not None}

    def trained_on(self, split: str) -> np.ndarray | None:
        """Return which clips of a split have the same samples as a training clip, bool (N,); ``None`` if unknown."""
        clips = self.evaluated()[split]
        if len(clips.contents) < len(clips.table):
            return None
        return are_among(clips.contents, np.concatenate([self.train.contents, self.pretrained]))

    def split_rows(self, options: DataArguments) -> Iterator[tuple[str, int, str]]:
        """Yield the rows of the run's record (:mod:`earmark.runs.split_record`)."""
        there = {"train": self.train, **self.evaluated()}
        for split, clips in there.items():
            for clip, content in zip(clips.table, clips.contents.tolist(), strict=True):
                yield split, content, clip.source
        for content in np.setdiff1d(self.pretrained, self.train.contents).tolist():
            yield "pretrain", content, ""
        tables = {split: clips.table for split, clips in there.items()}
        for split, content, path in recordings_of_splits(tables, options):
            yield recording_split(split), content, path

    def start_from(self, checkpoint: Path | None) -> None:
        """Read which clips a pretrained model was trained on; warn if this run is evaluated on them."""
        record = find_record(checkpoint)
        if record is None:
            return
        self.pretrained = record.trained
        for split, clips in self.evaluated().items():
            count = int(record.trained_on(clips.contents).sum())
            if count:
                logger.warning(
                    "data: %s was trained on %s of %s, so scores on the %s split are too high. Start from a checkpoint "
                    "that was not trained on them, or train with the split of that run",
                    checkpoint,
                    f"{count:,}",
                    counted(len(clips.table), f"{split} clip"),
                    split,
                )

    def facts(self) -> dict[str, object]:
        """Return facts that must be the same on all ranks: numbers and fingerprints of the clips."""
        splits: dict[str, UsableClips | None] = {
            "training": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        counts = {f"{name} clips": len(clips.table) if clips else 0 for name, clips in splits.items()}
        prints = {f"{name} recordings": fingerprint(clips.table) for name, clips in splits.items() if clips is not None}
        return {**counts, "classes": len(self.labels), **prints, **self.sounds.facts()}


def prepare_data(
    options: DataArguments,
    sampling_rate_hz: int,
    *,
    seed: int,
    hub: HubAccess = PUBLIC,
    with_test: bool = True,
    loaded: Splits | None = None,
) -> PreparedData:
    """Load the splits and decode every clip once; stop at clips that cannot be read, or skip them.

    Args:
        options: data settings.
        sampling_rate_hz: sampling rate of the model.
        seed: seed of splits and subsets.
        hub: settings for downloads of data sets.
        with_test: whether to load a test split.
        loaded: the splits, if they are loaded already.

    Raises:
        DataError: no training clips, unusable labels, or unreadable clips with ``on_bad_audio=fail``.
    """
    splits = load_splits(options, seed=seed, hub=hub, loaded=loaded)
    if not with_test:
        splits.test = None
    for note in splits.notes:
        logger.info("%s", note)
    if splits.train is None:
        others = [table for table in (splits.validation, splits.test) if table is not None]
        place = f"{others[0].origin}: " if others else ""
        raise DataError(
            f"{place}no training clips. Put them into a train folder, add --train_file MANIFEST, or name their "
            f"split with --train_split_name."
        )
    tables = {
        name: table
        for name, table in (("train", splits.train), ("validation", splits.validation), ("test", splits.test))
        if table is not None
    }
    logger.info("%s", describe_classes({SHOWN_NAMES[name]: table for name, table in tables.items()}))
    check_tables(splits)
    usable, bad = keep_usable(tables, sampling_rate_hz, options, whole=splits.whole)
    if bad:
        kept = {name: clips.table for name, clips in usable.items()}
        check_tables(Splits(kept["train"], kept.get("validation"), kept.get("test")))
    _warn_about_data(usable, sampling_rate_hz, options.group_column)
    return PreparedData(
        train=usable["train"],
        validation=usable.get("validation"),
        test=usable.get("test"),
        labels=_names(usable["train"].table, options),
        longest_s=float(usable["train"].waveforms.num_samples.max() / sampling_rate_hz),
        bad=bad,
    )


def _names(train: ClipTable, options: DataArguments) -> list[str]:
    """Return the classes; for a regression, the name of the number."""
    if find_task(options.task).has_classes:
        return train.labels_to_learn()
    return [NUMBER if options.label_column_name == Columns.label else options.label_column_name]


def _warn_about_data(usable: dict[str, UsableClips], sampling_rate_hz: int, group_column: str | None) -> None:
    """Warn about problems in tables and lengths; ``earmark inspect`` also checks the audio."""
    tables = {name: clips.table for name, clips in usable.items()}
    duration_s = {name: clips.waveforms.num_samples / sampling_rate_hz for name, clips in usable.items()}
    findings = find_without_listening(tables, duration_s, group_column)
    findings += find_copies(tables, {name: clips.contents for name, clips in usable.items()})
    for finding in findings:
        logger.warning("data: %s", finding.text)
    if findings:
        logger.info("run `earmark inspect` with the same data flags to list the clips and check for more problems")
