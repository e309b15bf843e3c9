"""Inspect a data set: load, measure and compare clips, then report (``earmark inspect``)."""

from __future__ import annotations

import csv
import json
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earmark.audio.content import equal_content
from earmark.audio.reading import decoder_threads
from earmark.audit.clip_findings import NO_FOLD, Audited, ClipFinding, find_all
from earmark.audit.duplicates import Duplicates, find_duplicates
from earmark.audit.inspect_page import render
from earmark.audit.level_checks import decibels
from earmark.audit.measure import measure
from earmark.clips.clip import ClipTable, Splits
from earmark.errors import DataError, OutputError
from earmark.formats.sheet import Reason
from earmark.io.atomic import no_empty_folder, writing
from earmark.io.os_errors import os_errors_as
from earmark.pages.tables import html_table
from earmark.progress import Progress
from earmark.settings.data_flags import DEFAULT_LONGEST_S
from earmark.settings.evaluation_flags import InspectOptions
from earmark.sources.load_clips import load_folds, load_splits
from earmark.sources.unlabelled import load_unlabelled
from earmark.store.bad_audio import BadAudioWatch
from earmark.store.usable import check_found
from earmark.text import and_more, counted

logger = logging.getLogger(__name__)

HTML, JSON, CSV = "inspect.html", "inspect.json", "findings.csv"
_NAMED_CLASSES = 12
_NAMED_CLIPS = 3


@dataclass(frozen=True)
class Inspection:
    """Result of an inspection.

    Attributes:
        audited: the clips with their measurements.
        findings: findings, the worst first.
        notes: one line for each decision that the user did not ask for.
        reasons: rules by which the tables were read; empty without ``explain``.
        summary: text to print.
        written: files that were written, the most important first.
    """

    audited: Audited
    findings: list[ClipFinding]
    notes: list[str]
    reasons: list[str]
    summary: str
    written: list[Path]

    @property
    def errors(self) -> list[ClipFinding]:
        """Findings that make training fail or results wrong."""
        return [finding for finding in self.findings if finding.level == "error"]

    def __repr__(self) -> str:
        clips, findings = (counted(len(self.audited.table), "clip"), counted(len(self.findings), "finding"))
        return f"<Inspection of {self.audited.table.origin}: {clips}, {findings}>"

    def __str__(self) -> str:
        return self.summary

    def _repr_html_(self) -> str:
        clips = self.audited.table
        rows = [
            (finding.level, finding.text, and_more([clips[row].name for row in finding.rows], _NAMED_CLIPS))
            for finding in self.findings
        ]
        found = counted(len(rows), "finding") if rows else "no findings"
        return html_table(
            ["level", "finding", "clips"], rows, f"{counted(len(clips), 'clip')} of {clips.origin}, {found}"
        )


def inspect(options: InspectOptions, *, loaded: Splits | None = None) -> Inspection:
    """Find problems in a data set.

    Args:
        options: recordings to inspect and folder of the report.
        loaded: the clips, if they are already loaded.

    Raises:
        UsageError: no source is given, or two are.
        DataError: the source cannot be read as tables of clips, or has no clips.
        OutputError: ``output_dir`` cannot be written.
    """
    if not options.output_dir:
        return _inspect(options, None, loaded)
    with no_empty_folder(folder := Path(options.output_dir)):
        _make_folder(folder)
        return _inspect(options, folder, loaded)


def _inspect(options: InspectOptions, folder: Path | None, loaded: Splits | None) -> Inspection:
    there, notes, rules = _tables(options) if loaded is None else _given_tables(loaded)
    check_found(there)
    clips = [clip for table in there.values() for clip in table]
    if not clips:
        raise DataError(f"{_origin(there) or 'data'}: no clips. Check the path, or what filtered them.")
    table = ClipTable(clips, _origin(there))
    of_split = [name for name, one in there.items() for _ in one]
    audited = _audit(table, of_split, options)
    findings = find_all(audited)
    summary = summarize(audited, findings)
    reasons = [reason.text for reason in rules]
    written = _write(folder, audited, findings, notes, reasons) if folder is not None else []
    explained = reasons if options.explain else []
    return Inspection(audited, findings, [n for n in notes if n not in explained], explained, summary, written)


