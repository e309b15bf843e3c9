"""Cross-validation: assign clips to folds, check the folds, and make the splits of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from earmark.clips.clip import Clip, ClipTable, Label, Splits
from earmark.clips.splits import has_recordings_of_several_clips, make_folds, make_validation_split
from earmark.errors import DataError, UsageError
from earmark.io.hashes import short_sha256
from earmark.settings.data_flags import DataArguments
from earmark.text import agreeing, and_more, counted

_NAMED = 6


@dataclass(frozen=True)
class Folds:
    """Clips assigned to folds.

    Attributes:
        table: N clips.
        fold_names: fold of each clip, N names.
        names: the folds, in order.
        options: the settings that define the folds.
        notes: lines for the user about loading the clips.
    """

    table: ClipTable
    fold_names: list[str]
    names: list[str]
    options: DataArguments
    notes: list[str] = field(default_factory=list)

    def splits(self, name: str, seed: int) -> Splits:
        """Return splits with one fold as the test split. Validation clips are set aside from the other folds.

        Raises:
            DataError: no validation clips can be set aside.
            UsageError: there is no such fold.
        """
        if name not in self.names:
            raise UsageError(f"--fold {name}: no such fold. Choose one of {and_more(self.names, _NAMED)}")
        test = [row for row, fold in enumerate(self.fold_names) if fold == name]
        others = [row for row, fold in enumerate(self.fold_names) if fold != name]
        train, fraction = self.table.keep(others), self.options.validation_fraction
        train, validation = make_validation_split(train, fraction, seed) if fraction > 0 else (train, None)
        apart = f", whole groups of {self.options.group_column}" if self.options.group_column else ""
        if not apart and has_recordings_of_several_clips(self.table):
            apart = ", by recording"
        note = f"{self.table.origin}: fold {name} of {len(self.names)} is the test split ({counted(len(test), 'clip')})"
        if validation is not None:
            note += (
                f"; {len(validation):,} of the other {counted(len(others), 'clip')} "
                f"{agreeing(len(validation), 'were')} set aside for validation (seed {seed}{apart})"
            )
        return Splits(train, validation, self.table.keep(test), [*self.notes, note], whole=self.table, is_made=True)

    def labels_in(self, name: str) -> list[Label | None]:
        """Return the labels of the clips in a fold."""
        return [clip.label for clip, fold in zip(self.table, self.fold_names, strict=True) if fold == name]

    def fingerprint(self) -> str:
        """Return a short text that changes with clips, labels or folds."""
        rows = sorted(
            repr((clip.source, clip.label, clip.offset_s, fold))
            for clip, fold in zip(self.table, self.fold_names, strict=True)
        )
        return short_sha256("\n".join(rows))


def assign_folds(splits: Splits, options: DataArguments, seed: int, *, check: bool = True) -> Folds:
    """Return the folds that the settings ask for: from a column, or made with a seed.

    Args:
        splits: training clips from the source; it must have no other splits.
        options: ``fold_column`` or ``folds``.
        seed: seed for folds that are made.
        check: whether to require that each fold can be tested, and that every clip has a fold and a group. If False, a
            clip without a fold has the fold ``""``.

    Raises:
        DataError: the source has splits of its own; clips lack a fold or group; there are fewer groups than folds; a
            fold has all clips of a class; or a group is in two folds.
    """
    table = splits.train
    if table is None or splits.validation is not None or splits.test is not None:
        there = [name for name in ("validation", "test") if getattr(splits, name) is not None]
        raise DataError(
            f"{_origin(splits)}: has {' and '.join(there)} clips of its own, but folds are made from one table. Give "
            "all clips in one --train_file, or do not use folds"
        )
    if check and options.group_column:
        check_every_clip_has(table, "group", options.group_column, "--group_column", lambda clip: clip.group)
    if check and options.fold_column:
        check_every_clip_has(table, "fold", options.fold_column, "--fold_column", lambda clip: clip.fold)
    if options.fold_column:
        fold_names = [clip.fold or "" for clip in table]
    else:
        assert options.folds is not None
        fold_names = make_folds(table, options.folds, seed)
    folds = Folds(table, fold_names, sorted(set(fold_names), key=_natural), options, splits.notes)
    if check:
        _check(folds)
    return folds


def check_every_clip_has(
    table: ClipTable, what: str, column: str, flag: str, read_value: Callable[[Clip], str | None]
) -> None:
    """Check that every clip has a value in a column.

    Raises:
        DataError: clips have no value; the message names the first.
    """
    without = [clip for clip in table if read_value(clip) is None or not str(read_value(clip)).strip()]
    if len(without) == len(table):
        raise DataError(
            f"{table.origin}: no clip has a {what}, so {flag} {column} cannot be used. Class folders have no columns. "
            f"List file_name, label and {column} in a metadata.csv"
        )
    if without:
        raise DataError(
            f"{table.origin}: {len(without):,} of {counted(len(table), 'clip')} {agreeing(len(without), 'have')} "
            f"no value in the column {column!r}, for example {without[0].source}. Enter one in every row, or remove "
            f"{flag}"
        )


def _origin(splits: Splits) -> str:
    return next(table.origin for table in (splits.train, splits.validation, splits.test) if table is not None)


def _check(folds: Folds) -> None:
    """Check that each fold can be tested with a model trained on the other folds."""
    origin = folds.table.origin
    if len(folds.names) < 2:
        raise DataError(f"{origin}: all clips are in the fold {folds.names[0]!r}. Use at least two folds")
    folds_of_label = _folds_by(folds, [clip.classes for clip in folds.table])
    alone: dict[str, list[str]] = defaultdict(list)
    for label, names in folds_of_label.items():
        if len(names) == 1:
            alone[names[0]].append(label)
    for name, labels in alone.items():
        named = and_more([repr(label) for label in labels], _NAMED)
        raise DataError(
            f"{origin}: fold {name} has all clips of {named}, so none of them is left for training when this fold is "
            "tested. Put each class into at least two folds (more clips, or fewer classes)"
        )
    if folds.options.group_column:
        shared = {
            g: names
            for g, names in _folds_by(folds, [(clip.group or "",) for clip in folds.table]).items()
            if names[1:]
        }
        for group, names in shared.items():
            raise DataError(
                f"{origin}: {counted(len(shared), 'group')} of {folds.options.group_column} "
                f"{agreeing(len(shared), 'are')} in two folds, for example {group} in {and_more(names, _NAMED)}. Fix "
                f"the folds, or make new ones with --folds {len(folds.names)}"
            )


def _folds_by(folds: Folds, values: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Return the folds in which each value occurs, in order; ``values`` has the values of each clip."""
    found: dict[str, set[str]] = defaultdict(set)
    for of_clip, fold in zip(values, folds.fold_names, strict=True):
        for value in of_clip:
            found[value].add(fold)
    return {value: sorted(names, key=_natural) for value, names in found.items()}


def _natural(name: str) -> tuple[int, int, str]:
    """Return a sort key that sorts 2 before 10, and numbers before words."""
    return (0, int(name), name) if name.isascii() and name.isdigit() else (1, 0, name)
