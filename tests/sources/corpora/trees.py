"""Synthetic trees in the layouts of the public data sets: the names are theirs, the sound is a few generated tones."""

from __future__ import annotations

import shutil
from pathlib import Path

import soundfile

from earmark.sources.corpora.gtzan import GENRES
from tests.tiny import RATE_HZ, tone


def write_clip(path: Path, frequency_hz: float = 440.0, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(frequency_hz, 0.05, seed=seed), RATE_HZ)
    return path


def esc50(folder: Path) -> Path:
    """Three classes, five folds, two clips of a source each."""
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, label in enumerate(("dog", "rooster", "sea_waves")):
            for take in "AB":
                name = f"{fold}-10{target}{fold}-{take}-{target}.wav"
                rows.append(f"{name},{fold},{target},{label},{target == 0},10{target}{fold},{take}")
                write_clip(folder / "audio" / name, 300.0 * (target + 1), seed=fold)
    (folder / "meta").mkdir()
    (folder / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return folder


def urbansound8k(folder: Path) -> Path:
    """Two classes, ten folds."""
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in range(1, 11):
        for number, label in ((3, "dog_bark"), (8, "siren")):
            name = f"{fold}00{number}-{number}-0-0.wav"
            rows.append(f"{name},{fold}00{number},0.0,0.05,1,{fold},{number},{label}")
            write_clip(folder / "audio" / f"fold{fold}" / name, 200.0 * number, seed=fold)
    (folder / "metadata").mkdir()
    (folder / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows) + "\n")
    (folder / "audio" / "fold1" / ".DS_Store").write_text("x")
    return folder


def gtzan(folder: Path, suffix: str = ".wav") -> Path:
    """All genres, two clips each, and the faulty one."""
    for genre in GENRES:
        for i in range(2):
            write_clip(folder / genre / f"{genre}.{i:05}{suffix}", seed=i)
    (folder / "jazz" / f"jazz.00054{suffix}").write_bytes(b"damaged")
    return folder


def ravdess(folder: Path) -> Path:
    """Four actors, all emotions, and a song."""
    for actor in range(1, 5):
        for emotion in range(1, 9):
            name = f"03-01-{emotion:02}-01-02-01-{actor:02}.wav"
            write_clip(folder / f"Actor_{actor:02}" / name, 100.0 * emotion, seed=actor)
    write_clip(folder / "Actor_01" / "03-02-03-01-01-01-01.wav")
    return folder


def common_language(folder: Path) -> Path:
    """Two languages; the tables are UTF-16 with tabs, and sentences have quotes and commas."""
    for language in ("Basque", "Chinese_Hongkong"):
        for split, speakers in (("train", 3), ("dev", 1), ("test", 1)):
            lines = ["\tclient_id\tpath\tsentence\tage\tgender"]
            for i in range(speakers):
                speaker, name = f"{split}_sp_{i}", f"common_voice_{split}_{i}.wav"
                lines.append(f'{i}\t{speaker}\t{name}\tHe said: "well, 好\tfourties\tmale_masculine')
                write_clip(folder / language / split / speaker / name, seed=i)
            (folder / language / f"{split}.csv").write_bytes(("\r\n".join(lines) + "\r\n").encode("utf-16"))
    return folder


TREES = {
    "esc50": esc50,
    "urbansound8k": urbansound8k,
    "gtzan": gtzan,
    "ravdess": ravdess,
    "common_language": common_language,
}


def zipped(tree: Path) -> Path:
    """A zip archive with the tree's folder in it."""
    return Path(shutil.make_archive(str(tree), "zip", tree.parent, tree.name))
