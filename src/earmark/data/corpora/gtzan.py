"""GTZAN: music genres. Tzanetakis and Cook 2002, doi:10.1109/TSA.2002.800560; its faults: Sturm 2013."""

from __future__ import annotations

from pathlib import Path

from earmark.data.corpora.corpus import ALL, Corpus, Found, subfolders
from earmark.data.listing import list_audio
from earmark.errors import DataError

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
UNREADABLE = {"jazz.00054": "known to be unreadable in copies that go round; left out of all, so that figures compare"}
_FEWEST = 5  # genres by which a folder is known: a copy may lack some


def _is_root(folder: Path) -> bool:
    return sum((folder / genre).is_dir() for genre in GENRES) >= _FEWEST


def _read(root: Path) -> Found:
    found = Found(root)
    for place in subfolders(root):
        if place.name not in GENRES:
            found.leave_out_others(place, f"{place.name} is not one of its genres")
            continue
        by_stem: dict[str, Path] = {}
        for path in list_audio(place):
            stem = path.name[: -len(path.suffix)]
            if stem in UNREADABLE:
                found.left_out.append((path, UNREADABLE[stem]))
            elif stem in by_stem:
                found.left_out.append((path, f"the same clip as {by_stem[stem].name}"))
            else:
                by_stem[stem] = path
                found.add(ALL, path, place.name)
    lacking = [genre for genre in GENRES if not (root / genre).is_dir()]
    if lacking:
        raise DataError(f"{root}: no folder {', '.join(lacking)}; GTZAN has {len(GENRES)} genres, extract it again")
    found.notes.append(
        "it holds copies of recordings, wrong labels and distorted clips (documented by Sturm 2013, arXiv:1306.1461) "
        "and names no artists to keep apart, so accuracies are too high; `earmark inspect` finds copies"
    )
    return found


GTZAN = Corpus(
    title="GTZAN",
    clips=1_000,
    classes=10,
    layout="folders of genres (blues, classical, ...)",
    is_root=_is_root,
    read=_read,
    archive="genres.tar.gz",
    flags="--folds 10",
    source="Tzanetakis and Cook 2002, doi:10.1109/TSA.2002.800560",
)
