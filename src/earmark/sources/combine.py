"""Combine several sources: count their clips, use copies once, keep validation and test splits unchanged."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from earmark.clips.clip import Clip, ClipTable, Splits, sorted_labels
from earmark.clips.split_names import SHOWN_NAMES, SPLIT_NAMES
from earmark.errors import DataError
from earmark.formats.sheet import Reason
from earmark.sources.shared_recordings import find_copies
from earmark.tasks import Task
from earmark.text import agreeing, and_more, counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedSource:
    """The clips of one source.

    Attributes:
        name: folder, manifest or data set as the user gave it.
        splits: its clips.
        is_manifest: whether it is a manifest for one split.
    """

    name: str
    splits: Splits
    is_manifest: bool = False

    def tables(self) -> dict[str, ClipTable]:
        """Return the existing splits, by name."""
        there = {split: getattr(self.splits, split) for split in SPLIT_NAMES}
        return {split: table for split, table in there.items() if table is not None}

    def reasons(self) -> list[Reason]:
        """Return the rules by which the source was read: first its own rules, then the rules of its tables."""
        return [*self.splits.reasons, *(reason for table in self.tables().values() for reason in table.reasons)]

    def labels(self) -> list[str]:
        """Return the class names that occur, sorted."""
        return sorted_labels({label for table in self.tables().values() for label in table.labels()})


@dataclass
class _Row:
    """A clip with its split, its source, and whether a copy of it is used instead."""

    clip: Clip
    split: str
    source: int
    is_dropped: bool = False


@dataclass
class _Changes:
    """Texts about recordings that are in several sources, by what happened to their copies."""

    copies: list[str] = field(default_factory=list)
    relabelled: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    disagreeing: list[str] = field(default_factory=list)


def combine(
    sources: Sequence[LoadedSource], *, task: Task, separator: str, num_workers: int, stores: Path | None = None
) -> Splits:
    """Merge the clips of several sources, split by split.

    A recording in several sources is used once. Within a split, the label of the last source is used. Between splits,
    test takes precedence over validation and validation over training, so a clip that one source holds out is never
    used for training. Copies within one source are kept. Manifests for different splits are not compared.

    Args:
        sources: at least one, in order of increasing precedence.
        task: task of the labels.
        separator: text between labels in a cell, for ``multi_label``.
        num_workers: threads that decode possible copies.
        stores: folder of waveform stores whose samples are used instead of decoding.

    Raises:
        DataError: the labels of two sources are of different types.
    """
    if len(sources) == 1:
        return sources[0].splits
    notes = [note for source in sources for note in source.splits.notes]
    rows = [
        _Row(clip, split, number)
        for number, source in enumerate(sources)
        for split, table in source.tables().items()
        for clip in table
    ]
    if not _is_one_manifest_each(sources):
        if task.has_one_class:
            _check_labels_agree(sources, separator)
        _spell_paths_alike(rows)
        notes += [_describe(sources), *_keep_once(sources, rows, num_workers, stores)]
        _name_apart(rows)
    splits = Splits(notes=notes)
    for split in SPLIT_NAMES:
        clips = [row.clip for row in rows if row.split == split and not row.is_dropped]
        tables = [source.tables()[split] for source in sources if split in source.tables()]
        if tables:
            origin = ", ".join(table.origin for table in tables)
            reasons = dict.fromkeys(reason for table in tables for reason in table.reasons)
            missing = tables[0].missing if len(tables) == 1 else None
            setattr(splits, split, ClipTable(clips, origin, tuple(reasons), missing))
    return splits


def _is_one_manifest_each(sources: Sequence[LoadedSource]) -> bool:
    """Return whether every source is a manifest and each is for a different split."""
    splits = [split for source in sources for split in source.tables()]
    return all(source.is_manifest for source in sources) and len(set(splits)) == len(splits)


def _describe(sources: Sequence[LoadedSource]) -> str:
    parts = []
    known: set[str] = set()
    for source in sources:
        counts = ", ".join(
            counted(len(table), f"{SHOWN_NAMES[split]} clip") for split, table in source.tables().items()
        )
        labels = source.labels()
        new = [label for label in labels if label not in known] if known else []
        classes = f"; {counted(len(labels), 'class')}" if labels else ""
        parts.append(f"{source.name} ({counts}{classes}{f', new: {and_more(new)}' if new else ''})")
        known.update(labels)
    return f"sources combined: {', '.join(parts)}"


# ---------------------------------------------------------------- recordings that are in several sources


def _keep_once(
    sources: Sequence[LoadedSource], rows: Sequence[_Row], num_workers: int, stores: Path | None
) -> list[str]:
    """Mark the rows that a copy replaces, and return sentences about the changes."""
    clips, numbers = [row.clip for row in rows], [row.source for row in rows]
    groups = find_copies(clips, numbers, num_workers=num_workers, stores=stores)
    changes = _Changes()
    for group in groups:
        _keep_last_copy([rows[index] for index in group], sources, changes)
    if changes.disagreeing:
        logger.warning(
            "%s %s different labels in a held-out split and a later source; the label of the held-out split is used: "
            "%s. To change it, list the clip with --eval_file or --test_file",
            counted(len(changes.disagreeing), "recording"),
            agreeing(len(changes.disagreeing), "have"),
            and_more(changes.disagreeing),
        )
    notes = []
    if changes.copies:
        are = agreeing(len(changes.copies), "are")
        text = f"{counted(len(changes.copies), 'recording')} {are} in more than one source and {are} used once"
        if changes.relabelled:
            text += f"; where labels differ, the later one is used ({len(changes.relabelled):,}: "
            text += f"{and_more(changes.relabelled)})"
        else:
            text += f" ({and_more(changes.copies)}); their labels agree" if not changes.disagreeing else ""
        notes.append(text)
    if changes.held_out:
        notes.append(
            f"{counted(len(changes.held_out), 'training clip')} {agreeing(len(changes.held_out), 'are')} not used for "
            f"training, because another source holds {agreeing(len(changes.held_out), 'them')} out for validation or "
            f"test: {and_more(changes.held_out)}"
        )
    return notes


def _keep_last_copy(rows: Sequence[_Row], sources: Sequence[LoadedSource], changes: _Changes) -> None:
    """Keep the last source's copy in test, else in validation, else in training; drop the others."""
    best = max(rows, key=lambda row: (SPLIT_NAMES.index(row.split), row.source))
    kept = [row for row in rows if (row.split, row.source) == (best.split, best.source)]
    dropped = [row for row in rows if row not in kept]
    changes.copies.append(best.clip.source)
    for row in dropped:
        row.is_dropped = True
        differs = f"{row.clip.source} {row.clip.label_text!r} -> {best.clip.label_text!r}"
        if row.split != best.split:
            changes.held_out += [row.clip.source] if row.split == "train" else []
            if row.source > best.source and row.clip.label_key != best.clip.label_key:
                where = f"{best.clip.label_text!r} in {sources[best.source].name}"
                changes.disagreeing.append(
                    f"{row.clip.source} {where}, {row.clip.label_text!r} in {sources[row.source].name}"
                )
        elif row.clip.label_key != best.clip.label_key:
            changes.relabelled.append(differs)
    group = next((row.clip.group for row in dropped if row.clip.group is not None), None)
    fold = next((row.clip.fold for row in dropped if row.clip.fold is not None), None)
    for row in kept:
        row.clip = replace(row.clip, group=row.clip.group or group, fold=row.clip.fold or fold)


