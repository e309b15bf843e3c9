"""``earmark label``: score and order recordings, write ``proposals.csv``, and serve the page until a signal arrives."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from earmark import extras
from earmark.clips.clip import Clip, ClipTable
from earmark.device import select_device
from earmark.errors import AudioError, DataError, ModelError
from earmark.export.description import is_export
from earmark.http.listen import bind, listen
from earmark.io.atomic import writing
from earmark.io.csv_rows import csv_row
from earmark.label import order
from earmark.label.decisions import Decisions
from earmark.label.label_clips import clips_to_label, path_in
from earmark.label.label_kind import Decision, LabelKind
from earmark.label.label_tables import Key
from earmark.label.one_label import OneLabel
from earmark.label.scores import Scores, fingerprint, read_scores, score_clips, write_scores
from earmark.label.session import Proposal, Session, propose, work_folder_files
from earmark.label.several_labels import SeveralLabels
from earmark.label.training_words import label_separator, train_command
from earmark.models.build_model import AudioModel, load_trained
from earmark.models.model_source import model_source
from earmark.predict.background_warning import lacks_background
from earmark.predict.inputs import check_inputs
from earmark.runs.folder_lock import locked_folder
from earmark.runs.split_record import find_record
from earmark.settings.labelling_flags import LabelOptions
from earmark.store.known_contents import read_contents
from earmark.store.waveforms import default_store_root
from earmark.text import counted, none_could

logger = logging.getLogger(__name__)

_SERVING = ("fastapi", "uvicorn")


@dataclass(frozen=True)
class LabelOutcome:
    """Result after the server has stopped, or at once without a page."""

    summary: str


def label(options: LabelOptions) -> LabelOutcome:
    """Propose labels and, unless ``options.page`` is off, serve the page for decisions until a signal arrives.

    Raises:
        DataError: there are no recordings, or none can be read.
        ModelError: the model does not exist or has another task.
        UsageError: the port is in use, or flags contradict each other.
        OutputError: the output folder is in use, or cannot be written.
        MissingExtraError: the page needs the extra ``serve``.
    """
    for module in _SERVING if options.page else ():
        extras.require(module)
    folder = Path(options.output_dir)
    with locked_folder(folder), _listening(options) as listener:
        session = prepare(options, folder)
        if options.page:
            from earmark.label.serving import serve

            serve(session, listener)
        return LabelOutcome(_summary(session, folder, options))


@contextmanager
def _listening(options: LabelOptions) -> Iterator[Any]:
    """Yield a socket that listens on the port, so that a port in use is an error before scoring."""
    if not options.page:
        yield None
        return
    with bind("127.0.0.1", options.port, f"--port {options.port}") as listener:
        listen(listener, f"--port {options.port}")
        yield listener


def prepare(options: LabelOptions, folder: Path) -> Session:
    """Read, score and order the recordings, write the proposals, and load earlier decisions.

    Raises:
        EarmarkError: see :func:`label`.
    """
    files = work_folder_files(folder)
    check_inputs(options.inputs)
    audio = _load(options)
    separator = label_separator(options)
    kind = SeveralLabels(separator) if audio.task.has_several else OneLabel()
    table, notes = clips_to_label(options, audio.task, separator)
    for note in notes:
        logger.info("note: %s", note)
    keys, unnamed = _keys(table, folder)
    # reads existing files, so that unrelated files are reported before scoring
    decisions = Decisions(folder, kind, checks=options.check, is_cut=any(key[1] or key[2] for key in keys.values()))
    if not options.check and lacks_background(audio.task, audio.decision, audio.background_class):
        logger.info(
            "the model has no background class, so it also proposes its classes for recordings that have none. "
            "Set these aside (n), or label them background (/) to train such a class"
        )
    rows = list(keys)
    scores = _scores(options, audio, [table[row] for row in rows], files["scores"])
    bad = [(table[rows[i]].source, reason) for i, reason in scores.bad.items()]
    _write_bad(files["bad_audio"], [*unnamed, *bad])
    if not len(scores.rows):
        raise DataError(f"{table.origin}: {none_could(len(table))} be used. See {files['bad_audio']}")
    scored = [rows[i] for i in scores.rows]
    trained_on = _trained_on(options, table.keep(scored), scores)
    clips = [(table[row], keys[row]) for row in scored]
    proposals = _propose(options, kind, audio, clips, scores, trained_on)
    _write_proposals(files["proposals"], proposals, kind)
    if options.check:
        decisions.start_with({key: {"label": kind.write(kind.given(clip)), **_cells(clip)} for clip, key in clips})
    command, note = train_command(options, files["labels"], audio.task, separator)
    facts = {
        "origin": table.origin,
        "order": options.order,
        "check": options.check,
        "bad": len(unnamed) + len(bad),
        "labels_file": str(files["labels"]),
        "train_command": command,
        "train_note": note,
        "aside_file": str(files["set_aside"]),
        "bad_file": str(files["bad_audio"]),
    }
    return Session(proposals, decisions, audio.labels, facts)


def _keys(table: ClipTable, folder: Path) -> tuple[dict[int, Key], list[tuple[str, str]]]:
    """Return the key of each clip, by its first row, and the clips without a valid name."""
    keys: dict[int, Key] = {}
    unnamed = []
    taken: set[Key] = set()
    for row, clip in enumerate(table):
        try:
            path = path_in(folder, clip)
        except AudioError as exc:
            unnamed.append((clip.source, exc.reason))
            continue
        cut = clip.offset_s != 0.0 or clip.duration_s is not None
        length = "" if clip.duration_s is None else repr(clip.duration_s)
        key = (path, repr(clip.offset_s) if cut else "", length)
        if key not in taken:
            keys[row] = key
        taken.add(key)
    twice = len(table) - len(unnamed) - len(keys)
    if twice:
        logger.warning("%s: %s ignored, because an earlier row has the same clip", table.origin, counted(twice, "row"))
    return keys, unnamed


def _cells(clip: Clip) -> dict[str, str]:
    """Return the clip's other cells in the manifest."""
    taken = {"path", "label", "offset", "duration", "given_label", "checked"}
    cells = {name: "" if value is None else str(value) for name, value in clip.metadata.items() if name not in taken}
    return cells | ({"fold": clip.fold} if clip.fold is not None else {})


