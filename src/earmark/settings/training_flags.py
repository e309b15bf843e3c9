"""The settings of training: Transformers' flags with earmark's defaults, and earmark's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from earmark.distributed.launched import launched_processes
from earmark.errors import MissingExtraError, UsageError
from earmark.extras import require_tracker
from earmark.settings.augmentation_flags import AugmentArguments
from earmark.settings.flags import (
    BELOW_ONE,
    COUNT,
    NOT_EMPTY,
    PROBABILITY,
    Scope,
    Settings,
    above,
    at_least,
    changed,
    flag,
    not_negative,
    within,
)
from earmark.settings.transformers_flags import TransformersFlags


@dataclass
class LossArguments(Settings, page="loss", scope=Scope.TRAINED):
    """Weights of classes and clips in training; see :mod:`earmark.train.losses`.

    Raises:
        UsageError: a value is out of range, or two settings balance the classes twice.
    """

    class_weights: str | None = flag(
        None,
        "Weight of each class in the loss: balanced (inverse to the number of clips), a=2,b=0.5, a JSON object or a "
        ".json file; classes that are not named have the weight 1; scaled to a mean of 1 over clips.",
        scope=Scope.LEARNED,
        mapping=True,
    )
    sampler: Literal["random", "balanced"] = flag(
        "random",
        "Clips of an epoch: random draws each clip once; balanced draws as many clips, but each class equally often.",
    )
    focal_gamma: float = flag(
        0.0,
        "Focal loss: weight clips by (1 - probability) to this power, so that clips predicted well count less; 2 is "
        "usual.",
        check=not_negative(),
    )

    def validate(self) -> None:
        """Check that classes are not balanced twice."""
        super().validate()
        if str(self.class_weights).lower() == "none":  # a search or a configuration file may hold None as text
            self.class_weights = None
        if self.sampler == "balanced" and self.class_weights == "balanced":
            raise UsageError("--sampler balanced and --class_weights balanced balance classes twice. Keep one of them.")


@dataclass
class DecisionArguments(Settings, page="decision", scope=Scope.TRAINING):
    """Temperature and thresholds to fit on validation clips; see :mod:`earmark.scoring.decide`."""

    calibrate: bool = flag(
        False,
        "Fit a temperature on the validation clips, so that predictions are right as often as their probabilities say.",
    )
    target_precision: float | None = flag(
        None,
        "Fit a threshold for each class: the lowest probability at which its predictions have this precision.",
        check=PROBABILITY,
    )
    reject_target_precision: float | None = flag(
        None,
        "Fit one threshold for all classes: the lowest probability at which this fraction of the predictions is right.",
        check=PROBABILITY,
    )
    reject_false_accept_rate: float | None = flag(
        None,
        "Raise the threshold of all classes until at most this fraction of the --reject_class clips is predicted as "
        "another class.",
        check=BELOW_ONE,
    )
    reject_class: str | None = flag(
        None,
        "Prediction below the thresholds: a class of the model or another word (default: unknown).",
        check=NOT_EMPTY,
    )

    @property
    def fits_thresholds(self) -> bool:
        """Return whether a threshold on probabilities is fitted."""
        targets = (self.target_precision, self.reject_target_precision, self.reject_false_accept_rate)
        return any(target is not None for target in targets)

    @property
    def fits_anything(self) -> bool:
        """Whether validation clips are needed."""
        return self.calibrate or self.fits_thresholds

    def validate(self) -> None:
        """Check that ``reject_class`` comes with a threshold, and ``reject_false_accept_rate`` with a class."""
        super().validate()
        if self.reject_false_accept_rate is not None and self.reject_class is None:
            raise UsageError("--reject_false_accept_rate needs the class to reject. Add --reject_class NAME.")
        if self.reject_class is not None and not self.fits_thresholds:
            raise UsageError(
                f"--reject_class {self.reject_class} needs a threshold. Add --reject_target_precision, "
                "--reject_false_accept_rate or --target_precision."
            )


_changed = partial(changed, TransformersFlags)


@dataclass
class TrainingArguments(
    LossArguments, DecisionArguments, AugmentArguments, TransformersFlags, page="training", scope=Scope.TRAINED
):
    """All flags of training. Flags of Transformers are redeclared here if their default differs, with the reason.

    Raises:
        UsageError: a value is out of range, or two settings contradict each other.
        MissingExtraError: a package that a setting needs is not installed.
    """

    # adamw_torch in Transformers before torch 2.8: the same update in one kernel, for all weights at once.
    optim: str = _changed("optim", "adamw_torch_fused", page="training")
    # Transformers has 8, for long texts on small cards. The published recipes use 32 clips of one second.
    per_device_train_batch_size: int = _changed("per_device_train_batch_size", 32)
    per_device_eval_batch_size: int = _changed("per_device_eval_batch_size", 32)
    # 3 in Transformers, even for few clips. None: earmark.train.schedule chooses it from clips and model.
    num_train_epochs: float | None = _changed(  # type: ignore[assignment]  # None: settled later
        "num_train_epochs",
        None,
        "Passes over the training clips (default: chosen from the number of clips and the model, shown in the log).",
    )
    early_stopping_patience: int | None = flag(
        None,
        "Stop after this many evaluations without a better --metric_for_best_model; 0: never (default: a third to half "
        "of all evaluations if earmark chooses the number of epochs, else 0).",
        check=not_negative("a number of evaluations, or 0 for no early stopping"),
    )
    eval_epochs: int | None = flag(
        None,
        "Epochs between two evaluations, or between two checkpoints with --eval_strategy no (default: 1; about 20 "
        "evaluations if earmark chooses the number of epochs).",
        check=COUNT,
        scope=Scope.RESULT | Scope.EPOCHS,
    )
    # Transformers has 5e-5 for every model. A pretrained encoder and a small network from scratch need very different
    # rates, so earmark.train.recipe chooses one for the model family.
    learning_rate: float | None = _changed(  # type: ignore[assignment]  # None: settled later
        "learning_rate", None, "Peak learning rate (default: by model family, shown in the log)."
    )
    global_batch_size: int | None = flag(
        None,
        "Clips per optimizer step over all devices; sets the accumulation so that 1 card and 8 take the same steps.",
        check=COUNT,
    )
    bucket_waste: float = flag(
        0.1,
        "Largest fraction of padding in a batch: batches have clips of similar length to stay below it; 1 draws "
        "batches without regard to length.",
        check=within(0, 1, "between 0 and 1"),
    )
    head_learning_rate: float | None = flag(
        None,
        "Peak learning rate of the head (default: that of the body; 5 times that if it was raised for a large batch).",
        check=not_negative(),
    )
    layer_decay: float | None = flag(
        None, "Ratio of the learning rates of a layer and the one above it, e.g. 0.75 (default: 1).", check=PROBABILITY
    )
    ema: float | None = flag(
        None,
        "Evaluate and keep a moving average of the weights with this decay, e.g. 0.999; 0: none (default: 0.99 for "
        "tc_resnet and random weights if earmark chooses the number of epochs, else none).",
        check=within(0, 1, "a number between 0 and 1, e.g. 0.999, or 0 for none", high_open=True),
    )
    lora: int | None = flag(
        None,
        "Train LoRA adapters of this rank and the head, and freeze all other weights; needs earmark[lora].",
        check=at_least(1, "a rank, a whole number"),
    )
    lora_alpha: float | None = flag(
        None,
        "scale of the adapters, divided by their rank (default: twice the rank).",
        check=above(0),
        scope=Scope.LEARNED,
        needs="lora",
    )
    lora_target_modules: str | None = flag(
        None,
        "names of linear layers, separated by commas, or all-linear (default: the queries and values of attention).",
        commas=True,
        scope=Scope.LEARNED,
        needs="lora",
    )
    lora_save: Literal["merged", "separate"] = flag(
        "merged",
        "merged saves a plain model; separate saves adapters and head in peft's files.",
        scope=Scope.NONE,
        needs="lora",
    )
    on_nan_loss: Literal["stop", "skip"] = flag(
        "stop",
        "A batch with a NaN or infinite loss: stop and name its clips, or skip it (checks every loss, which costs some "
        "speed on an accelerator).",
        scope=Scope.RESULT,
    )
    # 0 in Transformers: without warm-up, the first steps of a new head disturb the pretrained encoder.
    warmup_steps: float = _changed("warmup_steps", 0.1)
    # "no" and "steps" in Transformers: an epoch is the unit in which audio classifiers are reported.
    eval_strategy: Literal["no", "steps", "epoch"] = _changed("eval_strategy", "epoch")
    save_strategy: Literal["no", "steps", "epoch", "best"] | None = _changed(  # type: ignore[assignment]  # settled later
        "save_strategy",
        None,
        "When to save a checkpoint: after each epoch, every --save_steps, whenever the model is the best so far, or "
        "never (default: after each evaluation).",
        page="output",
    )
    # logging_steps in Transformers: with the 10 below, that would be an evaluation every 10 steps.
    eval_steps: float | None = _changed(
        "eval_steps", None, "Steps between two evaluations (default: --save_steps).", page="training"
    )
    # 500 in Transformers: every evaluated model should be saved.
    save_steps: float | None = _changed(  # type: ignore[assignment]  # None: settled later
        "save_steps", None, "Steps between two checkpoints (default: --eval_steps, else 500).", page="output"
    )
    # 500 in Transformers: a small data set has fewer steps than that in a whole run.
    logging_steps: float = _changed("logging_steps", 10)
    # True in Transformers: copies the loss to the host at every micro-batch, and hides that it is NaN.
    logging_nan_inf_filter: bool = _changed("logging_nan_inf_filter", False)
    # False in Transformers: the last epoch is seldom the best one.
    load_best_model_at_end: bool | None = _changed(  # type: ignore[assignment]  # None: settled later
        "load_best_model_at_end",
        None,
        "Keep the best model, not the last (default: true if models are saved as often as evaluated).",
        page="training",
    )
    # None (the loss) in Transformers: published results are accuracies.
    metric_for_best_model: str | None = _changed("metric_for_best_model", "accuracy")
    # None (all) in Transformers: a checkpoint of a 95 M parameter model with its optimizer is 1.1 GB.
    save_total_limit: int | None = _changed("save_total_limit", 2)
    # True in Transformers: this project's own collator makes the columns, and the model uses all of them.
    remove_unused_columns: bool = _changed("remove_unused_columns", False)
    # Transformers also has group_by_length and batch_rebalance; here, --bucket_waste makes batches of similar length.
    train_sampling_strategy: Literal["random", "sequential"] = _changed("train_sampling_strategy", "random")
    # One name in Transformers' own parser; earmark allows several.
    report_to: list[str] = _changed("report_to", ["none"])  # noqa: RUF009 - returns a field

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle_length()
        self._follow_eval_strategy()
        self._rename_gradient_checkpointing()

    @property
    def world_size(self) -> int:
        """Number of processes that train together, set by their launcher."""
        return launched_processes()

    @property
    def train_batch_size(self) -> int:
        """Number of clips in a batch of this process."""
        return self.per_device_train_batch_size

    def validate(self) -> None:
        """Check for values with which Transformers and torch would fail much later, or train nothing."""
        super().validate()
        epochs = self.num_train_epochs
        if epochs is not None and not epochs > 0 and not self.max_steps > 0:
            raise UsageError(f"--num_train_epochs {epochs:g}: expected a number above 0")
        for what in ("logging", "eval", "save"):
            if getattr(self, f"{what}_strategy") == "steps" and getattr(self, f"{what}_steps") == 0:
                raise UsageError(f"--{what}_steps 0: expected a number above 0 with --{what}_strategy steps")
        if self.bf16 and self.fp16:
            raise UsageError("--bf16 and --fp16 contradict each other. Keep one of them.")
        if self.use_liger_kernel:
            raise UsageError("--use_liger_kernel: Liger kernels exist only for language models. Leave the flag out.")
        if self.neftune_noise_alpha is not None:
            raise UsageError(
                "--neftune_noise_alpha adds noise to embeddings of text, which audio classifiers do not have. Leave it "
                "out."
            )
        self._check_spread_weights()
        self._check_deepspeed()
        self.report_to = [part.strip() for name in self.report_to for part in name.split(",")]
        for name in self.report_to:
            require_tracker(name)

    def _check_spread_weights(self) -> None:
        """Refuse settings that need whole weights on each rank in combination with settings that shard them."""
        for name in ("ema", "lora"):
            for how in ("fsdp", "deepspeed"):
                if getattr(self, name) and getattr(self, how):
                    instead = f"set --{name} 0" if name == "ema" else f"leave --{name} out"
                    raise UsageError(
                        f"--{name} and --{how} cannot be combined: --{how} spreads the weights over the devices, and "
                        f"--{name} needs them whole. Leave --{how} out, or {instead}."
                    )

    def _check_deepspeed(self) -> None:
        """Check that DeepSpeed is installed, and refuse DeepSpeed settings that fail while the model is built."""
        if not self.deepspeed:
            return
        settings: Any = self.deepspeed
        if not isinstance(settings, dict):
            try:
                settings = json.loads(Path(settings).read_text(encoding="utf-8"))
            except (OSError, ValueError) as exc:
                raise UsageError(
                    f"--deepspeed {self.deepspeed}: not a JSON file that can be read ({exc}). Fix the file."
                ) from exc
        zero = settings.get("zero_optimization") if isinstance(settings, dict) else None
        if not isinstance(settings, dict) or not isinstance(zero or {}, dict):
            raise UsageError(
                f"--deepspeed {self.deepspeed}: expected a JSON object, whose zero_optimization, if given, is an "
                f"object too"
            )
        if (zero or {}).get("stage") == 3:
            raise UsageError(
                f"--deepspeed {self.deepspeed}: stage 3 spreads the weights, which scoring needs whole. Use stage 1 or "
                "2, or --fsdp full_shard."
            )
        if find_spec("deepspeed") is None:
            raise MissingExtraError("--deepspeed needs the package deepspeed. Install it: pip install deepspeed.")

    def _settle_length(self) -> None:
        """Let ``--max_steps`` set the training length, and refuse flags that have no effect without evaluations."""
        if self.max_steps > 0 and self.num_train_epochs is None:
            self.num_train_epochs = 3.0  # Transformers' default, which Trainer compares but does not use
        if self.early_stopping_patience and self.eval_strategy == "no":
            raise UsageError(
                f"--early_stopping_patience {self.early_stopping_patience}: nothing is evaluated with --eval_strategy "
                "no. Set --early_stopping_patience 0 or choose another --eval_strategy."
            )
        if self.eval_epochs is not None and self.eval_epochs > 1 and self.eval_strategy == "steps":
            raise UsageError(
                f"--eval_epochs {self.eval_epochs} has no effect with --eval_strategy steps. Set --eval_epochs 1 or "
                "choose another --eval_strategy."
            )

    def _follow_eval_strategy(self) -> None:
        """Choose the settings that were not given so that ``--eval_strategy`` alone gives a consistent run."""
        evaluated = self.eval_strategy
        if self.save_strategy is None:
            self.save_strategy = "epoch" if evaluated == "no" else evaluated
        if self.save_steps is None:
            self.save_steps = self.eval_steps or 500
        if evaluated == "steps" and not self.eval_steps:
            self.eval_steps = self.save_steps
        # the best of the evaluated models can only be kept if each of them is saved
        other_steps = evaluated == "steps" and self.save_strategy == "steps" and self.save_steps != self.eval_steps
        if self.load_best_model_at_end is None:
            fits = evaluated != "no" and self.save_strategy in (evaluated, "best")
            self.load_best_model_at_end = fits and not other_steps
        elif self.load_best_model_at_end and other_steps:
            raise UsageError(
                f"--load_best_model_at_end: the best model at --eval_steps {self.eval_steps:g} is not saved at "
                f"--save_steps {self.save_steps:g}. Give both the same value, or use --save_strategy best."
            )
        elif self.load_best_model_at_end and self.save_strategy not in (evaluated, "best"):
            raise UsageError(
                f"--load_best_model_at_end needs models that are saved as often as evaluated: --eval_strategy is "
                f"{evaluated}, --save_strategy {self.save_strategy}. Give both the same value, or use --save_strategy "
                "best."
            )

    def _rename_gradient_checkpointing(self) -> None:
        """Copy values from an old name to its new name, because Transformers warns of the old name in each run."""
        for name in ("checkpointing", "checkpointing_kwargs"):
            old, new = getattr(self, f"gradient_{name}"), getattr(self, f"activation_{name}")
            if old is not None and new is None:
                setattr(self, f"activation_{name}", old)
