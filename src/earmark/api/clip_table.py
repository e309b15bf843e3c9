"""Load the labelled clips of a source as a table to inspect and filter (``earmark.load_clips``)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from earmark.api.predictions_table import import_pandas
from earmark.api.read_arguments import AFTER_LOADING, Source, source_settings
from earmark.api.startup import prepare_process
from earmark.clips.clip import Clip, ClipTable, Splits, sorted_labels
from earmark.clips.split_names import SPLIT_NAMES
from earmark.errors import UsageError
from earmark.pages.tables import html_table
from earmark.text import and_more, counted, suggestion

if TYPE_CHECKING:
    import pandas

logger = logging.getLogger(__name__)

_SHOWN = 10
_SEED = 42  # the default seed of the commands


class Clips(Sequence[Clip]):
    """Labelled clips of one or more splits, in a fixed order: train, validation, test.

    A table never changes: :meth:`split`, :meth:`filter` and slices return new tables.

    Attributes:
        settings: the settings it was loaded with, which :func:`earmark.train` and :func:`earmark.evaluate` also use.
        notes: one line for each decision made while loading that the caller did not ask for.
    """

    def __init__(self, tables: Mapping[str, ClipTable], settings: Mapping[str, Any], notes: Sequence[str] = ()) -> None:
        self._tables = dict(tables)
        self.settings = dict(settings)
        self.notes = list(notes)

    @property
    def splits(self) -> list[str]:
        """Names of the splits that have clips: ``train``, ``validation``, ``test``."""
        return list(self._tables)

    @property
    def labels(self) -> list[str]:
        """Class names that occur, in the order of a new model's outputs."""
        return sorted_labels({name for clip in self for name in clip.classes})

    @property
    def label_counts(self) -> dict[str, int]:
        """Clips of each class, most frequent first."""
        return dict(Counter(name for clip in self for name in clip.classes).most_common())

    @property
    def origin(self) -> str:
        """Where the clips come from: folders, manifests or the name of a data set."""
        return ", ".join(dict.fromkeys(table.origin for table in self._tables.values()))

    def split(self, name: str) -> Clips:
        """Return the clips of one split.

        Raises:
            UsageError: there is no such split.
        """
        if name not in self._tables:
            known = ", ".join(self.splits) or "none, because there are no clips"
            near = suggestion(name, self.splits) or "."
            raise UsageError(f"{self.origin}: no split {name}{near} Choose from: {known}.")
        return self._with({name: self._tables[name]})

    def filter(self, keep: Callable[[Clip], bool] | None = None, *, label: str | Sequence[str] | None = None) -> Clips:
        """Return the clips that meet all conditions.

        Args:
            keep: returns whether to keep a clip.
            label: keep clips of this class, or of one of these classes.

        Raises:
            UsageError: no clip has the label.
        """
        wanted = None if label is None else {label} if isinstance(label, str) else set(label)
        labels = self.labels if wanted else []
        for name in sorted(wanted or ()):
            if name not in labels:
                known = and_more([*self.label_counts], 20)
                near = suggestion(name, self.label_counts) or "."
                raise UsageError(f"{self.origin}: no clip has the label {name}{near} Choose from: {known}.")

        def fits(clip: Clip) -> bool:
            return (wanted is None or not wanted.isdisjoint(clip.classes)) and (keep is None or bool(keep(clip)))

        rows = {name: [row for row, clip in enumerate(table) if fits(clip)] for name, table in self._tables.items()}
        return self._with({name: self._tables[name].keep(kept) for name, kept in rows.items() if kept})

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame: ``path``, ``split``, ``label``, then groups, folds, times and metadata if any.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return import_pandas().DataFrame(self._rows())

    def to_splits(self) -> Splits:
        """Return the clips in earmark's internal form."""
        reasons = list(dict.fromkeys(reason for table in self._tables.values() for reason in table.reasons))
        train, validation, test = (self._tables.get(name) for name in ("train", "validation", "test"))
        return Splits(train, validation, test, notes=list(self.notes), reasons=reasons)

    def _with(self, tables: Mapping[str, ClipTable]) -> Clips:
        return Clips(tables, self.settings, self.notes)

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for split, table in self._tables.items():
            for clip in table:
                times = {"group": clip.group, "fold": clip.fold, "duration_s": clip.duration_s}
                times = {**times, "offset_s": clip.offset_s or (None if clip.duration_s is None else 0.0)}
                rows.append({**clip.metadata, "path": clip.source, "split": split, "label": clip.label, **times})
        optional = [
            name for name in ("group", "fold", "offset_s", "duration_s") if all(row[name] is None for row in rows)
        ]
        return [{name: value for name, value in row.items() if name not in optional} for row in rows]

    def __len__(self) -> int:
        return sum(len(table) for table in self._tables.values())

    def __iter__(self) -> Iterator[Clip]:
        return (clip for table in self._tables.values() for clip in table)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> Clips: ...
    def __getitem__(self, index: int | slice) -> Clip | Clips:
        chosen = range(len(self))[index]
        first, kept = 0, {}
        for name, table in self._tables.items():
            if isinstance(chosen, range):
                kept[name] = [row - first for row in chosen if first <= row < first + len(table)]
            elif first <= chosen < first + len(table):
                return table[chosen - first]
            first += len(table)
        return self._with({name: self._tables[name].keep(rows) for name, rows in kept.items() if rows})

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(table):,}" for name, table in self._tables.items())
        counts = [f"{label} {count:,}" for label, count in self.label_counts.items()]
        return f"<{counted(len(self), 'clip')} of {self.origin}: {sizes}; {and_more(counts, 8) or 'no labels'}>"

    def _repr_html_(self) -> str:
        rows = self[:_SHOWN]._rows()
        heads = list(dict.fromkeys(name for row in rows for name in row))
        return html_table(heads, ([row.get(name) for name in heads] for row in rows), repr(self).strip("<>"))


