"""``earmark predict``: scores recordings and writes the results, streaming; a stopped job can be resumed."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from earmark.data.clips import Clip
from earmark.errors import DataError, OutputError, UsageError
from earmark.predict.background import lacks_background, warn_of_windows
from earmark.predict.formats import format_named
from earmark.predict.inputs import HeardProgress, find_recordings
from earmark.predict.job import Job, JobCounts
from earmark.predict.on_ray import run_on_ray
from earmark.predict.part_file import open_part_file
from earmark.predict.sink import (
    Sink,
    StandardOutput,
    check_output,
    refuse_resume_without_output,
    report_of_earlier,
    warn_of_unreadable,
)
from earmark.predict.table_folder import open_table_folder
from earmark.settings.prediction import PredictOptions
from earmark.words import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictOutcome:
    """How many recordings were scored, and how many could not be read."""

    scored: int
    unreadable: int


def predict_files(options: PredictOptions) -> PredictOutcome:
    """Score recordings and write the rows of each, in input order, as soon as they are known.

    Raises:
        DataError: no recordings, or none could be read.
        AudioError: a recording cannot be read, under ``on_bad_audio=fail``.
        OutputError: the output exists or cannot be written.
        UsageError: a window, a class or a rule for segments that cannot be, or other settings than those of the job
            that is resumed.
    """
    sources = list(find_recordings(options.inputs))
    _check_before_loading(options, sources)
    ids = format_named(options.format or "csv").ids_for(sources)
    job = Job(options, ids)
    _warn_without_background(options, job)
    with _open(options, sources, job) as sink:
        clips = sink.remaining([Clip(source=path, path=path) for path in sources])
        with HeardProgress(clips) as progress:
            if options.engine == "ray":
                counts = run_on_ray(options, clips, ids, sink, progress)
            else:
                counts = job.run(clips, sink, progress)
        _check_results(counts, len(sources) - len(clips), sink)
    _report(options, counts, len(sources) - len(clips), sink)
    return PredictOutcome(counts.scored, counts.unreadable)


def _check_before_loading(options: PredictOptions, sources: list[str]) -> None:
    """Refuse what cannot work before a model is loaded."""
    if options.resume and options.output is None:
        raise refuse_resume_without_output()
    ending = options.output_format.table_ending
    if ending is not None and len(sources) > 1 and not options.one_table and options.one_file:
        if options.output is None:
            raise UsageError(
                f"--format {options.format}: name a folder with --output; each recording gets a file in it"
            )
        hint = "a folder, or add --one_table" if options.output_format.has_path else "a folder"
        raise UsageError(f"--output {options.output}: one file for {len(sources)} recordings. Name {hint}")
    if options.one_table and options.format == "raven" and options.engine == "ray":
        raise UsageError(
            "--one_table: Raven's table counts times through all recordings, which the workers of --engine ray cannot "
            "know. Leave --one_table out, or use --format csv"
        )
    if options.output is not None and options.one_file:
        check_output(Path(options.output), sources)


def _warn_without_background(options: PredictOptions, job: Job) -> None:
    """Warn of windows with none of the classes; a threshold alone hardly helps (docs/predict.md has figures)."""
    model = job.classifier
    if options.rows in ("windows", "segments") and lacks_background(model.task, model.decision, model.background_class):
        logger.warning("%s", warn_of_windows(f"--rows {options.rows}", model.labels))


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
            convert=format_named(options.format or "csv").convert,
        )
    return open_table_folder(
        Path(options.output),
        inputs=options.inputs,
        sources=sources,
        ending=options.output_format.table_ending or "",
        head=head,
        provenance=job.provenance(),
        overwrite=options.overwrite,
        resume=options.resume,
    )


def _check_results(counts: JobCounts, earlier: int, sink: Sink) -> None:
    """Fail if no recording could be read, so that no output blocks the next job."""
    unreadable = counts.unreadable + sink.earlier_unreadable
    if not counts.scored and not counts.unwritten and earlier == sink.earlier_unreadable:
        raise DataError(f"none of {counted(unreadable, 'recording')} could be read{_listed(sink)}")


def _listed(sink: Sink) -> str:
    return f", listed in {sink.bad_audio}" if sink.bad_audio is not None else ""


def _report(options: PredictOptions, counts: JobCounts, earlier: int, sink: Sink) -> None:
    """Log what the job has done, and fail if it lost results."""
    listed = _listed(sink)
    parts = [f"{counted(counts.scored, 'recording')} scored"]
    parts += report_of_earlier(earlier, sink)
    parts += [f"{counts.unreadable:,} could not be read{listed}"] if counts.unreadable else []
    parts += [f"the results of {counts.unwritten:,} could not be written{listed}"] if counts.unwritten else []
    where = f". Results are in {options.output}" if options.output and (counts.scored or earlier) else ""
    logger.info("%s%s", ", ".join(parts), where)
    warn_of_unreadable(sink)
    if counts.unwritten:
        raise OutputError(
            f"{options.output}: the results of {counted(counts.unwritten, 'recording')} could not be written{listed}. "
            "Fix what the list says, then add --resume"
        )
