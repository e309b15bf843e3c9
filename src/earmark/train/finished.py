"""The results of a finished training run, for reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import TrainerState

from earmark.models.build_model import AudioModel
from earmark.runs.folder import RunFolder, read_json
from earmark.tasks.linear_fits import FittedHead
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.recipe import global_batch_size


@dataclass(frozen=True)
class FinishedTraining:
    """The results of a training run.

    Attributes:
        audio: the model that is kept, and its frontend.
        args: training settings.
        state: Trainer's state: steps, epochs, best checkpoint and log history.
        num_clips: number of training clips.
        training_s: seconds spent on training, without evaluation and saving.
        trained_clips: clips trained on in that time, counting repeats; 0 if a resumed run had no step left.
        fitted_head: the head that ``--few_shot`` fitted; ``None`` if epochs were trained.
    """

    audio: AudioModel
    args: EarmarkTrainingArguments
    state: TrainerState
    num_clips: int
    training_s: float
    trained_clips: int
    fitted_head: FittedHead | None = None


@dataclass(frozen=True)
class TrainingFigures:
    """Length and speed of a training run.

    Attributes:
        steps: optimizer steps done.
        epochs: passes over the training clips.
        clips: clips trained on, counting repeats.
        training_s: seconds spent on training, without evaluation and saving.
        samples_per_second: clips a second over all devices; ``None`` if no clip was trained on.
        global_batch_size: clips in one step.
        learning_rate: peak learning rate.
        best_checkpoint: name of the checkpoint that is kept; ``None`` for the model of the last step.
        few_shot: the head that ``--few_shot`` fitted; ``None`` if epochs were trained.
    """

    steps: int
    epochs: float
    clips: int
    training_s: float
    samples_per_second: float | None
    global_batch_size: int
    learning_rate: float
    best_checkpoint: str | None
    few_shot: FittedHead | None = None

    @classmethod
    def of(cls, training: FinishedTraining) -> TrainingFigures:
        """Return length and speed of a finished training run."""
        args, state, training_s = training.args, training.state, training.training_s
        clips = round((state.epoch or 0.0) * training.num_clips)
        best = state.best_model_checkpoint if args.load_best_model_at_end else None
        return cls(
            steps=state.global_step,
            epochs=state.epoch or 0.0,
            clips=clips,
            training_s=training_s,
            samples_per_second=training.trained_clips / training_s if training.trained_clips and training_s else None,
            global_batch_size=global_batch_size(args),
            learning_rate=args.learning_rate or 0.0,
            best_checkpoint=Path(best).name if best else None,
            few_shot=training.fitted_head,
        )

    def to_dict(self) -> dict[str, object]:
        """Return the values for ``metrics.json``."""
        return {**asdict(self), "few_shot": None if self.few_shot is None else self.few_shot.to_dict()}


def keep_measured_speed(figures: TrainingFigures, folder: RunFolder) -> TrainingFigures:
    """Return ``figures`` with the time and speed of an earlier start, for a run with no step left to train."""
    if not folder.metrics.is_file():
        return figures
    earlier = read_json(folder.metrics).get("train", {})
    known = {name: earlier[name] for name in ("training_s", "samples_per_second") if name in earlier}
    return replace(figures, **known)
