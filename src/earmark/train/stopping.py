"""SIGTERM and SIGINT while training: finish the step, save, leave.

Clusters send SIGTERM before they take a machine away, people press Ctrl-C. Either ends the run at the next step with a
checkpoint to go on from. A second signal stops at once.
"""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback
from transformers.trainer_utils import SaveStrategy

from earmark.scoring.table import rank_and_world

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal(TrainerCallback):
    """Stops training with a checkpoint when the process is told to go; in force within its ``with`` block.

    All ranks stop after the same step: each puts whether it was told into a sum that is under way during the next step,
    so that nothing waits for it.

    Attributes:
        stopped: name of the signal that ended training early; ``None`` where none did.
    """

    def __init__(self) -> None:
        self.told: str | None = None
        self.stopped: str | None = None
        self._before: dict[int, Any] = {}
        self._group: Any = None
        self._vote: tuple[Any, torch.Tensor] | None = None

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no handlers
            self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        if rank_and_world()[1] > 1:
            self._group = dist.new_group(backend="gloo")  # on the host: the devices are busy with the step
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.told is not None:
            raise KeyboardInterrupt
        self.told = signal.Signals(number).name
        logger.warning("%s: saving after this step, then stopping; once more to stop at once", self.told)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop and save here if any rank was told to."""
        if not self._any_told() or state.global_step >= state.max_steps:
            return
        self.stopped = self.told or "a signal to another rank"
        control.should_training_stop = True
        if not (_ends_epoch(state) and args.save_strategy == SaveStrategy.EPOCH):  # which saves, once it has evaluated
            control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep an epoch that was broken off from being evaluated and saved as if it were done."""
        if self.stopped and not _ends_epoch(state):
            control.should_evaluate = control.should_save = control.should_log = False

    def _any_told(self) -> bool:
        if self._group is None:
            return self.told is not None
        agreed = False
        if self._vote is not None:
            work, votes = self._vote
            work.wait()
            agreed = bool(votes.item())
        votes = torch.tensor([float(self.told is not None)])
        self._vote = (dist.all_reduce(votes, group=self._group, async_op=True), votes)
        return agreed


def _ends_epoch(state: Any) -> bool:
    return float(state.epoch).is_integer()
