"""Compute the output of a frozen part of the model once for each clip, instead of in every epoch.

Two outputs can be stored: the features of the wav2vec2 family's convolutional encoder (50 kB for a second of audio in
bfloat16), and the embedding of the whole body, on which ``--freeze encoder`` trains the head alone (a linear probe).
Both need clips that are the same in every epoch. Clips longer than the model's limit are not, because they are cropped
at a random place.

Shapes: B batch, F frames, D width.
"""

from __future__ import annotations

import copy
import logging
import math
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from filelock import Timeout
from torch.utils.data import Dataset

from earmark.batch.augment import is_augmented
from earmark.batch.dataset import TrainingClips, rows_and_labels
from earmark.distributed.ranks import on_each_machine, rank_and_world, ranks_on_this_machine
from earmark.errors import OutputError
from earmark.io.locks import BaseFileLock, acquire, new_lock, release_and_remove
from earmark.io.os_errors import os_errors_as
from earmark.models.build_model import AudioModel
from earmark.models.embedding import has_embedding
from earmark.models.freeze import is_body_frozen
from earmark.progress import Progress
from earmark.scoring.torch_scorer import TorchScorer, batches_of_like_length, scoring
from earmark.store.flat_file import FlatFile
from earmark.text import format_seconds
from earmark.threads import watch
from earmark.train.arguments import EarmarkTrainingArguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_MOST_OF_THE_FREE_DISK = 0.5
# A folder "frozen-X" is in use while "frozen-X.lock" next to it is locked; a killed process loses the lock.
# The lock file is outside the folder, because Windows cannot remove a folder with an open file in it.
_PREFIX, _LOCK = "frozen-", ".lock"


def stage_to_keep(audio: AudioModel, clips: TrainingClips, num_epochs: float, *, small_only: bool) -> str | None:
    """Return the output that can be stored, ``"embeddings"`` or ``"features"``, or ``None``.

    Args:
        audio: the model, with the weights frozen that training will not change.
        clips: training clips.
        num_epochs: passes over the clips; storing features only pays for more than one.
        small_only: store embeddings but no features, which are larger than the recordings.
    """
    model = audio.model
    frozen_body = is_body_frozen(audio)
    static = model.forward.static
    frozen_encoder = static is not None and static.features_are_frozen
    if not (frozen_body or frozen_encoder):
        return None
    if is_augmented(clips):
        logger.info("the frozen part is computed in every epoch, because augmentation changes the clips every time")
        return None
    if clips.crops:
        logger.info(
            "the frozen part is computed in every epoch, because clips longer than %.4g s are cropped at random places",
            clips.max_samples / audio.frontend.sampling_rate_hz,
        )
        return None
    if frozen_body and has_embedding(model):
        return "embeddings"
    if not frozen_encoder or num_epochs <= 1 or small_only:
        return None
    if not uses_mask(audio) and clips.lengths.min() < clips.lengths.max():
        logger.info(
            "the feature encoder is computed in every epoch, because with --attention_mask False its output for a clip "
            "depends on the padding of the batch"
        )
        return None
    return "features"


