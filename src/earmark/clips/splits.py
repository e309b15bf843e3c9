"""Setting clips aside for validation, and folds: seeded, every class in its share, no group on both sides."""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict

import numpy as np

from earmark.clips.clip import Clip, ClipTable
from earmark.errors import DataError
from earmark.text import counted

_Unit = tuple[str, str]
_Stratum = str | int
_PARTS = 5  # of a range of numbers
_NO_LABEL = ""  # of several possible ones none is there, which is a class of its own here
_PARTS_OF_A_RECORDING = "add a column that names parts of it, such as its minutes, and pass it as --group_column"
_TRIED = 100  # groups tried for a class that would otherwise be missing from validation


def make_validation_split(table: ClipTable, fraction: float, seed: int) -> tuple[ClipTable, ClipTable]:
    """Set a share of the clips aside.

    Each class gives its share, but at least one clip and never its last (or last group); a class with a single clip
    or group stays in training. Where clips have groups (speakers, sites), whole groups move, chosen greedily so that
    the classes come as near to their share as groups allow. The same clips give the same split, in whatever order
    they come.

    Args:
        table: clips with labels.
        fraction: share to set aside, between 0 and 1.
        seed: decides which clips.

    Returns:
        ``(train, validation)``, each in the order of ``table``.

    Raises:
        DataError: no clip can be set aside without a class losing its last.
    """
    units = _units(table)
    order = _shuffled(units, table, seed)
    strata = _strata(table)
    content = {unit: Counter(name for i in units[unit] for name in strata[i]) for unit in order}
    chosen = _choose(order, content, fraction)
    validation = sorted(i for unit in chosen for i in units[unit])
    if not validation:
        raise DataError(f"{table.origin}: no validation clips can be set aside: {_why_not(units, table)}")
    aside = set(validation)
    return table.keep([i for i in range(len(table)) if i not in aside]), table.keep(validation)


def make_folds(table: ClipTable, count: int, seed: int) -> list[str]:
    """Share clips out over folds of like size, each with its share of every class.

    Where clips have groups, whole groups go to a fold: the largest first, each to where it brings the classes nearest
    to their shares. The same clips give the same folds, in whatever order they come.

    Args:
        table: N clips with labels.
        count: number of folds, from 2 on.
        seed: decides which clips.

    Returns:
        The fold of each clip, N of ``"1"`` to ``str(count)``.

    Raises:
        DataError: fewer clips or groups than folds.
    """
    units = _units(table)
    if len(units) < count:
        what = counted(len(units), "group" if any(kind == "group" for kind, _ in units) else "recording")
        or_parts = f", or {_PARTS_OF_A_RECORDING}" if has_recordings_of_several_clips(table) else ""
        raise DataError(f"{table.origin}: {what} cannot be divided over {count} folds. Lower --folds{or_parts}.")
    strata = _strata(table)
    content = {unit: Counter(name for i in rows for name in strata[i]) for unit, rows in units.items()}
    total = Counter(name for names in strata for name in names)
    folds: list[Counter[_Stratum]] = [Counter() for _ in range(count)]
    sizes = [0] * count
    fold_names = [""] * len(table)

    def misfit(fold: int, unit: _Unit) -> tuple[float, int]:
        """Return how much further from its shares the unit brings a fold (as a chi-square), then how full that is."""
        further = sum(n * (2 * folds[fold][label] + n) / total[label] for label, n in content[unit].items())
        return further, sizes[fold]

    # a stable sort: groups of one size stay in the order that the seed gave them
    for unit in sorted(_shuffled(units, table, seed), key=lambda unit: -len(units[unit])):
        best = min(range(count), key=lambda fold: misfit(fold, unit))
        folds[best].update(content[unit])
        sizes[best] += len(units[unit])
        for row in units[unit]:
            fold_names[row] = str(best + 1)
    return fold_names


