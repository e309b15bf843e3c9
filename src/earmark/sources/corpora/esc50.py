"""ESC-50: environmental sounds in five folds. Piczak 2015, doi:10.1145/2733373.2806390."""

from __future__ import annotations

from pathlib import Path

from earmark.sources.corpora.corpus import ALL, Corpus, Found, read_metadata

_TABLE = Path("meta", "esc50.csv")


def _read(root: Path) -> Found:
    found = Found(root)
    needed = ("filename", "fold", "category", "esc10", "src_file")
    for _, row in read_metadata(root / _TABLE, needed):
        found.add(
            ALL,
            root / "audio" / row["filename"],
            row["category"],
            fold=row["fold"],
            src_file=row["src_file"],
            esc10=row["esc10"],
        )
    found.leave_out_others(root / "audio", "not named in meta/esc50.csv")
    return found


ESC50 = Corpus(
    title="ESC-50",
    clips=2_000,
    classes=50,
    layout="meta/esc50.csv",
    is_root=lambda folder: (folder / _TABLE).is_file(),
    read=_read,
    archive="ESC-50-master.zip",
    flags="--fold_column fold --group_column src_file",
    source="Piczak 2015, doi:10.1145/2733373.2806390",
)
