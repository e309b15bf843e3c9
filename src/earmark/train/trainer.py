"""Transformers' Trainer with five things changed: batches, precision, loss, evaluation and what is shown.

* A batch comes as stored samples; the frontend makes model inputs of it on the device. Clips of different length come
  in length buckets.
* In bfloat16 the model computes with cast weights and learns float32 ones (:mod:`earmark.models.forward`), without
  autocast.
* The loss is averaged over all clips of a step. Trainer believes that audio models divide by ``num_items_in_batch``,
  because their ``forward`` takes ``**kwargs``; they do not, so that four accumulation steps give four times the
  gradient. Handing Trainer a loss function is its own way round this.
* Evaluation goes through :mod:`earmark.scoring`, the loop that predicts.
* Progress is counted in clips.

How it saves is :mod:`earmark.train.saving`, averaged weights are :mod:`earmark.train.ema`.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PrinterCallback, TrainerCallback
from transformers import trainer as transformers_trainer

from earmark.batch.balanced import BalancedSampler
from earmark.batch.buckets import BucketSampler
from earmark.batch.dataset import one_batch
from earmark.batch.workers import begin_worker
from earmark.clips.clip import fingerprint
from earmark.clips.targets import targets_of
from earmark.errors import DataError, UsageError
from earmark.families.family_registry import find_family
from earmark.models.build_model import AudioModel
from earmark.models.embedding import EmbeddingModel, classify_all
from earmark.models.freeze import body_of, is_body_frozen
from earmark.models.layer_drop import drop_rate
from earmark.progress import Progress
from earmark.runs.example_results import scalars, speed
from earmark.scoring.extra_metrics import ExtraMetrics
from earmark.scoring.table import score_table
from earmark.settings.config_files import plain
from earmark.settings.flags import Scope, Settings, names_with
from earmark.store.usable import UsableClips
from earmark.tasks.figures import Headline, metric_key
from earmark.threads import watch
from earmark.train.augmentation import AugmentationSounds, augmented
from earmark.train.callbacks import EarlyStopping, EstimateTime, EvaluateEveryEpochs
from earmark.train.cast_weights import cast_while_training, casts_weights, recomputes, set_attention
from earmark.train.ema import AveragingTrainer, average_fact
from earmark.train.frozen import frozen_clips, stage_to_keep
from earmark.train.layer_decay import give_rates, rates_fact
from earmark.train.linear_fits import FittedHead
from earmark.train.loss_guard import LossGuard
from earmark.train.losses import make_loss
from earmark.train.mishaps import (
    bad_loss,
    on_every_rank,
    translated_out_of_memory,
    translated_out_of_memory_in_scoring,
)
from earmark.train.mixing import training_inputs
from earmark.train.reproducibility import arithmetic_facts
from earmark.train.sharded import WholeModel, make_shardable
from earmark.train.trackers import take_over_trackers
from earmark.train.training_clips import fill_buckets, training_clips

logger = logging.getLogger(__name__)

# Everything of Transformers' Trainer that earmark overrides or reads and that is not public: any release may rename it.
PRIVATE_NAMES = (
    "_determine_best_metric",
    "_evaluate",
    "_finalize_training",
    "_get_output_dir",
    "_get_train_sampler",
    "_init_training_state",
    "_load_from_checkpoint",
    "_load_optimizer_and_scheduler",
    "_maybe_log_save_evaluate",
    "_prepare_inputs",
    "_push_from_checkpoint",
    "_save",
    "_save_checkpoint",
    "_train_batch_size",
)
_ATTRIBUTES = {"_train_batch_size"}  # these of them exist once a Trainer is made

# settings that :meth:`AudioTrainer.facts` has as what became of them
_RESOLVED = {"bf16", "fp16", "precision", "max_length_seconds", "store", "task"}


def result_settings(*parts: Settings) -> dict[str, Any]:
    """Return the settings that change the result if they differ when a run is resumed."""
    return {
        name: plain(getattr(part, name))
        for part in parts
        for name in names_with(Scope.RESULT, type(part))
        if name not in _RESOLVED
    }


def check_transformers() -> None:
    """Check that the installed Transformers has the private methods that earmark overrides.

    Raises:
        UsageError: a method is missing, because this version has renamed it.
    """
    missing = [name for name in PRIVATE_NAMES if name not in _ATTRIBUTES and not hasattr(transformers.Trainer, name)]
    if missing:
        raise UsageError(
            f"transformers {transformers.__version__}: Trainer has no {' and no '.join(missing)}, which earmark "
            "overrides. Upgrade earmark, or install an earlier transformers."
        )


class AudioTrainer(AveragingTrainer):
    """Trains an :class:`AudioModel` on a table of clips.

    Args:
        audio: classifier and frontend.
        args: ``TrainingArguments``; its ``bf16`` is taken over by this class.
        train_clips: clips to learn from.
        validation: clips to judge by; ``None`` when there is no evaluation while training.
        bucket_waste: most padding in length buckets; 1 for batches without regard to length.
        sounds: what augmentation uses beside the settings in ``args``.
        extra_metrics: metrics that are not built in.
        settings: settings outside ``args`` that change the result; see :func:`result_settings`.

    Attributes:
        frozen_s: seconds spent on what the frozen part of the model makes of the clips, once.
        training_s: seconds spent training so far, evaluation and saving left out.
        trained_clips: clips trained on in that time.
        trackers: of ``--report_to``.
        fitted_head: what came of fitting the head alone; ``None`` where epochs are trained.
    """

    rows: Any = None  # of the batch at hand
    headline: Headline | None = None  # of the last evaluation

    def __init__(
        self,
        audio: AudioModel,
        args: Any,
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
        if args.fsdp or args.deepspeed:
            # both hang on the calls of the library's own modules, to gather their weights in time
            audio.model.forward.static = None
            make_shardable(audio.model)
        elif casts_weights(args):
            set_attention(audio.model, args)
            cast_while_training(audio.model, args.device)
            args = copy.copy(args)
            args.bf16, args.mixed_precision = False, "no"  # to Trainer they mean autocast
        if recomputes(args):
            args = _finding_unused(args, audio.model.config)
        if args.device.type != "cpu" and args.dataloader_pin_memory:
            args.accelerator_config.non_blocking = True  # the next step need not wait for the copy of its batch
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
        self.audio = audio
        self.train_table = train_clips.table
        self.guard = LossGuard()
        self._facts = _facts_of_model(audio.model) | {
            "clips": f"{len(train_clips.table):,} clips {fingerprint(train_clips.table)}",
            "rates": rates_fact(args),
            **average_fact(args.ema),
        }
        self.sounds = sounds
        self.extra_metrics = extra_metrics or ExtraMetrics()
        self._settings = {"bucket_waste": bucket_waste, **(settings or {})}
        self._precision = precision
        self._samples_as = getattr(train_clips.waveforms, "dtype", "float32")
        if args.fsdp and not self.is_fsdp_enabled:  # accelerate passes over it without a word
            raise UsageError(f"--fsdp: weights can be spread over accelerators, not over {args.device.type}s")
        self._whole = WholeModel(audio.model) if args.fsdp else None
        self.body_is_frozen = is_body_frozen(audio.model)
        self.probes = False  # whether only the head is computed, on embeddings
        self._embeddings: dict[int, np.ndarray] = {}
        self.frozen_s = 0.0
        self.training_s = 0.0
        self.trained_clips = 0
        self.fitted_head: FittedHead | None = None
        self._started: float | None = None
        self.trackers = take_over_trackers(self, precision)
        # replaced by the bar below; Transformers has other callbacks in notebooks
        for shown_otherwise in (transformers_trainer.DEFAULT_PROGRESS_CALLBACK, PrinterCallback):
            self.remove_callback(shown_otherwise)
        self.progress = _ClipProgress(self)
        for callback in (EvaluateEveryEpochs(), EarlyStopping(), self.progress, EstimateTime(self)):
            self.add_callback(callback)

    @functools.cached_property
    def _num_parameters(self) -> int:
        return int(self.audio.model.num_parameters(exclude_embeddings=True))

    @property
    def has_begun(self) -> bool:
        """Whether training has got past loading what it starts from."""
        return self._started is not None or self.training_s > 0

    def seconds_trained(self) -> float:
        """Seconds spent training until now, evaluation and saving left out."""
        return self.training_s + (time.perf_counter() - self._started if self._started is not None else 0.0)

    def score(self, clips: UsableClips, what: str = "scoring") -> Any:
        """Logits (N, C) float32 of clips, through the loop that predicts; in fp32 unless a full-eval flag is set."""
        half = {self.args.bf16_full_eval: torch.bfloat16, self.args.fp16_full_eval: torch.float16}
        model = self.whole_model()

        def scored(scorer: Any) -> Any:
            return score_table(
                scorer,
                self.audio.frontend,
                clips.waveforms,
                batch_size=self.args.per_device_eval_batch_size,
                device=self.args.device,
                dtype=half.get(True),
                what=what,
            )

        with _own_forward(model), translated_out_of_memory_in_scoring(self):
            in_windows = clips.waveforms.num_samples.max() > self.audio.frontend.max_samples
            if not self.probes or in_windows:
                return scored(model)
            if id(clips) not in self._embeddings:  # the body is frozen: they are the same after every epoch
                self._embeddings[id(clips)] = scored(EmbeddingModel(model))
            return classify_all(model, self._embeddings[id(clips)], self.args.device)

    def whole_model(self) -> Any:
        """The model with all of its weights, on the device. With ``--fsdp`` all ranks have to call this."""
        if self._whole is not None and self.has_begun:
            return self._whole.gathered_from(self.model, self.args.device)
        return self.model.to(self.args.device)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Score the validation clips, log the figures and tell the callbacks, as Trainer's own method does."""
        clips = eval_dataset if isinstance(eval_dataset, UsableClips) else self.eval_dataset
        with _Paused(self):
            start = time.perf_counter()
            logits = self.score(clips, "validation")
            labels, task = self.audio.labels, self.audio.task
            # intervals are told of the model that is kept
            metrics = task.figures(logits, targets_of(clips.table, labels, task), labels, intervals=False)
            values = scalars(metrics)
            values |= self._extra_figures(values, logits, clips)
            seconds = time.perf_counter() - start
        figures = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        self.headline = metrics.headline
        batches = math.ceil(len(clips.table) / (self.args.eval_batch_size * self.args.world_size))
        figures |= speed(metric_key_prefix, seconds, samples=len(clips.table), steps=batches)
        self.log(figures)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        return figures

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's own; the speed of the whole training is the one of ``metrics.json``.

        Trainer counts evaluation and saving as training time. A resumed run with no step left has no training loss.
        """
        if "train_runtime" in logs:
            _stop_clock(self)  # before the best model is loaded
            seconds, steps = self.frozen_s + self.training_s, self.state.global_step - self.progress.began_at_step
            logs.update(speed("train", seconds, samples=self.trained_clips, steps=steps))
            if steps == 0:
                logs.pop("train_loss", None)
        super().log(logs, start_time)

    def _extra_figures(self, values: Mapping[str, float], logits: np.ndarray, clips: UsableClips) -> dict[str, float]:
        """Figures that are not built in: of metric functions, and of the metric folder if it chooses the best model."""
        metric, task = metric_key(self.args.metric_for_best_model), self.audio.task
        is_folders = metric not in values and metric not in task.metrics and self.extra_metrics.folder is not None
        found: dict[str, float] = {}
        if is_folders or self.extra_metrics.functions:
            targets = targets_of(clips.table, self.audio.labels, task)
            found = self.extra_metrics.of_functions(task, logits, targets)
            if is_folders and metric not in found:
                of_folder = self.extra_metrics.of_folder(task, logits, targets)
                found |= {name: value for name, value in of_folder.items() if name == metric}
        if metric not in values and metric not in found:
            logger.warning(
                "validation: %s is undefined for these predictions; this model cannot be the best one", metric
            )
            found[metric] = math.nan
        return found

    def _prepare_inputs(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Stored samples to model inputs, on the device."""
        if self.model.training and self.body_is_frozen:
            # Trainer has just put all of the model into training mode; a body that does not learn answers as it will
            # when it is used, without dropout, masks and moving batch statistics
            body_of(self.audio.model).eval()
        self.rows = inputs.pop("rows")
        batch = super()._prepare_inputs(inputs)
        if "samples" in batch:
            with torch.no_grad():
                batch = training_inputs(self.audio, batch, self.args.device)
        # Trainer counts operations and tokens after the step, by the shape of an input that stored samples do not have
        inputs[self.audio.model.main_input_name] = torch.empty(self._input_shape(batch), device="meta")
        return batch

    def _input_shape(self, batch: Mapping[str, Any]) -> tuple[int, ...]:
        """Shape of the model's main input, which a batch stands for if the frozen part of the model was computed."""
        name = self.audio.model.main_input_name
        if name in batch:
            return tuple(batch[name].shape)
        if "features" not in batch:  # embeddings: no step computes the body
            return (0,)
        clips, frames, _ = batch["features"].shape
        return clips, frames * self.audio.model.config.inputs_to_logits_ratio

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return Trainer's own estimate for a batch; counts the parameters of the model once, not in every step."""
        return 6 * inputs[self.audio.model.main_input_name].numel() * self._num_parameters

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's own, with words for memory that runs out."""
        with translated_out_of_memory(self):
            return super().train(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Trainer's own; remembers the loss and whose it is, and leaves cores to other processes that need them."""
        watch.adjust()
        loss = super().training_step(*args, **kwargs)
        self.guard.add(loss, self.rows)
        if self.guard.is_due:
            self._stop_at_bad_loss()
        return loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Trainer's own; under ``--on_nan_loss skip`` a loss that teaches nothing where it would be NaN or infinite."""
        skips = self.args.on_nan_loss == "skip"
        averages = [(buffer, buffer.clone()) for buffer in model.buffers()] if skips else []  # of batch norms
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if skips and not on_every_rank(bool(loss.isfinite())):
            logger.warning("step %d: %s; skipped", self.state.global_step + 1, bad_loss(self, self.rows.tolist()))
            loss = sum(weight.sum() * 0 for weight in model.parameters() if weight.requires_grad)
            for buffer, before in averages:
                buffer.copy_(before)
        return (loss, outputs) if return_outputs else loss

    def _stop_at_bad_loss(self) -> None:
        rows = self.guard.rows_of_first_bad()
        if rows is not None:
            raise DataError(
                f"step {self.state.global_step} or shortly before: {bad_loss(self, rows)}; look at these recordings, "
                "lower --learning_rate, train in fp32, or leave such batches out with --on_nan_loss skip"
            )

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.control.should_log or self.control.should_evaluate or self.control.should_save:
            self._stop_at_bad_loss()  # before a model of NaN is saved
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def keep_frozen(self, stack: ExitStack, root: Path, *, small_only: bool) -> None:
        """Compute what the frozen part of the model makes of the training clips, and train on that.

        Args:
            stack: deletes it when it closes.
            root: folder to put it in.
            small_only: see :func:`earmark.train.frozen.stage_to_keep`.
        """
        args = self.args
        epochs = math.inf if args.max_steps > 0 else args.num_train_epochs
        clips: Any = self.train_dataset  # type: ignore[has-type]  # set by Trainer
        stage = stage_to_keep(self.audio, clips, epochs, small_only=small_only)
        if stage is None:
            return
        self.audio.model.to(args.device)
        self.train_dataset, seconds = stack.enter_context(
            frozen_clips(
                self.audio,
                clips,
                stage,
                root=root,
                device=args.device,
                batch_size=args.per_device_eval_batch_size,
            )
        )
        self.frozen_s = seconds
        self.probes = stage == "embeddings"

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW as Trainer makes it, with the rates that the head and the layers have of their own."""
        return give_rates(super().create_optimizer(model), self.audio.model, self.args)

    def get_train_dataloader(self) -> Any:
        """Return Trainer's own, with a separate generator for the seeds of worker processes, and workers of our own.

        Trainer draws the seeds from the generator that dropout uses, at other moments in a resumed run.
        """
        loader = super().get_train_dataloader()
        plain = getattr(loader, "base_dataloader", loader)  # accelerate's holds torch's
        plain.generator = torch.Generator()
        plain.worker_init_fn = begin_worker
        return loader

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The order of the clips, the same on any number of processes; in length buckets where clips differ."""
        clips: Any = self.train_dataset
        if self.args.train_sampling_strategy != "random":
            return super()._get_train_sampler(train_dataset)
        share = self._train_batch_size * self.args.world_size
        balanced = self.args.sampler == "balanced"
        sampler: Any = functools.partial(BalancedSampler, classes=clips.labels) if balanced else BucketSampler
        return sampler(
            clips.lengths,
            clips.lengths.max(keepdims=True) if clips.edges is None else clips.edges,
            share * self.args.gradient_accumulation_steps,
            share_size=share if self.args.world_size > 1 else 1,
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
            drop_last=self.args.dataloader_drop_last,
        )

    def facts(self) -> dict[str, Any]:
        """Return what a resumed run must have in common with its checkpoint, its settings and its arithmetic."""
        settings = {**result_settings(self.args), **self._settings}
        settings["precision"] = self._precision  # Trainer's own bf16 is off where the weights are cast
        settings["processes"] = self.args.world_size
        settings |= {"samples": self._samples_as, "max_samples": self.audio.frontend.max_samples}
        settings |= {} if self.sounds is None else self.sounds.facts()
        return {
            **self._facts,
            "labels": self.audio.labels,
            "settings": settings,
            "arithmetic": arithmetic_facts(self.args.device),
        }

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with _Paused(self):
            super()._save_checkpoint(model, trial)


def _facts_of_model(model: Any) -> dict[str, str]:
    """What tells a model from others: its shapes, and what does not learn, with its values (running means too)."""
    shapes, frozen = hashlib.sha256(), hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        shapes.update(repr((name, tuple(weight.shape))).encode())
    still = [(name, weight) for name, weight in model.named_parameters() if not weight.requires_grad]
    for name, values in sorted(still + list(model.named_buffers())):
        frozen.update(name.encode() + values.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    learns_not = f"{len(still)} frozen weights {frozen.hexdigest()[:12]}" if still else "no frozen weights"
    return {"model": f"{model.config.model_type} {shapes.hexdigest()[:12]}", "frozen": learns_not}


def _finding_unused(args: Any, config: Any) -> Any:
    """Have several processes look for weights without a gradient, such as those of a layer that LayerDrop leaves out.

    Trainer switches that off under gradient checkpointing, which it breaks only in the reentrant form.

    Raises:
        UsageError: LayerDrop with reentrant checkpointing in several processes, or with the search switched off.
    """
    settings = args.gradient_checkpointing_kwargs or getattr(args, "activation_checkpointing_kwargs", None) or {}
    reentrant = bool(settings.get("use_reentrant", False))
    if args.world_size > 1 and drop_rate(config) > 0 and (reentrant or args.ddp_find_unused_parameters is False):
        why = "use_reentrant" if reentrant else "--ddp_find_unused_parameters False"
        raise UsageError(
            f"--gradient_checkpointing with {why} and LayerDrop cannot train in several processes. Leave {why} out, or "
            f"switch LayerDrop off with --config_overrides {find_family(config).layer_drop}=0."
        )
    if args.ddp_find_unused_parameters is not None or reentrant:
        return args
    args = copy.copy(args)
    args.ddp_find_unused_parameters = True
    return args


@contextmanager
def _own_forward(model: Any) -> Iterator[None]:
    """The model without the autocast that accelerate puts round its ``forward`` for good.

    With it validation would be scored in the precision of training, and a saved model would answer otherwise.
    """
    wrapped = vars(model).get("forward")
    if wrapped is None or not hasattr(model, "_original_forward"):
        yield
        return
    model.forward = model._original_forward
    try:
        yield
    finally:
        model.forward = wrapped


class _Paused:
    """Stops the training clock and the one of the progress bar."""

    def __init__(self, trainer: AudioTrainer) -> None:
        self.trainer = trainer

    def __enter__(self) -> None:
        self.was_running = self.trainer._started is not None
        _stop_clock(self.trainer)
        if self.trainer.progress.bar is not None:
            self.trainer.progress.bar.pause()

    def __exit__(self, *exc: object) -> None:
        if self.was_running:
            self.trainer._started = time.perf_counter()
        if self.trainer.progress.bar is not None:
            self.trainer.progress.bar.resume()


def _stop_clock(trainer: AudioTrainer) -> None:
    if trainer._started is not None:
        trainer.training_s += time.perf_counter() - trainer._started
        trainer._started = None


class _ClipProgress(TrainerCallback):
    """Shows training in clips and runs the training clock."""

    def __init__(self, trainer: AudioTrainer) -> None:
        self.trainer = trainer
        self.bar: Progress | None = None
        self.note = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.num_clips = len(self.trainer.train_dataset)
        batches = math.ceil(self.num_clips / (args.train_batch_size * args.world_size))
        epochs = state.max_steps / math.ceil(batches / args.gradient_accumulation_steps)
        self.began_at = state.epoch or 0.0  # above 0 in a resumed run
        self.began_at_step = state.global_step
        total = max(0, round((epochs - self.began_at) * self.num_clips))
        self.bar = Progress("training", total, quiet=args.disable_tqdm, keep=True)
        self.trainer._started = time.perf_counter()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        # where an epoch is gone on with by several processes, Trainer does not reach the sampler
        if hasattr(train_dataloader, "set_epoch"):
            train_dataloader.set_epoch(int(state.epoch))
        if hasattr(self.trainer.train_dataset, "set_epoch"):
            self.trainer.train_dataset.set_epoch(int(state.epoch))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # by the share of the epoch: its last batch is seldom full
        before, clips = self.trainer.trained_clips, round((state.epoch - self.began_at) * self.num_clips)
        self.trainer.trained_clips = clips
        if self.bar is not None:
            self.bar.update(clips - before, self.note)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.note = f"epoch {state.epoch:.2f}, loss {float(logs['loss']):.3f}"

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        head = self.trainer.headline
        if self.bar is not None and head is not None and f"eval_{head.name}" in metrics:
            name = head.title.lower() if head.title.istitle() else head.title
            self.bar.write(
                f"epoch {state.epoch:.2f}: validation {name} {head.value:.4f}, loss {metrics['eval_loss']:.4f}"
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        _stop_clock(self.trainer)
        if self.bar is not None:
            self.bar.close()
            self.bar = None
