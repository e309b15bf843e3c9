"""A Trainer whose checkpoints are whole or not there; see :mod:`earmark.train.checkpoints`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from earmark.errors import OutputError, first_line
from earmark.train.checkpoints import UNFINISHED, finish_checkpoint


class CheckpointingTrainer(Trainer):
    """Transformers' Trainer but for how it saves."""

    _aside: Path | None = None  # where a checkpoint is being written

    def facts(self) -> dict[str, Any]:
        """What a checkpoint has to have in common with the run that goes on from it, and its settings; plain values."""
        raise NotImplementedError

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Trainer's own, but into a folder aside, which gets its name when all of it is on the disk."""
        run_dir = Path(self._get_output_dir(trial))
        aside = run_dir / UNFINISHED
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with _translated_save_errors(run_dir / name, aside):
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
                finish_checkpoint(aside / name, run_dir / name, self.facts())
                aside.rmdir()
                rotate_checkpoints(
                    output_dir=str(run_dir),
                    save_total_limit=self.args.save_total_limit,
                    best_model_checkpoint=self.state.best_model_checkpoint,
                    use_mtime=True,
                )
            self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(run_dir / name))

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._aside or super()._get_output_dir(trial))

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._aside is None:  # else it is not whole yet
            super()._push_from_checkpoint(checkpoint_folder)

    def _init_training_state(self, *args: Any, **kwargs: Any) -> Any:
        begun = super()._init_training_state(*args, **kwargs)
        self._remember_best(Path(self.args.output_dir))  # the run folder may have been moved since it was written
        return begun

    def _remember_best(self, run_dir: Path, written: str | None = None) -> None:
        """Have the best checkpoint where it lies, or will lie: in the run folder."""
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
        if self.state.best_global_step and (name == written or (run_dir / name).is_dir()):
            self.state.best_model_checkpoint = str(run_dir / name)


@contextmanager
def _translated_save_errors(target: Path, aside: Path) -> Iterator[None]:
    """A full disk, told in a line; what is half written makes room again."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as exc:
        if isinstance(exc, RuntimeError) and "PytorchStreamWriter" not in str(exc):
            raise
        shutil.rmtree(aside, ignore_errors=True)
        reason = exc.strerror if isinstance(exc, OSError) else first_line(exc)
        raise OutputError(
            f"{target}: the checkpoint cannot be written ({reason}); earlier ones are whole: make room, then go on "
            "with --resume"
        ) from exc
