"""The Speech Commands archive as SUPERB's keyword-spotting task. ``docs/superb_ks.md`` derives the counts.

Speech Commands: Warden 2018, arXiv:1804.03209. SUPERB: Yang et al. 2021, arXiv:2105.01051. The splits are those of
SUPERB's public loading script.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from earmark.clips.clip import Clip, ClipTable, Splits
from earmark.errors import AudioError, DataError
from earmark.sources.archives import extracted
from earmark.sources.cuts import Stretch, cut_at_random
from earmark.text import agreeing, counted

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SILENCE, UNKNOWN = "_silence_", "_unknown_"
BACKGROUND = "_background_noise_"

_LISTS = {"validation": "validation_list.txt", "testing": "testing_list.txt"}
_VERSIONS = ("v0.01", "v0.02")
_ONLY_IN_V002 = ("backward", "follow", "forward", "learn", "visual")
_ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")
_HELD_OUT_FRACTION = 0.2  # at the end of each background recording, used only for silence in validation
_CUT_S = 1.0


def load_superb_ks(data_dir: str, *, silence_percentage: float | None, seed: int) -> Splits:
    """Load the Speech Commands archive, split and labelled like SUPERB's keyword spotting.

    Training uses every recording that neither list names, and the whole background recordings as ``_silence_``.
    Validation is ``validation_list.txt``. Test is the separate test archive. The ten commands keep their names; every
    other word is ``_unknown_``.

    Args:
        data_dir: the extracted archive (v0.01 or v0.02), its ``.tar.gz``, or a folder that contains either under its
            published name. The test archive is searched for inside it and next to it.
        silence_percentage: ``None`` for the silence of SUPERB: a few long background recordings. With a number, silence
            is one-second cuts of these recordings instead, this many for each 100 training words. Validation gets cuts
            from the last fifth of each recording, which training then does not use.
        seed: seed for the positions of the cuts.

    Returns:
        Three splits, sorted by path; ``group`` is the speaker. Without a test archive, test is ``testing_list.txt``,
        and a note reports it.

    Raises:
        DataError: the archive does not exist, is damaged, or lacks its lists, a listed file or all words.
    """
    root, test_root = _locate(Path(data_dir))
    recordings = _recordings(root)
    if not any(folder != BACKGROUND for folder, _ in recordings):
        raise DataError(f"{root}: no wav files in word folders. Pass the extracted Speech Commands archive")
    listed = {name: _read_list(root, file, recordings) for name, file in _LISTS.items()}
    _check_disjoint(root, listed)
    train = [item for item in recordings if item not in listed["validation"] and item not in listed["testing"]]
    splits = Splits(
        train=_table(root, train),
        validation=_table(root, sorted(listed["validation"])),
        test=_test_table(root, test_root, listed["testing"]),
    )
    background = sum(folder == BACKGROUND for folder, _ in recordings)
    splits.notes.append(
        f"Speech Commands in {root}: {counted(len(recordings), 'recording')} ({background} of them background), "
        f"{len(listed['validation']):,} listed for validation and {len(listed['testing']):,} for testing, "
        f"the other {len(train):,} for training"
    )
    splits.notes.append(_note_on_test(splits, test_root))
    if silence_percentage is not None:
        _cut_silence(splits, silence_percentage, seed)
    return splits


# ---------------------------------------------------------------- find the archives


def _locate(path: Path) -> tuple[Path, Path | None]:
    """Return ``(archive, test archive or None)``, both extracted."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder. Pass the Speech Commands archive, extracted or as .tar.gz")
    if path.is_file():
        if not path.name.endswith(_ARCHIVE_SUFFIXES):
            raise DataError(f"{path}: not an archive. Pass speech_commands_v0.01.tar.gz or the extracted folder")
        root = extracted(path)
        return root, _find_test_set(root, [path.parent])
    if _is_archive_folder(path):
        return path, _find_test_set(path, [path, path.absolute().parent])
    for version in _VERSIONS:
        root_or_none = _folder_or_archive(path, f"speech_commands_{version}")
        if root_or_none is not None:
            return root_or_none, _find_test_set(root_or_none, [root_or_none, path])
    raise DataError(
        f"{path}: not an extracted Speech Commands archive (word folders, validation_list.txt). Pass one, or a folder "
        "that contains speech_commands_v0.01 or speech_commands_v0.01.tar.gz"
    )


def _is_archive_folder(path: Path) -> bool:
    return any((path / name).is_file() for name in _LISTS.values()) or (path / "yes").is_dir()


def _find_test_set(root: Path, places: list[Path]) -> Path | None:
    """Return the test archive of the same version. Version 0.02 is recognised by its five additional words."""
    version = "v0.02" if any((root / word).is_dir() for word in _ONLY_IN_V002) else "v0.01"
    for place in places:
        found = _folder_or_archive(place, f"speech_commands_test_set_{version}")
        if found is not None:
            return found
    return None


def _folder_or_archive(place: Path, name: str) -> Path | None:
    if (place / name).is_dir():
        return place / name
    for suffix in _ARCHIVE_SUFFIXES:
        if (place / f"{name}{suffix}").is_file():
            return extracted(place / f"{name}{suffix}")
    return None


# ---------------------------------------------------------------- from files to clips


