"""``--ema``: a running average of the weights, which is evaluated and saved.

The average stays on the device in float32 and is updated after every optimizer step. It replaces the trained weights
while the model is scored or saved: ``model.safetensors`` of a checkpoint holds the average, so the checkpoint gives the
predictions that were evaluated. The weights for resuming are in a second file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import TrainerCallback

from earmark.distributed.ranks import rank_and_world
from earmark.errors import OutputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments

LEARNING_WEIGHTS = "weights_in_training.safetensors"


def decay_at(update: int, decay: float) -> float:
    """Return the decay of one update, which starts low so that the average soon forgets the initial weights.

    It is ``min(decay, (1 + n) / (10 + n))``, as in TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``.

    Args:
        update: n, from 0.
        decay: the final decay, between 0 and 1.
    """
    return min(decay, (1 + update) / (10 + update))


class WeightAverage:
    """Exponential moving average of the trained weights of a model and the running statistics of its norms.

    See Polyak and Juditsky 1992, and for exponential weights Tarvainen and Valpola 2017, arXiv:1703.01780.

    Args:
        model: the model on its device; its current weights are the first average.
        decay: fraction of the average that each update keeps, between 0 and 1.

    Attributes:
        updates: number of updates so far.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        saved = model.state_dict().keys()
        learning = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._model = model
        self._learning = list(learning.values())
        self._buffers = [name for name, own in model.named_buffers() if name in saved and own.is_floating_point()]
        self._names = [*learning, *self._buffers]
        self._averages = [weight.detach().to(torch.float32, copy=True) for weight in self._weights]

    @property
    def _weights(self) -> list[torch.Tensor]:
        """The current weights and buffers; moving a model replaces its buffers, so they are looked up each time."""
        return [*self._learning, *(self._model.get_buffer(name) for name in self._buffers)]

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current weights."""
        average = get_ema_multi_avg_fn(decay_at(self.updates, self.decay))
        average(self._averages, [weight.detach() for weight in self._weights], None)
        self.updates += 1

    @contextmanager
    def used(self) -> Iterator[None]:
        """Replace the model's weights by their average inside the block. All ranks call this together."""
        own = [weight.detach().clone() for weight in self._weights]
        self.take_over()
        try:
            yield
        finally:
            self._write(own)

    def take_over(self) -> None:
        """Replace the model's weights by their average permanently. All ranks call this together."""
        self._share_buffers()
        self._write(self._averages)

    def save(self, folder: Path) -> None:
        """Write the weights in training, which the average replaces in the model file, and the number of updates.

        Raises:
            OSError, SafetensorError: the file cannot be written.
        """
        weights = {name: weight.detach().contiguous() for name, weight in zip(self._names, self._weights, strict=True)}
        save_file(weights, folder / LEARNING_WEIGHTS, metadata={"updates": str(self.updates)})

    def load(self, folder: Path) -> None:
        """Resume from a checkpoint whose averaged weights the model has just loaded.

        Raises:
            OutputError: the run of the checkpoint had no average.
        """
        path = folder / LEARNING_WEIGHTS
        if not path.is_file():
            raise OutputError(f"{folder}: has no {path.name}, so its run had no --ema. Leave the flag out.")
        with safe_open(path, framework="pt") as file:
            self.updates = int(file.metadata()["updates"])
            self._write([file.get_tensor(name) for name in self._names])

    @torch.no_grad()
    def _write(self, values: list[torch.Tensor]) -> None:
        torch._foreach_copy_(self._weights, values)

    def _share_buffers(self) -> None:
        """Copy the running statistics of rank 0 to all ranks, because they differ and rank 0 saves the model."""
        if rank_and_world()[1] > 1:
            for values in self._averages[len(self._learning) :]:
                dist.broadcast(values, src=0)


class AveragedWeights(TrainerCallback):
    """Keeps the average of ``--ema`` during training, and puts it into the model for scoring and saving.

    Args:
        decay: decay of the average; ``None`` or 0 for no average.

    Attributes:
        checkpoint: the checkpoint that training resumes from; ``None`` if it starts from the beginning.
    """

    def __init__(self, decay: float | None) -> None:
        self.checkpoint: Path | None = None
        self._decay = decay
        self._average: WeightAverage | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel = None,
        **kwargs: object,
    ) -> None:
        """Start the average with the current weights, or resume the average of the loaded checkpoint.

        Raises:
            OutputError: either this run or the run of the checkpoint has an average, but not both.
        """
        folder = self.checkpoint
        if not self._decay:
            if folder is not None and (folder / LEARNING_WEIGHTS).is_file():
                raise OutputError(
                    f"{folder}: holds averaged weights. Resume with the --ema that the run was started with."
                )
        elif self._average is None:
            self._average = WeightAverage(model, self._decay)
            if folder is not None:
                self._average.load(folder)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Update the average with the weights of the step."""
        if self._average is not None:
            self._average.update()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Use the averaged weights, if any, inside the block. All ranks call this together."""
        with nullcontext() if self._average is None else self._average.used():
            yield

    def save(self, folder: Path) -> None:
        """Write the weights in training into a checkpoint, whose model file has the averaged weights."""
        if self._average is not None:
            self._average.save(folder)

    def finish(self, *, best_is_loaded: bool) -> None:
        """Leave the averaged weights in the model: the best checkpoint's, or the current ones."""
        if self._average is not None and not best_is_loaded:
            self._average.take_over()
        self._average = None


def average_fact(ema: float | None) -> Mapping[str, str]:
    """Return the fact about ``--ema`` that a checkpoint and the run that resumes from it must share."""
    return {"average": "an average of the weights"} if ema else {}
