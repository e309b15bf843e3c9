"""Draw a random subset of a split: ``--shots``, ``--max_train_samples``, ``--max_eval_samples``."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from earmark.clips.clip import ClipTable, Splits, sorted_labels
from earmark.settings.data_flags import DataArguments
from earmark.text import agreeing, and_more, counted

_NO_LABEL = ""  # multi-label clips without labels are treated as one more class


def draw_subsets(splits: Splits, options: DataArguments, seed: int) -> None:
    """Limit the number of clips of each split as the settings say. Add a note for each split that gets smaller."""
    _draw_shots(splits, options.shots, seed)
    draw(splits, "train", options.max_train_samples, seed, "--max_train_samples")
    draw(splits, "validation", options.max_eval_samples, seed, "--max_eval_samples")


def draw(splits: Splits, split: str, most: int | None, seed: int, flag: str) -> None:
    """Keep at most ``most`` clips of a split, with at least one of each class if possible."""
    table: ClipTable | None = getattr(splits, split)
    if table is None or most is None or len(table) <= most:
        return
    order = list(range(len(table)))
    random.Random(seed).shuffle(order)
    first_of_class = {name: i for i in reversed(order) for name in table[i].classes}
    picked = list(dict.fromkeys([*first_of_class.values(), *order]))[:most]
    drawn = table.keep(sorted(picked))
    # A quick try on a few clips has the classes of the whole run, as in Transformers' example.
    missing = sorted_labels(set(first_of_class) - set(drawn.labels())) if split == "train" else []
    setattr(splits, split, replace(drawn, not_drawn=tuple(missing)))
    clips = counted(len(table), f"{split} clip")
    were = agreeing(most, "were")
    note = f"{table.origin}: {most:,} of {clips} {were} drawn ({flag}, seed {seed})"
    splits.notes.append(note + (f"; none of {and_more([repr(name) for name in missing])}" if missing else ""))


def _draw_shots(splits: Splits, shots: int | None, seed: int) -> None:
    table = splits.train
    if table is None or shots is None:
        return
    order = list(range(len(table)))
    random.Random(seed).shuffle(order)
    taken: Counter[str] = Counter()
    picked = []
    for i in order:
        names = (_NO_LABEL,) if table[i].label == () else table[i].classes
        if any(taken[name] < shots for name in names):
            picked.append(i)
        taken.update(names)
    splits.train = table.keep(sorted(picked))
    fewer = sum(count < shots for count in taken.values())
    clips, classes = counted(len(table), "training clip"), counted(len(taken), "class")
    were = agreeing(len(picked), "were")
    note = f"{table.origin}: {len(picked):,} of {clips} {were} drawn (--shots {shots}, seed {seed})"
    splits.notes.append(note + (f"; fewer than {shots} in {fewer} of {classes}" if fewer else ""))
