"""The adapter to Transformers' Trainer, and the only subclass of it.

It replaces parts of Trainer: the frontend and mixup run on the device, weights are cast instead of autocast, and loss,
scoring and checkpoints are earmark's. It adds callbacks for averaged weights, resumed runs, progress, signals and early
stopping. It overrides only public methods, except for two whose docstrings say why.
:mod:`earmark.train.transformers_contract` lists the private names, and a test compares them with the installed version.

The loss is a function passed to Trainer, because the models' own loss is wrong with gradient accumulation. Trainer
assumes that audio models divide the loss by ``num_items_in_batch``, because their ``forward`` takes ``**kwargs``. They
do not, so four accumulation steps would give four times the gradient.
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
from earmark.models.packed import constant_products
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
from earmark.train.resumed import ResumedRun, forget_removed_best, remember_best
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
        args: training settings; earmark handles ``bf16`` itself.
        train_clips: training clips.
        validation: validation clips; ``None`` for no evaluation during training.
        bucket_waste: largest fraction of padding in length buckets; 1 for no buckets.
        sounds: recordings and functions for augmentation.
        extra_metrics: metrics that are not built in.
        settings: settings outside ``args`` that change the result; see :func:`earmark.train.run_facts.result_settings`.

    Attributes:
        scorer: scores clips with the current model.
        clock: training time and number of clips.
        signals: stops training with a checkpoint on a signal, inside its ``with`` block.
        trackers: trackers of ``--report_to``.
        facts: returns facts that a resumed run and its checkpoint must share.
        rows: row numbers of the current batch's clips in the table of training clips, int64 (B,).
        batch_observers: functions called with each stored batch and its loss, for which Transformers has no event.

    Raises:
        UsageError: this version of Transformers cannot be used, or settings contradict each other.
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
            # Trainer warns about its own loss, but earmark's loss supports smoothing with several labels
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
        self.given = args  # during training, self.args has some settings replaced; see _replaced
        self._whole = WholeModel(audio.model) if args.fsdp else None
        self._frontend_products = constant_products(audio.frontend.features, args.device)
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
            self.push_in_progress = self._uploads  # Trainer waits for these uploads at the end
        self._add_callbacks(precision)

    def _add_callbacks(self, precision: str) -> None:
        """Add the callbacks in the order of their calls, so that checkpoints are loaded before the clock starts."""
        self.clock = TrainingClock()
        self.average = AveragedWeights(self.args.ema)
        self.resumed = ResumedRun()
        self.progress = ClipProgress(self.clock)
        self.signals = StopOnSignal()
        callbacks, run_dir = self.callback_handler.callbacks, Path(str(self.args.output_dir))
        self.trackers = take_over_trackers(callbacks, run_dir, precision, lambda: self.stops_early)
        # ClipProgress replaces Transformers' progress callbacks, of which the default differs in notebooks
        for shown_otherwise in (transformers_trainer.DEFAULT_PROGRESS_CALLBACK, transformers.PrinterCallback):
            self.remove_callback(shown_otherwise)
        for callback in (self.average, self.resumed, EvaluateEveryEpochs(), EarlyStopping(), self.progress):
            self.add_callback(callback)
        self.add_callback(EstimateTime(self.clock))
        self.add_callback(self.signals)

    @property
    def stops_early(self) -> bool:
        """Whether a signal has stopped training, to be resumed later."""
        return self.signals.stopped is not None

    def event(self) -> Event:
        """Return the arguments of a callback at the end of training."""
        parts = {"model": self.model, "processing_class": self.processing_class}
        return Event((self.args, self.state, self.control), parts)

    def keep_frozen(self, stack: ExitStack, root: Path, *, small_only: bool) -> None:
        """Compute the output of the frozen part of the model for the training clips, and train on it.

        Args:
            stack: deletes the files when it closes.
            root: folder for the files.
            small_only: see :func:`earmark.train.frozen.stage_to_keep`.
        """
        kept = keep_frozen(self.audio, self.train_dataset, self.args, stack, root, small_only=small_only)
        if kept is not None:
            self.train_dataset, self.clock.frozen_s = kept
            self.scorer.probes = self.train_dataset.stage == "embeddings"

    def train(self, resume_from_checkpoint: str | None = None, **kwargs: object) -> object:
        """Train like Trainer. At the end, the model has averaged weights, and a single kept checkpoint is the best one.

        A run that a signal stops keeps all its checkpoints and does not load the best model, so it can be resumed.

        Raises:
            DeviceError: the device does not have enough memory.
        """
        self.add_callback(self.pop_callback(self.signals))  # after the caller's callbacks, so that none undoes a stop
        checkpoint = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        self.average.checkpoint = self.resumed.checkpoint = checkpoint
        # without the limit, because Trainer would remove any folder whose name starts like a checkpoint's
        with out_of_memory_as(self._out_of_memory_text), self._replaced(self.args, save_total_limit=None):
            output = super().train(resume_from_checkpoint, **kwargs)
        if self.stops_early:
            return output
        args, best = self.args, self.state.best_model_checkpoint
        self.average.finish(best_is_loaded=bool(args.load_best_model_at_end and best))
        if args.should_save and args.save_total_limit == 1 and best is not None:
            remove_old(Path(str(args.output_dir)), 1, keep=[Path(best)])
        return output

    def set_initial_training_values(self, args: object, dataloader: object) -> object:
        """Return Trainer's values, with no epochs for a finished run, in which Trainer would train one more step."""
        epochs, *others, max_steps = super().set_initial_training_values(args, dataloader)
        self.resumed.num_train_epochs = epochs
        return (0 if self.resumed.is_finished(args, max_steps) else epochs), *others, max_steps

    def create_optimizer(self, model: PreTrainedModel = None) -> object:
        """Create Trainer's optimizer, with separate learning rates for the head and the layers."""
        optimizer = give_rates(super().create_optimizer(model), self.audio, self.args)
        if not self.is_deepspeed_enabled:
            self.resumed.store_groups(optimizer)
        return optimizer

    def train_sampler(self) -> Sampler[int]:
        """Return the order of the training clips."""
        return sampling_order(self.train_dataset, self.args, self._train_batch_size)

    def get_train_dataloader(self) -> object:
        """Return batches of stored clips.

        It uses ``_train_batch_size``, because ``--auto_find_batch_size`` changes only this attribute.
        """
        clips, size = self.train_dataset, self._train_batch_size
        return self.accelerator.prepare(
            training_loader(clips, self.train_sampler(), self.data_collator, self.args, size)
        )

    def training_step(
        self, model: PreTrainedModel, inputs: dict[str, object], *args: object, **kwargs: object
    ) -> torch.Tensor:
        """Train on stored samples with Trainer's step; store the loss, and leave CPU cores to busy processes."""
        watch.adjust()
        self.rows = inputs.pop("rows")
        batch = self.model_inputs(inputs)
        shape = input_shape(self.audio.model, batch)
        loss = super().training_step(model, batch, *args, **kwargs)
        self.guard.add(loss, self.rows, self.state.global_step)
        for observe in self.batch_observers:
            observe(inputs, loss)
        # after the step, Trainer counts operations by the shape of the model's main input, which stored samples lack
        inputs[self.audio.model.main_input_name] = torch.empty(shape, device="meta")
        return loss

    def model_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the model's inputs, on the device, and the labels, for a stored batch."""
        if "samples" not in inputs:  # the batch holds the output of the frozen part
            return dict(inputs)
        with torch.no_grad(), self._frontend_products():
            return training_inputs(self.audio, inputs, self.args.device)

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, object],
        return_outputs: bool = False,
        num_items_in_batch: object = None,
    ) -> object:
        """Return Trainer's loss; with ``--on_nan_loss skip``, a NaN or infinite loss has zero gradients."""
        if self._body_is_frozen:
            # Trainer sets the whole model to training mode, but a frozen body must compute as it does in prediction:
            # without dropout and masks, and without updates of batch statistics
            find_body(self.audio.model, self.audio.family).eval()
        skips = self.args.on_nan_loss == "skip"
        averages = [(buffer, buffer.clone()) for buffer in model.buffers()] if skips else []  # batch statistics
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if skips:
            loss = self.guard.replaced(loss, model, averages, self.rows, self.state.global_step + 1)
        return (loss, outputs) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return Trainer's estimate for a batch, without counting the parameters of the model in every step."""
        return 6 * inputs[self.audio.model.main_input_name].numel() * self._num_parameters

    def whole_model(self) -> object:
        """Return the model with all its weights, on the device. With ``--fsdp`` all ranks have to call this."""
        if self._whole is not None and self.clock.has_begun:
            return self._whole.gathered_from(self.model, self.args.device)
        return self.model.to(self.args.device)

    def evaluate(
        self,
        eval_dataset: object = None,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Score the validation clips, log the metrics and call the callbacks, like Trainer's method."""
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
        """Return whether these metrics are the best so far; if so, Trainer saves with ``--save_strategy best``.

        It is overridden because Trainer has no event between this decision and saving. A run that a signal stops is
        always saved, and with early stopping the loss decides between equal metrics.
        """
        is_best = bool(super()._determine_best_metric(metrics, trial))
        if not is_best and wins_by_loss(self.args, self.state, metrics):
            self.state.best_global_step = self.state.global_step
            is_best = True
        return is_best or self.stops_early

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log metrics; replace Trainer's training time, which includes evaluation and saving, by the clock's.

        A resumed run with no step left has no training loss.
        """
        if "loss" in logs:
            self.guard.check(self.state.global_step)
        if "train_runtime" in logs:
            self.clock.stop()  # before the best model is loaded
            if self.stops_early:  # the run is resumed later, so no best model is chosen yet
                self.state.best_model_checkpoint = None
            forget_removed_best(self.state)
            seconds, steps = (
                self.clock.frozen_s + self.clock.seconds,
                self.state.global_step - self.progress.began_at_step,
            )
            logs.update(speed("train", seconds, samples=self.clock.clips, steps=steps))
            if steps == 0:
                logs.pop("train_loss", None)
        super().log(logs, start_time)

    def _save_checkpoint(self, model: PreTrainedModel, trial: object) -> None:
        """Save a checkpoint in a hidden folder, and rename it when all of it is on the disk.

        Trainer writes straight into ``checkpoint-N``: if the process is killed while it writes, the incomplete
        checkpoint looks complete. It is overridden because Trainer has no event before it saves.
        """
        self.guard.check(self.state.global_step)  # so that no model with NaN weights is saved
        args, run_dir = self.args, Path(str(self.args.output_dir))
        target = run_dir / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        wait = self.accelerator.wait_for_everyone
        with self.progress.paused():
            with checkpoint_aside(target, wait, writes=args.should_save) as aside:
                with self._replaced(self.args, output_dir=str(aside), push_to_hub=False):
                    super()._save_checkpoint(model, trial)
                written = aside / target.name
                if args.should_save and not args.save_only_model:
                    self.average.save(written)
                wait()  # until the other ranks have written their random states and shards
                remember_best(self.state, run_dir, written=target.name)  # on all ranks, which load it at the end
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
        """Save the averaged weights with Trainer's method, without its upload.

        ``training_args.bin`` must not hold the access token, because checkpoints are uploaded.
        """
        with self.average.used(), self._replaced(self.given, hub_token=None):
            super().save_model(output_dir, True)

    @contextmanager
    def _replaced(self, args: EarmarkTrainingArguments, **settings: object) -> Iterator[None]:
        """Set ``self.args`` to a copy of ``args`` with some settings replaced, inside the block."""
        before = self.args
        self.args = copy.copy(args)
        for name, value in settings.items():
            setattr(self.args, name, value)
        try:
            yield
        finally:
            self.args = before

    def _out_of_memory_text(self) -> str | None:
        """Return the message if memory runs out; ``None`` if ``--auto_find_batch_size`` handles it."""
        if self.args.auto_find_batch_size:
            return None
        if self.rows is None:
            return nothing_fits(self.args.device)
        longest_s = self.train_dataset.lengths[self.rows.cpu().numpy()].max() / self.audio.frontend.sampling_rate_hz
        return batch_does_not_fit(self.args.device, self.state.global_step + 1, len(self.rows), longest_s)
