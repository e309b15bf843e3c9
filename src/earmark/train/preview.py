"""``earmark augment-preview``: training clips before and after augmentation, to hear and to see."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from earmark.augment_options import AugmentPreviewOptions
from earmark.batch.augment import AugmentedClips, Draw, describe
from earmark.batch.dataset import TrainingClips
from earmark.data.clips import Clip, ClipTable
from earmark.data.excerpts import sound_uri
from earmark.data.sources import load_splits, load_unlabelled
from earmark.data.usable import UsableClips, keep_usable
from earmark.errors import DataError, OutputError
from earmark.models.hidden_spans import hide_bins
from earmark.runs.folder import prepare_folder
from earmark.train.augmentation import load_augmentation
from earmark.train.mixing import mixed
from earmark.train.spectrogram_png import grid, log_mel, picture, png

logger = logging.getLogger(__name__)

HTML, PICTURE = "preview.html", "spectrograms.png"
_TEMPLATE = Path(__file__).with_name("preview.html")
_LONGEST_S = 20.0  # what training takes of a clip where it is not told
_LONGEST_ON_PAGE_S = 10.0


@dataclass(frozen=True)
class Version:
    """A clip as training hears it.

    Attributes:
        samples: float32 (T,).
        log_mel: (1, F, M), parts hidden.
        words: what was done to it.
    """

    samples: np.ndarray
    log_mel: torch.Tensor
    words: str


@dataclass
class Preview:
    """What was shown.

    Attributes:
        notes: what was done that was not asked for in so many words.
        summary: for a terminal.
        versions: of each clip, the first as it is.
    """

    notes: list[str]
    summary: str
    versions: list[list[Version]] = field(default_factory=list)


def preview(options: AugmentPreviewOptions) -> Preview:
    """Write wav files, a picture and a page of a few training clips.

    Raises:
        DataError: no training clips, or folders of sounds that cannot be used.
        OutputError: the folder cannot be written.
    """
    assert options.output_dir is not None
    folder = Path(options.output_dir)
    prepare_folder(folder)
    splits = load_unlabelled(options, seed=options.seed) or load_splits(options, seed=options.seed)
    if splits.train is None:
        raise DataError("no training clips: put them into a train folder, or give --train_file MANIFEST")
    usable = keep_usable({"train": splits.train}, options.sampling_rate, options, whole=splits.whole)[0]["train"]
    plain = _training_clips(usable, options)
    wanted = options.augmentation()
    assert wanted is not None
    sounds = load_augmentation(options, options, options.sampling_rate)
    clips = AugmentedClips(plain, wanted, options.sampling_rate, sounds.noise, sounds.rooms)
    logger.info("%s", describe(clips))
    rows = _of_many_classes(usable.table, options.num_clips)
    versions = [[_plain(plain, row, options), *_variants(clips, usable.table, row, options)] for row in rows]
    try:
        _write(folder, versions, [usable.table[row].source for row in rows], usable.table, rows, options)
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be written ({exc.strerror})") from exc
    count = sum(map(len, versions))
    lines = [f"page     {folder / HTML}", f"picture  {folder / PICTURE}", f"sound    {folder}/clip*.wav, {count} files"]
    return Preview(splits.notes, "\n".join(lines), versions)


def _training_clips(usable: UsableClips, options: AugmentPreviewOptions) -> TrainingClips:
    rate_hz = options.sampling_rate
    longest_s = options.max_length_seconds or min(usable.waveforms.num_samples.max() / rate_hz, _LONGEST_S)
    return TrainingClips(
        usable.waveforms,
        np.zeros(len(usable.table), dtype=np.int64),  # labels are read off the table
        min_samples=round(0.025 * rate_hz),
        max_samples=max(1, round(longest_s * rate_hz)),
        seed=options.seed,
    )


def _of_many_classes(table: ClipTable, count: int) -> list[int]:
    """Rows of different classes as far as these go, then of the first ones again."""
    of_class: dict[str, list[int]] = {}
    for row, clip in enumerate(table):
        of_class.setdefault(clip.label_text, []).append(row)
    turns = sorted((place, label, row) for label, rows in of_class.items() for place, row in enumerate(rows[:count]))
    return [row for _, _, row in turns[:count]]


def _plain(clips: TrainingClips, row: int, options: AugmentPreviewOptions) -> Version:
    clips.set_epoch(0)
    batch = clips.__getitems__([row])
    samples = (batch["samples"][0].float() * batch["scales"][0]).numpy()
    return Version(samples, log_mel(samples, options.sampling_rate), "as it is")


def _variants(clips: AugmentedClips, table: ClipTable, row: int, options: AugmentPreviewOptions) -> list[Version]:
    made = []
    for epoch in range(options.num_variants):
        clips.set_epoch(epoch)
        batch = clips.__getitems__([row])
        samples = batch["samples"]
        if "own_weights" in batch:
            samples = mixed(samples, batch["partner_samples"], batch["partner_of"], batch["own_weights"])
        energies = log_mel(samples[0].numpy(), options.sampling_rate)
        if "hidden" in batch:
            frames = torch.tensor([energies.shape[1]])
            energies = hide_bins(energies, frames, batch["hidden"][:, :2], batch["hidden"][:, 2:])
        made.append(Version(samples[0].numpy(), energies, in_words(clips.draw(row), clips, table, row)))
    return made


def in_words(one: Draw, clips: AugmentedClips, table: ClipTable, row: int) -> str:
    """What was done to the clip of ``row``."""
    said = [f"played {one.speed:.2f} times as fast"] if one.speed != 1 else []
    if one.response is not None and clips.rooms is not None:
        said.append(f"in {clips.rooms.name(one.response)}")
    if one.shift:
        said.append(f"moved {1000 * clips.shift_samples(one, row) / clips.sampling_rate_hz:+.0f} ms")
    if one.noise is not None and clips.noise is not None:
        said.append(f"{clips.noise.name(one.noise)} at {one.snr_db:.1f} dB SNR")
    if one.gain_db:
        said.append(f"gain {one.gain_db:+.1f} dB")
    if one.partner is not None:
        other = table[one.partner]
        said.append(f"{one.own_weight:.2f} of it, {1 - one.own_weight:.2f} of {_named(other)}")
    widths = one.hidden[:, 1]
    if widths.any():
        said.append(f"hidden: {100 * widths[:2].sum():.0f} % of the time, {100 * widths[2:].sum():.0f} % of the bins")
    return "; ".join(said) or "nothing this time"


def _named(clip: Clip) -> str:
    name = Path(clip.source).name
    return f"{clip.label_text} ({name})" if clip.label_text else name


def _write(
    folder: Path,
    versions: list[list[Version]],
    sources: list[str],
    table: ClipTable,
    rows: list[int],
    options: AugmentPreviewOptions,
) -> None:
    shown: list[dict[str, Any]] = []
    pictures: list[list[np.ndarray]] = []
    for number, (row, source, of_clip) in enumerate(zip(rows, sources, versions, strict=True), 1):
        loudest = float(of_clip[0].log_mel.max())
        pictures.append([picture(version.log_mel, loudest) for version in of_clip])
        entries = []
        for variant, (version, image) in enumerate(zip(of_clip, pictures[-1], strict=True)):
            name = f"clip{number}_{f'after{variant}' if variant else 'before'}.wav"
            soundfile.write(folder / name, version.samples, options.sampling_rate, subtype="FLOAT")
            entries.append(_entry(version, image, name, options.sampling_rate))
        shown.append({"source": source, "label": table[row].label_text, "versions": entries})
    (folder / PICTURE).write_bytes(png(grid(pictures)))
    wanted = options.augmentation()
    content = {"clips": shown, "settings": wanted.in_words() if wanted else "", "seed": options.seed}
    # "<" cannot end the script element, whatever labels and file names hold
    text = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c").encode("utf-8", "replace").decode()
    (folder / HTML).write_text(_TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", text), encoding="utf-8")


def _entry(version: Version, image: np.ndarray, name: str, rate_hz: int) -> dict[str, str]:
    heard = np.clip(version.samples[: round(_LONGEST_ON_PAGE_S * rate_hz)], -1, 1)
    picture_uri = "data:image/png;base64," + base64.b64encode(png(image)).decode()
    return {"words": version.words, "file": name, "uri": sound_uri(heard, rate_hz), "picture": picture_uri}
