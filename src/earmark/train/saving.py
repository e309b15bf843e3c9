"""A Trainer whose checkpoints are whole or not there; see :mod:`earmark.train.checkpoints`."""

from __future__ import annotations

import copy
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy
from transformers.utils import PushInProgress

from earmark.errors import OutputError, first_line
from earmark.models.build_model import let_others_read
from earmark.tasks.figures import metric_key
from earmark.train.callbacks import has_stopped_early
from earmark.train.checkpoints import UNFINISHED, checkpoints_in, finish_checkpoint, remove_old
from earmark.train.uploads import start_uploads

_FULL = {errno.ENOSPC, errno.EDQUOT}
_TORCH_WRITES = ("PytorchStreamWriter", "inline_container", "iostream error")  # in its errors, of several versions
_MORE = 1 << 20  # bytes: more than a writer holds back before it writes


class CheckpointingTrainer(Trainer):
    """Transformers' Trainer but for how it saves, and goes on."""

    _aside: Path | None = None  # where a checkpoint is being written
    push_in_progress: Any  # Trainer's: uploads that have not ended, with --push_to_hub

    @property
    def stops_early(self) -> bool:
        """Whether a signal has ended training, which is to go on later."""
        return any(getattr(callback, "stopped", None) for callback in self.callback_handler.callbacks)

    def facts(self) -> dict[str, Any]:
        """What a checkpoint has to have in common with the run that goes on from it, and its settings; plain values."""
        raise NotImplementedError

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Trainer's own, but into a folder aside, which gets its name when all of it is on the disk."""
        run_dir = Path(self._get_output_dir(trial))
        aside = run_dir / UNFINISHED
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with _cleared_when_it_fails(aside), translated_save_errors(run_dir / name, run_dir):
            if self.args.should_save:
                shutil.rmtree(aside, ignore_errors=True)  # what a killed run has left
            self.accelerator.wait_for_everyone()
            self._aside = aside
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._aside = None
            self.accelerator.wait_for_everyone()  # other ranks write their random states and shards
            self._remember_best(run_dir, written=name)  # on every rank: each loads it at the end
            if self.args.should_save:
                self.state.save_to_json(str(aside / name / TRAINER_STATE_NAME))
                let_others_read(aside / name)
                finish_checkpoint(aside / name, run_dir / name, self.facts())
                aside.rmdir()
                keep = [run_dir / name, Path(self.state.best_model_checkpoint or run_dir / name)]
                remove_old(run_dir, self.args.save_total_limit, keep=keep)
            self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(run_dir / name))

    def _save(self, *args: Any, **kwargs: Any) -> None:
        """Trainer's own, without the token in ``training_args.bin``, which is also uploaded with checkpoints."""
        given: Any = self.args  # type: ignore[has-type]  # set by Trainer
        self.args = copy.copy(given)
        self.args.hub_token = None
        try:
            super()._save(*args, **kwargs)
        finally:
            self.args = given

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._aside or super()._get_output_dir(trial))

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Trainer's own, which also uploads the names of all recordings, but with the files of `earmark push` only."""
        is_complete, waiting = self._aside is None, self.push_in_progress
        if not is_complete or not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        is_busy = waiting is not None and not waiting.is_done()
        if is_busy and not self.args.hub_always_push:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        step, epoch = self.state.global_step, self.state.epoch or 0.0
        jobs = start_uploads(self.args, self.hub_model_id, Path(checkpoint_folder), step=step, epoch=epoch)
        if is_busy:
            waiting.jobs.extend(jobs)
        else:
            self.push_in_progress = PushInProgress(jobs)

    def _init_training_state(
        self, max_steps: int, num_update_steps_per_epoch: int, num_train_epochs: int, *args: Any
    ) -> tuple[int, int]:
        begun: tuple[int, int] = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, *args
        )
        self._remember_best(Path(self.args.output_dir))  # the run folder may have been moved since it was written
        self.state.compute_steps(self.args, max_steps)  # how often to save and log is what is asked for now
        # A finished run has no steps to do; Trainer would take one more step of an unfinished epoch.
        finished = self.state.global_step >= max_steps or has_stopped_early(self.args, self.state)
        return (num_train_epochs, 0) if finished else begun

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Trainer's own, but with the rates and the weight decay that are asked for now."""
        asked = [{name: group[name] for name in ("initial_lr", "weight_decay")} for group in self._groups()]
        super()._load_optimizer_and_scheduler(checkpoint)
        scheduler: Any = getattr(self.lr_scheduler, "scheduler", self.lr_scheduler)  # accelerate's holds torch's
        for i, (group, now) in enumerate(zip(self._groups(), asked, strict=True)):
            if now["initial_lr"] != group["initial_lr"] and hasattr(scheduler, "lr_lambdas"):
                scheduler.base_lrs[i] = now["initial_lr"]
                group["lr"] = now["initial_lr"] * scheduler.lr_lambdas[i](scheduler.last_epoch)
                scheduler._last_lr[i] = group["lr"]
            group.update(now)

    def _groups(self) -> list[dict[str, Any]]:
        groups = self.optimizer.param_groups if self.optimizer is not None and not self.is_deepspeed_enabled else []
        return [group for group in groups if "initial_lr" in group]

    def _determine_best_metric(self, metrics: dict[str, Any], trial: Any) -> bool:
        """Whether these figures are the best so far; a run that a signal stops is saved in any case.

        With early stopping, which is made for few clips, the loss decides between equal figures: of 30 validation clips
        many epochs get the same number right, the first of them by chance. Transformers keeps the first.
        """
        is_best = bool(super()._determine_best_metric(metrics, trial))
        if not is_best and self.args.early_stopping_patience and self._has_lower_loss_at_equal_metric(metrics):
            self.state.best_global_step = self.state.global_step
            is_best = True
        return is_best or self.stops_early

    def _has_lower_loss_at_equal_metric(self, metrics: dict[str, Any]) -> bool:
        metric = f"eval_{metric_key(self.args.metric_for_best_model)}"
        if metrics.get(metric) != self.state.best_metric:
            return False
        best_step = self.state.best_global_step
        losses = [row["eval_loss"] for row in self.state.log_history if row["step"] == best_step and "eval_loss" in row]
        return bool(losses) and metrics["eval_loss"] < losses[-1]

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's own; a run that was stopped early goes on later, so nothing is chosen or cleared away yet."""
        best, limit = self.state.best_model_checkpoint, self.args.save_total_limit
        if self.stops_early:
            self.state.best_model_checkpoint = None
        self.args.save_total_limit = None  # Trainer takes every folder whose name begins so for one of its own
        try:
            output = super()._finalize_training(*args, **kwargs)
        finally:
            self.state.best_model_checkpoint, self.args.save_total_limit = best, limit
        if self.args.should_save and limit == 1 and best is not None and not self.stops_early:
            remove_old(Path(self.args.output_dir), 1, keep=[Path(best)])
        return output

    def _remember_best(self, run_dir: Path, written: str | None = None) -> None:
        """Have the best checkpoint where it lies, or will lie: in the run folder."""
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
        if self.state.best_global_step and (name == written or (run_dir / name).is_dir()):
            self.state.best_model_checkpoint = str(run_dir / name)


