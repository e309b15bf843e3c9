"""UrbanSound8K: city sounds in ten folds. Salamon et al. 2014, doi:10.1145/2647868.2655045."""

from __future__ import annotations

from pathlib import Path

from earmark.sources.corpora.corpus import ALL, Corpus, Found, read_metadata

_TABLE = Path("metadata", "UrbanSound8K.csv")


def _read(root: Path) -> Found:
    found = Found(root)
    needed = ("slice_file_name", "fsID", "fold", "class", "salience")
    for _, row in read_metadata(root / _TABLE, needed):
        found.add(
            ALL,
            root / "audio" / f"fold{row['fold']}" / row["slice_file_name"],
            row["class"],
            fold=row["fold"],
            fsID=row["fsID"],
            salience=row["salience"],
        )
    found.leave_out_others(root / "audio", "not named in metadata/UrbanSound8K.csv")
    found.notes.append("its authors ask for the ten folds as they are: slices of one recording (fsID) are in one fold")
    return found


URBANSOUND8K = Corpus(
    title="UrbanSound8K",
    clips=8_732,
    classes=10,
    layout="metadata/UrbanSound8K.csv",
    is_root=lambda folder: (folder / _TABLE).is_file(),
    read=_read,
    archive="UrbanSound8K.tar.gz",
    flags="--fold_column fold --group_column fsID",
    source="Salamon et al. 2014, doi:10.1145/2647868.2655045",
)
