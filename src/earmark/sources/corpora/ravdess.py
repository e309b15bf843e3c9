"""RAVDESS, speech part: acted emotions. Livingstone and Russo 2018, doi:10.1371/journal.pone.0196391."""

from __future__ import annotations

import re
from pathlib import Path

from earmark.errors import DataError
from earmark.sources.corpora.corpus import ALL, Corpus, FoundCorpus, Publication, subfolders
from earmark.sources.listing import list_audio

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")  # 01 to 08
_INTENSITIES = {"01": "normal", "02": "strong"}
# modality (03: audio only), channel (01 speech, 02 song), emotion, intensity, statement, repetition, actor
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_ACTOR = re.compile(r"Actor_(\d\d)")
_SONG = "song; names of speech recordings start with 03-01"


def _is_root(folder: Path) -> bool:
    return any(_ACTOR.fullmatch(entry.name) for entry in subfolders(folder))


def _has_speech(folder: Path) -> bool:
    return any(next(place.glob("03-01-*"), None) for place in subfolders(folder) if _ACTOR.fullmatch(place.name))


def _read(root: Path) -> FoundCorpus:
    found = FoundCorpus(root)
    for place in subfolders(root):
        actor = _ACTOR.fullmatch(place.name)
        for path in list_audio(place) if actor else []:
            reason = _add(found, path, actor.group(1) if actor else "")
            if reason:
                found.left_out.append((path, reason))
    if not found.tables and any(reason == _SONG for _, reason in found.left_out):
        raise DataError(
            f"{root}: has the song recordings of RAVDESS, but only speech is supported. Extract "
            f"{RAVDESS.published.archive}"
        )
    found.leave_out_others(root, "not in a folder Actor_NN")
    return found


def _add(found: FoundCorpus, path: Path, folder_actor: str) -> str | None:
    """Add a recording to the table, or return the reason to leave it out."""
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return "its name is not seven two-digit numbers"
    modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
    if modality != "03" or path.suffix.casefold() != ".wav":
        return "not an audio-only recording (03-...wav)"
    if channel == "02":
        return _SONG
    if channel != "01" or not 1 <= int(emotion) <= len(EMOTIONS) or intensity not in _INTENSITIES:
        return "its name has a number that the data set does not define"
    if actor != folder_actor:
        return f"its name has actor {actor}, but its folder has actor {folder_actor}"
    found.add(
        ALL,
        path,
        EMOTIONS[int(emotion) - 1],
        actor=actor,
        gender="male" if int(actor) % 2 else "female",
        intensity=_INTENSITIES[intensity],
        statement=statement,
        repetition=repetition,
    )
    return None


RAVDESS = Corpus(
    Publication(
        "RAVDESS (speech)",
        "Livingstone and Russo 2018, doi:10.1371/journal.pone.0196391",
        "Audio_Speech_Actors_01-24.zip",
        clips=1_440,
        classes=8,
    ),
    layout="folders Actor_01 to Actor_24",
    is_root=_is_root,
    read=_read,
    flags="--folds 6 --group_column actor",
    is_meant=_has_speech,
)
