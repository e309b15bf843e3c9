"""Findings of the doctor, one per check, and their text output."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from earmark.text import counted, in_columns

Status = Literal["ok", "warning", "problem", "skipped"]
STATUSES: tuple[Status, ...] = ("ok", "warning", "problem", "skipped")

_WIDTH = 110
_MARK_WIDTH, _NAME_WIDTH = 9, 22


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        name: name of the check.
        status: ``ok``, ``warning`` (works, with a drawback), ``problem`` (must be fixed) or ``skipped``.
        seen: what was found, in one line.
        means: its consequence; empty if fine.
        fix: command or change that fixes it; empty if fine.
    """

    name: str
    status: Status
    seen: str
    means: str = ""
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return a dict for JSON."""
        return asdict(self)


def ok(name: str, seen: str) -> Finding:
    """Return a finding without any problem."""
    return Finding(name, "ok", seen)


def warning(name: str, seen: str, means: str, fix: str) -> Finding:
    """Return a finding about something that works with a drawback."""
    return Finding(name, "warning", seen, means, fix)


def problem(name: str, seen: str, means: str, fix: str) -> Finding:
    """Return a finding about a problem that must be fixed."""
    return Finding(name, "problem", seen, means, fix)


def skipped(name: str, seen: str, means: str = "") -> Finding:
    """Return a finding for a check that was not done or not needed."""
    return Finding(name, "skipped", seen, means, "")


def count_by_status(findings: Sequence[Finding]) -> dict[str, int]:
    """Return the number of findings with each of the four statuses."""
    counts = Counter(finding.status for finding in findings)
    return {status: counts[status] for status in STATUSES}


def render(findings: Sequence[Finding]) -> str:
    """Return a line for each finding, followed by consequence and fix if it is not fine, and a summary at the end."""
    lines = [line for finding in findings for line in _lines(finding)]
    return "\n".join([*lines, "", summary_line(findings)])


def summary_line(findings: Sequence[Finding]) -> str:
    """Return the counts in one line."""
    counts = count_by_status(findings)
    found = f"{counted(counts['warning'], 'warning')}, {counted(counts['problem'], 'problem')}"
    return f"{found}, {counts['ok']} fine, {counts['skipped']} skipped"


def _lines(finding: Finding) -> list[str]:
    head = f"{finding.status:<{_MARK_WIDTH}} {finding.name:<{_NAME_WIDTH}} {' '.join(finding.seen.split())}"
    details = [("means", finding.means), ("fix", finding.fix)]
    return [head, *(line for label, text in details if text for line in _wrapped(label, text))]


def _wrapped(label: str, text: str) -> list[str]:
    start = " " * (_MARK_WIDTH + 1) + f"{label + ':':<7}"
    indent = " " * len(start)
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def environment_table(facts: dict[str, object]) -> str:
    """Return facts about the machine, one per line."""
    return "\n".join(in_columns([(name, str(value)) for name, value in facts.items()]))