@contextmanager
def _cleared_when_it_fails(aside: Path) -> Iterator[None]:
    """What is half written makes room again."""
    try:
        yield
    except Exception:
        shutil.rmtree(aside, ignore_errors=True)
        raise


@contextmanager
def translated_save_errors(target: Path, run_dir: Path) -> Iterator[None]:
    """What the writers of weights and states raise when the disk does not take them, as an OutputError.

    Args:
        target: what is written.
        run_dir: the run folder, which it is written into.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as exc:
        refusal = _refusal(exc, run_dir)
        if refusal is None and isinstance(exc, RuntimeError) and not any(word in str(exc) for word in _TORCH_WRITES):
            raise
        reason = first_line(exc) if refusal is None else refusal.strerror or first_line(refusal)
        fix = "make room" if refusal is not None and refusal.errno in _FULL else "fix the cause"
        then = "earlier checkpoints are complete: {}, then continue with --resume"
        hint = (then if checkpoints_in(run_dir) else "{}, then start again").format(fix)
        raise OutputError(f"{target}: cannot be written ({reason}); {hint}") from exc


def _refusal(exc: Exception, folder: Path) -> OSError | None:
    """Why the system took nothing more, in its own words; ``None`` if it takes more.

    torch tells of a full disk only at which byte of its archive it stood, in other words from version to version. What
    it could not write is on the disk as far as it went, so a file that goes on behind the longest one meets what it
    met, be it the disk's end, a quota or a limit on files.
    """
    if isinstance(exc, OSError):
        return exc
    if number := re.search(r"\(os error (\d+)\)", str(exc)):  # Rust's, of safetensors, which takes its file away again
        return OSError(int(number[1]), os.strerror(int(number[1])))
    try:
        longest = max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=0)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.seek(longest)
            stream.write(bytes(_MORE))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as refusal:
        return refusal
    return None
