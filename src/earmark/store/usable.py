"""Keep the usable clips; fail or warn about the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from earmark.audio.reading import Waveforms, decoder_threads
from earmark.clips.clip import ClipTable
from earmark.errors import DataError
from earmark.progress import Progress
from earmark.settings.data_flags import DataArguments
from earmark.store.bad_audio import BadAudioWatch, listing, refusal
from earmark.store.decoding import DecodedWaveforms
from earmark.store.scan import BadClip, drop_bad, scan_clips
from earmark.store.store_build import open_or_build
from earmark.store.waveforms import WaveformStore, default_store_root
from earmark.text import counted, none_could

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UsableClips:
    """The readable clips of a split.

    Attributes:
        table: the N clips.
        waveforms: reads their samples, by row of the table.
        contents: content of each clip, uint64 (N,), see :mod:`earmark.audio.content`; empty if unknown.
    """

    table: ClipTable
    waveforms: Waveforms
    contents: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))

    @property
    def durations_s(self) -> np.ndarray:
        """Duration of each clip in seconds, float64 (N,)."""
        return np.asarray(self.waveforms.num_samples, dtype=np.float64) / self.waveforms.sampling_rate_hz


def keep_usable(
    tables: Mapping[str, ClipTable], sampling_rate_hz: int, options: DataArguments, *, whole: ClipTable | None = None
) -> tuple[dict[str, UsableClips], list[tuple[str, BadClip]]]:
    """Decode every clip of every split once, into the store or, with the store off, to check it.

    Args:
        tables: clips, by the name of their split.
        sampling_rate_hz: rate at which they will be used.
        options: settings for unreadable clips, decoder threads and the store.
        whole: table that contains all the splits. It is decoded into one store for all splits.

    Returns:
        ``(usable, bad)``: usable clips by split, and ``(split, clip)`` for each unusable clip.

    Raises:
        DataError: under ``on_bad_audio=fail``, clips cannot be used (see :mod:`earmark.store.bad_audio` for how many
            are listed), or a split has no usable clip.
        OutputError: the store cannot be written.
    """
    usable, bad = read_usable(tables, sampling_rate_hz, options, whole=whole)
    report_bad_clips(bad, options.on_bad_audio)
    for name, clips in usable.items():
        if bad and not len(clips.table):
            none = none_could(len(tables[name]))
            raise DataError(f"{tables[name].origin}: {none} be used. Fix or replace them")
    return usable, bad


def check_found(tables: Mapping[str, ClipTable]) -> None:
    """Check that recordings of each table were found, before decoding.

    Raises:
        DataError: no recording of a table was found; the message names the folder that was searched.
    """
    for table in tables.values():
        if table.missing is not None:
            raise DataError(table.missing)


def read_usable(
    tables: Mapping[str, ClipTable], sampling_rate_hz: int, options: DataArguments, *, whole: ClipTable | None = None
) -> tuple[dict[str, UsableClips], list[tuple[str, BadClip]]]:
    """Decode like :func:`keep_usable`, but only return bad clips, for callers that check more before they fail.

    Raises:
        DataError: no recording of a split was found; or, under ``on_bad_audio=fail``, reading stopped early because of
            unusable clips.
        OutputError: the store cannot be written.
    """
    check_found(tables)
    if whole is not None and options.store != "off":
        watch = BadAudioWatch(options.on_bad_audio, [whole])
        return _read_parts(tables, whole, sampling_rate_hz, options, watch)
    return _read_each(tables, sampling_rate_hz, options, BadAudioWatch(options.on_bad_audio, tables.values()))


def _read_each(
    tables: Mapping[str, ClipTable], sampling_rate_hz: int, options: DataArguments, watch: BadAudioWatch
) -> tuple[dict[str, UsableClips], list[tuple[str, BadClip]]]:
    """Read each split on its own."""
    usable: dict[str, UsableClips] = {}
    bad: list[tuple[str, BadClip]] = []
    total = sum(len(table) for table in tables.values())
    with Progress("reading the recordings", total) as progress:
        watch.write = progress.write
        for name, table in tables.items():
            before = progress.done

            def count(done: int, _: int, before: int = before) -> None:
                progress.to(before + done, total)

            usable[name], of_split = _read_all(table, sampling_rate_hz, options, count, watch)
            bad += [(name, clip) for clip in of_split]
    return usable, bad


def _read_parts(
    tables: Mapping[str, ClipTable],
    whole: ClipTable,
    sampling_rate_hz: int,
    options: DataArguments,
    watch: BadAudioWatch,
) -> tuple[dict[str, UsableClips], list[tuple[str, BadClip]]]:
    """Open one store of the whole table, and select the rows of each split."""
    with Progress("reading the recordings", len(whole)) as progress:
        watch.write = progress.write
        store = _open_store(whole, sampling_rate_hz, options, progress.to, watch)
    rows_by_id = {id(clip): row for row, clip in enumerate(whole)}
    reasons = {clip.index: clip.reason for clip in store.bad}
    usable: dict[str, UsableClips] = {}
    bad: list[tuple[str, BadClip]] = []
    for name, table in tables.items():
        rows = [rows_by_id[id(clip)] for clip in table]
        of_split = [
            BadClip(index, table[index].source, reasons[row]) for index, row in enumerate(rows) if row in reasons
        ]
        kept = [row for row in rows if row not in reasons]
        part = store.keep(kept)
        usable[name] = UsableClips(drop_bad(table, of_split), part, part.contents)
        bad += [(name, clip) for clip in of_split]
    return usable, bad


def _open_store(
    table: ClipTable,
    sampling_rate_hz: int,
    options: DataArguments,
    progress: Callable[[int, int], None],
    watch: BadAudioWatch,
) -> WaveformStore:
    assert options.store != "off"
    return open_or_build(
        table,
        sampling_rate_hz,
        root=Path(options.store_dir) if options.store_dir else default_store_root(),
        dtype=options.store,
        num_workers=decoder_threads(options.preprocessing_num_workers),
        progress=progress,
        watch=watch,
    )


def _read_all(
    table: ClipTable,
    sampling_rate_hz: int,
    options: DataArguments,
    progress: Callable[[int, int], None],
    watch: BadAudioWatch,
) -> tuple[UsableClips, list[BadClip]]:
    if options.store == "off":
        threads = decoder_threads(options.preprocessing_num_workers)
        result = scan_clips(table, sampling_rate_hz, num_workers=threads, progress=progress, watch=watch)
        readable = drop_bad(table, result.bad)
        is_good = ~np.isnan(result.durations_s)
        num_samples = (result.durations_s[is_good] * sampling_rate_hz).round().astype(np.int64)
        decoded = DecodedWaveforms(readable, num_samples, sampling_rate_hz, num_threads=threads)
        return UsableClips(readable, decoded, result.contents[is_good]), result.bad
    store = _open_store(table, sampling_rate_hz, options, progress, watch)
    good = store.without_bad()
    return UsableClips(drop_bad(table, store.bad), good, good.contents), store.bad


def report_bad_clips(bad: Sequence[tuple[str, BadClip]], on_bad_audio: str) -> None:
    """Warn about bad clips, or raise under ``on_bad_audio=fail``. Do nothing if there are none.

    Raises:
        DataError: there are bad clips; the message has their number and lists the first ones.
    """
    if not bad:
        return
    clips = [clip for _, clip in bad]
    if on_bad_audio == "fail":
        raise refusal(clips)
    count = counted(len(bad), "recording")
    logger.warning("ignoring %s that cannot be used, listed in bad_audio.csv:\n%s", count, listing(clips))
