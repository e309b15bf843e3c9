"""``earmark embed``: a vector for each recording or window, from what the classifier's body makes of it."""

from __future__ import annotations

import csv
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from earmark.data.clips import Clip
from earmark.data.reading import stream_in_order
from earmark.device import select_device
from earmark.errors import AudioError, DataError, ModelError, OutputError
from earmark.extras import require
from earmark.models.build import load_trained
from earmark.models.embedding import EmbeddingModel, has_embedding
from earmark.models.forward import cast_in_place
from earmark.models.source import source_of
from earmark.options import EmbedOptions
from earmark.predict.classifier import DTYPES
from earmark.predict.engine import Ended, Scored, score_recordings
from earmark.predict.inputs import HeardProgress, find_recordings
from earmark.predict.sink import append_bad_audio, translated
from earmark.scoring.forward import TorchScorer
from earmark.scoring.windows import Windowing
from earmark.words import counted

logger = logging.getLogger(__name__)

_ROWS_A_GROUP = 4096  # of a Parquet file


@dataclass(frozen=True)
class EmbedOutcome:
    """Rows that were written, and recordings that could not be read."""

    rows: int
    bad: int


def embed_files(options: EmbedOptions) -> EmbedOutcome:
    """Write an embedding for each recording or window, in input order.

    An embedding is the mean over time of the last hidden states (AST: its pooled token), float32 (D,), the vector that
    the classifier's head works on; that of a recording is the mean of its windows'.

    Raises:
        ModelError: a model whose head takes a learned sum of layers, of which there is no one vector.
        DataError: nothing to listen to, or no recording could be read.
        OutputError: the output exists or cannot be written.
        AudioError: a recording cannot be read, under ``on_bad_audio=fail``.
        UsageError: a window or a hop that cannot be.
    """
    names = find_recordings(options.inputs)
    scorer = _scorer(options)
    windowing = Windowing.of_seconds(
        options.window_seconds,
        options.hop_seconds,
        longest_samples=scorer.max_samples,
        sampling_rate_hz=scorer.sampling_rate_hz,
    )
    clips = [Clip(source=path, path=path) for path in names]
    recordings = stream_in_order(clips, scorer.sampling_rate_hz, num_threads=options.num_workers or 2)
    stream = score_recordings(scorer, recordings, windowing, options.batch_size)
    assert options.output is not None  # EmbedOptions sees to it
    count = bad = 0
    with _open(Path(options.output), overwrite=options.overwrite) as table, HeardProgress(clips) as progress:
        for clip in clips:
            windows, ended = _of_one(stream, progress)
            if ended.error is None:
                rows = windows if options.rows == "windows" else [_whole(windows)]
                table.write(clip.source, rows)
                count += len(rows)
            elif options.on_bad_audio == "fail":
                raise ended.error
            else:
                logger.warning("%s", ended.error)
                table.write_bad(clip.source, ended.error)
                bad += 1
            progress.finish()
        if not count:
            raise DataError(f"of {counted(bad, 'recording')} none could be read")
    logger.info(
        "%s written to %s, %s could not be read",
        counted(count, "embedding"),
        options.output,
        counted(bad, "recording"),
    )
    return EmbedOutcome(count, bad)


def _scorer(options: EmbedOptions) -> TorchScorer:
    audio = load_trained(source_of(options))
    if not has_embedding(audio.model):
        raise ModelError(
            f"{options.model_name_or_path}: its head takes a learned sum of all layers (use_weighted_layer_sum), so "
            "there is no one embedding of a clip"
        )
    device = select_device(options.device)
    model = audio.model.to(device).eval()
    if (dtype := DTYPES[options.precision]) is not None:
        cast_in_place(model, dtype)
    return TorchScorer(EmbeddingModel(model), audio.frontend, device)


def _of_one(stream: Iterator[tuple[Clip, Scored | Ended]], progress: HeardProgress) -> tuple[list[Scored], Ended]:
    """The windows of the recording whose turn it is."""
    windows: list[Scored] = []
    for _, answer in stream:
        if isinstance(answer, Ended):
            return windows, answer
        windows.append(answer)
        progress.reach(answer.end_s)
    raise AssertionError("the stream ended within a recording")