def load_clips(
    source: Source | None = None,
    *,
    seed: int = _SEED,
    token: str | None = None,
    cache_dir: str | None = None,
    **settings: object,
) -> Clips:
    """Load the labelled clips of folders, manifests or data sets; no recording is decoded.

    The table has the splits of the source. :func:`earmark.train` makes a validation split if there is none.

    Args:
        source: a folder of recordings, a manifest, or a list of these; ``None`` if ``dataset_name`` names a data set.
        seed: seed of all random choices.
        token: access token for private data sets on the hub.
        cache_dir: folder for downloads; ``None`` for the cache of the hub library.
        **settings: the data flags of ``earmark train``: ``label_column_name``, ``task``, ``group_column``, ...

    Raises:
        UsageError: an unknown setting or a wrong value.
        DataError: the source cannot be read as a table of clips.
    """
    prepare_process()
    values = {**source_settings(source, settings), **settings}
    from earmark.api.settings import inspect_settings
    from earmark.settings.data_flags import DataArguments
    from earmark.sources.load_clips import load_own_splits
    from earmark.sources.source import HubAccess
    from earmark.sources.unlabelled import load_unlabelled

    _check_names(settings, DataArguments)
    early = next((name for name in settings if name in AFTER_LOADING), None)
    if early is not None:
        raise UsageError(f"{early}: used after the clips are loaded. Pass {early} to earmark.train.")
    options = inspect_settings({**values, "seed": seed})
    own = load_unlabelled(options, seed=seed)
    splits = own or load_own_splits(options, seed=seed, hub=HubAccess(token, cache_dir))
    splits = replace(splits, notes=list(splits.notes))
    for note in splits.notes:
        logger.info("%s", note)
    tables = {name: table for name in SPLIT_NAMES if (table := getattr(splits, name)) is not None}
    return Clips(tables, values, splits.notes)


def _check_names(settings: Mapping[str, object], known: type) -> None:
    from dataclasses import fields

    names = [field.name for field in fields(known)]
    for name in settings:
        if name not in names:
            raise UsageError(f"{name}: unknown setting{suggestion(name, names)}")
