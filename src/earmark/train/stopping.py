"""Stop training on SIGTERM, SIGINT and Windows' SIGBREAK: finish the step, save a checkpoint and exit.

Clusters send SIGTERM before they take a machine away, and people press Ctrl-C. Either ends the run after the current
step, with a checkpoint to resume from. A second signal stops the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback
from transformers.trainer_utils import SaveStrategy

from earmark.distributed.launched import is_main_process
from earmark.distributed.ranks import rank_and_world

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

_NAMES = ("SIGTERM", "SIGINT", "SIGBREAK")  # the last one is Ctrl-Break on Windows
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_SAME_WITHIN_S = 2.0  # signals within this time count as one, because cluster and launcher may both send it


class StopOnSignal(TrainerCallback):
    """Stops training with a checkpoint when the process gets a signal; active inside its ``with`` block.

    All ranks stop after the same step. During each step, they count in the background how many ranks got a signal.

    Attributes:
        signal: name of the signal that this process got; ``None`` if it got none.
        stopped: name of the signal that ended training early; ``None`` if none did.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.stopped: str | None = None
        self._signal_at = 0.0
        self._before: dict[int, Any] = {}
        self._group: Any = None
        self._vote: tuple[Any, torch.Tensor] | None = None

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():  # Python accepts handlers only there
            self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        if rank_and_world()[1] > 1:
            self._group = dist.new_group(backend="gloo")  # on the host, because the devices are busy with the step
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is not None:
            if now - self._signal_at > _SAME_WITHIN_S:
                raise KeyboardInterrupt
            return
        self._signal_at = now
        self.signal = signal.Signals(number).name
        if is_main_process():
            with suppress(OSError):  # the same Ctrl-C may have ended the reader of a pipe, such as `| tee log`
                # not with the logger, because the signal may have interrupted it
                text = f"{self.signal}: saving a checkpoint after this step; send it again to stop at once\n"
                os.write(2, text.encode())

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Stop and save after this step if any rank got a signal."""
        if not self._any_signal() or state.global_step >= state.max_steps:
            return
        self.stopped = self.signal or "a signal to another rank"
        control.should_training_stop = True
        if not (_ends_epoch(state) and args.save_strategy == SaveStrategy.EPOCH):  # saved anyway, after the evaluation
            control.should_save = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Keep an interrupted epoch from being evaluated and saved as if it were complete."""
        if self.stopped and not _ends_epoch(state):
            control.should_evaluate = control.should_save = control.should_log = False

    def _any_signal(self) -> bool:
        if self._group is None:
            return self.signal is not None
        agreed = False
        if self._vote is not None:
            work, votes = self._vote
            work.wait()
            agreed = bool(votes.item())
        votes = torch.tensor([float(self.signal is not None)])
        self._vote = (dist.all_reduce(votes, group=self._group, async_op=True), votes)
        return agreed


def _ends_epoch(state: TrainerState) -> bool:
    return float(state.epoch).is_integer()