def _whole(windows: list[Scored]) -> Scored:
    mean: np.ndarray = np.stack([window.row for window in windows]).mean(axis=0, dtype=np.float64)
    return Scored(windows[0].start_s, windows[-1].end_s, mean.astype(np.float32))


class _Table(Protocol):
    """A file of embeddings that is being written."""

    def write(self, source: str, rows: list[Scored]) -> None:
        """The rows of one recording."""

    def complete(self, target: Path) -> None:
        """Give the file its name."""

    def close(self) -> None:
        """Let go of it, whether it is complete or not."""


@contextmanager
def _open(output: Path, *, overwrite: bool) -> Iterator[_Output]:
    if output.exists() and not overwrite:
        raise OutputError(f"{output}: exists already; name another file or add --overwrite")
    part = Path(f"{output}.part")
    with translated(output):
        table: _Table = _Parquet(part) if output.suffix.lower() == ".parquet" else _Numpy(part)
        result = _Output(output, table)
    try:
        yield result
        with translated(output):
            table.complete(output)
    finally:
        table.close()
        part.unlink(missing_ok=True)


class _Output:
    """A table of embeddings, and the list of what could not be read."""

    def __init__(self, path: Path, table: _Table) -> None:
        self._path = path
        self._table = table
        self._bad_audio = Path(f"{path}.bad_audio.csv")
        self._bad_audio.unlink(missing_ok=True)

    def write(self, source: str, rows: list[Scored]) -> None:
        """The rows of one recording."""
        with translated(self._path):
            self._table.write(source, rows)

    def write_bad(self, source: str, error: AudioError) -> None:
        """A recording that could not be read."""
        with translated(self._path):
            append_bad_audio(self._bad_audio, source, error.reason)


class _Numpy:
    """float32 (N, D) in ``.npy``, and ``path,start_s,end_s`` of its rows in a CSV beside it."""

    def __init__(self, part: Path) -> None:
        self._part = part
        self._rows: BinaryIO = open(part, "w+b")  # noqa: SIM115  (closed by close)
        self._places: list[list[Any]] = []
        self._width = 0

    def write(self, source: str, rows: list[Scored]) -> None:
        for row in rows:
            self._rows.write(np.ascontiguousarray(row.row, np.float32).tobytes())
            self._width = len(row.row)
            self._places.append([source, f"{row.start_s:.6g}", f"{row.end_s:.6g}"])

    def complete(self, target: Path) -> None:
        self._rows.seek(0)
        whole = Path(f"{target}.writing")
        with open(whole, "wb") as stream:
            shape = {"descr": "<f4", "fortran_order": False, "shape": (len(self._places), self._width)}
            np.lib.format.write_array_header_1_0(stream, shape)
            shutil.copyfileobj(self._rows, stream)
        with open(f"{target}.rows.csv", "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([["path", "start_s", "end_s"], *self._places])
        os.replace(whole, target)

    def close(self) -> None:
        with suppress(OSError):  # of a full disk, met and told of before: it would be written once more
            self._rows.close()


class _Parquet:
    """``path``, ``start_s``, ``end_s`` and ``embedding``, a list of float32. pyarrow is an extra."""

    def __init__(self, part: Path) -> None:
        require("pyarrow")
        self._part = part
        self._writer: Any = None
        self._held: list[tuple[str, Scored]] = []

    def write(self, source: str, rows: list[Scored]) -> None:
        self._held += [(source, row) for row in rows]
        if len(self._held) >= _ROWS_A_GROUP:
            self._flush()

    def complete(self, target: Path) -> None:
        self._flush()
        self._writer.close()
        os.replace(self._part, target)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        width = len(self._held[0][1].row) if self._held else 0
        if not self._held:
            return
        values = pa.array(np.concatenate([row.row for _, row in self._held]).astype(np.float32))
        columns = {
            "path": pa.array([source for source, _ in self._held]),
            "start_s": pa.array([row.start_s for _, row in self._held]),
            "end_s": pa.array([row.end_s for _, row in self._held]),
            "embedding": pa.FixedSizeListArray.from_arrays(values, width),
        }
        table = pa.table(columns)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._part, table.schema)
        self._writer.write_table(table)
        self._held = []