def _recordings(root: Path) -> list[tuple[str, str]]:
    """Return ``(word folder, file name)`` of every recording, sorted.

    A test archive inside ``root`` is left out, because its recordings are one folder deeper.
    """
    folders = [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return sorted(
        (folder.name, file.name)
        for folder in folders
        for file in folder.iterdir()
        if file.suffix == ".wav" and not file.name.startswith(".")
    )


def _read_list(root: Path, name: str, recordings: list[tuple[str, str]]) -> set[tuple[str, str]]:
    path = root / name
    try:
        lines = path.read_text(encoding="utf-8").split()
    except FileNotFoundError as exc:
        raise DataError(f"{path}: no such file, so the archive is incomplete. Download it again") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise DataError(f"{path}: cannot be read ({exc}). Extract the archive again") from exc
    present = set(recordings)
    listed = {(folder, file) for folder, _, file in (line.partition("/") for line in lines)}
    missing = sorted(listed - present)
    if missing:
        raise DataError(
            f"{path}: {len(missing):,} of {counted(len(listed), 'listed file')} {agreeing(len(missing), 'are')} "
            f"missing, for example {'/'.join(missing[0])}. Extract the archive again"
        )
    if not listed:
        raise DataError(f"{path}: lists no files. Extract the archive again")
    return listed


def _check_disjoint(root: Path, listed: dict[str, set[tuple[str, str]]]) -> None:
    both = sorted(listed["validation"] & listed["testing"])
    if both:
        raise DataError(
            f"{root}: {counted(len(both), 'file')} {agreeing(len(both), 'are')} in validation_list.txt and in "
            f"testing_list.txt, for example {'/'.join(both[0])}. Remove {agreeing(len(both), 'them')} from one of the "
            "lists"
        )


def _table(root: Path, items: list[tuple[str, str]]) -> ClipTable:
    return ClipTable([_clip(root, folder, file) for folder, file in items], str(root))


def _clip(root: Path, folder: str, file: str) -> Clip:
    path = str(root / folder / file)
    speaker, mark, _ = file.partition("_nohash_")
    return Clip(source=path, label=_label(folder), path=path, group=speaker if mark else None)


def _label(folder: str) -> str:
    if folder in COMMANDS:
        return folder
    return SILENCE if folder in (SILENCE, BACKGROUND) else UNKNOWN


def _test_table(root: Path, test_root: Path | None, testing: set[tuple[str, str]]) -> ClipTable:
    if test_root is None:
        return _table(root, sorted(testing))
    table = _table(test_root, _recordings(test_root))
    if not table.clips:
        raise DataError(f"{test_root}: no wav files in word folders. Extract the test archive again, or remove it")
    return table


def _note_on_test(splits: Splits, test_root: Path | None) -> str:
    count = 0 if splits.test is None else len(splits.test)
    if test_root is None:
        return (
            "no test archive (speech_commands_test_set_*) inside or next to the data, so the test set is the "
            f"{count:,} clips of testing_list.txt. It has no silence and differs from SUPERB's test set"
        )
    return f"test set: the {count:,} recordings in {test_root}"


# ---------------------------------------------------------------- silence as one-second cuts


def _cut_silence(splits: Splits, percentage: float, seed: int) -> None:
    assert splits.train is not None
    assert splits.validation is not None
    words = [clip for clip in splits.train if clip.label != SILENCE]
    recordings = [clip for clip in splits.train if clip.label == SILENCE]
    counts = [round(percentage / 100 * number) for number in (len(words), len(splits.validation))]
    if SILENCE in splits.validation.labels():
        counts[1] = 0
    if not recordings and any(counts):
        raise DataError(f"{splits.train.origin}: has no {BACKGROUND} to cut silence from. Extract the archive again")
    parts = [_parts(clip, hold_out=counts[1] > 0) for clip in recordings]
    rng = np.random.default_rng(seed)
    train = cut_at_random([first for first, _ in parts], [_CUT_S] * counts[0], SILENCE, rng)
    held_out = cut_at_random([last for _, last in parts], [_CUT_S] * counts[1], SILENCE, rng)
    splits.train = ClipTable(words + train, splits.train.origin)
    splits.validation = ClipTable(splits.validation.clips + held_out, splits.validation.origin)
    splits.notes.append(
        f"silence: {counts[0]:,} one-second clips for training, {percentage:g} % of the number of words, are cut from "
        f"{counted(len(recordings), 'background recording')}. SUPERB uses these recordings whole"
        + (f". {counts[1]:,} clips for validation are cut from the last fifth of each" * (counts[1] > 0))
    )


def _parts(clip: Clip, *, hold_out: bool) -> tuple[Stretch, Stretch]:
    """Return the part of a background recording for training, and the part for validation."""
    assert clip.path is not None
    try:
        info = soundfile.info(clip.path)
    except soundfile.LibsndfileError as exc:
        raise AudioError(clip.source, f"cannot be read ({exc.error_string})") from exc
    one_cut = round(_CUT_S * info.samplerate)
    held_out = max(one_cut, round(_HELD_OUT_FRACTION * info.frames)) if hold_out else 0
    if info.frames - held_out < one_cut:
        raise AudioError(
            clip.source, f"{info.frames / info.samplerate:.2f} s is too short to cut one-second clips from"
        )
    middle = info.frames - held_out
    return Stretch(clip, info.samplerate, 0, middle), Stretch(clip, info.samplerate, middle, info.frames)