def _spell_paths_alike(rows: Sequence[_Row]) -> None:
    """Give all clips of one file the same path, so that they stay together when splits are made."""
    spelled: dict[str, str] = {}
    for row in rows:
        if row.clip.path is not None:
            path = spelled.setdefault(os.path.abspath(row.clip.path), row.clip.path)
            row.clip = row.clip if path == row.clip.path else replace(row.clip, path=path)


def _name_apart(rows: Sequence[_Row]) -> None:
    """Name clips by their full path if relative paths of two sources are equal."""
    names: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        names[row.clip.source].add(row.source)
    for row in rows:
        if len(names[row.clip.source]) > 1 and row.clip.path is not None:
            row.clip = replace(row.clip, source=row.clip.path)


# ---------------------------------------------------------------- labels of different kinds


def _check_labels_agree(sources: Sequence[LoadedSource], separator: str) -> None:
    """Check that all sources have the same type of labels.

    Raises:
        DataError: one source has numbers where another has names, or several labels in a cell.
    """
    labels = [source.labels() for source in sources]
    for second, of_second in zip(sources, labels, strict=True):
        for first, of_first in zip(sources, labels, strict=True):
            if first is second or not of_first or not of_second:
                continue
            if all(map(_is_number, of_second)) and not any(map(_is_number, of_first)):
                raise DataError(
                    f"{second.name}: its labels are numbers ({and_more(of_second)}), but {first.name} has names "
                    f"({and_more(of_first)}). Give the classes the same names in both"
                )
            for label in of_second:
                parts = [part.strip() for part in label.split(separator)]
                if len(parts) > 1 and label not in of_first and set(parts) <= set(of_first):
                    raise DataError(
                        f"{second.name}: the label {label!r} names several classes of {first.name}. Add --task "
                        "multi_label to learn several labels for each clip, or give each clip one label"
                    )


def _is_number(label: str) -> bool:
    return label.strip().lstrip("-").isdigit()
