"""Find the columns of a table with recordings, labels, groups and folds, by name."""

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

NUMBER = "value"  # default name of a regression's number
_SEVERAL = "labels"  # column with all labels of a clip; a column `label` next to it has only the most likely one
_FOLD = "fold"  # default column of folds
NO_COLUMN = "none"  # value of a column flag that disables the column


class MissingColumnError(DataError):
    """A table lacks a column that was asked for."""


@dataclass(frozen=True)
class Columns:
    """The column names that were asked for, and how to read their cells.

    Attributes:
        audio: column of the recordings: a path, bytes, or both as ``{"path", "bytes"}``.
        label: column of the class names; or several columns, separated by commas, with 0 and 1, one per class.
        group: column of the groups (speakers, sites), which must not be in two splits; ``None`` for no groups.
        fold: column of the official folds; ``None`` for the column ``fold``, if there is one.
        task: how to read a label: see :func:`earmark.sources.tables.cells.read_label`.
        separator: text between several labels in one cell.
        needs_labels: whether every clip must have a label. If not, the table may also lack a column ``label``.
        skip_missing_labels: ignore rows without a label instead of rejecting them.
        start: column of the starts of events; ``None`` for the usual names, ``"none"`` for whole
            recordings.
        end: column of the ends of events, with the same special values.
        audio_dir: folder of the recordings, if it is not the folder of the table.
        usual_audio: names to look for if ``audio`` is not given.
        label_is_asked: whether ``label`` was given explicitly, even if it is the usual name.
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
        """The names of the columns to use if a table has them."""
        others = (self.label, *LABEL_COLUMNS, self.group, self.fold or _FOLD)
        return Wanted((self.audio, *self.usual_audio), tuple(name for name in others if name is not None))


@dataclass(frozen=True)
class FoundColumns:
    """The names of the columns found in a table.

    Attributes:
        audio: column of the recordings.
        label: column of the labels; ``None`` without labels.
        group: column of the groups, if asked for.
        fold: column of the folds.
        reasons: why these columns were chosen.
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
    """Match the columns asked for with the columns of a table. Letter case, blanks and underscores do not matter.

    Args:
        names: columns of the table.
        wanted: columns asked for.
        origin: name of the table, for messages.

    Raises:
        MissingColumnError: no column has the recordings, labels, groups or folds. The message lists the columns.
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
    """Return the error for a column that a table lacks.

    Args:
        origin: name of the table.
        name: column that was looked for.
        names: columns of the table.
        flag: flag that sets the column's name, without dashes.
        role: what the column is for.
        is_asked: whether the user gave the flag, so that its value is wrong.
        hint: what to do instead of setting or correcting the flag, without a full stop.
    """
    names = list(names)
    there = "the columns are " + ", ".join(names) if names else "it has no columns"
    near = suggestion(name, names) if is_asked else ""
    fix = hint or (f"Correct --{flag}" if is_asked else f"Name it with --{flag}")
    return MissingColumnError(f"{origin}: no column {name!r}{role and f' {role}'} ({there}{near}). {fix}")


def missing_label_column(origin: str, wanted: Columns, names: Iterable[str]) -> MissingColumnError:
    """Return the error for a table without a label column."""
    is_asked = wanted.label != Columns.label
    return missing_column(origin, wanted.label, names, "label_column_name", "with the labels", is_asked=is_asked)


def _audio_column(find: Callable[[str], str | None], wanted: Columns, explain: Callable[..., None]) -> str | None:
    """Return the column of the recordings: the one asked for, else the first usual one."""
    if wanted.audio != Columns.audio:
        audio = find(wanted.audio)
        if audio is not None:
            explain(audio, "the recording", "--audio_column_name names it")
        return audio
    usual = dict.fromkeys(filter(None, map(find, (wanted.audio, *wanted.usual_audio))))
    if not usual:
        return None
    audio, *others = usual
    explain(audio, "the recording", "of its name" + (f", in preference to {', '.join(others)}" if others else ""))
    return audio


def _label_column(
    find: Callable[[str], str | None], wanted: Columns, audio: str, where: str, explain: Callable[..., None]
) -> str | None:
    """Return the column of the labels: the one asked for, else ``label``, else the only usual one.

    With several labels per clip, ``labels`` comes before ``label``, because results of such a model have both.
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
    # manifests of NeMo and SpeechBrain, recognised by the name of their recording column
    usual = ("command", *LABEL_COLUMNS) if plain_name(audio) in ("audio filepath", "wav") else LABEL_COLUMNS
    found = list(dict.fromkeys(name for name in map(find, usual) if name is not None and name != audio))
    if len(found) > 1:
        raise MissingColumnError(
            f"{where}no column is called 'label', and each of {', '.join(found)} could be the labels. "
            "Choose one with --label_column_name"
        )
    if found:
        explain(found[0], "the label", "of its name, and no column is called label", is_obvious=False)
    return found[0] if found else None


def _looks_like_data(names: Sequence[str]) -> str | None:
    """Return the first column name that is a number or a recording's name, a sign of a missing header."""
    return next(
        (name for name in names if re.fullmatch(r"-?\d+([.,]\d+)?|.+\.(wav|flac|mp3|ogg|m4a)", name, re.I)), None
    )
