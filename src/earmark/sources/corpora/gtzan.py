"""GTZAN: music genres. Tzanetakis and Cook 2002, doi:10.1109/TSA.2002.800560. Known faults: Sturm 2013."""

from __future__ import annotations

from pathlib import Path

from earmark.errors import DataError
from earmark.sources.corpora.corpus import ALL, Corpus, FoundCorpus, Publication, subfolders
from earmark.sources.listing import list_audio

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
UNREADABLE = {"jazz.00054": "unreadable in common copies; left out of all copies, so that results are comparable"}
# Clips that the fault-filtered split of Kereliuk, Sturm and Larsen 2015 (doi:10.1109/TMM.2015.2478068) leaves out:
# copies of other clips, repeated parts of a recording, distorted clips
FAULTY = {
    "classical": (42,),
    "country": (8, 52),
    "disco": (38, 50, 51, 55, 60, 71, 98),
    "hiphop": (1, 39, 46, 47, 48, 49, 50, 76),
    "jazz": (33, 34, 35, 36, 37, 38, 39, 40, 42, 43, 44, 45, 46),
    "metal": (4, 34, 40, 41, 42, 43, 44, 45, 58),
    "pop": (15, 21, 22, 30, 37, 45, 47, 48, 51, 52, 54, 56, 57, 67, 68, 87),
    "reggae": (3, 5, 7, 8, 10, 13, 33, 41, 73, 75, 80, 81, 86, 91),
}
_FAULTY = {f"{genre}.{number:05}" for genre, numbers in FAULTY.items() for number in numbers}
_FEWEST = 5  # genres that a folder must have; copies may lack some


def _is_root(folder: Path) -> bool:
    """Return whether a folder has genres with audio. Common copies also have folders of genres with pictures."""
    places = [folder / genre for genre in GENRES if (folder / genre).is_dir()]
    return len(places) >= _FEWEST and any(list_audio(place) for place in places)


def _read(root: Path) -> FoundCorpus:
    found = FoundCorpus(root)
    for place in subfolders(root):
        if place.name not in GENRES:
            found.leave_out_others(place, f"{place.name} is not a genre of GTZAN")
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
                found.add(ALL, path, place.name, known_faulty="yes" if stem in _FAULTY else "no")
    lacking = [genre for genre in GENRES if not (root / genre).is_dir()]
    if lacking:
        raise DataError(f"{root}: no folder {', '.join(lacking)}. GTZAN has {len(GENRES)} genres. Extract it again")
    faulty = sum(row["known_faulty"] == "yes" for row in found.tables.get(ALL, []))
    found.notes.append(
        f"{faulty} of {sum(map(len, FAULTY.values()))} clips known to be faulty (Kereliuk et al. 2015, "
        "doi:10.1109/TMM.2015.2478068) are in this copy, marked in the column known_faulty"
    )
    found.notes.append(
        "GTZAN has copies of recordings, wrong labels and distorted clips (Sturm 2013, arXiv:1306.1461), and no artist "
        "names to group by, so accuracies are too high; `earmark inspect` finds copies"
    )
    return found


GTZAN = Corpus(
    Publication(
        "GTZAN", "Tzanetakis and Cook 2002, doi:10.1109/TSA.2002.800560", "genres.tar.gz", clips=1_000, classes=10
    ),
    layout="folders of genres (blues, classical, ...)",
    is_root=_is_root,
    read=_read,
    flags="--folds 10",
)
