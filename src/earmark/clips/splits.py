"""Make validation splits and folds with a seed, stratified by class and without splitting groups."""

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
_PARTS = 5  # number of bins for regression values
_NO_LABEL = ""  # multi-label clips without labels are treated as one more class
_PARTS_OF_A_RECORDING = "name a column that divides recordings into parts, such as minutes, with --group_column"
_TRIED = 100  # groups to try for a class that is missing from validation


def make_validation_split(table: ClipTable, fraction: float, seed: int) -> tuple[ClipTable, ClipTable]:
    """Set a fraction of the clips aside for validation.

    Each class contributes its fraction, but at least one clip and never its last clip (or group). A class with a single
    clip or group stays in training. If clips have groups (speakers, sites), whole groups are chosen greedily so that
    the classes come as close to their fractions as the groups allow. The result does not depend on the order of the
    clips.

    Args:
        table: clips with labels.
        fraction: fraction to set aside, between 0 and 1.
        seed: random seed for the choice of clips.

    Returns:
        ``(train, validation)``, each in the order of ``table``.

    Raises:
        DataError: no clip can be set aside without removing the last clip of a class.
    """
    units = _units(table)
    order = _shuffled(units, table, seed)
    strata = _strata(table)
    content = {unit: Counter(name for i in units[unit] for name in strata[i]) for unit in order}
    chosen = _choose(order, content, fraction)
    validation = sorted(i for unit in chosen for i in units[unit])
    if not validation:
        raise DataError(f"{table.origin}: no validation clips can be set aside: {_reason_and_fix(units, table)}")
    aside = set(validation)
    return table.keep([i for i in range(len(table)) if i not in aside]), table.keep(validation)


def make_folds(table: ClipTable, count: int, seed: int) -> list[str]:
    """Divide clips into folds of similar size and with similar class ratios.

    If clips have groups, each group goes into one fold: the largest group first, into the fold where it brings the
    classes closest to their ratios. The result does not depend on the order of the clips.

    Args:
        table: N clips with labels.
        count: number of folds, at least 2.
        seed: random seed.

    Returns:
        Fold of each clip, N names from ``"1"`` to ``str(count)``.

    Raises:
        DataError: there are fewer clips or groups than folds.
    """
    units = _units(table)
    if len(units) < count:
        what = counted(len(units), "group" if any(kind == "group" for kind, _ in units) else "recording")
        or_parts = f", or {_PARTS_OF_A_RECORDING}" if has_recordings_of_several_clips(table) else ""
        raise DataError(f"{table.origin}: {what} cannot be divided into {count} folds. Lower --folds{or_parts}.")
    strata = _strata(table)
    content = {unit: Counter(name for i in rows for name in strata[i]) for unit, rows in units.items()}
    total = Counter(name for names in strata for name in names)
    folds: list[Counter[_Stratum]] = [Counter() for _ in range(count)]
    sizes = [0] * count
    fold_names = [""] * len(table)

    def misfit(fold: int, unit: _Unit) -> tuple[float, int]:
        """Return how much the unit worsens a fold's class ratios (change of chi-square), then the size of the fold."""
        further = sum(n * (2 * folds[fold][label] + n) / total[label] for label, n in content[unit].items())
        return further, sizes[fold]

    # a stable sort keeps groups of equal size in the order given by the seed
    for unit in sorted(_shuffled(units, table, seed), key=lambda unit: -len(units[unit])):
        best = min(range(count), key=lambda fold: misfit(fold, unit))
        folds[best].update(content[unit])
        sizes[best] += len(units[unit])
        for row in units[unit]:
            fold_names[row] = str(best + 1)
    return fold_names


def _strata(table: ClipTable) -> list[tuple[_Stratum, ...]]:
    """Return the strata of each clip: its classes, or the bin of its number."""
    labels = [clip.label for clip in table]
    if not any(isinstance(label, float) for label in labels):
        return [clip.classes or (_NO_LABEL,) for clip in table]
    numbers = np.array(labels, dtype=np.float64)
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, _PARTS + 1)))[1:-1]
    # A clip without a number is NaN here, which sorts after all bins.
    return [(int(part),) for part in np.searchsorted(edges, numbers)]


def _shuffled(units: dict[_Unit, list[int]], table: ClipTable, seed: int) -> list[_Unit]:
    """Return the units in an order that depends only on the seed: sorted before shuffling."""
    order = sorted(units, key=lambda unit: min(_key(table[i]) for i in units[unit]))
    random.Random(seed).shuffle(order)
    return order


def _units(table: ClipTable) -> dict[_Unit, list[int]]:
    """Return the clips that stay together: a group, the clips of one recording, or a single clip."""
    units: dict[_Unit, list[int]] = defaultdict(list)
    for index, clip in enumerate(table):
        units[("group", clip.group) if clip.group is not None else ("clip", clip.path or clip.source)].append(index)
    return dict(units)


def _reason_and_fix(units: dict[_Unit, list[int]], table: ClipTable) -> str:
    """Return why no clip can be set aside, and what to do."""
    own = (
        "give separate validation clips (--eval_file, or a validation folder), or train without validation "
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
    """Return the number of units that stay together: groups, recordings with several clips, or single clips."""
    return len(_units(table))


def has_recordings_of_several_clips(table: ClipTable) -> bool:
    """Return whether clips of one recording stay together, as in tables of events."""
    return any(kind == "clip" and len(rows) > 1 for (kind, _), rows in _units(table).items())


def _key(clip: Clip) -> tuple[str, float, float]:
    return clip.path or clip.source, clip.offset_s, clip.duration_s or 0.0


def _choose(order: list[_Unit], content: dict[_Unit, Counter[_Stratum]], fraction: float) -> list[_Unit]:
    """Return units for validation, in the given order: each one that brings the class ratios closer to the target."""
    total: Counter[_Stratum] = Counter()
    left: Counter[_Stratum] = Counter()  # units of each class that are still in training
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
    for label in sorted(total, key=str):  # take one group of each class that has no group small enough for its fraction
        if not moved[label]:
            smallest_first = sorted((u for u in order if label in content[u]), key=lambda u: content[u].total())
            for unit in filter(may_go, smallest_first[:_TRIED]):
                take(unit)
                break
    return list(chosen)