def _load(options: LabelOptions) -> AudioModel:
    source = model_source(options)
    name = str(options.model_name_or_path)
    if is_export(Path(name).expanduser()):
        raise ModelError(f"{name}: an exported model has no embeddings. Use the run it was made from")
    audio = load_trained(source)
    if not audio.task.has_classes:
        raise ModelError(f"{name}: predicts {audio.task.in_words}. Use a model that predicts classes or labels.")
    return audio


def _scores(options: LabelOptions, audio: AudioModel, clips: Sequence[Clip], path: Path) -> Scores:
    source = model_source(options)
    mark = fingerprint(source.find(str(options.model_name_or_path)), audio.decision, clips)
    earlier = read_scores(path, mark)
    if earlier is not None:
        logger.info("%s, scored by this model at an earlier start", counted(len(clips), "recording"))
        scores = earlier
    else:
        device, workers = select_device(options.device), options.num_workers
        scores = score_clips(audio, clips, device=device, batch_size=options.batch_size, num_workers=workers)
    with_contents = _with_contents(options, scores, clips)
    if with_contents is not earlier:
        write_scores(path, with_contents, mark)
    return with_contents


def _propose(
    options: LabelOptions,
    kind: LabelKind,
    audio: AudioModel,
    clips: Sequence[tuple[Clip, Key]],
    scores: Scores,
    trained_on: np.ndarray,
) -> list[Proposal]:
    """Return a proposal for each clip, in the order in which to check them."""
    given = [kind.given(clip) if options.check else None for clip, _ in clips]
    places = _order(options, kind, scores, given, audio.labels)
    if not options.check:  # training clips already have labels
        places = places[np.argsort(trained_on[places], kind="stable")]
    return [
        propose(
            kind,
            clips[i][0],
            clips[i][1],
            scores.probabilities[i],
            audio.labels,
            given[i],
            decision=audio.decision,
            trained_on=bool(trained_on[i]),
        )
        for i in places.tolist()
    ]


