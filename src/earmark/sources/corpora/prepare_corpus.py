"""Write manifests for ``earmark train`` from a public data set as it is published."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from earmark.errors import DataError, OutputError, UsageError
from earmark.io.atomic import writing
from earmark.io.csv_rows import csv_row
from earmark.sources.archives import extracted, is_archive
from earmark.sources.corpora.common_language import COMMON_LANGUAGE
from earmark.sources.corpora.corpus import ALL, Corpus, FoundCorpus
from earmark.sources.corpora.esc50 import ESC50
from earmark.sources.corpora.gtzan import GTZAN
from earmark.sources.corpora.ravdess import RAVDESS
from earmark.sources.corpora.urbansound8k import URBANSOUND8K
from earmark.text import agreeing, and_more, counted

# by name on the command line
CORPORA: dict[str, Corpus] = {
    "esc50": ESC50,
    "urbansound8k": URBANSOUND8K,
    "gtzan": GTZAN,
    "ravdess": RAVDESS,
    "common_language": COMMON_LANGUAGE,
}
LEFT_OUT = "left_out.csv"
_NAMED = 3


@dataclass(frozen=True)
class Prepared:
    """The files that were written.

    Attributes:
        manifests: manifest of each split; ``all`` for a data set without splits.
        left_out: list of the recordings that are in no manifest, if there are any.
        lines: counts, left-out files, notes and the training command, for the user.
    """

    manifests: dict[str, Path]
    left_out: Path | None
    lines: list[str]


def find_corpus(name: str) -> Corpus:
    """Return a data set by its name. Letter case, hyphens and underscores do not matter.

    Raises:
        UsageError: no data set has this name.
    """
    plain = {known.replace("_", ""): corpus for known, corpus in CORPORA.items()}
    corpus = plain.get(name.casefold().replace("-", "").replace("_", ""))
    if corpus is None:
        raise UsageError(f"{name}: unknown data set. Choose one of {', '.join(CORPORA)}")
    return corpus


def prepare(name: str, source: str, output: str, *, skip_missing: bool = False, overwrite: bool = False) -> Prepared:
    """Read a data set in its published layout and write manifests of it.

    Args:
        name: one of :data:`CORPORA`.
        source: its extracted folder, or its archive, which is extracted into the cache.
        output: folder for ``all.csv``, or ``train.csv``, ``validation.csv`` and ``test.csv``, and ``left_out.csv``.
        skip_missing: ignore files that the metadata lists but that do not exist.
        overwrite: replace existing manifests.

    Raises:
        UsageError: unknown data set.
        DataError: the folder or archive is not this data set, or not all of it.
        OutputError: manifests already exist, or cannot be written.
    """
    corpus, folder = find_corpus(name), Path(output)
    found = corpus.read(corpus.locate(_folder(Path(source))))
    _settle_missing(corpus, found, skip=skip_missing)
    if not any(found.tables.values()):
        raise DataError(f"{found.root}: has no recordings of {corpus.published.title}. Extract the archive again")
    manifests = {split: folder / f"{split}.csv" for split in found.tables}
    _refuse_to_replace([*manifests.values(), folder / LEFT_OUT], overwrite=overwrite)
    for split, rows in found.tables.items():
        _write(manifests[split], list(rows[0]), (row.values() for row in rows))
    left_out = folder / LEFT_OUT if found.left_out else None
    if left_out:
        _write(left_out, ["path", "reason"], ((str(path), reason) for path, reason in found.left_out))
    elif overwrite:
        (folder / LEFT_OUT).unlink(missing_ok=True)
    return Prepared(manifests, left_out, _lines(corpus, found, manifests, left_out))


def _folder(source: Path) -> Path:
    if source.is_dir():
        return source
    if not source.exists():
        raise DataError(f"{source}: no such file or folder. Pass the extracted data set, or its archive")
    if not is_archive(source):
        raise DataError(f"{source}: not a folder or an archive. Pass a folder, .zip, .tar or .tar.gz")
    return extracted(source)


def _settle_missing(corpus: Corpus, found: FoundCorpus, *, skip: bool) -> None:
    if not found.missing:
        return
    there = sum(map(len, found.tables.values()))
    if not skip:
        raise DataError(
            f"{found.root}: {len(found.missing):,} of {there + len(found.missing):,} files that the metadata of "
            f"{corpus.published.title} names {agreeing(len(found.missing), 'are')} missing, for example "
            f"{found.missing[0]}. Extract the archive again, or ignore them with --on_missing skip"
        )
    found.left_out += [(path, "listed in the metadata, but missing") for path in found.missing]


def _refuse_to_replace(paths: Sequence[Path], *, overwrite: bool) -> None:
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise OutputError(f"{there[0]}: already exists. Choose another --output, or add --overwrite")


def _write(path: Path, header: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path, errors="strict") as stream:
            stream.writelines(csv_row(row) for row in (header, *rows))
    except UnicodeEncodeError as exc:
        raise DataError(f"{path}: a path in it is not UTF-8 ({exc.object!r:.80}). Rename that folder or file") from exc
    except OSError as exc:
        raise OutputError(f"{path}: cannot be written ({exc.strerror}). Fix the permissions of its folder") from exc


def _lines(corpus: Corpus, found: FoundCorpus, manifests: dict[str, Path], left_out: Path | None) -> list[str]:
    rows = [row for table in found.tables.values() for row in table]
    lines = [
        f"{corpus.published.title} in {found.root}: {counted(len(rows), 'clip')}, "
        f"{counted(len({row['label'] for row in rows}), 'class')}"
    ]
    if len(found.tables) > 1:
        lines.append("splits: " + ", ".join(f"{len(table):,} {split}" for split, table in found.tables.items()))
    if "fold" in rows[0]:
        folds = sorted(Counter(row["fold"] for row in rows).items(), key=lambda item: (len(item[0]), item[0]))
        lines.append("folds: " + ", ".join(f"{fold} ({count:,})" for fold, count in folds))
    if left_out:
        reasons = Counter(reason for _, reason in found.left_out)
        named = and_more([f"{count:,} ({reason})" for reason, count in reasons.most_common()], _NAMED, "; ")
        lines.append(f"left out: {counted(len(found.left_out), 'file')}, listed in {left_out}: {named}")
    lines += [f"note: {note}" for note in [*_differences(corpus, rows), *found.notes]]
    lines += [f"{split}: {path}" for split, path in manifests.items()]
    return [*lines, f"train: {_command(corpus, manifests)}"]


def _differences(corpus: Corpus, rows: Sequence[dict[str, str]]) -> list[str]:
    """Return the differences between this copy and the published data set."""
    notes = []
    for what, here, published in (
        ("clips", len(rows), corpus.published.clips),
        ("classes", len({row["label"] for row in rows}), corpus.published.classes),
    ):
        if published is not None and here != published:
            notes.append(f"{here:,} {what} instead of the published {published:,} ({corpus.published.source})")
    return notes


def _command(corpus: Corpus, manifests: dict[str, Path]) -> str:
    flags = [("train", "train_file"), (ALL, "train_file"), ("validation", "eval_file"), ("test", "test_file")]
    given = [f"--{flag} {shlex.quote(str(manifests[split]))}" for split, flag in flags if split in manifests]
    return " ".join(filter(None, ["earmark train", *given, corpus.flags, "--model_type tc_resnet --output_dir RUN"]))
