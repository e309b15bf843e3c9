"""What was decided about clips: a label, or that none fits.

Who decides says what stood there, so that two pages do not undo each other's work without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from earmark.errors import EarmarkError, OutputError, UsageError
from earmark.label.label_kind import Decision, LabelKind
from earmark.label.label_tables import Key, Table, absolute_key, key_cells

CHECKED = "checked"


class ConflictError(EarmarkError):
    """Somebody else has decided about this clip meanwhile."""


class Decisions:
    """Labels and clips set aside, in two files of a folder.

    Args:
        folder: where they lie.
        kind: one label for each clip, or several.
        checks: whether clips come with labels that are to be checked: a row of ``labels.csv`` is a decision then only
            where its column ``checked`` says so.
        is_cut: whether clips are stretches of recordings.

    Raises:
        OutputError: what lies there is another file.
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
            raise OutputError(f"{self.labels.path}: was made with --check; add it, or give another --output_dir")

    def start_with(self, given: Mapping[Key, Mapping[str, str]]) -> None:
        """Let ``labels.csv`` have these rows, by clip, where it has none of that clip yet; to be checked."""
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
        """What stands for a clip."""
        place = absolute_key(self._folder, key)
        aside = self.aside.rows.get(place)
        if aside is not None:
            return ("aside", aside["why"])
        row = self.labels.rows.get(place)
        if row is None or (self._checks and not row.get(CHECKED)):
            return None
        return self.kind.read(row["label"])

    def names(self) -> set[str]:
        """All labels in the file."""
        return {name for row in self.labels.rows.values() for name in self.kind.names(self.kind.read(row["label"]))}

    def refresh(self) -> bool:
        """Take over what other programs have written; returns whether they have.

        Raises:
            OutputError: they have made a file unreadable.
        """
        changed = [table.read_if_changed() for table in (self.labels, self.aside)]
        if any(changed):
            self.names()  # reads every label
        return any(changed)

    def decide(self, key: Key, was: Decision, now: Decision) -> None:
        """Write a decision down, or with ``None`` take it back.

        Args:
            key: the clip.
            was: what stood for it when it was looked at.
            now: what shall.

        Raises:
            ConflictError: something else stands for it now.
            UsageError: not a label, or not a reason to set a clip aside.
            OutputError: a file cannot be written, or was made unreadable by another program.
        """
        now = self._checked(now)
        self.refresh()
        stands = self.of(key)
        if stands == now:
            return
        if stands != _sorted(was):
            there = "nothing" if stands is None else repr(_text(stands))
            raise ConflictError(f"decided elsewhere meanwhile: {there}; look again")
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
        # the file that gets the clip first: a crash between the two leaves it in both, and nothing is lost
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
            raise UsageError(f"{decision[1]!r} is no reason to set a clip aside: {', '.join(self.kind.aside)}")
        return decision


def _sorted(decision: Decision) -> Decision:
    """Return a decision with several labels in the order in which they are read from the file."""
    if decision is None or isinstance(decision[1], str):
        return decision
    return decision[0], tuple(sorted(set(decision[1])))


def _text(decision: tuple[str, str | tuple[str, ...]]) -> str:
    value = decision[1]
    return value if isinstance(value, str) else ", ".join(value)
