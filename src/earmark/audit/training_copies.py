"""Find clips with equal samples from their stored hashes, without decoding them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from earmark.audio.content import are_among, equal_content
from earmark.audit.clip_findings import ClipFinding
from earmark.clips.clip import ClipTable
from earmark.text import agreeing, and_more, counted

_NAMED = 3


def find_copies(tables: Mapping[str, ClipTable], contents: Mapping[str, np.ndarray]) -> list[ClipFinding]:
    """Return warnings about copies of training clips, in the other splits and in training itself.

    Args:
        tables: clips, by the name of their split; ``train`` is one of them.
        contents: content of each clip (:mod:`earmark.audio.content`), uint64 (N,), by split.
    """
    found = list(_in_training(tables["train"], contents["train"]))
    for split in tables:
        if split != "train":
            found += _of_training(split, tables, contents)
    return found


def _of_training(
    split: str, tables: Mapping[str, ClipTable], contents: Mapping[str, np.ndarray]
) -> Iterator[ClipFinding]:
    copies = np.flatnonzero(are_among(contents[split], contents["train"])).tolist()
    if not copies:
        return
    original = {content: clip.name for content, clip in zip(contents["train"].tolist(), tables["train"], strict=True)}
    pairs = [f"{tables[split][row].name} = {original[int(contents[split][row])]}" for row in copies]
    text = (
        f"{len(copies):,} of {counted(len(tables[split]), f'{split} clip')} {agreeing(len(copies), 'have')} the same "
        "samples as training clips "
        f"({_named(pairs)}), so scores on the {split} split are too high. Remove the copies from one of the splits. If "
        "earmark makes the split, give copies the same value in a column and name it with --group_column."
    )
    yield ClipFinding("leak", "warning", text)


def _in_training(table: ClipTable, contents: np.ndarray) -> Iterator[ClipFinding]:
    sets = [[table[row] for row in rows] for rows in equal_content(contents)]
    conflicts = [clips for clips in sets if len({clip.label_key for clip in clips}) > 1]
    alike = [clips for clips in sets if len({clip.label_key for clip in clips}) == 1]
    if conflicts:
        named = [" and ".join(f"{clip.name} {clip.label_text!r}" for clip in clips) for clips in conflicts]
        text = (
            f"{_recordings(conflicts)} in the training split more than once, with different labels ({_named(named)}), "
            "so the model learns contradictions. Correct the labels or remove the copies."
        )
        yield ClipFinding("label conflict", "warning", text)
    if alike:
        named = [" = ".join(clip.name for clip in clips) for clips in alike]
        more = "it has more weight than others" if len(alike) == 1 else "they have more weight than others"
        text = (
            f"{_recordings(alike)} in the training split more than once ({_named(named)}), so {more}. Remove the "
            "copies if that is not intended."
        )
        yield ClipFinding("duplicate", "warning", text)


def _recordings(sets: Sequence[object]) -> str:
    return f"{counted(len(sets), 'recording')} {agreeing(len(sets), 'are')}"


def _named(texts: Sequence[str]) -> str:
    return and_more(texts, _NAMED, "; ")