def _strata(table: ClipTable) -> list[tuple[_Stratum, ...]]:
    """What each part has to get its share of, clip by clip: the classes of a clip, or the fifth its number is in."""
    labels = [clip.label for clip in table]
    if not any(isinstance(label, float) for label in labels):
        return [clip.classes or (_NO_LABEL,) for clip in table]
    numbers = np.array(labels, dtype=np.float64)
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, _PARTS + 1)))[1:-1]
    # a clip without a number is NaN here, which is sorted behind all of them
    return [(int(part),) for part in np.searchsorted(edges, numbers)]


def _shuffled(units: dict[_Unit, list[int]], table: ClipTable, seed: int) -> list[_Unit]:
    """Return the units in an order of the seed alone: sorted first, so that the order on disk does not matter."""
    order = sorted(units, key=lambda unit: min(_key(table[i]) for i in units[unit]))
    random.Random(seed).shuffle(order)
    return order


def _units(table: ClipTable) -> dict[_Unit, list[int]]:
    """What moves as one: the clips of a group, a recording cut into several clips, or a single clip."""
    units: dict[_Unit, list[int]] = defaultdict(list)
    for index, clip in enumerate(table):
        units[("group", clip.group) if clip.group is not None else ("clip", clip.path or clip.source)].append(index)
    return dict(units)


def _why_not(units: dict[_Unit, list[int]], table: ClipTable) -> str:
    """Why nothing can be set aside, and what to do."""
    own = (
        "give validation clips of their own (--eval_file, or a validation folder), or train without validation "
        "(--eval_strategy no --validation_fraction 0)"
    )
    if len(units) > 1 or not has_recordings_of_several_clips(table):
        what = "recording" if has_recordings_of_several_clips(table) else "clip or group"
        return f"every class has a single {what}. Add clips, {own}"
    return (
        f"all {len(table):,} clips are from one recording, {os.path.basename(next(iter(units))[1])}, and clips of one "
        f"recording are too similar for validation. Add recordings, {_PARTS_OF_A_RECORDING}, {own}"
    )


def count_groups(table: ClipTable) -> int:
    """Return how many parts of a table move as one: groups, recordings that are cut into clips, or single clips."""
    return len(_units(table))


def has_recordings_of_several_clips(table: ClipTable) -> bool:
    """Return whether recordings with several clips move as one, as those of tables with events do."""
    return any(kind == "clip" and len(rows) > 1 for (kind, _), rows in _units(table).items())


def _key(clip: Clip) -> tuple[str, float, float]:
    return clip.path or clip.source, clip.offset_s, clip.duration_s or 0.0


def _choose(order: list[_Unit], content: dict[_Unit, Counter[_Stratum]], fraction: float) -> list[_Unit]:
    """Units for validation: each that brings the classes nearer to their shares, in the given order."""
    total: Counter[_Stratum] = Counter()
    left: Counter[_Stratum] = Counter()  # units of each class still in training
    for unit in order:
        total.update(content[unit])
        left.update(content[unit].keys())
    target = {label: max(1.0, fraction * count) for label, count in total.items()}
    moved: Counter[_Stratum] = Counter()
    chosen: dict[_Unit, None] = {}

    def take(unit: _Unit) -> None:
        chosen[unit] = None
        moved.update(content[unit])
        left.subtract(content[unit].keys())

    def may_go(unit: _Unit) -> bool:
        return unit not in chosen and all(left[label] > 1 for label in content[unit])

    def change_of_misfit(unit: _Unit) -> float:
        return sum(
            ((moved[label] + count - target[label]) ** 2 - (moved[label] - target[label]) ** 2) / target[label]
            for label, count in content[unit].items()
        )

    for unit in order:
        if may_go(unit) and change_of_misfit(unit) < 0:
            take(unit)
    for label in sorted(total, key=str):  # classes that only come in groups too large for their share
        if not moved[label]:
            smallest_first = sorted((u for u in order if label in content[u]), key=lambda u: content[u].total())
            for unit in filter(may_go, smallest_first[:_TRIED]):
                take(unit)
                break
    return list(chosen)
