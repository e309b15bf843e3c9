"""Cross-validation: which clips are in which fold, whether these folds can be used, and the splits of each."""

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
    """Clips shared out over folds.

    Attributes:
        table: N clips.
        fold_names: the fold of each, N of them.
        names: the folds, in order.
        options: the settings they come from.
        notes: what was done while the clips were loaded, one line each.
    """

    table: ClipTable
    fold_names: list[str]
    names: list[str]
    options: DataArguments
    notes: list[str] = field(default_factory=list)

    def splits(self, name: str, seed: int) -> Splits:
        """One fold as the test split; validation clips are set aside from the others.

        Raises:
            DataError: nothing can be set aside.
            UsageError: there is no such fold.
        """
        if name not in self.names:
            raise UsageError(f"--fold {name}: not one of {and_more(self.names, _NAMED)}")
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
                f"; of the others {len(validation):,} of {counted(len(others), 'clip')} "
                f"{agreeing(len(validation), 'were')} set aside for validation (seed {seed}{apart})"
            )
        return Splits(train, validation, self.table.keep(test), [*self.notes, note], whole=self.table, is_made=True)

    def labels_in(self, name: str) -> list[Label | None]:
        """Return the labels of the clips in a fold."""
        return [clip.label for clip, fold in zip(self.table, self.fold_names, strict=True) if fold == name]

    def fingerprint(self) -> str:
        """Short text that tells other clips, labels or folds apart."""
        rows = sorted(
            repr((clip.source, clip.label, clip.offset_s, fold))
            for clip, fold in zip(self.table, self.fold_names, strict=True)
        )
        return short_sha256("\n".join(rows))


def share_out(splits: Splits, options: DataArguments, seed: int, *, check: bool = True) -> Folds:
    """Return the folds that the settings ask for: those of a column, or made ones.

    Args:
        splits: what the source gave: training clips alone.
        options: ``fold_column`` or ``folds``.
        seed: of folds that are made.
        check: whether groups and classes have to be shared out so that each fold can be tested, and every clip has to
            have a fold and a group; else the fold of a clip without one is ``""``.

    Raises:
        DataError: the source has splits of its own; clips without a fold or group; fewer groups than folds; a fold with
            all clips of a class; a group in two folds.
    """
    table = splits.train
    if table is None or splits.validation is not None or splits.test is not None:
        there = [name for name in ("validation", "test") if getattr(splits, name) is not None]
        raise DataError(
            f"{_origin(splits)}: has {' and '.join(there)} clips of its own; folds are made of one table: give all "
            "clips in one --train_file, or leave the folds out"
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
    """See that a column has no gaps.

    Raises:
        DataError: clips without a value; the message names the first.
    """
    without = [clip for clip in table if read_value(clip) is None or not str(read_value(clip)).strip()]
    if len(without) == len(table):
        raise DataError(
            f"{table.origin}: no clip has a {what}, so {flag} {column} cannot be used; class folders have no columns: "
            f"list file_name, label and {column} in a metadata.csv"
        )
    if without:
        raise DataError(
            f"{table.origin}: {len(without):,} of {counted(len(table), 'clip')} {agreeing(len(without), 'have')} "
            f"nothing in the column {column!r}, the first of them {without[0].source}; {flag} "
            "needs a value in every row"
        )


def _origin(splits: Splits) -> str:
    return next(table.origin for table in (splits.train, splits.validation, splits.test) if table is not None)


def _check(folds: Folds) -> None:
    """See that each fold can be tested on what is learned from the others."""
    origin = folds.table.origin
    if len(folds.names) < 2:
        raise DataError(f"{origin}: all clips are in the fold {folds.names[0]!r}; cross-validation needs two or more")
    folds_of_label = _folds_by(folds, [clip.classes for clip in folds.table])
    alone: dict[str, list[str]] = defaultdict(list)
    for label, names in folds_of_label.items():
        if len(names) == 1:
            alone[names[0]].append(label)
    for name, labels in alone.items():
        named = and_more([repr(label) for label in labels], _NAMED)
        raise DataError(
            f"{origin}: fold {name} holds all clips of {named}, so none is left "
            "to learn from when it is tested; each class has to be in two folds or more (more clips, or fewer classes)"
        )
    if folds.options.group_column:
        shared = {
            g: names
            for g, names in _folds_by(folds, [(clip.group or "",) for clip in folds.table]).items()
            if names[1:]
        }
        for group, names in shared.items():
            raise DataError(
                f"{origin}: {counted(len(shared), 'group')} of {folds.options.group_column} in two folds, the first of "
                f"them {group} in {and_more(names, _NAMED)}. Fix the folds, or make some with --folds "
                f"{len(folds.names)}"
            )


def _folds_by(folds: Folds, values: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Return the folds that each value occurs in, in order; ``values`` has those of each clip."""
    found: dict[str, set[str]] = defaultdict(set)
    for of_clip, fold in zip(values, folds.fold_names, strict=True):
        for value in of_clip:
            found[value].add(fold)
    return {value: sorted(names, key=_natural) for value, names in found.items()}


def _natural(name: str) -> tuple[int, int, str]:
    """Sorts 2 before 10, and numbers before words."""
    return (0, int(name), name) if name.isascii() and name.isdigit() else (1, 0, name)
