"""Find what is wrong, suspicious or worth knowing about a data set, and the clips concerned."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from earmark.audit.duplicates import CopySet, Duplicates, sets_in_words
from earmark.audit.level_checks import decibels, level_checks
from earmark.audit.measure import Measures
from earmark.clips.clip import ClipTable
from earmark.store.scan import spellings_of_one_label
from earmark.text import agreeing, and_more, counted

Level = Literal["error", "warning", "note"]

NO_FOLD = "no fold"  # name of the split of clips without a value in the fold column
_LEVELS_APART_DB = 10.0
_SHORTEST_S = 0.1
_UNLIKE_LENGTH = 4.0  # factor between the length of a clip and the median
_FEW_CLIPS = 10
_UNBALANCED = 10.0  # factor between the largest and the smallest class
_NAMED = 6


@dataclass(frozen=True)
class ClipFinding:
    """A finding about a data set.

    Attributes:
        kind: short name, such as ``clipped``.
        level: ``error`` (training rejects the data, or results would be wrong), ``warning`` or ``note``.
        text: one line to print.
        rows: clips concerned, as rows of the audited table; clips of one pair or group follow each other.
        details: a short text about each of ``rows``; empty if there is nothing to add.
    """

    kind: str
    level: Level
    text: str
    rows: Sequence[int] = ()
    details: Sequence[str] = ()

    def to_dict(self) -> dict[str, object]:
        """Return the values for JSON, without the clips."""
        return {"kind": self.kind, "level": self.level, "text": self.text, "clips": len(self.rows)}


@dataclass(frozen=True)
class Audited:
    """All clips of a data set in one table, with their measurements.

    Attributes:
        table: N clips, one split after the other.
        splits: for each clip, the name of its split.
        measures: measurements of the clips.
        duplicates: copies among the clips.
        longest_s: longest part of a clip that a model sees, in seconds.
        group_column: column with the groups, if the user named one; then every clip should have a group.
    """

    table: ClipTable
    splits: Sequence[str]
    measures: Measures
    duplicates: Duplicates
    longest_s: float
    group_column: str | None = None

    @property
    def labelled(self) -> bool:
        """Whether any clip has a label."""
        return any(clip.label is not None for clip in self.table)


def find_all(audited: Audited) -> list[ClipFinding]:
    """Return all findings, the worst first."""
    found = [
        *_unreadable(audited),
        *_incomplete(audited),
        *_labels(audited),
        *_classes(audited),
        *_groups(audited),
        *_copies(audited),
        *_levels(audited),
        *_level_of_splits(audited),
        *_lengths(audited),
        *_formats(audited),
    ]
    order = ("error", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.level))


def find_without_listening(
    tables: Mapping[str, ClipTable],
    duration_s: Mapping[str, np.ndarray],
    group_column: str | None = None,
) -> list[ClipFinding]:
    """Return findings that need only tables and lengths: about classes, groups and lengths.

    No finding has the level ``error`` if the caller has already rejected tables with such errors.

    Args:
        tables: clips, by the name of their split.
        duration_s: length of each clip, float64 (N,), by split.
        group_column: column with the groups, if the user named one.
    """
    clips = [clip for table in tables.values() for clip in table]
    measures = Measures.empty(len(clips))
    measures.duration_s[:] = np.concatenate([duration_s[name] for name in tables])
    splits = [name for name, table in tables.items() for _ in table]
    audited = Audited(ClipTable(clips, ""), splits, measures, Duplicates([], []), np.inf, group_column)
    return [*_classes(audited), *_groups(audited), *_lengths(audited)]


def _unreadable(audited: Audited) -> Iterator[ClipFinding]:
    bad = audited.measures.bad
    if bad:
        rows, reasons = [clip.index for clip in bad], [clip.reason for clip in bad]
        yield ClipFinding("unreadable", "error", f"{_clips(bad)} cannot be read", rows, reasons)


def _incomplete(audited: Audited) -> Iterator[ClipFinding]:
    found = audited.measures.incomplete
    if found:
        rows, faults = [clip.index for clip in found], [clip.reason for clip in found]
        text = (
            f"{_clips(found, 'are')} damaged or incomplete, or {agreeing(len(found), 'have')} a wrong header, and "
            f"{agreeing(len(found), 'are')} read as far as possible"
        )
        yield ClipFinding("incomplete", "warning", text, rows, faults)


def _labels(audited: Audited) -> Iterator[ClipFinding]:
    rows = [row for row, clip in enumerate(audited.table) if clip.label is None]
    if not audited.labelled:
        text = "no clip has a label, so classes, labels of copies and cropping in training were not checked"
        yield ClipFinding("unlabelled", "note", text)
    elif rows:
        yield ClipFinding("unlabelled", "error", f"{_clips(rows, 'have')} no label", rows)
    for spellings in spellings_of_one_label([audited.table]):
        rows = [row for row, clip in enumerate(audited.table) if not spellings.keys().isdisjoint(clip.classes)]
        text = f"one label in {len(spellings)} spellings: {_named(spellings)}"
        yield ClipFinding("spelling", "error", text, rows, [repr(audited.table[row].label_text) for row in rows])


def _classes(audited: Audited) -> Iterator[ClipFinding]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for split, clip in zip(audited.splits, audited.table, strict=True):
        counts[split].update(clip.classes)
    everywhere = sorted({label for of_split in counts.values() for label in of_split})
    for split, of_split in counts.items():
        missing = [label for label in everywhere if label not in of_split]
        if missing and split == "train":
            yield ClipFinding(
                "missing class", "error", f"train has no clip of {_named(missing)}, which other splits have"
            )
        elif missing:
            them = agreeing(len(missing), "them")
            text = f"{split} has no clip of {_named(missing)}, so it cannot show how well a model recognizes {them}"
            yield ClipFinding("missing class", "warning", text)
    several = _several_in_one(everywhere)
    if several:
        text = (
            f"{counted(len(several), 'label')} {agreeing(len(several), 'have')} several names, such as {several[0]!r}: "
            "use --task multi_label to read each name as a label"
        )
        yield ClipFinding("several labels", "warning", text)
    learned = counts.get("train") or sum(counts.values(), Counter())  # with folds, each clip is a training clip in turn
    labels = {clip.label_text for clip in audited.table if clip.label is not None}
    if len(labels) == 1:
        yield ClipFinding("one class", "error", f"all clips have the label {labels.pop()!r}")
    elif len(learned) > 1:
        (most, many), (least, few) = learned.most_common(1)[0], learned.most_common()[-1]
        if many >= _UNBALANCED * few:
            text = f"unbalanced classes: {many:,} clips of {most!r}, {few:,} of {least!r}"
            yield ClipFinding("imbalance", "warning", text)
    small = [label for label, count in learned.items() if count < _FEW_CLIPS]
    if small:
        yield ClipFinding("few clips", "warning", f"fewer than {_FEW_CLIPS} training clips: {_named(small)}")


def _several_in_one(labels: Sequence[str]) -> list[str]:
    """Return labels with separators (comma, semicolon, ``|``) whose parts all occur in other labels, too."""
    parts = {label: [part.strip() for part in re.split("[,;|]", label)] for label in labels}
    count = Counter(part for of_label in parts.values() for part in set(of_label))
    return [
        label for label, of_label in parts.items() if len(of_label) > 1 and all(count[part] > 1 for part in of_label)
    ]


def _groups(audited: Audited) -> Iterator[ClipFinding]:
    splits: dict[str, set[str]] = defaultdict(set)
    for split, clip in zip(audited.splits, audited.table, strict=True):
        if clip.group is not None:
            splits[clip.group].add(split)
    gaps = [row for row, clip in enumerate(audited.table) if clip.group is None]
    if audited.group_column and gaps:
        they = agreeing(len(gaps), "they")
        text = f"{_clips(gaps, 'have')} no {audited.group_column}, so {they} may belong to a group of another split"
        yield ClipFinding("no group", "warning", text, gaps)
    without = [row for row, split in enumerate(audited.splits) if split == NO_FOLD]
    if without:
        yield ClipFinding("no fold", "error", f"{_clips(without, 'have')} no fold", without)
    shared = {group for group, where in splits.items() if len(where) > 1}
    if shared:
        rows = [row for row, clip in enumerate(audited.table) if clip.group in shared]
        count = f"{len(shared):,} of {counted(len(splits), 'group')} {agreeing(len(shared), 'are')}"
        text = f"{count} in more than one split: {_named(sorted(shared))}"
        yield ClipFinding("shared group", "error", text, rows, [str(audited.table[row].group) for row in rows])


def _copies(audited: Audited) -> Iterator[ClipFinding]:
    kinds: dict[str, list[CopySet]] = {"label conflict": [], "leak": [], "duplicate": []}
    labels = [clip.label_key for clip in audited.table]
    contradicted = {rows[0] for rows in audited.duplicates.exact if len({labels[row] for row in rows} - {None}) > 1}
    for copies in audited.duplicates.sets():
        of_set = {labels[row] for row in copies.rows} - {None}
        # In a regression, recordings that are only similar may rightly have different numbers.
        are_names = len(of_set) > 1 and not all(isinstance(label, float) for label in of_set)
        if are_names or not contradicted.isdisjoint(copies.rows):
            kinds["label conflict"].append(copies)
        kinds["leak" if len({audited.splits[row] for row in copies.rows}) > 1 else "duplicate"].append(copies)
    within = " within one split" if len(set(audited.splits)) > 1 else ""
    texts: dict[str, tuple[Level, str, str]] = {
        "label conflict": ("error", " under different labels", ""),
        "leak": ("error", " in more than one split", ", so scores on validation and test clips {are} too high"),
        "duplicate": ("warning", within, ""),
    }
    for kind, sets in kinds.items():
        if sets:
            level, where, effect = texts[kind]
            rows = [row for copies in sets for row in copies.rows]
            details = [f"set {i}, {detail}" for i, copies in enumerate(sets, start=1) for detail in copies.details]
            are = "are" if any(copies.is_certain for copies in sets) else "may be"
            text = f"{sets_in_words(sets)}{where} ({_clips(rows)}){effect.format(are=are)}"
            yield ClipFinding(kind, level, text, rows, details)
    if audited.duplicates.left_out:
        yield ClipFinding("duplicates", "note", audited.duplicates.left_out)


def _levels(audited: Audited) -> Iterator[ClipFinding]:
    for check in level_checks(audited.measures):
        rows = np.flatnonzero(check.hit)
        rows = rows[np.argsort(-np.abs(check.values[rows]), kind="stable")]
        if len(rows):
            text = f"{_clips(rows, check.verb)} {check.text}"
            shown = [check.form.format(check.values[row]) for row in rows]
            yield ClipFinding(check.kind, "warning", text, rows.tolist(), shown)


def _level_of_splits(audited: Audited) -> Iterator[ClipFinding]:
    """Find a split that is much quieter or louder than training, because of other microphones or level correction."""
    names, level_db = np.array(audited.splits), decibels(audited.measures.rms)
    medians = {
        name: float(np.median(level_db[here]))
        for name in dict.fromkeys(audited.splits)
        if (here := (names == name) & audited.measures.readable).any()
    }
    for name, median_db in medians.items():
        apart_db = median_db - medians.get("train", median_db)
        if abs(apart_db) >= _LEVELS_APART_DB:
            how = "louder" if apart_db > 0 else "quieter"
            yield ClipFinding("level shift", "warning", f"{name} is {abs(apart_db):.0f} dB {how} than train (medians)")


def _lengths(audited: Audited) -> Iterator[ClipFinding]:
    duration_s, readable = audited.measures.duration_s, audited.measures.readable
    if not readable.any():
        return
    median_s = float(np.median(duration_s[readable]))
    short = readable & (duration_s < max(_SHORTEST_S, median_s / _UNLIKE_LENGTH))
    long = readable & (duration_s > median_s * _UNLIKE_LENGTH)
    for kind, hit in (("short", short), ("long", long)):
        rows = np.flatnonzero(hit)
        if len(rows):
            text = f"{_clips(rows, 'are')} {kind} compared with the median of {median_s:.2f} s"
            yield ClipFinding(kind, "warning", text, rows.tolist(), [f"{duration_s[row]:.2f} s" for row in rows])
    cut = np.flatnonzero(duration_s > audited.longest_s * 1.001)
    if len(cut) and audited.labelled:  # without labels, it is unknown which parts training will use
        unseen = (duration_s[cut] - audited.longest_s).sum() / duration_s.sum()
        text = (
            f"{_clips(cut, 'are')} longer than the {audited.longest_s:g} s that the model takes: each epoch uses a "
            f"different part of each clip, and skips {100 * unseen:.0f} % of all audio. --max_length_seconds changes it"
        )
        yield ClipFinding("cut", "note", text, cut.tolist(), [f"{duration_s[row]:.2f} s" for row in cut])


def _formats(audited: Audited) -> Iterator[ClipFinding]:
    measures = audited.measures
    for kind, values, unit in (("rates", measures.rate_hz, " Hz"), ("channels", measures.channels, "")):
        counts = Counter(values[measures.readable & (values > 0)].tolist())
        if len(counts) > 1:
            text = ", ".join(f"{value}{unit} ({count:,})" for value, count in counts.most_common(_NAMED))
            yield ClipFinding(
                kind, "note", f"recordings of different {'sampling rates' if unit else 'channels'}: {text}"
            )
            yield from _telling(audited, values, kind, unit)


def _telling(audited: Audited, values: np.ndarray, kind: str, unit: str) -> Iterator[ClipFinding]:
    """Find classes with a format that other classes lack: a model may learn the microphone instead of the sound."""
    labels: dict[int, set[str]] = defaultdict(set)
    for row in np.flatnonzero(audited.measures.readable):
        labels[int(values[row])].update(audited.table[int(row)].classes)
    for value, of_value in sorted(labels.items(), key=lambda item: len(item[1])):
        others = set().union(*(other for v, other in labels.items() if v != value))
        alone, without = sorted(of_value - others), sorted(others - of_value)
        if alone and without:
            what = f"{value}{unit}" if unit else counted(value, "channel")
            text = (
                f"all clips of {_named(alone)} have {what}, and no clip of {_named(without)} has: a model may learn "
                "the format instead of the sound"
            )
            yield ClipFinding(f"telling {kind}", "warning", text)
            return


def _clips(rows: Any, verb: str | None = None) -> str:
    """Return ``"4 clips"``, or with a verb ``"1 clip is"`` or ``"4 clips are"``."""
    return counted(len(rows), "clip") + (f" {agreeing(len(rows), verb)}" if verb else "")


def _named(labels: Iterable[str]) -> str:
    return and_more([repr(label) for label in labels], _NAMED)
