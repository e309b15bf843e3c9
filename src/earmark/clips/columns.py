"""Which column of a table is what: recordings, labels, groups and folds, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from earmark.errors import DataError
from earmark.formats.column_names import LABEL_COLUMNS, PATH_COLUMNS, name_finder, plain_name
from earmark.formats.format import Wanted
from earmark.formats.sheet import Reason
from earmark.tasks import SINGLE_LABEL, Task
from earmark.text import suggestion

NUMBER = "value"  # what a number is called whose column has no name of its own
_SEVERAL = "labels"  # column of all labels of a clip; `label` beside it has the most likely one
_FOLD = "fold"  # column of folds if none was asked for
NO_COLUMN = "none"  # value of a flag for a column that is not to be read


class MissingColumnError(DataError):
    """A table lacks a column that was asked for."""


@dataclass(frozen=True)
class Columns:
    """What was asked for: the names of columns, and how their cells are read.

    Attributes:
        audio: the recording: a path, bytes, or both as ``{"path", "bytes"}``.
        label: the class name. Several names with commas between are columns of 0 and 1, one for each class.
        group: what must not be in two splits (a speaker, a site); ``None`` for nothing.
        fold: the official fold; ``None`` for the column ``fold``, if there is one.
        task: what a label is: see :func:`earmark.sources.tables.cells.read_label`.
        separator: stands between labels of a cell of text.
        needs_labels: whether every clip has to have a label; else one may be without, and so may a whole table in which
            no column is called ``label``.
        skip_missing_labels: leave out rows without a label instead of refusing them.
        start: the start of an event in its recording; ``None`` for the usual names, ``"none"`` for whole recordings.
        end: its end, in the same way.
        audio_dir: folder of the recordings, if it is not that of the table.
        usual_audio: names that are looked for if ``audio`` is not given.
        label_is_asked: whether ``label`` was asked for, also if it is the usual name.
    """

    audio: str = "audio"
    label: str = "label"
    group: str | None = None
    fold: str | None = None
    task: Task = SINGLE_LABEL
    separator: str = ","
    needs_labels: bool = True
    skip_missing_labels: bool = False
    start: str | None = None
    end: str | None = None
    audio_dir: str | None = None
    usual_audio: tuple[str, ...] = PATH_COLUMNS
    label_is_asked: bool = False

    @property
    def wanted(self) -> Wanted:
        """The names of the columns that are used if a table has them."""
        others = (self.label, *LABEL_COLUMNS, self.group, self.fold or _FOLD)
        return Wanted((self.audio, *self.usual_audio), tuple(name for name in others if name is not None))


@dataclass(frozen=True)
class FoundColumns:
    """Names of the columns that are there.

    Attributes:
        audio: the recordings.
        label: the labels; ``None`` without any.
        group: the groups, if they were asked for.
        fold: the folds.
        reasons: why these.
    """

    audio: str
    label: str | None
    group: str | None = None
    fold: str | None = None
    reasons: list[Reason] = field(default_factory=list, compare=False)

    def used(self) -> list[str]:
        """Return the columns to read."""
        names = (self.audio, self.label, self.group, self.fold)
        return list(dict.fromkeys(name for name in names if name is not None))


def find_columns(names: Sequence[str], wanted: Columns, origin: str) -> FoundColumns:
    """Match what was asked for with what is there; letter case, blanks and underscores do not count.

    Args:
        names: columns of the table.
        wanted: columns asked for.
        origin: the table, for messages.

    Raises:
        MissingColumnError: no column with recordings, labels, groups or folds; the message lists the columns there are.
    """
    find = name_finder(names)
    reasons: list[Reason] = []

    def explain(column: str, role: str, why: str, *, is_obvious: bool = True) -> None:
        reasons.append(Reason(f"{origin}: column `{column}` was read as {role} because {why}", is_obvious))

    audio = _audio_column(find, wanted, explain)
    if audio is None:
        headless = _looks_like_data(names)
        hint = f"Its first row looks like data ({headless}): add a header" if headless else ""
        is_asked = wanted.audio != Columns.audio
        raise missing_column(
            origin, wanted.audio, names, "audio_column_name", "with the recordings", is_asked=is_asked, hint=hint
        )
    label = _label_column(find, wanted, audio, f"{origin}: ", explain)
    if label is None and (wanted.needs_labels or wanted.label != Columns.label):
        raise missing_label_column(origin, wanted, names)
    group = find(wanted.group) if wanted.group else None
    if wanted.group and group is None:
        raise missing_column(origin, wanted.group, names, "group_column")
    fold = find(wanted.fold or _FOLD)
    if wanted.fold and fold is None:
        raise missing_column(origin, wanted.fold, names, "fold_column")
    if group:
        explain(group, "the group of each clip", "--group_column names it")
    if fold:
        explain(fold, "the fold of each clip", "--fold_column names it" if wanted.fold else "of its name")
    return FoundColumns(audio, label, group, fold, reasons)


def missing_column(
    origin: str, name: str, names: Iterable[str], flag: str, role: str = "", *, is_asked: bool = True, hint: str = ""
) -> MissingColumnError:
    """Return the error of a column that a table lacks.

    Args:
        origin: the table.
        name: what was looked for.
        names: columns of the table.
        flag: names the column; without dashes.
        role: what the column is for.
        is_asked: whether the flag was given, so that its value is what is wrong.
        hint: what to do, as a sentence without a full stop, if it is not to give or correct the flag.
    """
    names = list(names)
    there = "the columns are " + ", ".join(names) if names else "it has no columns"
    near = suggestion(name, names) if is_asked else ""
    fix = hint or (f"Correct --{flag}" if is_asked else f"Name it with --{flag}")
    return MissingColumnError(f"{origin}: no column {name!r}{role and f' {role}'} ({there}{near}). {fix}")


def missing_label_column(origin: str, wanted: Columns, names: Iterable[str]) -> MissingColumnError:
    """Return the error of a table without a column of labels."""
    is_asked = wanted.label != Columns.label
    return missing_column(origin, wanted.label, names, "label_column_name", "with the labels", is_asked=is_asked)


def _audio_column(find: Callable[[str], str | None], wanted: Columns, explain: Callable[..., None]) -> str | None:
    """Return the column of the recordings: the one that was asked for, else the first of the usual ones."""
    if wanted.audio != Columns.audio:
        audio = find(wanted.audio)
        if audio is not None:
            explain(audio, "the recording", "--audio_column_name names it")
        return audio
    usual = dict.fromkeys(filter(None, map(find, (wanted.audio, *wanted.usual_audio))))
    if not usual:
        return None
    audio, *others = usual
    explain(audio, "the recording", "of its name" + (f", before {', '.join(others)}" if others else ""))
    return audio


def _label_column(
    find: Callable[[str], str | None], wanted: Columns, audio: str, where: str, explain: Callable[..., None]
) -> str | None:
    """Return the column of the labels: the one that was asked for, else ``label``, else the only usual one.

    If a clip may have several labels, ``labels`` comes before ``label``: results of such a model have both.
    """
    is_usual = wanted.label == Columns.label and not wanted.label_is_asked
    several = find(_SEVERAL) if wanted.task.has_several and is_usual else None
    if several is not None:
        explain(several, "the labels", "of its name and --task")
        return several
    label = find(wanted.label)
    if label is not None:
        explain(label, "the label", "of its name" if wanted.label == Columns.label else "--label_column_name names it")
        return label
    if wanted.label != Columns.label or not wanted.task.has_classes:
        return None
    # the manifests of NeMo and SpeechBrain, whose recordings have names of their own
    usual = ("command", *LABEL_COLUMNS) if plain_name(audio) in ("audio filepath", "wav") else LABEL_COLUMNS
    found = list(dict.fromkeys(name for name in map(find, usual) if name is not None and name != audio))
    if len(found) > 1:
        raise MissingColumnError(
            f"{where}no column is called 'label', and each of {', '.join(found)} could be the labels; "
            "name one with --label_column_name"
        )
    if found:
        explain(found[0], "the label", "of its name; no column is called label", is_obvious=False)
    return found[0] if found else None


def _looks_like_data(names: Sequence[str]) -> str | None:
    """Return the first column name that is a number or the name of a recording: the table has no header."""
    return next(
        (name for name in names if re.fullmatch(r"-?\d+([.,]\d+)?|.+\.(wav|flac|mp3|ogg|m4a)", name, re.I)), None
    )
