"""A model's probabilities and embeddings of all clips, and errors, saved for the next start.

Shapes: N clips, K windows, D width of an embedding, C classes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earmark.audio.reading import stream_in_order
from earmark.clips.clip import Clip
from earmark.io.atomic import writing_bytes
from earmark.models.build_model import AudioModel
from earmark.models.embedding import EmbeddingModel, has_embedding
from earmark.predict.engine import Ended, score_recordings
from earmark.predict.inputs import ScoringProgress
from earmark.predict.long_recordings import TIMES, one_label_for_long
from earmark.scoring.torch_scorer import TorchScorer
from earmark.scoring.windows import Windowing
from earmark.store.bad_audio import BadAudioWatch
from earmark.store.scan import BadClip
from earmark.tasks import pool
from earmark.tasks.decision import Decision

logger = logging.getLogger(__name__)

_OF_MODEL = ("*config.json", "*.safetensors", "*.bin")
_AT_ONCE = 4096  # embeddings per call of the head


@dataclass(frozen=True)
class Scores:
    """Scores of N readable clips.

    Attributes:
        rows: rows of the readable clips, int64 (N,), increasing.
        probabilities: float32 (N, C), the mean over a clip's windows.
        embeddings: float32 (N, D), likewise; for models without embeddings, the logarithms of the probabilities.
        bad: reasons why the other clips cannot be read, by row.
        contents: contents of the clips (:mod:`earmark.audio.content`), uint64 (N,); ``None`` until needed.
    """

    rows: np.ndarray
    probabilities: np.ndarray
    embeddings: np.ndarray
    bad: dict[int, str]
    contents: np.ndarray | None = None


def score_clips(
    audio: AudioModel, clips: Sequence[Clip], *, device: torch.device, batch_size: int, num_workers: int
) -> Scores:
    """Score clips with the prediction loop: embeddings from the body, then probabilities from the head."""
    model = audio.model.to(device).eval()
    has_vectors = has_embedding(model)
    scorer = TorchScorer(EmbeddingModel(model) if has_vectors else model, audio.frontend, device)
    windowing = Windowing.of_seconds(
        None, None, longest_samples=scorer.max_samples, sampling_rate_hz=scorer.sampling_rate_hz
    )
    recordings = stream_in_order(clips, scorer.sampling_rate_hz, num_threads=num_workers)
    windows: list[np.ndarray] = []
    counts: list[int] = []
    rows: list[int] = []
    bad: dict[int, str] = {}
    watch = BadAudioWatch("skip", [])
    row = begun = 0
    with ScoringProgress(clips) as progress:
        for _, answer in score_recordings(scorer, recordings, windowing, batch_size):
            if not isinstance(answer, Ended):
                windows.append(answer.row)
                progress.reach(answer.end_s)
                continue
            if answer.error is None:
                rows.append(row)
                counts.append(len(windows) - begun)
            else:
                bad[row] = answer.error.reason
                watch.met([BadClip(row, answer.error.source, answer.error.reason)])
                del windows[begun:]
            row, begun = row + 1, len(windows)
            progress.finish()
    if not rows:
        return Scores(np.empty(0, np.int64), np.empty((0, len(audio.labels))), np.empty((0, 1)), bad)
    _warn_of_long([clips[row] for row in rows], counts, scorer.max_samples / scorer.sampling_rate_hz)
    heard = np.stack(windows)  # (K, D) or (K, C)
    of_windows = audio.task.scores(_logits(model, heard, device) if has_vectors else heard)
    starts = np.cumsum(counts) - counts
    probabilities = pool(of_windows, starts).astype(np.float32)
    vectors = pool(heard, starts).astype(np.float32) if has_vectors else np.log(probabilities + 1e-9)
    return Scores(np.array(rows), probabilities, vectors, bad)


def _warn_of_long(clips: Sequence[Clip], num_windows: Sequence[int], window_s: float) -> None:
    """Warn about whole recordings that should be cut into clips first. Parts of recordings already are clips."""
    long = sum(
        count > TIMES and clip.duration_s is None and not clip.offset_s
        for clip, count in zip(clips, num_windows, strict=True)
    )
    if long:
        logger.warning(
            "%s. Cut long recordings into clips first, at segments from `earmark predict --window_seconds`",
            one_label_for_long(long, window_s),
        )


def _logits(model: torch.nn.Module, embeddings: np.ndarray, device: torch.device) -> np.ndarray:
    """Return logits float32 (K, C) of embeddings (K, D) by the model's forward, which applies its temperature."""
    with torch.inference_mode():
        parts = [
            model(embeddings=torch.from_numpy(embeddings[start : start + _AT_ONCE]).to(device)).logits.cpu().numpy()
            for start in range(0, len(embeddings), _AT_ONCE)
        ]
    return np.concatenate(parts)


def fingerprint(model: Path, decision: Decision, clips: Sequence[Clip]) -> str:
    """Return a hash that changes with weights, task or recordings, from names, sizes and times."""
    task = "" if decision.task.has_one_class else f" {decision.task.name}"
    digest = hashlib.sha256(f"1 {decision.temperature!r}{task}".encode())
    for path in sorted(path for pattern in _OF_MODEL for path in model.glob(pattern)):
        digest.update(f"{path.name} {_file_state(str(path))}".encode())
    for clip in clips:
        line = f"{clip.path} {clip.offset_s} {clip.duration_s} {_file_state(clip.path or '')}"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _file_state(path: str) -> str:
    try:
        state = os.stat(path)
    except OSError:
        return "not there"
    return f"{state.st_size} {state.st_mtime_ns}"


def read_scores(path: Path, mark: str) -> Scores | None:
    """Return saved scores with the same fingerprint; ``None`` if there are none or they are unusable."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["mark"]) != mark:
                return None
            bad = dict(zip(kept["bad_rows"].tolist(), kept["bad_reasons"].tolist(), strict=True))
            contents = kept["contents"] if "contents" in kept.files else None
            return Scores(kept["rows"], kept["probabilities"], kept["embeddings"], bad, contents)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as exc:
        logger.info("%s: cannot be used (%s); earmark scores the recordings again", path, type(exc).__name__)
        return None


def write_scores(path: Path, scores: Scores, mark: str) -> None:
    """Save scores completely or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    arrays: dict[str, Any] = {
        "mark": np.array(mark),
        "rows": scores.rows,
        "probabilities": scores.probabilities,
        "embeddings": scores.embeddings,
        "bad_rows": np.array(list(scores.bad), dtype=np.int64),
        "bad_reasons": np.array(list(scores.bad.values()), dtype=str),
    }
    if scores.contents is not None:
        arrays["contents"] = scores.contents
    with writing_bytes(path) as stream:
        np.savez(stream, **arrays)
