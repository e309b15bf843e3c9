"""The adapter to Transformers' Trainer: the only class that derives from it.

It puts earmark's parts in the places of Trainer's: frontend and mixing of a batch on the device, cast weights instead
of autocast, the loss, scoring, checkpoints that are whole or not there; and callbacks for averaged weights, resumed
runs, progress, signals and early stopping. It overrides only public methods, except for two that say why they are
private. Names that are not public are in :mod:`earmark.train.transformers_contract`, which a test compares with the
installed version.

The loss is a function handed to Trainer. Trainer believes that audio models divide by ``num_items_in_batch``, because
their ``forward`` takes ``**kwargs``; they do not, so four accumulation steps would give four times the gradient.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch.utils.data import Sampler
from transformers import trainer as transformers_trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from earmark.batch.dataset import one_batch
from earmark.models.build_model import AudioModel
from earmark.models.freeze import find_body, is_body_frozen
from earmark.runs.example_results import speed
from earmark.scoring.extra_metrics import ExtraMetrics
from earmark.store.usable import UsableClips
from earmark.threads import watch
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.augmentation import AugmentationSounds, augmented
from earmark.train.callbacks import EarlyStopping, EstimateTime, EvaluateEveryEpochs, wins_by_loss
from earmark.train.checkpoints import remove_old
from earmark.train.clip_progress import ClipProgress, TrainingClock
from earmark.train.ema import AveragedWeights
from earmark.train.for_trainer import check_spread, settings_for_trainer
from earmark.train.frozen import input_shape, keep_frozen
from earmark.train.layer_decay import give_rates
from earmark.train.loss_guard import LossGuard
from earmark.train.losses import make_loss
from earmark.train.mixing import training_inputs
from earmark.train.out_of_memory import batch_does_not_fit, nothing_fits, out_of_memory_as
from earmark.train.resumed import ResumedRun, remember_best
from earmark.train.run_facts import RunFacts
from earmark.train.saving import checkpoint_aside, put_in_place
from earmark.train.sharded import WholeModel
from earmark.train.stopping import StopOnSignal
from earmark.train.trackers import Event, take_over_trackers
from earmark.train.training_clips import fill_buckets, sampling_order, training_clips, training_loader
from earmark.train.transformers_contract import check_transformers
from earmark.train.uploads import CheckpointUploads
from earmark.train.validation import SplitScorer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class AudioTrainer(transformers.Trainer):
    """Trains an :class:`AudioModel` on a table of clips.

    Args:
        audio: classifier and frontend.
        args: ``TrainingArguments``; its ``bf16`` is taken over by earmark.
        train_clips: clips to learn from.
        validation: clips to judge by; ``None`` when there is no evaluation while training.
        bucket_waste: most padding in length buckets; 1 for batches without regard to length.
        sounds: what augmentation uses beside the settings in ``args``.
        extra_metrics: metrics that are not built in.
        settings: settings outside ``args`` that change the result; see :func:`earmark.train.run_facts.result_settings`.

    Attributes:
        scorer: scores clips with the model as it is.
        clock: seconds spent training, and clips.
        signals: ends training with a checkpoint; in force within its ``with`` block.
        trackers: of ``--report_to``.
        facts: returns what a resumed run must have in common with its checkpoint.
        rows: of the batch at hand in the table of training clips, int64 (B,).
        batch_observers: called with each batch, as it was stored, and its loss; for what Transformers has no event.

    Raises:
        UsageError: this version of Transformers cannot be used, or settings that do not go together.
    """

    args: Any  # EarmarkTrainingArguments
    control: Any
    train_dataset: Any
    rows: Any = None

    def __init__(
        self,
        audio: AudioModel,
        args: EarmarkTrainingArguments,
        train_clips: UsableClips,
        validation: UsableClips | None,
        *,
        bucket_waste: float = 0.1,
        sounds: AugmentationSounds | None = None,
        extra_metrics: ExtraMetrics | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        check_transformers()
        precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
        args = settings_for_trainer(audio, args)
        dataset = augmented(training_clips(audio, train_clips, seed=args.seed), audio, args, sounds)
        fill_buckets(dataset, audio, bucket_waste)
        with warnings.catch_warnings():
            # of its own loss; ours smooths several labels, too
            warnings.filterwarnings("ignore", message="Label smoothing is not compatible with multi-label")
            super().__init__(
                model=audio.model,
                args=args,
                train_dataset=dataset,
                eval_dataset=validation,
                data_collator=one_batch,
                processing_class=audio.frontend.extractor,
                compute_loss_func=make_loss(audio, args, dataset.labels),
            )
        check_spread(args, fsdp=self.is_fsdp_enabled, deepspeed=self.is_deepspeed_enabled)
        self.audio = audio
        self.given = args  # training tells Trainer less, see :meth:`_told`
        self._whole = WholeModel(audio.model) if args.fsdp else None
        self._body_is_frozen = is_body_frozen(audio)
        self._num_parameters = int(audio.model.num_parameters(exclude_embeddings=True))
        self.facts = RunFacts(
            audio, args, train_clips, precision, {"bucket_waste": bucket_waste, **(settings or {})}, sounds
        )
        self.scorer = SplitScorer(audio, args, extra_metrics or ExtraMetrics(), self.whole_model)
        self.guard = LossGuard(train_clips.table)
        self.batch_observers: list[Callable[[dict[str, Any], torch.Tensor], None]] = []
        self._uploads = CheckpointUploads()
        if args.push_to_hub:
            self.push_in_progress = self._uploads  # Trainer waits for them at the end
        self._add_callbacks(precision)

    def _add_callbacks(self, precision: str) -> None:
        """Add them in the order in which they are called: what loads a checkpoint comes before the clock starts."""
        self.clock = TrainingClock()
        self.average = AveragedWeights(self.args.ema)
        self.resumed = ResumedRun()
        self.progress = ClipProgress(self.clock)
        self.signals = StopOnSignal()
        callbacks, run_dir = self.callback_handler.callbacks, Path(str(self.args.output_dir))
        self.trackers = take_over_trackers(callbacks, run_dir, precision, lambda: self.stops_early)
        # replaced by the bar of clips; Transformers has other callbacks in notebooks
        for shown_otherwise in (transformers_trainer.DEFAULT_PROGRESS_CALLBACK, transformers.PrinterCallback):
            self.remove_callback(shown_otherwise)
        for callback in (self.average, self.resumed, EvaluateEveryEpochs(), EarlyStopping(), self.progress):
            self.add_callback(callback)
        self.add_callback(EstimateTime(self.clock))
        self.add_callback(self.signals)

    @property
    def stops_early(self) -> bool:
        """Whether a signal has ended training, which is resumed later."""
        return self.signals.stopped is not None

    def event(self) -> Event:
        """Return what a callback gets at the end of training."""
        parts = {"model": self.model, "processing_class": self.processing_class}
        return Event((self.args, self.state, self.control), parts)

    def keep_frozen(self, stack: ExitStack, root: Path, *, small_only: bool) -> None:
        """Compute what the frozen part of the model makes of the training clips, and train on that.

        Args:
            stack: deletes it when it closes.
            root: folder to put it in.
            small_only: see :func:`earmark.train.frozen.stage_to_keep`.
        """
        kept = keep_frozen(self.audio, self.train_dataset, self.args, stack, root, small_only=small_only)
        if kept is not None:
            self.train_dataset, self.clock.frozen_s = kept
            self.scorer.probes = self.train_dataset.stage == "embeddings"

    def train(self, resume_from_checkpoint: str | None = None, **kwargs: object) -> object:
        """Trainer's own; the model ends with averaged weights, and the one checkpoint that stays may be the best.

        A run that a signal has stopped is resumed later, so nothing is chosen or removed.

        Raises:
            DeviceError: the device has not enough memory.
        """
        self.add_callback(self.pop_callback(self.signals))  # behind those of the caller: a stop has the last word
        checkpoint = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        self.average.checkpoint = self.resumed.checkpoint = checkpoint
        # Trainer takes every folder whose name begins like a checkpoint's for one, and would remove it at the end
        with out_of_memory_as(self._what_did_not_fit), self._told(self.args, save_total_limit=None):
            output = super().train(resume_from_checkpoint, **kwargs)
        if self.stops_early:
            return output
        args, best = self.args, self.state.best_model_checkpoint
        self.average.finish(best_is_loaded=bool(args.load_best_model_at_end and best))
        if args.should_save and args.save_total_limit == 1 and best is not None:
            remove_old(Path(str(args.output_dir)), 1, keep=[Path(best)])
        return output

    def set_initial_training_values(self, args: object, dataloader: object) -> object:
        """Trainer's own; a finished run has no epoch left, where Trainer would take one more step of a begun one."""
        epochs, *others, max_steps = super().set_initial_training_values(args, dataloader)
        self.resumed.num_train_epochs = epochs
        return (0 if self.resumed.is_finished(args, max_steps) else epochs), *others, max_steps

    def create_optimizer(self, model: PreTrainedModel = None) -> object:
        """AdamW as Trainer makes it, with the rates that the head and the layers have of their own."""
        optimizer = give_rates(super().create_optimizer(model), self.audio, self.args)
        if not self.is_deepspeed_enabled:
            self.resumed.ask_for(optimizer)
        return optimizer

    def train_sampler(self) -> Sampler[int]:
        """Return the order of the training clips."""
        return sampling_order(self.train_dataset, self.args, self._train_batch_size)

    def get_train_dataloader(self) -> object:
        """Return batches of stored clips.

        ``_train_batch_size`` is what ``--auto_find_batch_size`` tries, which Trainer has under no other name by now.
        """
        clips, size = self.train_dataset, self._train_batch_size
        return self.accelerator.prepare(
            training_loader(clips, self.train_sampler(), self.data_collator, self.args, size)
        )

    def training_step(
        self, model: PreTrainedModel, inputs: dict[str, object], *args: object, **kwargs: object
    ) -> torch.Tensor:
        """Trainer's own, of stored samples; remembers the loss, and leaves cores to other processes that need them."""
        watch.adjust()
        self.rows = inputs.pop("rows")
        batch = self.model_inputs(inputs)
        shape = input_shape(self.audio.model, batch)
        loss = super().training_step(model, batch, *args, **kwargs)
        self.guard.add(loss, self.rows, self.state.global_step)
        for observe in self.batch_observers:
            observe(inputs, loss)
        # Trainer counts operations and tokens after the step, by the shape of an input that stored samples do not have
        inputs[self.audio.model.main_input_name] = torch.empty(shape, device="meta")
        return loss

    def model_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return what the model takes, on the device, of a batch of stored samples, and its labels."""
        if "samples" not in inputs:  # of a frozen part that was computed before
            return dict(inputs)
        with torch.no_grad():
            return training_inputs(self.audio, inputs, self.args.device)

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, object],
        return_outputs: bool = False,
        num_items_in_batch: object = None,
    ) -> object:
        """Trainer's own; under ``--on_nan_loss skip`` a loss that teaches nothing where it would be NaN or infinite."""
        if self._body_is_frozen:
            # Trainer has just put all of the model into training mode; a body that does not learn answers as it will
            # when it is used, without dropout, masks and moving batch statistics
            find_body(self.audio.model, self.audio.family).eval()
        skips = self.args.on_nan_loss == "skip"
        averages = [(buffer, buffer.clone()) for buffer in model.buffers()] if skips else []  # of batch norms
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if skips:
            loss = self.guard.replaced(loss, model, averages, self.rows, self.state.global_step + 1)
        return (loss, outputs) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return Trainer's own estimate for a batch; counts the parameters of the model once, not in every step."""
        return 6 * inputs[self.audio.model.main_input_name].numel() * self._num_parameters

    def whole_model(self) -> object:
        """The model with all of its weights, on the device. With ``--fsdp`` all ranks have to call this."""
        if self._whole is not None and self.clock.has_begun:
            return self._whole.gathered_from(self.model, self.args.device)
        return self.model.to(self.args.device)

    def evaluate(
        self,
        eval_dataset: object = None,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Score the validation clips, log the figures and tell the callbacks, as Trainer's own method does."""
        self.guard.check(self.state.global_step)
        clips = eval_dataset if isinstance(eval_dataset, UsableClips) else self.eval_dataset
        with self.average.used():
            with self.progress.paused():
                began_s = time.perf_counter()
                values, self.progress.headline = self.scorer.judge(clips)
                seconds = time.perf_counter() - began_s
            figures = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
            batches = math.ceil(len(clips.table) / (self.args.eval_batch_size * self.args.world_size))
            figures |= speed(metric_key_prefix, seconds, samples=len(clips.table), steps=batches)
            self.log(figures)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        return figures

    def _determine_best_metric(self, metrics: dict[str, Any], trial: Any) -> bool:
        """Whether these figures are the best so far; with ``--save_strategy best`` this is what saves.

        It is overridden because Trainer has no event between this answer and saving: a run that a signal stops is
        saved in any case, and with early stopping the loss decides between equal figures.
        """
        is_best = bool(super()._determine_best_metric(metrics, trial))
        if not is_best and wins_by_loss(self.args, self.state, metrics):
            self.state.best_global_step = self.state.global_step
            is_best = True
        return is_best or self.stops_early

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's own; the speed of the whole training is the one of ``metrics.json``.

        Trainer counts evaluation and saving as training time. A resumed run with no step left has no training loss.
        """
        if "loss" in logs:
            self.guard.check(self.state.global_step)
        if "train_runtime" in logs:
            self.clock.stop()  # before the best model is loaded
            if self.stops_early:  # it is resumed later: no model is chosen
                self.state.best_model_checkpoint = None
            seconds, steps = (
                self.clock.frozen_s + self.clock.seconds,
                self.state.global_step - self.progress.began_at_step,
            )
            logs.update(speed("train", seconds, samples=self.clock.clips, steps=steps))
            if steps == 0:
                logs.pop("train_loss", None)
        super().log(logs, start_time)

    def _save_checkpoint(self, model: PreTrainedModel, trial: object) -> None:
        """Trainer's own, but into a folder aside, which gets its name when all of it is on the disk.

        It is overridden because Trainer writes straight into ``checkpoint-N`` and has no event before it does: a run
        killed meanwhile would leave an incomplete checkpoint that looks complete.
        """
        self.guard.check(self.state.global_step)  # before a model of NaN is saved
        args, run_dir = self.args, Path(str(self.args.output_dir))
        target = run_dir / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        wait = self.accelerator.wait_for_everyone
        with self.progress.paused():
            with checkpoint_aside(target, wait, writes=args.should_save) as aside:
                with self._told(self.args, output_dir=str(aside), push_to_hub=False):
                    super()._save_checkpoint(model, trial)
                written = aside / target.name
                if args.should_save and not args.save_only_model:
                    self.average.save(written)
                wait()  # other ranks write their random states and shards
                remember_best(self.state, run_dir, written=target.name)  # on every rank: each loads it at the end
                if args.should_save:
                    self.state.save_to_json(str(written / transformers_trainer.TRAINER_STATE_NAME))
                    put_in_place(written, target, self.facts())
                    keep = [target, Path(self.state.best_model_checkpoint or target)]
                    remove_old(run_dir, self.given.save_total_limit, keep=keep)
                wait()
            if args.push_to_hub and self.is_world_process_zero() and self._uploads.are_due(args):
                self.callback_handler.on_push_begin(args, self.state, self.control)
                self._uploads.start(args, self.hub_model_id, target, self.state)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Trainer's own, of the averaged weights, and never uploaded from here.

        ``training_args.bin`` holds the settings without the token: checkpoints are uploaded.
        """
        with self.average.used(), self._told(self.given, hub_token=None):
            super().save_model(output_dir, True)

    @contextmanager
    def _told(self, args: EarmarkTrainingArguments, **settings: object) -> Iterator[None]:
        """Give Trainer ``args`` with some settings replaced, inside the block."""
        before = self.args
        self.args = copy.copy(args)
        for name, value in settings.items():
            setattr(self.args, name, value)
        try:
            yield
        finally:
            self.args = before

    def _what_did_not_fit(self) -> str | None:
        """The message of memory that runs out; ``None`` if ``--auto_find_batch_size`` takes care of it."""
        if self.args.auto_find_batch_size:
            return None
        if self.rows is None:
            return nothing_fits(self.args.device)
        longest_s = self.train_dataset.lengths[self.rows.cpu().numpy()].max() / self.audio.frontend.sampling_rate_hz
        return batch_does_not_fit(self.args.device, self.state.global_step + 1, len(self.rows), longest_s)
