"""Decisions about clips: to give a clip a label, or to set it aside because no label fits.

A new decision names the one that it replaces, so that two pages do not silently undo each other's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from earmark.errors import EarmarkError, OutputError, UsageError
from earmark.label.label_kind import Decision, LabelKind
from earmark.label.label_tables import Key, Table, absolute_key, key_cells

CHECKED = "checked"


class ConflictError(EarmarkError):
    """Somebody else has decided about the clip in the meantime."""


class Decisions:
    """Labelled clips and clips set aside, in two files of a folder.

    Args:
        folder: folder of the files.
        kind: one label for each clip, or several.
        checks: whether existing labels of clips are checked. If so, a row of ``labels.csv`` is a decision only if its
            column ``checked`` is set.
        is_cut: whether clips are parts of recordings.

    Raises:
        OutputError: the folder has other files with these names.
    """

    def __init__(self, folder: Path, kind: LabelKind, *, checks: bool, is_cut: bool) -> None:
        cut = ("offset", "duration") if is_cut else ()
        self._folder = folder
        self.kind = kind
        self._checks = checks
        self._given: Mapping[Key, Mapping[str, str]] = {}
        self.labels = Table(
            folder / "labels.csv", ("path", "label", *cut, *(("given_label", CHECKED) if checks else ()))
        )
        self.aside = Table(folder / "set_aside.csv", ("path", "why", *cut))
        if not checks and any(CHECKED in row for row in self.labels.rows.values()):
            raise OutputError(f"{self.labels.path}: was made with --check. Add --check, or choose another --output_dir")

    def start_with(self, given: Mapping[Key, Mapping[str, str]]) -> None:
        """Add unchecked rows to ``labels.csv`` for clips that it does not have yet."""
        rows = {
            absolute_key(self._folder, key): {**key_cells(key), **row, "given_label": row["label"], CHECKED: ""}
            for key, row in given.items()
        }
        self._given = rows
        there = self.labels.rows.keys() | self.aside.rows.keys()
        new = {place: row for place, row in rows.items() if place not in there}
        if new:
            self.labels.add_columns([name for row in new.values() for name in row])
            self.labels.write({**self.labels.rows, **new})

    def of(self, key: Key) -> Decision:
        """Return the decision about a clip."""
        place = absolute_key(self._folder, key)
        aside = self.aside.rows.get(place)
        if aside is not None:
            return ("aside", aside["why"])
        row = self.labels.rows.get(place)
        if row is None or (self._checks and not row.get(CHECKED)):
            return None
        return self.kind.read(row["label"])

    def names(self) -> set[str]:
        """Return all labels in the file."""
        return {name for row in self.labels.rows.values() for name in self.kind.names(self.kind.read(row["label"]))}

    def refresh(self) -> bool:
        """Read changes by other programs. Return whether there were any.

        Raises:
            OutputError: another program has made a file unreadable.
        """
        changed = [table.read_if_changed() for table in (self.labels, self.aside)]
        if any(changed):
            self.names()  # checks every label
        return any(changed)

    def decide(self, key: Key, was: Decision, now: Decision) -> None:
        """Save a decision, or remove it with ``None``.

        Args:
            key: the clip.
            was: the decision that the user saw.
            now: the new decision.

        Raises:
            ConflictError: somebody else has decided about the clip since the user saw it.
            UsageError: not a valid label or reason to set a clip aside.
            OutputError: a file cannot be written, or another program has made it unreadable.
        """
        now = self._checked(now)
        self.refresh()
        stands = self.of(key)
        if stands == now:
            return
        if stands != _sorted(was):
            raise ConflictError(f"in the meantime, somebody else has {_in_words(stands)}. Check the clip again")
        labels, aside = dict(self.labels.rows), dict(self.aside.rows)
        place = absolute_key(self._folder, key)
        kept = {**aside.pop(place, {}), **labels.pop(place, {})}
        row = {**key_cells(key), **kept}
        if now is not None and now[0] == "aside":
            aside[place] = {**row, "why": str(now[1])}
        elif now is not None:
            labels[place] = {**row, "label": self.kind.write(now)} | ({CHECKED: "yes"} if self._checks else {})
        elif place in self._given:
            labels[place] = dict(self._given[place])
        # Write the file that gets the clip first: after a crash between the two, both have the clip and nothing is
        # lost.
        tables = [(self.labels, labels), (self.aside, aside)]
        for table, rows in tables if place in labels else tables[::-1]:
            if rows != table.rows:
                table.write(rows)

    def _checked(self, decision: Decision) -> Decision:
        if decision is None:
            return None
        if decision[0] != "aside":
            return self.kind.checked(decision)
        if decision[1] not in self.kind.aside:
            reasons = ", ".join(self.kind.aside)
            raise UsageError(f"{decision[1]!r} is not a reason to set a clip aside. Use one of {reasons}")
        return decision


def _sorted(decision: Decision) -> Decision:
    """Return a decision with its labels in the order in which they are read from the file."""
    if decision is None or isinstance(decision[1], str):
        return decision
    return decision[0], tuple(sorted(set(decision[1])))


def _in_words(decision: Decision) -> str:
    """Return what somebody did, after "somebody has"."""
    if decision is None:
        return "removed the decision"
    kind, value = decision
    if kind == "aside":
        return f"set the clip aside ({value})"
    names = [value] if isinstance(value, str) else value
    return f"labelled the clip {', '.join(map(repr, names))}" if names else "decided that the clip has no labels"