@dataclass(eq=False)
class FrozenClips(Dataset[dict[str, torch.Tensor]]):
    """Labelled clips with the stored output of the frozen part of a model.

    Attributes:
        clips: the clips, with their samples.
        rows: one row of ``num_frames * width`` numbers for each clip, as 16-bit integers if ``dtype`` has 16 bits.
        num_frames: frames of each clip, int64 (N,).
        width: D.
        dtype: dtype of the numbers.
        stage: ``"features"`` or ``"embeddings"``.
        edges_in_frames: the length buckets of ``clips``, in frames, int64 (K,); ``None`` without length buckets.
    """

    clips: TrainingClips
    rows: FlatFile
    num_frames: np.ndarray
    width: int
    dtype: torch.dtype
    stage: str
    edges_in_frames: np.ndarray | None

    @property
    def labels(self) -> np.ndarray:
        """Index of each clip's class, int64 (N,)."""
        return self.clips.labels

    @property
    def lengths(self) -> np.ndarray:
        """Number of samples of each clip, int64 (N,)."""
        return self.clips.lengths

    @property
    def edges(self) -> np.ndarray | None:
        """Length buckets in samples; ``None`` for embeddings."""
        return self.clips.edges if self.stage == "features" else None

    def __len__(self) -> int:
        return len(self.clips)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return one batch, on the CPU.

        Returns:
            ``features`` (B, F, D), with ``num_frames`` (B,) if lengths differ, or ``embeddings`` (B, D); ``labels``
            and ``rows`` int64 (B,).
        """
        chosen, labels = rows_and_labels(indices, self.clips.labels)
        frames = self.num_frames[chosen]
        longest = int(frames.max())
        if self.edges_in_frames is not None:
            longest = int(self.edges_in_frames[np.searchsorted(self.edges_in_frames, longest)])
        zeros = np.zeros(len(chosen), dtype=np.int64)
        numbers = self.rows.read_batch(chosen, zeros, frames * self.width, longest * self.width)
        values = torch.from_numpy(numbers).view(self.dtype)
        batch = {"labels": torch.from_numpy(labels), "rows": torch.from_numpy(chosen)}
        if self.stage == "embeddings":
            return {**batch, "embeddings": values}
        batch["features"] = values.view(len(chosen), longest, self.width)
        if (frames < longest).any():
            batch["num_frames"] = torch.from_numpy(frames)
        return batch


def keep_frozen(
    audio: AudioModel,
    clips: TrainingClips,
    args: EarmarkTrainingArguments,
    stack: ExitStack,
    root: Path,
    *,
    small_only: bool,
) -> tuple[FrozenClips, float] | None:
    """Compute the output of the frozen part of a model for its training clips, if that saves work.

    Args:
        audio: the model, with frozen weights; it moves to the device.
        clips: training clips.
        args: length of training, device and batch size.
        stack: deletes the files when it closes.
        root: folder for the files.
        small_only: see :func:`stage_to_keep`.

    Returns:
        The clips, and the duration in seconds; ``None`` if the model computes everything in every epoch.
    """
    epochs = math.inf if args.max_steps > 0 or args.num_train_epochs is None else args.num_train_epochs
    stage = stage_to_keep(audio, clips, epochs, small_only=small_only)
    if stage is None:
        return None
    audio.model.to(args.device)
    batch_size = args.per_device_eval_batch_size
    return stack.enter_context(frozen_clips(audio, clips, stage, root=root, device=args.device, batch_size=batch_size))


@contextmanager
def frozen_clips(
    audio: AudioModel, clips: TrainingClips, stage: str, *, root: Path, device: torch.device, batch_size: int
) -> Iterator[tuple[FrozenClips, float]]:
    """Compute the output of the frozen part on all ranks of a machine, and delete it at the end of the block.

    Args:
        audio: the model, on ``device``.
        clips: training clips.
        stage: see :func:`stage_to_keep`.
        root: folder for the files, shared by the ranks of a machine.
        device: device to compute on.
        batch_size: largest number of clips in one forward pass.

    Yields:
        The clips, and the duration in seconds.

    Raises:
        OutputError: there is not enough disk space, or the folder cannot be written.
    """
    begun = time.perf_counter()
    num_frames, width, edges = _shape(audio, clips, stage, device)
    dtype = audio.model.forward.training_dtype or torch.float32
    item = np.dtype("int16" if dtype.itemsize == 2 else "float32")
    total_bytes = int(num_frames.sum()) * width * item.itemsize
    with ExitStack() as held:
        folder = Path(on_each_machine(lambda: _make_room(root, stage, total_bytes, held)))
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        rows = FlatFile(folder / f"{stage}.bin", item.name, num_frames * width)
        held.callback(rows.close)
        _compute(audio, clips, stage, rows, num_frames, dtype, device, batch_size)
        seconds = time.perf_counter() - begun
        logger.info(
            "%s of %s clips computed once, in %s (%.1f MB)",
            stage, f"{len(clips):,}", format_seconds(seconds), total_bytes / 1e6,
        )  # fmt: skip
        yield FrozenClips(clips, rows, num_frames, width, dtype, stage, edges), seconds


def _shape(
    audio: AudioModel, clips: TrainingClips, stage: str, device: torch.device
) -> tuple[np.ndarray, int, np.ndarray | None]:
    """Return the frames of each clip (N,), D, and the bucket edges in frames."""
    samples = torch.zeros(1, int(clips.lengths.min()), device=device)
    with scoring(audio.model, None), torch.inference_mode():
        width = int(audio.model(**audio.frontend.inputs(samples), stop_at=stage).shape[-1])
    if stage == "embeddings":
        return np.ones(len(clips), dtype=np.int64), width, None

    def count_frames(lengths: np.ndarray) -> np.ndarray:
        frames: np.ndarray = audio.model.forward.static.num_frames(torch.from_numpy(lengths)).numpy()
        return frames

    return count_frames(clips.lengths), width, None if clips.edges is None else count_frames(clips.edges)


def _make_room(root: Path, stage: str, num_bytes: int, held: ExitStack) -> str:
    """Make a new folder in ``root``, locked until ``held`` closes, and return its path."""
    with _write_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        _remove_orphans(root)
        free = shutil.disk_usage(root).free
        if num_bytes > _MOST_OF_THE_FREE_DISK * free:
            way_out = ", or compute it in every epoch with --store off" if stage == "features" else ""
            raise OutputError(
                f"{root}: the output of the frozen part takes {num_bytes / 1e9:.1f} GB, more than half of the "
                f"{free / 1e9:.1f} GB that are free. Name another folder with --store_dir{way_out}."
            )
        folder = root / f"{_PREFIX}{secrets.token_hex(8)}"
        lock = new_lock(root / f"{folder.name}{_LOCK}")
        acquire(lock, "store of frozen features")
        held.callback(_give_back, lock, folder)
        folder.mkdir(mode=0o700)
        return str(folder)


def _give_back(lock: BaseFileLock, folder: Path) -> None:
    if folder.exists():  # on Windows, because a file is open; the next run finds its lock file and removes it
        lock.release()
    else:
        release_and_remove(lock)


def _remove_orphans(root: Path) -> None:
    """Remove the folders of killed runs. Running ones, even on other machines, hold their locks."""
    for path in root.glob(f"{_PREFIX}*{_LOCK}"):
        lock, folder = new_lock(path), path.with_suffix("")
        with suppress(Timeout):
            lock.acquire(timeout=0)
            shutil.rmtree(folder, ignore_errors=True)
            _give_back(lock, folder)


def _write_errors(root: Path) -> AbstractContextManager[None]:
    return os_errors_as(OutputError, f"{root}: cannot be written", "; see --store_dir")


def _compute(
    audio: AudioModel,
    clips: TrainingClips,
    stage: str,
    rows: FlatFile,
    num_frames: np.ndarray,
    dtype: torch.dtype,
    device: torch.device,
    batch_size: int,
) -> None:
    machine = ranks_on_this_machine()
    place, count = machine.ranks.index(rank_and_world()[0]), len(machine.ranks)
    batches = list(batches_of_like_length(audio.model, audio.frontend, clips.lengths.tolist(), batch_size))
    half = None if dtype == torch.float32 else dtype
    unbucketed = copy.copy(clips)  # without buckets, equally long clips need no padding, which some models cannot mask
    unbucketed.edges = None
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(f"computing {stage}", len(clips)))
        stack.enter_context(TorchScorer(audio.model, audio.frontend, device, half).session())
        stack.enter_context(audio.model.forward.sessions.computing(half))
        stack.enter_context(torch.inference_mode())
        for batch in batches[place::count]:
            watch.adjust()
            values = audio.model(**model_inputs(audio, unbucketed.__getitems__(batch), device), stop_at=stage)
            for index, row in zip(batch, values.to(dtype).cpu(), strict=True):
                whole = row if stage == "embeddings" else row[: num_frames[index]]
                numbers = whole.contiguous().view(torch.int16) if dtype.itemsize == 2 else whole.contiguous()
                with _write_errors(rows.path.parents[1]):
                    rows.write(index, numbers.numpy())
            progress.update(len(batch) * count)
    rows.close()
    if count > 1:
        dist.barrier(machine.group)


def input_shape(model: PreTrainedModel, batch: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of a model's main input, or of the input from which stored features were computed.

    Args:
        model: classifier.
        batch: inputs of the model.
    """
    if model.main_input_name in batch:
        return tuple(batch[model.main_input_name].shape)
    if "features" not in batch:  # with stored embeddings, training steps do not compute the body
        return (0,)
    clips, frames, _ = batch["features"].shape
    return clips, frames * model.config.inputs_to_logits_ratio


def uses_mask(audio: AudioModel) -> bool:
    """Return whether the model gets a mask of the padding in training."""
    return bool(getattr(audio.frontend.extractor, "return_attention_mask", True))


def model_inputs(
    audio: AudioModel, batch: dict[str, torch.Tensor], device: torch.device, *, mask: bool = True
) -> dict[str, Any]:
    """Return the inputs of the model on ``device``, from a batch of stored samples."""
    moved = {name: batch[name].to(device, non_blocking=True) for name in batch if name not in ("labels", "rows")}
    samples = moved["samples"].float() * moved["scales"][:, None]
    return audio.frontend.inputs(samples, moved.get("num_samples"), mask=mask)
