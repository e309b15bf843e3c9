"""UrbanSound8K: city sounds in ten folds. Salamon et al. 2014, doi:10.1145/2647868.2655045."""

from __future__ import annotations

from pathlib import Path

from earmark.sources.corpora.corpus import Corpus, FoundCorpus, Publication, read_listed

_TABLE = Path("metadata", "UrbanSound8K.csv")


def _read(root: Path) -> FoundCorpus:
    found = read_listed(
        root,
        _TABLE,
        "slice_file_name",
        "class",
        *("fold", "fsID", "salience"),
        folder=lambda row: f"fold{row['fold']}",
    )
    found.notes.append(
        "the authors of UrbanSound8K ask to use the ten folds unchanged; slices of one recording (fsID) are in one fold"
    )
    return found


URBANSOUND8K = Corpus(
    Publication(
        "UrbanSound8K",
        "Salamon et al. 2014, doi:10.1145/2647868.2655045",
        "UrbanSound8K.tar.gz",
        clips=8_732,
        classes=10,
    ),
    layout="metadata/UrbanSound8K.csv",
    is_root=lambda folder: (folder / _TABLE).is_file(),
    read=_read,
    flags="--fold_column fold --group_column fsID",
)