def _tables(options: InspectOptions) -> tuple[dict[str, ClipTable], list[str], Sequence[Reason]]:
    """Return clips by split, notes, and the rules by which tables were read. Without ``fold``, each fold is a split."""
    unlabelled = load_unlabelled(options, seed=options.seed, anyway=options.unlabelled)
    if unlabelled is not None and unlabelled.train is not None:
        return {"recordings": unlabelled.train}, unlabelled.notes, unlabelled.train.reasons
    if options.has_folds and options.fold is None:
        folds = load_folds(options, seed=options.seed, check=False)
        rows = {name: [row for row, fold in enumerate(folds.fold_names) if fold == name] for name in folds.names}
        there = {f"fold {name}" if name else NO_FOLD: folds.table.keep(of_fold) for name, of_fold in rows.items()}
        return there, folds.notes, folds.table.reasons
    splits = load_splits(options, seed=options.seed, check=False)
    tables = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    there = {name: table for name, table in tables.items() if table is not None}
    if any(clip.label is not None for table in there.values() for clip in table):
        return there, splits.notes, splits.reasons
    note = (
        f"{_origin(there)}: column {options.label_column_name!r} has no labels, so the clips are read as unlabelled "
        "(--label_column_name names another column)"
    )
    if list(there) == ["train"]:
        there = {"recordings": there["train"]}
    return there, [note, *splits.notes], splits.reasons


def _given_tables(loaded: Splits) -> tuple[dict[str, ClipTable], list[str], Sequence[Reason]]:
    named = {"train": loaded.train, "validation": loaded.validation, "test": loaded.test}
    there = {name: table for name, table in named.items() if table is not None}
    if list(there) == ["train"] and all(clip.label is None for clip in there["train"]):
        there = {"recordings": there["train"]}
    return there, [], loaded.reasons


def _origin(tables: dict[str, ClipTable]) -> str:
    """Return the folder that holds all splits, or else the origin of each."""
    origins = list(dict.fromkeys(table.origin for table in tables.values()))
    above = {str(Path(origin).parent) for origin in origins}
    return above.pop() if len(origins) > 1 and len(above) == 1 else ", ".join(origins)


def _audit(table: ClipTable, splits: list[str], options: InspectOptions) -> Audited:
    threads = decoder_threads(options.preprocessing_num_workers)
    with Progress("listening", len(table)) as progress:
        watch = BadAudioWatch("skip", [table], progress.write)
        measures = measure(table, num_workers=threads, progress=progress.update, watch=watch)
    if options.near_duplicates:
        logger.info("searching for copies")
        with ExitStack() as stack:
            shown: list[Progress] = []

            def tell(done: int, total: int) -> None:  # the number of pairs is not known at the start
                if not shown:
                    shown.append(stack.enter_context(Progress("comparing", total, unit="pairs")))
                shown[0].to(done, total)

            duplicates = find_duplicates(table, measures, num_workers=threads, progress=tell)
    else:
        duplicates = Duplicates(equal_content(measures.content), [])
    longest_s = options.max_length_seconds or DEFAULT_LONGEST_S
    return Audited(table, splits, measures, duplicates, longest_s, options.group_column)


def summarize(audited: Audited, findings: list[ClipFinding]) -> str:
    """Return the text to print: an overview of the clips, then the findings with the first clips of each."""
    lines = [*_overview(audited), ""]
    if not findings:
        lines.append("no problems found")
    for finding in findings:
        lines.append(f"{finding.level:7}  {finding.text}")
        for row, detail in _shown(finding):
            lines.append(f"           {audited.table[row].name}" + (f"  ({detail})" if detail else ""))
        if len(finding.rows) > _NAMED_CLIPS:
            lines.append(f"           and {len(finding.rows) - _NAMED_CLIPS:,} more")
    return "\n".join(lines)


def _shown(finding: ClipFinding) -> list[tuple[int, str]]:
    details = finding.details or [""] * len(finding.rows)
    return list(zip(finding.rows, details, strict=True))[:_NAMED_CLIPS]


