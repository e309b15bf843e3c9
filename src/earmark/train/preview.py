"""``earmark augment-preview``: show and play training clips before and after augmentation."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from earmark import pages
from earmark.audio.excerpts import audio_uri
from earmark.batch.augment import AugmentedClips, Draw, describe
from earmark.batch.dataset import TrainingClips
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import DataError, OutputError
from earmark.io.atomic import no_empty_folder
from earmark.models.build_model import ModelDescription, load_description
from earmark.models.hidden_spans import hide_bins
from earmark.models.model_source import model_source
from earmark.runs.folder import prepare_folder
from earmark.settings.augmentation_flags import AugmentPreviewOptions
from earmark.settings.data_flags import DEFAULT_LONGEST_S
from earmark.sources.load_clips import load_splits
from earmark.sources.source import HubAccess
from earmark.sources.unlabelled import load_unlabelled
from earmark.store.scan import write_bad_audio
from earmark.store.usable import UsableClips, keep_usable
from earmark.text import counted
from earmark.train.augmentation import load_augmentation
from earmark.train.mixing import mixed
from earmark.train.spectrogram_svg import Row, log_mel, spectrogram, svg

logger = logging.getLogger(__name__)

HTML, PICTURE, BAD_AUDIO = "preview.html", "spectrograms.svg", "bad_audio.csv"
_TEMPLATE = Path(__file__).with_name("preview.html")
_RATE_HZ, _SHORTEST_S = 16_000, 0.025  # assumed sampling rate and shortest clip when no model is named
_LONGEST_ON_PAGE_S = 10.0


@dataclass(frozen=True)
class Version:
    """A clip as training passes it to the model.

    Attributes:
        samples: float32 (T,).
        log_mel: log-mel energies (1, F, M), with the parts that SpecAugment hides.
        words: description of its augmentation.
    """

    samples: np.ndarray
    log_mel: torch.Tensor
    words: str


@dataclass
class Preview:
    """Result of a preview.

    Attributes:
        notes: log lines about steps that the user did not ask for, such as making a split.
        summary: text for a terminal.
        versions: versions of each clip, the unchanged one first.
    """

    notes: list[str]
    summary: str
    versions: list[list[Version]] = field(default_factory=list)


def preview(options: AugmentPreviewOptions) -> Preview:
    """Write WAV files, a picture and a page of a few training clips.

    Raises:
        DataError: no training clips, or a folder of recordings for augmentation cannot be used.
        ModelError: the model's configuration cannot be read, or ``--max_length_seconds`` exceeds its input.
        OutputError: the folder cannot be written.
    """
    assert options.output_dir is not None
    with no_empty_folder(folder := Path(options.output_dir)):
        prepare_folder(folder)
        return _preview(options, folder)


def _preview(options: AugmentPreviewOptions, folder: Path) -> Preview:
    model = _configured(options)
    rate_hz = int(model.extractor.sampling_rate) if model else options.sampling_rate or _RATE_HZ
    splits = load_unlabelled(options, seed=options.seed) or load_splits(
        options, seed=options.seed, hub=HubAccess.from_flags(options)
    )
    if splits.train is None:
        raise DataError("no training clips. Put them into a train folder, or add --train_file MANIFEST.")
    sounds = load_augmentation(options, options, rate_hz)
    parts, bad = keep_usable({"train": splits.train}, rate_hz, options, whole=splits.whole)
    usable, bad = parts["train"], [*bad, *sounds.bad()]
    if bad:
        write_bad_audio(folder / BAD_AUDIO, bad)
    plain = _training_clips(usable, options, rate_hz, model)
    wanted = options.augmentation()
    assert wanted is not None
    clips = AugmentedClips(plain, wanted, rate_hz, sounds.noise, sounds.rooms)
    logger.info("%s", describe(clips))
    rows = _of_many_classes(usable.table, options.num_clips)
    epochs = range(options.num_variants)
    versions = [[_plain(plain, row, rate_hz), *_variants(clips, usable.table, row, epochs)] for row in rows]
    content = {"settings": wanted.in_words(), "seed": options.seed}
    try:
        _write(folder, versions, [usable.table[row] for row in rows], rate_hz, content)
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be written ({exc.strerror}). Name another --output_dir.") from exc
    count = sum(map(len, versions))
    lines = [
        f"page     {folder / HTML}",
        f"picture  {folder / PICTURE}",
        f"audio    {folder}/clip*.wav, {counted(count, 'file')}",
    ]
    return Preview(splits.notes, "\n".join(lines), versions)


def _configured(options: AugmentPreviewOptions) -> ModelDescription | None:
    """Return the description of the named model; ``None`` if none is named."""
    if not options.names_a_model:
        logger.info(
            "no model is named, so clips keep their length. To see them at the fixed length of a model such as "
            "Whisper, add --model_name_or_path or --model_type"
        )
        return None
    return load_description(model_source(options))


def _training_clips(
    usable: UsableClips, options: AugmentPreviewOptions, rate_hz: int, model: ModelDescription | None
) -> TrainingClips:
    longest_s = min(float(usable.waveforms.num_samples.max() / rate_hz), DEFAULT_LONGEST_S)
    if model is None:
        length_s = options.max_length_seconds or longest_s
        shortest, longest = round(_SHORTEST_S * rate_hz), max(1, round(length_s * rate_hz))
    else:
        shortest, longest = model.limits_for_training(options.max_length_seconds, longest_s)
    labels = np.zeros(len(usable.table), dtype=np.int64)  # unused, because the page takes labels from the table
    return TrainingClips(usable.waveforms, labels, min_samples=shortest, max_samples=longest, seed=options.seed)


def _of_many_classes(table: ClipTable, count: int) -> list[int]:
    """Return rows of as many different classes as possible."""
    of_class: dict[str, list[int]] = {}
    for row, clip in enumerate(table):
        of_class.setdefault(clip.label_text, []).append(row)
    turns = sorted((place, label, row) for label, rows in of_class.items() for place, row in enumerate(rows[:count]))
    return [row for _, _, row in turns[:count]]


def _plain(clips: TrainingClips, row: int, rate_hz: int) -> Version:
    clips.set_epoch(0)
    batch = clips.__getitems__([row])
    samples = (batch["samples"][0].float() * batch["scales"][0]).numpy()
    return Version(samples, log_mel(samples, rate_hz), "unchanged")


def _variants(clips: AugmentedClips, table: ClipTable, row: int, epochs: Sequence[int]) -> list[Version]:
    made = []
    for epoch in epochs:
        clips.set_epoch(epoch)
        batch = clips.__getitems__([row])
        samples = batch["samples"]
        if "own_weights" in batch:
            samples = mixed(samples, batch["partner_samples"], batch["partners"], batch["own_weights"])
        energies = log_mel(samples[0].numpy(), clips.sampling_rate_hz)
        if "hidden" in batch:
            frames = torch.tensor([energies.shape[1]])
            energies = hide_bins(energies, frames, batch["hidden"][:, :2], batch["hidden"][:, 2:])
        made.append(Version(samples[0].numpy(), energies, in_words(clips.draw(row), clips, table, row)))
    return made


def in_words(one: Draw, clips: AugmentedClips, table: ClipTable, row: int) -> str:
    """Describe the augmentation of the clip in ``row``."""
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
        said.append(f"{one.own_weight:.2f} of this clip mixed with {1 - one.own_weight:.2f} of {_named(other)}")
    widths = one.hidden[:, 1]
    if widths.any():
        said.append(f"hidden: {100 * widths[:2].sum():.0f} % of the time, {100 * widths[2:].sum():.0f} % of the bins")
    return "; ".join(said) or "unchanged this time"


def _named(clip: Clip) -> str:
    name = Path(clip.source).name
    return f"{clip.label_text} ({name})" if clip.label_text else name


def _write(
    folder: Path, versions: list[list[Version]], clips: list[Clip], rate_hz: int, content: dict[str, object]
) -> None:
    shown: list[dict[str, Any]] = []
    rows: list[Row] = []
    for number, (clip, of_clip) in enumerate(zip(clips, versions, strict=True), 1):
        loudest = float(of_clip[0].log_mel.max())
        pictures, entries = [], []
        for variant, version in enumerate(of_clip):
            title = f"epoch {variant}" if variant else "original"
            name = f"clip{number}_{f'after{variant}' if variant else 'before'}.wav"
            (folder / name).write_bytes(_wav(version.samples, rate_hz))
            seconds = len(version.samples) / rate_hz
            pictures.append((title, spectrogram(version.log_mel, loudest, seconds, rate_hz)))
            audio = np.clip(version.samples[: round(_LONGEST_ON_PAGE_S * rate_hz)], -1, 1)
            entries.append(
                {
                    "title": title,
                    "words": version.words,
                    "file": name,
                    "uri": audio_uri(audio, rate_hz),
                    "spectrogram": pictures[-1][1].to_dict(),
                }
            )
        rows.append(Row(f"{clip.label_text}  {Path(clip.source).name}".strip(), pictures))
        shown.append({"source": clip.source, "label": clip.label_text, "versions": entries})
    (folder / PICTURE).write_text(svg(rows), encoding="utf-8", newline="")
    (folder / HTML).write_text(pages.render(_TEMPLATE, {"clips": shown, **content}), encoding="utf-8", newline="")


def _wav(samples: np.ndarray, rate_hz: int) -> bytes:
    """Return a WAV file of float32 samples, encoded in memory because libsndfile does not report a full disk."""
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, rate_hz, format="WAV", subtype="FLOAT")
    return encoded.getvalue()
