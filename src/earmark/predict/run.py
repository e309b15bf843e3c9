"""``earmark predict``: files and folders in, rows of labels out, streaming; a stopped job can go on."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from earmark.data.clips import Clip
from earmark.errors import DataError, UsageError
from earmark.options import PredictOptions
from earmark.predict.background import lacks_background, warn_of_windows
from earmark.predict.inputs import HeardProgress, find_recordings
from earmark.predict.job import Job
from earmark.predict.on_ray import run_on_ray
from earmark.predict.sink import FolderSink, Sink, open_sink
from earmark.words import counted

logger = logging.getLogger(__name__)

# a file for each recording, beside which a program shows it
_ENDINGS = {"audacity": ".labels.txt", "raven": ".selections.txt"}


@dataclass(frozen=True)
class PredictOutcome:
    """How many recordings were labelled, and how many could not be read."""

    labelled: int
    bad: int


def predict_files(options: PredictOptions) -> PredictOutcome:
    """Label recordings and write the rows of each, in input order, as soon as they are known.

    Raises:
        DataError: nothing to label, or no recording could be read.
        AudioError: a recording cannot be read, under ``on_bad_audio=fail``.
        OutputError: the output exists or cannot be written.
        UsageError: a window, a class or a rule for segments that cannot be.
    """
    names = find_recordings(options.inputs)
    job = Job(options)
    _warn_without_background(options, job)
    with _open(options, names, job) as sink:
        clips = sink.left_of([Clip(source=path, path=path) for path in names])
        with HeardProgress(clips) as progress:
            if options.engine == "ray":
                labelled, bad = run_on_ray(options, clips, sink, progress)
            else:
                labelled, bad = job.run(clips, sink, progress)
    where = f", written to {options.output}" if options.output else ""
    earlier = len(names) - len(clips)
    note = f", {earlier} in an earlier job" if earlier else ""
    logger.info("%d labelled, %d could not be read%s%s", labelled, bad, note, where)
    if not labelled and not earlier:
        raise DataError(f"of {counted(bad, 'recording')} none could be read")
    return PredictOutcome(labelled, bad)


def _warn_without_background(options: PredictOptions, job: Job) -> None:
    """Warn of windows with none of the classes; a threshold alone hardly helps (docs/predict.md has figures)."""
    model = job.classifier
    if options.rows in ("windows", "segments") and lacks_background(model.task, model.decision, model.background_class):
        logger.warning("%s", warn_of_windows(f"--rows {options.rows}", model.labels))


def _open(options: PredictOptions, names: dict[str, str], job: Job) -> AbstractContextManager[Sink]:
    head = job.rows.head()
    if options.format in _ENDINGS:
        if options.output is None and len(names) > 1:
            raise UsageError(
                f"--format {options.format}: name a folder with --output; each recording gets a file in it"
            )
        is_file = options.output is not None and Path(options.output).suffix.lower() == ".txt"
        if is_file and len(names) > 1:
            raise UsageError(f"--output {options.output}: one file for {len(names)} recordings; name a folder")
        if options.output is not None and not is_file:
            files = {source: f"{name}{_ENDINGS[options.format or '']}" for source, name in names.items()}
            return nullcontext(
                FolderSink(Path(options.output), files, head, overwrite=options.overwrite, resume=options.resume)
            )
    return open_sink(
        options.output, head=head, settings=job.settings(), overwrite=options.overwrite, resume=options.resume
    )