def _order(
    options: LabelOptions, kind: LabelKind, scores: Scores, given: Sequence[Decision], labels: Sequence[str]
) -> np.ndarray:
    """Return the rows of the scores in the order in which to label or check them, int64 (N,)."""
    if options.order == "diverse":
        return order.diverse(kind.doubts(scores.probabilities), scores.embeddings)
    if options.order == "uncertain":
        return order.most_first(kind.doubts(scores.probabilities))
    if options.order == "confident":
        return order.most_first(kind.sureness(scores.probabilities))
    if options.order == "random":
        return order.shuffled(len(given), options.seed)
    return order.most_first(-kind.trust(scores.probabilities, given, labels))


def _with_contents(options: LabelOptions, scores: Scores, clips: Sequence[Clip]) -> Scores:
    """Return the scores with content hashes of the clips, if the model's run recorded those of its training clips."""
    if scores.contents is not None or find_record(options.model_name_or_path) is None:
        return scores
    table = ClipTable([clips[row] for row in scores.rows.tolist()], "")
    contents, _ = read_contents(table, num_threads=options.num_workers, stores=default_store_root())
    return replace(scores, contents=contents)


def _trained_on(options: LabelOptions, table: ClipTable, scores: Scores) -> np.ndarray:
    """Return which clips the model was trained on, by their samples, bool (N,); none without a record of the run."""
    record = find_record(options.model_name_or_path)
    if record is None or scores.contents is None:
        return np.zeros(len(table), bool)
    found = record.trained_on(scores.contents)
    if found.any():
        what = (
            "so it is sure even of their wrong labels. Check these recordings with a run that was not trained on them"
            if options.check
            else "so these come last"
            if int(found.sum()) > 1
            else "which comes last"
        )
        logger.warning("%s: the model was trained on %s of %s, %s", table.origin, f"{int(found.sum()):,}",
                       counted(len(table), "recording"), what)  # fmt: skip
    return found


def _write_proposals(path: Path, proposals: Sequence[Proposal], kind: LabelKind) -> None:
    is_cut = any(one.key[1] or one.key[2] for one in proposals)
    checks = any(one.given is not None for one in proposals)
    columns = ["rank", "path", *(["offset", "duration"] if is_cut else []), "label", "score", "alternatives", "why"]
    columns += ["given_label"] if checks else []
    marks = any(one.trained_on for one in proposals)
    columns += ["trained_on"] if marks else []
    lines = []
    for rank, one in enumerate(proposals, 1):
        ranked = sorted(one.choices, key=lambda choice: -choice[1])
        shown = [[name, round(score, 4)] for name, score in (ranked if kind.several else ranked[1:])]
        cut = list(one.key[1:]) if is_cut else []
        line = [rank, one.key[0], *cut, kind.write(one.proposed), f"{ranked[0][1]:.6f}"]
        line += [json.dumps(shown, ensure_ascii=False), one.why]
        lines.append([*line, *([kind.write(one.given)] if checks else []), *([int(one.trained_on)] if marks else [])])
    _write_csv(path, columns, lines)


def _write_bad(path: Path, bad: Sequence[tuple[str, str]]) -> None:
    if bad:
        logger.warning("%s cannot be used; %s lists the reasons", counted(len(bad), "recording"), path)
        _write_csv(path, ["path", "reason"], bad)
    else:
        path.unlink(missing_ok=True)


def _write_csv(path: Path, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    with writing(path) as stream:
        stream.writelines(csv_row(line) for line in (columns, *lines))


def _summary(session: Session, folder: Path, options: LabelOptions) -> str:
    counts, files = session.counts(), work_folder_files(folder)
    lines = [f"{counted(counts['total'], 'recording')}, proposals in {files['proposals']}"]
    if counts["labelled"] or counts["aside"]:
        done = f"{counts['labelled']:,} labelled ({counts['as_proposed']:,} as the model proposed)"
        lines.append(f"{done}, {counts['aside']:,} set aside: {files['labels']}")
    if not options.page:
        lines.append("run the same command without --page false to label them in a browser")
    return "\n".join(lines)