def _overview(audited: Audited) -> list[str]:
    lines = []
    for split in dict.fromkeys(audited.splits):
        rows = np.array([row for row, name in enumerate(audited.splits) if name == split])
        figures = split_figures(audited, rows)
        of_numbers = figures.get("numbers")
        of_classes = counted(figures["classes"], "class") if figures["classes"] else "no labels"
        what = f"numbers {_range(of_numbers, '')}" if of_numbers else of_classes
        head = f"{split:11} {counted(figures['clips'], 'clip')}"
        if figures["duration_s"]:
            measured = f"{_range(figures['duration_s'], 's')}; {_range(figures['rms_db'], 'dB')} on average"
            lines.append(f"{head}, {figures['hours']:.2f} h, {what}; {measured}")
        else:
            lines.append(f"{head}, {what}; no clip could be read, so lengths and levels are unknown")
        named = [f"{label} {count:,}" for label, count in list(figures["labels"].items())[:_NAMED_CLASSES]]
        more = len(figures["labels"]) - len(named)
        if named:
            lines.append(f"{'':11} {', '.join(named)}{f', {more} more' if more > 0 else ''}")
    return lines


def _range(quantiles: dict[str, float], unit: str) -> str:
    low, high, median = (f"{quantiles[name]:.2f} {unit}".rstrip() for name in ("min", "max", "median"))
    return f"{low.removesuffix(unit).rstrip()} to {high}, median {median}"


def split_figures(audited: Audited, rows: np.ndarray) -> dict[str, Any]:
    """Return the statistics of a split for JSON.

    Args:
        audited: all clips.
        rows: the clips of the split.
    """
    measures = audited.measures
    readable = rows[measures.readable[rows]]
    labels = Counter(name for row in rows for name in audited.table[int(row)].classes)
    numbers = [label for row in rows if isinstance(label := audited.table[int(row)].label, float)]
    return {
        "clips": len(rows),
        **({"numbers": _quantiles(np.array(numbers))} if numbers else {}),
        "unreadable": len(rows) - len(readable),
        "hours": round(float(measures.duration_s[readable].sum()) / 3600, 4),
        "classes": len(labels),
        "labels": dict(labels.most_common()),
        "groups": len({clip.group for row in rows if (clip := audited.table[int(row)]).group is not None}),
        "duration_s": _quantiles(measures.duration_s[readable]),
        "peak_db": _quantiles(decibels(measures.peak[readable])),
        "rms_db": _quantiles(decibels(measures.rms[readable])),
        "sampling_rates_hz": _counts(measures.rate_hz[readable]),
        "channels": _counts(measures.channels[readable]),
    }


def _quantiles(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    names = ("min", "p5", "median", "p95", "max")
    found = np.percentile(values, [0, 5, 50, 95, 100])
    return {name: round(float(value), 4) for name, value in zip(names, found, strict=True)}


def _counts(values: np.ndarray) -> dict[str, int]:
    return {str(value): count for value, count in Counter(values.tolist()).most_common()}


def to_dict(
    audited: Audited, findings: list[ClipFinding], notes: list[str], reasons: Sequence[str] = ()
) -> dict[str, object]:
    """Return everything except the names of the clips, for ``inspect.json``."""
    rows = np.arange(len(audited.table))
    names = np.array(audited.splits)
    return {
        "origin": audited.table.origin,
        "notes": notes,
        "reading": list(reasons),
        "splits": {name: split_figures(audited, rows[names == name]) for name in dict.fromkeys(audited.splits)},
        "findings": [finding.to_dict() for finding in findings],
    }


def _make_folder(folder: Path) -> None:
    with os_errors_as(OutputError, f"{folder}: cannot be created"):
        folder.mkdir(parents=True, exist_ok=True)


def _write(
    folder: Path, audited: Audited, findings: list[ClipFinding], notes: list[str], reasons: Sequence[str]
) -> list[Path]:
    content = to_dict(audited, findings, notes, reasons)
    paths = [folder / HTML, folder / JSON, folder / CSV]
    with writing(paths[0]) as file:
        file.write(render(content, audited, findings))
    with writing(paths[1]) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    with writing(paths[2]) as file:
        writer = csv.writer(file)
        writer.writerow(["finding", "level", "path", "split", "label", "detail", "start_s", "end_s"])
        for finding in findings:
            for row, detail in zip(finding.rows, finding.details or [""] * len(finding.rows), strict=True):
                clip = audited.table[row]
                is_part = clip.name != clip.source
                place = [clip.offset_s, clip.end_s] if is_part else ["", ""]
                what = [finding.kind, finding.level, clip.source, audited.splits[row], clip.label_text, detail]
                writer.writerow([*what, *place])
    return paths
