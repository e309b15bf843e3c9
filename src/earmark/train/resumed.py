"""Keep the learning rates, intervals and folders of a resumed run, which Trainer would read from the checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from earmark.train.callbacks import has_stopped_early

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainingArguments

logger = logging.getLogger(__name__)


class ResumedRun(TrainerCallback):
    """Puts the settings of this run in place of the settings that Trainer loads from a checkpoint.

    Attributes:
        checkpoint: the checkpoint to resume from; ``None`` if the run starts from the beginning.
        num_train_epochs: epochs of the whole run.
        groups: rate and weight decay of each parameter group, from the settings of this run.
    """

    def __init__(self) -> None:
        self.checkpoint: Path | None = None
        self.num_train_epochs = 0
        self.groups: list[dict[str, float]] = []

    def is_finished(self, args: object, max_steps: int) -> bool:
        """Return whether the run has no step left, because all steps are done or it stopped early."""
        file = None if self.checkpoint is None else self.checkpoint / TRAINER_STATE_NAME
        if file is None or not file.is_file():
            return False
        state = TrainerState.load_from_json(str(file))
        return state.global_step >= max_steps or has_stopped_early(args, state)

    def store_groups(self, optimizer: Any) -> None:
        """Store the rates and the weight decay of a new optimizer, before a checkpoint is loaded into it."""
        self.groups = [
            {"initial_lr": group.get("initial_lr", group["lr"]), "weight_decay": group["weight_decay"]}
            for group in optimizer.param_groups
        ]

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: object = None,
        lr_scheduler: object = None,
        **kwargs: object,
    ) -> None:
        """Correct state, optimizer and scheduler after the checkpoint is loaded."""
        state.num_train_epochs = self.num_train_epochs
        state.compute_steps(args, state.max_steps)  # so that this run's intervals for saving and logging apply
        remember_best(state, Path(args.output_dir))  # the run folder may have been moved
        if self.checkpoint is not None:
            self._use_groups(optimizer, getattr(lr_scheduler, "scheduler", lr_scheduler))  # accelerate wraps torch's

    def _use_groups(self, optimizer: Any, scheduler: Any) -> None:
        # a scheduler that follows a metric has no initial rates
        groups = [group for group in optimizer.param_groups if "initial_lr" in group] if self.groups else []
        for i, (group, asked) in enumerate(zip(groups, self.groups if groups else [], strict=True)):
            if asked["initial_lr"] != group["initial_lr"] and hasattr(scheduler, "lr_lambdas"):
                scheduler.base_lrs[i] = asked["initial_lr"]
                group["lr"] = asked["initial_lr"] * scheduler.lr_lambdas[i](scheduler.last_epoch)
                scheduler._last_lr[i] = group["lr"]
            group.update(asked)


def remember_best(state: TrainerState, run_dir: Path, written: str | None = None) -> None:
    """Set the path of the best checkpoint in a state, because the run folder may have been moved.

    Args:
        state: Trainer's state.
        run_dir: the run folder.
        written: name of a checkpoint that is being written.
    """
    name = f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
    if state.best_global_step and (name == written or (run_dir / name).is_dir()):
        state.best_model_checkpoint = str(run_dir / name)


def forget_removed_best(state: TrainerState) -> None:
    """Keep the model of the last step if the best checkpoint was removed during training, and warn about it."""
    best = state.best_model_checkpoint
    if best is not None and not Path(best).is_dir():
        logger.warning(
            "%s: the best checkpoint was removed or moved during training, so the run keeps its last model", best
        )
        state.best_model_checkpoint = None
