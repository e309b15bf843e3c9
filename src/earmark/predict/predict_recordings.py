"""``earmark predict``: score recordings and stream the results to the output. Stopped jobs can be resumed."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earmark.clips.clip import Clip
from earmark.errors import DataError, OutputError, UsageError
from earmark.formats.format_registry import DEFAULT_WRITER, usable_writer, writers_with
from earmark.formats.output_names import NAMES, write_names
from earmark.heap import freed_memory_kept
from earmark.predict.background_warning import lacks_background, warn_of_windows
from earmark.predict.inputs import ScoringProgress, find_recordings
from earmark.predict.long_recordings import count_long, one_label_for_long
from earmark.predict.model_classes import classes_of_folder
from earmark.predict.part_file import open_part_file
from earmark.predict.sink import (
    Sink,
    StandardOutput,
    check_output,
    refuse_resume_without_output,
    summary,
    warn_of_unreadable,
)
from earmark.predict.table_folder import open_table_folder
from earmark.predict.timeline import check_labels
from earmark.settings.kinds import alternatives
from earmark.settings.prediction_flags import PredictOptions
from earmark.text import and_more, counted, none_could

if TYPE_CHECKING:
    from earmark.predict.job import Job, JobCounts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictOutcome:
    """Numbers of recordings that were scored and that could not be read."""

    scored: int
    unreadable: int


def predict_files(options: PredictOptions) -> PredictOutcome:
    """Score recordings and write the rows of each, in input order, as soon as they are available.

    Raises:
        DataError: no recordings, a missing input, or no recording could be read.
        AudioError: a recording cannot be read, under ``on_bad_audio=fail``.
        OutputError: the output exists or cannot be written.
        UsageError: an invalid window, class or segment rule, or settings that differ from those of the resumed job.
    """
    sources = list(find_recordings(options.inputs))
    _check_before_loading(options, sources)
    writer = usable_writer(options.format or DEFAULT_WRITER)
    ids = {} if writer.ids is None else writer.ids(sources)

    from earmark.predict.job import Job  # loads torch, which takes seconds, so the checks above come first
    from earmark.predict.on_ray import run_on_ray

    job = Job(options, ids)
    _note_background(options, job)
    with _open(options, sources, job) as sink:
        clips = sink.remaining([Clip(source=path, path=path) for path in sources])
        with ScoringProgress(clips) as progress:
            _note_long(options, job, clips, progress)
            if options.engine == "ray":
                counts = run_on_ray(options, clips, ids, sink, progress)
            else:
                with _profiled(options, job), freed_memory_kept():
                    counts = job.run(clips, sink, progress)
        _check_results(counts, len(sources) - len(clips), sink)
    _report(options, counts, len(sources) - len(clips), sink)
    _record_names(options, sources, ids)
    return PredictOutcome(counts.scored, counts.unreadable)


def _check_before_loading(options: PredictOptions, sources: list[str]) -> None:
    """Reject invalid options before loading a model."""
    if options.resume and options.output is None:
        raise refuse_resume_without_output()
    ending = options.writer.table_ending
    if ending is not None and len(sources) > 1 and not options.one_table and options.one_file:
        if options.output is None:
            raise UsageError(
                f"--format {options.format}: each recording gets its own file. Choose a folder with --output"
            )
        hint = "a folder, or add --one_table" if options.writer.has_path else "a folder"
        raise UsageError(f"--output {options.output}: one file for {len(sources)} recordings. Choose {hint}")
    if options.one_table and options.writer.counts_through and options.engine == "ray":
        others = alternatives(writers_with(lambda writer: not writer.counts_through and writer.has_path))
        raise UsageError(
            f"--one_table: one table of --format {options.format} counts time from the start of the "
            f"first recording, which the workers of --engine ray cannot know. Remove --one_table, or use "
            f"--format {others}"
        )
    if options.output is not None and options.one_file:
        check_output(Path(options.output), sources)
    known = classes_of_folder(str(options.model_name_or_path))
    if known is not None:
        check_labels("--only_labels", options.only_labels or [], known)


def _note_background(options: PredictOptions, job: Job) -> None:
    """Log what happens to windows with none of the classes. A threshold alone hardly helps (docs/predict.md)."""
    model = job.classifier
    if options.rows == "segments" and options.only_labels is None and not options.include_background:
        left_out = model.background_classes
        if left_out:
            logger.info(
                "Segments of the background %s %s are omitted. Add --include_background to write them",
                "class" if len(left_out) == 1 else "classes",
                ", ".join(map(repr, left_out)),
            )
    if options.rows in ("windows", "segments") and lacks_background(model.task, model.decision, model.background_class):
        logger.warning("%s", warn_of_windows(f"--rows {options.rows}", model.labels))


def _profiled(options: PredictOptions, job: Job) -> AbstractContextManager[object]:
    """Profile the job if the user asked for it.

    Raises:
        UsageError: the model is an export.
    """
    if options.profile is None:
        return nullcontext()
    from earmark.export.load_export import ExportedScorer

    scorer = job.classifier.scorer
    if isinstance(scorer, ExportedScorer):
        raise UsageError(
            f"--profile: {options.model_name_or_path} is an export, which torch does not run. Use the model that "
            "it was exported from."
        )
    from earmark.profiling.profiled_scoring import profiled_scoring
    from earmark.scoring.torch_scorer import TorchScorer

    assert isinstance(scorer, TorchScorer)
    return profiled_scoring(scorer, options.profile, Path(f"{options.output}.profile"), workers="--num_workers")


def _note_long(options: PredictOptions, job: Job, clips: Sequence[Clip], progress: ScoringProgress) -> None:
    """Log a note about recordings that are much longer than a clip but get one row, unless the user asked for that."""
    asked = {"rows", "aggregate", "window_seconds", "hop_seconds"} & options.given
    if options.rows != "clips" or asked:
        return
    window_s = job.windowing.window_samples / job.classifier.sampling_rate_hz
    long = count_long(progress.durations_s, window_s)
    if long:
        hop = f"--hop_seconds {window_s / 2:.3g}"
        logger.info("note: %s. Add %s to get one label per window", one_label_for_long(long, window_s), hop)


def _open(options: PredictOptions, sources: list[str], job: Job) -> AbstractContextManager[Sink]:
    head = job.rows.head()
    if options.output is None:
        return nullcontext(StandardOutput(head))
    if options.one_file:
        return open_part_file(
            Path(options.output),
            head=head,
            provenance=job.provenance(),
            sources=sources,
            overwrite=options.overwrite,
            resume=options.resume,
            convert=options.writer.convert,
        )
    return open_table_folder(
        Path(options.output),
        inputs=options.inputs,
        sources=sources,
        ending=options.writer.table_ending or "",
        head=head,
        provenance=job.provenance(),
        overwrite=options.overwrite,
        resume=options.resume,
    )


def _check_results(counts: JobCounts, earlier: int, sink: Sink) -> None:
    """Raise if no recording could be read, so that no output blocks the next job."""
    unreadable = counts.unreadable + sink.earlier_unreadable
    if not counts.scored and not counts.unwritten and earlier == sink.earlier_unreadable:
        raise DataError(f"{none_could(unreadable)} be read{_listed(sink)}. Check the files.")


def _record_names(options: PredictOptions, sources: list[str], ids: Mapping[str, str]) -> None:
    """Write a table of the recordings' names if they differ from the paths; if there is no output file, only warn."""
    changed = [source for source, name in ids.items() if name != os.path.splitext(source)[0]]
    if options.output is not None:
        Path(f"{options.output}{NAMES}").unlink(missing_ok=True)  # the table of a replaced output
    if changed and options.output is not None:
        table = write_names(Path(options.output), ids)
        logger.info("%s lists the recordings whose names in the results are not their paths", table)
    elif changed:
        logger.warning(
            "--format %s: names in the results differ from the paths for %s. Add --output FILE to get a table of names",
            options.format,
            counted(len(changed), "recording"),
        )
    loses_path = options.writer.loses_path
    lost = [] if loses_path is None else [source for source in sources if loses_path(source)]
    if lost:
        logger.warning(
            "--format %s: the paths of %s have a tab or a line end, which becomes a blank in the results: %s",
            options.format,
            counted(len(lost), "recording"),
            and_more([repr(path) for path in lost]),
        )
    writer = options.writer
    odd = [source for source in sources if not _is_utf8(source)] if writer.has_path and not writer.escapes_bytes else []
    if odd:
        logger.warning(
            "--format %s: the paths of %s are not UTF-8, so most programs cannot read the results: %s. Rename the "
            "files, or use --format jsonl",
            options.format,
            counted(len(odd), "recording"),
            and_more([repr(path) for path in odd]),
        )


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _listed(sink: Sink) -> str:
    return f", listed in {sink.bad_audio}" if sink.bad_audio is not None else ""


def _report(options: PredictOptions, counts: JobCounts, earlier: int, sink: Sink) -> None:
    """Log what the job has done. Raise if it lost results."""
    listed = _listed(sink)
    is_idle = earlier and not (counts.scored or counts.unreadable or counts.unwritten)
    parts = [] if is_idle else [f"{counted(counts.scored, 'recording')} scored"]
    parts += [f"{counts.unreadable:,} could not be read{listed}"] if counts.unreadable else []
    parts += [f"the results of {counts.unwritten:,} could not be written{listed}"] if counts.unwritten else []
    where = f". Results are in {options.output}" if options.output and (counts.scored or earlier) else ""
    logger.info("%s%s", summary(parts, earlier, sink), where)
    warn_of_unreadable(sink)
    if counts.unwritten:
        raise OutputError(
            f"{options.output}: the results of {counted(counts.unwritten, 'recording')} could not be written{listed}. "
            "Fix the errors in the list, then add --resume"
        )
