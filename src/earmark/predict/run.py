"""``earmark predict``: files and folders in, a table of labels out, streaming."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from earmark.config import PredictOptions
from earmark.data.clips import Clip
from earmark.data.listing import list_audio
from earmark.errors import AudioError, DataError
from earmark.export.load import load_any
from earmark.models.source import source_of
from earmark.predict.classifier import Classifier
from earmark.predict.outputs import open_writer
from earmark.progress import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictOutcome:
    """How many recordings were labelled, and how many could not be read."""

    labelled: int
    bad: int


def predict_files(options: PredictOptions) -> PredictOutcome:
    """Label recordings and write a row for each, in input order, as soon as it is known.

    Raises:
        DataError: nothing to label, or no recording could be read.
        AudioError: a recording cannot be read, under ``on_bad_audio=fail``.
        OutputError: the output exists or cannot be written.
    """
    clips = find_clips(options.inputs)
    classifier = Classifier(
        load_any(source_of(options)),
        device=options.device,
        batch_size=options.batch_size,
        precision=options.precision,
    )
    top_k = min(options.top_k, len(classifier.labels))
    threads = options.num_workers or 2
    labelled = bad = 0
    with (
        open_writer(options.output, options.format or "csv", top_k, overwrite=options.overwrite) as writer,
        Progress("predicting", len(clips)) as progress,
    ):
        for clip, result in classifier.predict_clips(clips, num_threads=threads):
            if isinstance(result, AudioError):
                if options.on_bad_audio == "fail":
                    raise result
                logger.warning("%s", result)
                writer.write_bad(clip.source, result.reason)
                bad += 1
            else:
                writer.write(clip.source, classifier.top(result, top_k))
                labelled += 1
            progress.update(1)
    where = f", written to {options.output}" if options.output else ""
    logger.info("%d recordings labelled, %d could not be read%s", labelled, bad, where)
    if not labelled:
        raise DataError(f"none of the {bad} recordings could be read")
    return PredictOutcome(labelled, bad)


def find_clips(inputs: Sequence[str]) -> list[Clip]:
    """One clip for each file, and for each audio file inside each folder, in the order given, folders sorted.

    Raises:
        DataError: no inputs, or a folder without audio files. A missing file is not an error here: it becomes a row
            that says so.
    """
    clips = [Clip(source=path, path=path) for path in _paths(inputs)]
    if not clips:
        raise DataError("no recordings to label: name files or folders")
    return clips


def _paths(inputs: Sequence[str]) -> Iterator[str]:
    for name in inputs:
        if not Path(name).is_dir():
            yield name
            continue
        found = list_audio(Path(name))
        if not found:
            raise DataError(f"{name}: no audio files in this folder")
        yield from (str(path) for path in found)
