"""Settings of the data: recordings, splits and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from earmark.errors import UsageError
from earmark.formats.format_registry import readable_suffixes
from earmark.settings.flags import (
    BELOW_ONE,
    COUNT,
    NOT_EMPTY,
    Check,
    Scope,
    Settings,
    above,
    at_least,
    declared_flags,
    flag,
    not_negative,
)
from earmark.settings.model_flags import TASK

DEFAULT_LONGEST_S = 20.0  # default maximum clip length in training, as in Transformers' example

# One path, several, or none. A single path stays text, in run_config.yaml too.
Paths = list[str] | str | None

_SPLIT = Scope.RESULT | Scope.SPLITS
_SOURCE = Scope.MACHINE | Scope.SPLITS
_LOADED = Scope.RESULT | Scope.AFTER_LOADING


def paths_in(value: Paths) -> list[str]:
    """Return the paths of a setting in their order."""
    return [value] if isinstance(value, str) else value or []


# settings that change which background clips are cut from the given recordings
BACKGROUND_CUTS = ("background_class", "background_ratio", "background_margin_seconds")


@dataclass
class PathArguments(Settings, page="data", scope=_SOURCE):
    """Locations of the recordings, which may differ between machines that train together."""

    dataset_name: str | None = flag(None, "Data set on the hub, or a local snapshot or save_to_disk folder.")
    dataset_config_name: str | None = flag(
        None, "Configuration of the data set, for example ks for superb.", scope=Scope.SPLITS
    )
    dataset_revision: str | None = flag(None, "Branch, tag or commit of the data set.", scope=Scope.SPLITS)
    data_dir: Paths = flag(
        None,
        "Folder of recordings: class folders, with or without train/validation/test above them, an audiofolder, or "
        "(with --dataset_name superb --dataset_config_name ks) the Speech Commands archive.",
        repeated=True,
    )
    train_file: Paths = flag(
        None,
        f"Manifest of training clips, added to those of --data_dir: {', '.join(readable_suffixes())}.",
        repeated=True,
    )
    eval_file: Paths = flag(None, "Manifest of validation clips.", repeated=True)
    test_file: Paths = flag(None, "Manifest of test clips.", repeated=True)
    audio_dir: str | None = flag(
        None,
        "Folder of the recordings that manifests name, searched with its subfolders (default: the manifest's own).",
    )


@dataclass
class TableArguments(PathArguments, scope=Scope.SPLITS):
    """Locations of the labels, and how to read their tables."""

    train_split_name: str = flag(
        "train", "Name of the training split; none: the data has no such split, and a folder called train is a class."
    )
    eval_split_name: str = flag("validation", "Name of the validation split; none: the data has no such split.")
    test_split_name: str = flag("test", "Name of the test split; none: the data has no such split.")
    audio_column_name: str = flag(
        "audio",
        "Column with the recording: a path or bytes (default: the first of audio, path, file and other usual names).",
    )
    start_column_name: str | None = flag(
        None,
        "Column with the start of each event in its recording (default: found by name, e.g. onset); none: a clip is a "
        "whole recording.",
    )
    end_column_name: str | None = flag(
        None, "Column with the end of each event (default: found by name, e.g. offset next to onset)."
    )
    label_column_name: str = flag(
        "label",
        "Column with the class name, the labels or the number (default: label, or else the only one of class, category "
        "and other usual names).",
    )
    task: str | None = flag(
        None,
        "What a clip's label is: single_label, multi_label (a list, or names separated by --label_separator) or "
        "regression (default: single_label; with a trained model, its task).",
        check=TASK,
        scope=Scope.RESULT,
    )
    label_separator: str = flag(
        ",",
        "Separator of the labels in a cell of text, with --task multi_label.",
        check=Check(bool, "a character or more"),
    )


@dataclass
class DataArguments(TableArguments, scope=_SPLIT):
    """Settings of the data: recordings, splits and labels.

    Raises:
        UsageError: a number is out of range, or settings contradict each other.
    """

    group_column: str | None = flag(
        None, "Column whose values (speaker, recording, site) must not be in two splits when a split is made."
    )
    fold_column: str | None = flag(
        None, "Column of folds for cross-validation: one run for each fold, which tests on it and trains on the others."
    )
    folds: int | None = flag(
        None,
        "Number of folds for cross-validation, stratified, drawn with --seed; groups of --group_column stay whole.",
        check=at_least(2),
        scope=_SPLIT | Scope.AFTER_LOADING,
    )
    fold: str | None = flag(
        None,
        "hold this fold out as the test split and train once (default: one run for each fold).",
        needs="fold_column, folds",
        scope=_SPLIT | Scope.AFTER_LOADING,
    )
    validation_fraction: float = flag(
        0.1,
        "Fraction of training clips held out for validation if the data has no validation split; with 0 and "
        "--eval_strategy no, training uses all clips.",
        check=BELOW_ONE,
        scope=_SPLIT | Scope.AFTER_LOADING,
    )
    max_length_seconds: float | None = flag(
        None,
        "Longest stretch of a clip that the model gets, in seconds; longer clips are cropped at random in training "
        "and scored in windows (default: the longest training clip, at most 20 s as in Transformers' example).",
        check=above(0, "seconds"),
        scope=_LOADED | Scope.SEARCHED,
    )
    max_train_samples: int | None = flag(
        None, "Use only this many training clips, drawn with --seed.", check=COUNT, scope=_LOADED
    )
    shots: int | None = flag(
        None,
        "Use only this many training clips of each class, drawn with --seed; with several labels per clip, at least "
        "this many clips of each label.",
        check=COUNT,
        scope=_LOADED | Scope.SEARCHED,
    )
    max_eval_samples: int | None = flag(
        None, "Use only this many validation clips, drawn with --seed.", check=COUNT, scope=_LOADED
    )
    on_bad_audio: Literal["fail", "skip"] = flag(
        "fail",
        "Unreadable recordings: fail lists all of them before training starts, skip leaves them out, counts them and "
        "lists them in bad_audio.csv.",
        scope=_SPLIT | Scope.AFTER_LOADING,
    )
    on_missing_label: Literal["fail", "skip"] = flag(
        "fail",
        "Rows of a manifest without a label (empty, nan, None): fail stops and names the first, skip leaves them out.",
    )
    silence_percentage: float | None = flag(
        None,
        "Speech Commands only: silence clips cut from _background_noise_, in percent of the training clips (default: "
        "as many as in SUPERB).",
        check=not_negative(),
    )
    background_dir: Paths = flag(
        None,
        "Folder of recordings in which none of the classes occurs; clips of them become the background class.",
        repeated=True,
        scope=_SOURCE,
    )
    background_gaps: bool = flag(
        False,
        "Cut the background class from the stretches of annotated recordings (offset, duration in a manifest) that are "
        "outside every annotation.",
    )
    background_class: str = flag(
        "background",
        "name of the background class; with --task multi_label its clips have no label.",
        check=NOT_EMPTY,
        needs="background_dir, background_gaps",
    )
    background_ratio: float = flag(
        1.0,
        "number of background clips, as a multiple of the mean number of clips per class.",
        check=above(0),
        needs="background_dir, background_gaps",
    )
    background_margin_seconds: float = flag(
        1.0,
        "minimum distance of a background clip from an annotation, in seconds.",
        check=not_negative("seconds, at least 0"),
        needs="background_gaps",
    )
    preprocessing_num_workers: int | None = flag(
        None,
        "Threads that read and decode recordings (default: one for each core).",
        check=COUNT,
        scope=Scope.MACHINE | Scope.AFTER_LOADING,
    )
    store: Literal["int16", "float16", "float32", "off"] = flag(
        "int16",
        "Decode every recording once and keep its samples on disk, as numbers of this type (one second at 16 kHz takes "
        "32 kB as int16); off decodes again in every epoch.",
        scope=_LOADED,
    )
    store_dir: str | None = flag(
        None,
        "Folder for the decoded samples, and for the output of a frozen part of the model (default: earmark/waveforms "
        "in your cache).",
        scope=Scope.MACHINE | Scope.AFTER_LOADING,
    )

    @property
    def has_folds(self) -> bool:
        """Whether the clips are divided into folds."""
        return self.fold_column is not None or self.folds is not None

    @property
    def has_background(self) -> bool:
        """Whether a background class is cut from recordings."""
        return self.background_dir is not None or self.background_gaps

    def validate(self) -> None:
        """Check the settings of folds."""
        super().validate()
        if not self.has_folds:
            return
        given = f"--fold_column {self.fold_column}" if self.fold_column is not None else f"--folds {self.folds}"
        if self.fold_column is not None and self.folds is not None:
            raise UsageError(f"{given} and --folds {self.folds} contradict each other. Keep one of them.")
        self.reject(
            ("eval_file", "test_file"),
            lambda name: (
                f"{given} with --{name}: each fold is the test split in turn, and validation clips are held out "
                f"from the others. Leave --{name} out."
            ),
        )


def path_settings() -> tuple[str, ...]:
    """Return the settings that name recordings; each may be given several times."""
    return tuple(name for name, one in declared_flags(DataArguments).items() if one.repeated)
