"""``earmark embed``: one vector per recording or window, the input of the classifier's head."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from earmark.audio.reading import stream_in_order
from earmark.clips.clip import Clip
from earmark.device import describe_device
from earmark.errors import DataError
from earmark.extras import require
from earmark.formats.parquet import PARQUET
from earmark.heap import freed_memory_kept
from earmark.io.atomic import replacing, writing
from earmark.io.csv_rows import csv_row
from earmark.models.build_model import load_trained
from earmark.models.checkpoint import hub_name
from earmark.models.fingerprint import model_sha256
from earmark.models.model_source import model_source
from earmark.predict.engine import Ended, Scored, score_recordings
from earmark.predict.inputs import ScoringProgress, find_recordings
from earmark.predict.part_file import PartFile, open_part_file
from earmark.predict.provenance import Provenance
from earmark.predict.scorers import make_embedder
from earmark.predict.sink import check_output, summary, warn_of_unreadable
from earmark.scoring.torch_scorer import TorchScorer
from earmark.scoring.windows import Windowing
from earmark.settings.prediction_flags import EmbedOptions
from earmark.tasks import pool
from earmark.text import counted, none_could

logger = logging.getLogger(__name__)

_ROWS_PER_GROUP = 4096  # in a Parquet file
_RESULT_SETTINGS = ("precision", "rows", "window_seconds", "hop_seconds")  # settings that change the rows


@dataclass(frozen=True)
class EmbedOutcome:
    """Numbers of rows written and of recordings that could not be read."""

    rows: int
    bad: int


def embed_files(options: EmbedOptions) -> EmbedOutcome:
    """Write one embedding per recording or window, in input order.

    An embedding is the mean over time of the last hidden states (AST: its pooled token), float32 (D,), the input of the
    classifier's head. The embedding of a recording is the mean over its windows.

    Raises:
        ModelError: the model's head uses a learned sum of layers, so there is no single vector.
        DataError: no recordings, or none could be read.
        OutputError: the output exists or cannot be written.
        AudioError: a recording cannot be read, under ``on_bad_audio=fail``.
        UsageError: an invalid window or hop, or settings that differ from those of the resumed job.
    """
    assert options.output is not None  # EmbedOptions ensures this
    output = Path(options.output)
    sources = list(find_recordings(options.inputs))
    check_output(output, sources)
    is_parquet = output.suffix.lower() in PARQUET.suffixes
    if is_parquet:
        require("pyarrow")
    model = model_source(options)
    scorer, precision = make_embedder(
        load_trained(model), options.device, options.precision, options.model_name_or_path
    )
    logger.info("embeddings are computed in %s on %s", precision, describe_device(scorer.device))
    windowing = Windowing.of_seconds(
        options.window_seconds,
        options.hop_seconds,
        longest_samples=scorer.max_samples,
        sampling_rate_hz=scorer.sampling_rate_hz,
    )
    name = hub_name(str(options.model_name_or_path))
    settings = {key: getattr(options, key) for key in _RESULT_SETTINGS} | {"precision": precision}
    finished: list[dict[str, Any]] = []
    with open_part_file(
        output,
        head="",
        provenance=Provenance.of_now(
            "embed", name, model_sha256(model.find(str(options.model_name_or_path))), settings
        ),
        sources=sources,
        overwrite=options.overwrite,
        resume=options.resume,
        convert=partial(_write_parquet if is_parquet else _write_numpy, finished=finished),
    ) as sink:
        clips = sink.remaining([Clip(source=path, path=path) for path in sources])
        with freed_memory_kept():
            outcome = _embed(options, scorer, windowing, clips, sink)
        finished += sink.finished
        if not any(entry["reason"] is None for entry in finished) and not sink.is_complete:
            raise DataError(f"{none_could(len(finished))} be read. See {sink.bad_audio}")
    _report(options, outcome, len(sources) - len(clips), sink)
    return outcome


def _embed(
    options: EmbedOptions, scorer: TorchScorer, windowing: Windowing, clips: Sequence[Clip], sink: PartFile
) -> EmbedOutcome:
    """Write the embeddings of recordings, and the start and end of each."""
    recordings = stream_in_order(clips, scorer.sampling_rate_hz, num_threads=options.num_workers or 2)
    stream = score_recordings(scorer, recordings, windowing, options.batch_size)
    count = bad = 0
    with ScoringProgress(clips) as progress:
        for clip in clips:
            windows, ended = _of_one(stream, progress)
            if ended.error is None:
                rows = windows if options.rows == "windows" else [_whole(windows)]
                sink.write(np.stack([row.row for row in rows]).astype("<f4").tobytes())
                sink.finish(clip.source, times=[[row.start_s, row.end_s] for row in rows])
                count += len(rows)
            elif options.on_bad_audio == "fail":
                raise ended.error
            else:
                logger.warning("%s", ended.error)
                sink.finish(clip.source, ended.error.reason)
                bad += 1
            progress.finish()
    return EmbedOutcome(count, bad)


def _report(options: EmbedOptions, outcome: EmbedOutcome, earlier: int, sink: PartFile) -> None:
    parts = [f"{counted(outcome.rows, 'embedding')} computed"] if outcome.rows or not earlier else []
    parts += (
        [f"{counted(outcome.bad, 'recording')} could not be read, listed in {sink.bad_audio}"] if outcome.bad else []
    )
    logger.info("%s. Results are in %s", summary(parts, earlier, sink), options.output)
    warn_of_unreadable(sink)


def _of_one(stream: Iterator[tuple[Clip, Scored | Ended]], progress: ScoringProgress) -> tuple[list[Scored], Ended]:
    """Return the windows of the next recording."""
    windows: list[Scored] = []
    for _, answer in stream:
        if isinstance(answer, Ended):
            return windows, answer
        windows.append(answer)
        progress.reach(answer.end_s)
    raise AssertionError("the stream ended within a recording")


def _whole(windows: list[Scored]) -> Scored:
    mean = pool(np.stack([window.row for window in windows]))
    return Scored(windows[0].start_s, windows[-1].end_s, mean.astype(np.float32))


def _places(finished: Sequence[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """Return path, start and end of every row."""
    return [(entry["path"], start_s, end_s) for entry in finished for start_s, end_s in entry.get("times", [])]


def _rows_in(part: Path, count: int) -> np.ndarray:
    """Return the rows of a part file, float32 (N, D), memory-mapped."""
    width = part.stat().st_size // (4 * count)
    return np.memmap(part, "<f4", mode="r", shape=(count, width))


def _write_numpy(part: Path, target: Path, *, finished: Sequence[dict[str, object]]) -> None:
    """Write float32 (N, D) as ``.npy``, and ``path,start_s,end_s`` of the rows to a CSV file next to it."""
    places = _places(finished)
    with replacing(target) as whole:
        with open(part, "rb") as rows, open(whole, "wb") as stream:
            shape = (len(places), part.stat().st_size // (4 * len(places)))
            np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
            shutil.copyfileobj(rows, stream)
        with writing(Path(f"{target}.rows.csv")) as stream_of_rows:
            stream_of_rows.write(csv_row(["path", "start_s", "end_s"]))
            stream_of_rows.writelines(csv_row([path, f"{start:.6g}", f"{end:.6g}"]) for path, start, end in places)


def _write_parquet(part: Path, target: Path, *, finished: Sequence[dict[str, object]]) -> None:
    """Write ``path``, ``start_s``, ``end_s`` and ``embedding``, a list of float32. pyarrow is an extra.

    Parquet only stores UTF-8: other bytes in file names are written as ``\\xNN``.
    """
    import pyarrow as pa
    from pyarrow import parquet

    places = _places(finished)
    rows = _rows_in(part, len(places))
    embedding = pa.list_(pa.float32(), rows.shape[1])
    schema = pa.schema(
        [("path", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64()), ("embedding", embedding)]
    )
    with replacing(target) as whole, parquet.ParquetWriter(whole, schema) as writer:
        for first in range(0, len(places), _ROWS_PER_GROUP):
            group = places[first : first + _ROWS_PER_GROUP]
            values = pa.array(np.array(rows[first : first + len(group)]).ravel())
            columns = [
                pa.array([os.fsencode(path).decode("utf-8", "backslashreplace") for path, _, _ in group]),
                pa.array([float(f"{start:.6g}") for _, start, _ in group]),
                pa.array([float(f"{end:.6g}") for _, _, end in group]),
                pa.FixedSizeListArray.from_arrays(values, rows.shape[1]),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
