"""Setting clips aside for validation: seeded, every class in its share, no group on both sides."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

from earmark.data.clips import Clip, ClipTable
from earmark.errors import DataError

_Key = tuple[str, float, float]


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
    # sorted first, so that the order on disk does not matter, then shuffled by the seed alone
    order = sorted(units, key=lambda unit: min(_key(table[i]) for i in units[unit]))
    random.Random(seed).shuffle(order)
    content = {unit: Counter(table[i].label for i in units[unit]) for unit in order}
    chosen = _choose(order, content, fraction)
    validation = sorted(i for unit in chosen for i in units[unit])
    if not validation:
        raise DataError(
            f"{table.origin}: no validation clips can be set aside: every class has a single clip or group. Add "
            "clips, or give validation clips of their own (--eval_file, or a validation folder)"
        )
    aside = set(validation)
    return table.keep([i for i in range(len(table)) if i not in aside]), table.keep(validation)


def _units(table: ClipTable) -> dict[tuple[str, str], list[int]]:
    """What moves as one: the clips of a group, a recording cut into several clips, or a single clip."""
    units: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, clip in enumerate(table):
        units[("group", clip.group) if clip.group is not None else ("clip", clip.path or clip.source)].append(index)
    return dict(units)


def _key(clip: Clip) -> _Key:
    return clip.path or clip.source, clip.offset_s, clip.duration_s or 0.0


def _choose(
    order: list[tuple[str, str]], content: dict[tuple[str, str], Counter[str | None]], fraction: float
) -> list[tuple[str, str]]:
    """Units for validation, rarest class first, each class up to its share."""
    total: Counter[str | None] = Counter()
    units_with: dict[str | None, list[tuple[str, str]]] = defaultdict(list)
    for unit in order:
        total.update(content[unit])
        for label in content[unit]:
            units_with[label].append(unit)
    left_in_train = {label: len(units) for label, units in units_with.items()}  # in units
    moved: Counter[str | None] = Counter()
    chosen: dict[tuple[str, str], None] = {}
    for label in sorted(total, key=lambda name: (len(units_with[name]), str(name))):
        target = max(1, round(fraction * total[label]))
        for unit in units_with[label]:
            if moved[label] >= target:
                break
            keeps_every_class = all(left_in_train[other] > 1 for other in content[unit])
            # going past the share is allowed only where the class would have nothing, or ends nearer to its share
            nearer = abs(moved[label] + content[unit][label] - target) < target - moved[label]
            if unit in chosen or not keeps_every_class or not (nearer or moved[label] == 0):
                continue
            chosen[unit] = None
            moved.update(content[unit])
            for other in content[unit]:
                left_in_train[other] -= 1
    return list(chosen)
