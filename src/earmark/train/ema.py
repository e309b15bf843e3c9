"""``--ema``: a running average of the weights, which is what is judged and kept.

The average stays on the device in float32 and takes a step behind every optimizer step, in few kernels for all weights.
Where the model is scored or saved it stands in for the weights that learn. A checkpoint's ``model.safetensors`` is the
average, so a checkpoint answers as it was judged, and the weights that training goes on from lie beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import TrainerCallback

from earmark.errors import OutputError, UsageError
from earmark.scoring.table import rank_and_world
from earmark.train.saving import CheckpointingTrainer

logger = logging.getLogger(__name__)

LEARNING_WEIGHTS = "weights_in_training.safetensors"


def decay_at(update: int, decay: float) -> float:
    """The decay of one update: low at first, so that an average of few steps forgets the weights it began with.

    ``min(decay, (1 + n) / (10 + n))``, as in TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``.

    Args:
        update: n, from 0.
        decay: its value later on, between 0 and 1.
    """
    return min(decay, (1 + update) / (10 + update))


class WeightAverage:
    """Exponential moving average of what learns in a model, running means of its norms among it.

    Averaged weights are those of many steps at once (Polyak and Juditsky 1992; with exponential weights Tarvainen and
    Valpola 2017, arXiv:1703.01780).

    Args:
        model: on its device; its weights now are the first average.
        decay: share of the average that stays at each update, between 0 and 1.

    Attributes:
        updates: how many were made.
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
        """As they are now: a model that is moved gets other buffers."""
        return [*self._learning, *(self._model.get_buffer(name) for name in self._buffers)]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of now in."""
        average = get_ema_multi_avg_fn(decay_at(self.updates, self.decay))
        average(self._averages, [weight.detach() for weight in self._weights], None)
        self.updates += 1

    @contextmanager
    def used(self) -> Iterator[None]:
        """The model has the averaged weights inside, and its own again behind it. All ranks call this together."""
        own = [weight.detach().clone() for weight in self._weights]
        self.take_over()
        try:
            yield
        finally:
            self._write(own)

    def take_over(self) -> None:
        """Give the model the averaged weights for good. All ranks call this together."""
        self._share_buffers()
        self._write(self._averages)

    def save(self, folder: Path) -> None:
        """Write the weights that learn, which the average stands in for, and how many updates there were.

        Raises:
            OSError, SafetensorError: it cannot be written.
        """
        weights = {name: weight.detach().contiguous() for name, weight in zip(self._names, self._weights, strict=True)}
        save_file(weights, folder / LEARNING_WEIGHTS, metadata={"updates": str(self.updates)})

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint whose averages the model has just been given.

        Raises:
            OutputError: the checkpoint is of a run without an average.
        """
        path = folder / LEARNING_WEIGHTS
        if not path.is_file():
            raise OutputError(f"{folder}: has no {path.name}, so it is of a run without --ema; leave the flag out")
        with safe_open(path, framework="pt") as file:
            self.updates = int(file.metadata()["updates"])
            self._write([file.get_tensor(name) for name in self._names])

    @torch.no_grad()
    def _write(self, values: list[torch.Tensor]) -> None:
        torch._foreach_copy_(self._weights, values)

    def _share_buffers(self) -> None:
        """Running means differ from rank to rank; those of rank 0 are the ones that are saved."""
        if rank_and_world()[1] > 1:
            for values in self._averages[len(self._learning) :]:
                dist.broadcast(values, src=0)


class AveragingTrainer(CheckpointingTrainer):
    """A trainer that judges, saves and keeps the average of the weights, where ``args.ema`` is set.

    Raises:
        UsageError: an average of weights that are spread over the ranks.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.average: WeightAverage | None = None
        if not self.args.ema:
            return
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:  # by the environment: the flags were refused before
            raise UsageError("--ema averages whole weights, and FSDP and DeepSpeed spread them. Set --ema 0.")
        self.add_callback(_Averages(self))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's own; the model ends with averaged weights: of the best checkpoint, or of the last step."""
        output = super().train(*args, **kwargs)
        if self.average is not None and not self.stops_early:
            if not (self.args.load_best_model_at_end and self.state.best_model_checkpoint):
                self.average.take_over()
            self.average = None
        return output

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Trainer's own, of the average."""
        if self.average is None:
            super().save_model(output_dir, _internal_call)
            return
        with self.average.used():
            super().save_model(output_dir, _internal_call)
        if self._aside is not None and self.args.should_save and not self.args.save_only_model:
            self.average.save(Path(output_dir or self.args.output_dir))

    def _evaluate(self, *args: Any, **kwargs: Any) -> Any:
        if self.average is None:
            return super()._evaluate(*args, **kwargs)
        with self.average.used():
            return super()._evaluate(*args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        if self.args.ema:
            self.average = WeightAverage(self.model, self.args.ema)
            self.average.load(folder)
        elif (folder / LEARNING_WEIGHTS).is_file():
            raise OutputError(f"{folder}: holds averaged weights; go on with the --ema that the run was started with")


class _Averages(TrainerCallback):
    """Calls the average when there is something to do."""

    def __init__(self, trainer: AveragingTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.average is None:
            self.trainer.average = WeightAverage(self.trainer.model, args.ema)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.trainer.average is not None, "made when training began"
        self.trainer.average.update()


def average_fact(ema: float | None) -> Mapping[str, str]:
    """What a checkpoint of a run with an average has in common with the run that goes on from it."""
    return {"average": "an average of the weights"} if ema else {}
