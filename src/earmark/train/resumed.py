"""Keep the rates, intervals and folders of a resumed run, which Trainer would take from the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from earmark.train.callbacks import has_stopped_early

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainingArguments


class ResumedRun(TrainerCallback):
    """Replaces the settings that Trainer loads with a checkpoint by those of this run.

    Attributes:
        checkpoint: where the run resumes; ``None`` if it starts from the beginning.
        num_train_epochs: epochs of the whole run.
        groups: rate and weight decay of each parameter group, from the settings of this run.
    """

    def __init__(self) -> None:
        self.checkpoint: Path | None = None
        self.num_train_epochs = 0
        self.groups: list[dict[str, float]] = []

    def is_finished(self, args: object, max_steps: int) -> bool:
        """Return whether the run has no step left: it did them all, or has stopped early."""
        file = None if self.checkpoint is None else self.checkpoint / TRAINER_STATE_NAME
        if file is None or not file.is_file():
            return False
        state = TrainerState.load_from_json(str(file))
        return state.global_step >= max_steps or has_stopped_early(args, state)

    def ask_for(self, optimizer: Any) -> None:
        """Remember the rates and the weight decay of a new optimizer, before a checkpoint is loaded into it."""
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
        """Correct the state, the optimizer and the scheduler, once all of the checkpoint is loaded."""
        state.num_train_epochs = self.num_train_epochs
        state.compute_steps(args, state.max_steps)  # how often to save and log is what is asked for now
        remember_best(state, Path(args.output_dir))  # the run folder may have been moved since it was written
        if self.checkpoint is not None:
            self._use_groups(optimizer, getattr(lr_scheduler, "scheduler", lr_scheduler))  # accelerate's holds torch's

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
    """Point a state to its best checkpoint in the run folder, which may have been moved.

    Args:
        state: Trainer's.
        run_dir: the run folder.
        written: name of a checkpoint that is about to be there.
    """
    name = f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
    if state.best_global_step and (name == written or (run_dir / name).is_dir()):
        state.best_model_checkpoint = str(run_dir / name)
