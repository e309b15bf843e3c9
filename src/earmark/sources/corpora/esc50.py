"""ESC-50: environmental sounds in five folds. Piczak 2015, doi:10.1145/2733373.2806390."""

from __future__ import annotations

from pathlib import Path

from earmark.sources.corpora.corpus import Corpus, FoundCorpus, Publication, read_listed

_TABLE = Path("meta", "esc50.csv")


def _read(root: Path) -> FoundCorpus:
    return read_listed(root, _TABLE, "filename", "category", "fold", "src_file", "esc10")


ESC50 = Corpus(
    Publication("ESC-50", "Piczak 2015, doi:10.1145/2733373.2806390", "ESC-50-master.zip", clips=2_000, classes=50),
    layout="meta/esc50.csv",
    is_root=lambda folder: (folder / _TABLE).is_file(),
    read=_read,
    flags="--fold_column fold --group_column src_file",
)
