"""Transformers' TrainingArguments with this project's defaults: the only settings that need Transformers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from earmark.augment_options import AugmentArguments
from earmark.decision_options import DecisionArguments, LossArguments
from earmark.errors import MissingExtraError
from earmark.extras import require_tracker
from earmark.scoring.figures import higher_is_better, metric_key

_AT_LEAST_ONE = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")


def _changed(default: Any, help: str) -> Any:
    """A field whose default differs from Transformers'."""
    return field(default=default, metadata={"help": help})


@dataclass
class EarmarkTrainingArguments(LossArguments, DecisionArguments, AugmentArguments, TrainingArguments):
    """All of Transformers' training flags; these differ in their default, for the reason above each.

    Raises:
        ValueError: two settings contradict each other (Transformers' own checks).
        MissingExtraError: DeepSpeed is asked for and not installed.
    """

    # adamw_torch in Transformers before torch 2.8: the same update in one kernel, for all weights at once.
    optim: str = _changed("adamw_torch_fused", "optimizer; adamw_torch_fused is adamw_torch where the device lacks it")
    # 8 in Transformers, chosen for text on small cards; the published recipes take 32 clips of a second.
    per_device_train_batch_size: int = _changed(32, "clips a batch on each device")
    per_device_eval_batch_size: int = _changed(32, "clips a batch on each device, in evaluation")
    # 3 in Transformers, however few clips that are: None is settled by earmark.train.schedule, from clips and model.
    num_train_epochs: float | None = _changed(
        None, "passes over the training clips (default: chosen from the number of clips and the model)"
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "stop after this many evaluations without a better --metric_for_best_model; 0: never "
            "(default: a third to half of all evaluations if the number of epochs is chosen, else 0)"
        },
    )
    eval_epochs: int | None = field(
        default=None,
        metadata={
            "help": "epochs between two evaluations, or between two checkpoints with --eval_strategy no "
            "(default: 1; about 20 evaluations if the number of epochs is chosen)"
        },
    )
    # 5e-5 in Transformers, whatever the model: an encoder to fine-tune and a small network from scratch want
    # rates far apart. None is settled by earmark.train.recipe, from the model family.
    learning_rate: float | None = _changed(None, "peak learning rate (default: by model family)")
    global_batch_size: int | None = field(
        default=None,
        metadata={"help": "clips in one step over all devices; sets accumulation so that it stays the same on 1 or 8"},
    )
    head_learning_rate: float | None = field(
        default=None,
        metadata={"help": "peak learning rate of the head (default: the same; 5 times it where a batch was scaled up)"},
    )
    layer_decay: float | None = field(
        default=None,
        metadata={
            "help": "each layer learns this many times as fast as the one above it, e.g. 0.75 (default: as fast)"
        },
    )
    ema: float | None = field(
        default=None,
        metadata={
            "help": "evaluate and keep a moving average of the weights with this decay, e.g. 0.999; 0: none "
            "(default: 0.99 for tc_resnet and random weights if the number of epochs is chosen, else none)"
        },
    )
    lora: int | None = field(
        default=None,
        metadata={"help": "train adapters of this rank beside layers of the body, and the head; needs earmark[lora]"},
    )
    lora_alpha: float | None = field(
        default=None, metadata={"help": "adapters are scaled by this, divided by their rank (default: twice the rank)"}
    )
    lora_target_modules: str | None = field(
        default=None,
        metadata={
            "help": "names of linear layers, with commas, or all-linear (default: attention's queries and values)"
        },
    )
    lora_save: Literal["merged", "separate"] = field(
        default="merged", metadata={"help": "merged: a plain model; separate: adapters and head in peft's files"}
    )
    on_nan_loss: Literal["stop", "skip"] = field(
        default="stop",
        metadata={
            "help": "a batch whose loss is NaN or infinite: stop and name its clips, or skip it (looks at every loss, "
            "which costs some speed on an accelerator)"
        },
    )
    # 0 in Transformers: without warm-up the first steps of a fresh head shake the pretrained encoder.
    warmup_steps: float = _changed(0.1, "warm-up: a share of all steps if below 1, else a number of steps")
    # "no" and "steps" in Transformers: an epoch is the unit in which audio classifiers are reported.
    eval_strategy: IntervalStrategy | str = _changed(  # noqa: RUF009 - returns a field
        "epoch", "evaluate every epoch, every --eval_steps, or no"
    )
    save_strategy: str | None = field(
        default=None,
        metadata={
            "help": "save every epoch, every --save_steps, the best, or no (default: as often as evaluated)",
            "choices": ["epoch", "steps", "best", "no"],
        },
    )
    # logging_steps in Transformers: with the 10 above, that would be an evaluation every 10 steps.
    eval_steps: float | None = _changed(None, "steps between two evaluations (default: --save_steps)")
    # 500 in Transformers: every evaluated model should be one that is kept.
    save_steps: float | None = _changed(None, "steps between two saved models (default: --eval_steps, else 500)")
    # 500 in Transformers: a small data set has fewer steps than that in a whole run.
    logging_steps: float = _changed(10, "steps between two log lines; below 1: a share of all steps")
    # True in Transformers: copies the loss to the host at every micro-batch, and hides that it is NaN.
    logging_nan_inf_filter: bool = _changed(False, "leave NaN and infinite losses out of the logged mean")
    # False in Transformers: the last epoch is seldom the best one.
    load_best_model_at_end: bool | None = _changed(
        None, "keep the best model, not the last (default: yes, where models are saved as often as evaluated)"
    )
    # None (the loss) in Transformers: accuracy is what is reported.
    metric_for_best_model: str | None = _changed("accuracy", "metric that chooses the best model")
    # None (all) in Transformers: a checkpoint of a 95 M parameter model with its optimizer is 1.1 GB.
    save_total_limit: int | None = _changed(2, "checkpoints kept, the best one among them")
    # True in Transformers: the columns are made by this project's own collator, none is unused.
    remove_unused_columns: bool = _changed(False, "drop columns that the model's forward does not name")
    # One name in Transformers' own parser; several are meant to be possible.
    report_to: list[str] = field(
        default_factory=lambda: ["none"], metadata={"help": "none, tensorboard, trackio, ...; one or several"}
    )

    def __post_init__(self) -> None:
        self._refuse_impossible_numbers()
        self.check_loss()
        self.check_decision()
        self._refuse_spread_weights()
        self.augmentation()  # finds what is wrong with it
        self._settle_length()
        self._follow_eval_strategy()
        self._rename_gradient_checkpointing()
        self._check_deepspeed()
        direction = self._direction()
        names = [self.report_to] if isinstance(self.report_to, str) else self.report_to
        self.report_to = [part.strip() for name in names for part in name.split(",")]
        for name in self.report_to:
            require_tracker(name)
        super().__post_init__()
        self.greater_is_better = direction  # Transformers maximizes every metric whose name does not end with "loss"

    @property
    def n_gpu(self) -> int:
        """Cards of this process, at most one: with more, Trainer would split each batch over all of the machine."""
        return min(super().n_gpu, 1)

    def _refuse_impossible_numbers(self) -> None:
        """Name what Transformers and torch would fail on much later, or train nothing with."""
        checks = [
            *((name, getattr(self, name) >= 1, "a whole number from 1 on") for name in _AT_LEAST_ONE),
            ("head_learning_rate", _is_rate(self.head_learning_rate), "0 or more"),
            (
                "global_batch_size",
                self.global_batch_size is None or self.global_batch_size >= 1,
                "a whole number from 1 on",
            ),
            ("max_steps", self.max_steps >= 1 or self.max_steps == -1, "a whole number from 1 on, or -1 for no limit"),
            (
                "num_train_epochs",
                self.num_train_epochs is None or self.num_train_epochs > 0 or self.max_steps > 0,
                "a number above 0",
            ),
            (
                "early_stopping_patience",
                self.early_stopping_patience is None or self.early_stopping_patience >= 0,
                "a number of evaluations, or 0 for no early stopping",
            ),
            ("eval_epochs", self.eval_epochs is None or self.eval_epochs >= 1, "a whole number from 1 on"),
            ("learning_rate", _is_rate(self.learning_rate), "0 or more"),
            ("ema", self.ema is None or 0 <= self.ema < 1, "a number between 0 and 1, e.g. 0.999, or 0 for none"),
            ("label_smoothing_factor", 0 <= self.label_smoothing_factor < 1, "from 0 to below 1"),
            ("lora", self.lora is None or self.lora >= 1, "a rank, a whole number from 1 on"),
            ("lora_alpha", self.lora_alpha is None or 0 < self.lora_alpha < math.inf, "a number above 0"),
            ("layer_decay", self.layer_decay is None or 0 < self.layer_decay <= 1, "a number above 0, at most 1"),
            ("dataloader_num_workers", self.dataloader_num_workers >= 0, "0 or more"),
            ("seed", 0 <= self.seed < 2**32, "a whole number from 0 to 4294967295"),
        ]
        for name, fits, expected in checks:
            if not fits:
                raise ValueError(f"--{name} {getattr(self, name)}: expected {expected}")

    def _refuse_spread_weights(self) -> None:
        """Name what needs whole weights on each rank."""
        for name in ("ema", "lora"):
            for how in ("fsdp", "deepspeed"):
                if getattr(self, name) and getattr(self, how):
                    off = f"Set --{name} 0" if name == "ema" else f"Leave --{name} out"
                    raise ValueError(
                        f"--{name} and --{how} cannot be combined: --{how} spreads the weights over the devices, and "
                        f"--{name} needs them whole. {off}, or leave --{how} out."
                    )

    def _check_deepspeed(self) -> None:
        """Name what DeepSpeed would fail on while the model is built, and its absence."""
        if not self.deepspeed:
            return
        settings = self.deepspeed
        if not isinstance(settings, dict):
            try:
                settings = json.loads(Path(settings).read_text(encoding="utf-8"))
            except (OSError, ValueError) as exc:
                raise ValueError(f"--deepspeed {self.deepspeed}: not a JSON file that can be read ({exc})") from exc
        if settings.get("zero_optimization", {}).get("stage") == 3:
            raise ValueError(
                f"--deepspeed {self.deepspeed}: stage 3 spreads the weights, which scoring needs whole; use stage 1 or "
                "2, or --fsdp full_shard"
            )
        if find_spec("deepspeed") is None:
            raise MissingExtraError("--deepspeed needs the package deepspeed: pip install deepspeed")

    def _settle_length(self) -> None:
        """Take ``--max_steps`` as the length, and refuse flags that would do nothing without evaluations."""
        if self.max_steps > 0 and self.num_train_epochs is None:
            self.num_train_epochs = 3.0  # Transformers' default, which it compares but does not use beside max_steps
        evaluated = IntervalStrategy(self.eval_strategy).value
        if self.early_stopping_patience and evaluated == "no":
            raise ValueError(
                f"--early_stopping_patience {self.early_stopping_patience}: nothing is evaluated with --eval_strategy "
                "no. Set --early_stopping_patience 0 or choose another --eval_strategy."
            )
        if self.eval_epochs is not None and self.eval_epochs > 1 and evaluated == "steps":
            raise ValueError(
                f"--eval_epochs {self.eval_epochs}: has no effect with --eval_strategy steps. Set --eval_epochs 1 or "
                "choose another --eval_strategy."
            )

    def _follow_eval_strategy(self) -> None:
        """Settle what was left open so that ``--eval_strategy`` alone gives a run that fits together."""
        evaluated = IntervalStrategy(self.eval_strategy).value
        if self.save_strategy is None:
            self.save_strategy = "epoch" if evaluated == "no" else evaluated
        if self.save_steps is None:
            self.save_steps = self.eval_steps or 500
        if evaluated == "steps" and not self.eval_steps:
            self.eval_steps = self.save_steps
        # of the models that are judged the best can only be kept where each of them is saved
        other_steps = evaluated == "steps" and self.save_strategy == "steps" and self.save_steps != self.eval_steps
        if self.load_best_model_at_end is None:
            fits = evaluated != "no" and self.save_strategy in (evaluated, "best")
            self.load_best_model_at_end = fits and not other_steps
        elif self.load_best_model_at_end and other_steps:
            raise ValueError(
                f"--load_best_model_at_end: the best at --eval_steps {self.eval_steps:g} is not saved at --save_steps "
                f"{self.save_steps:g}; give both the same value, or --save_strategy best"
            )

    def _direction(self) -> bool | None:
        """Whether a higher metric is better: the flag, or as the metric is defined; ``None`` for an unknown metric."""
        given = vars(self)["greater_is_better"]
        return higher_is_better(metric_key(self.metric_for_best_model)) if given is None else given

    def _rename_gradient_checkpointing(self) -> None:
        """Pass the old name on where Transformers has the new one; it would warn at each run."""
        if self.gradient_checkpointing is not None and getattr(self, "activation_checkpointing", 0) is None:
            self.activation_checkpointing = self.gradient_checkpointing


def _is_rate(rate: float | None) -> bool:
    return rate is None or (math.isfinite(rate) and rate >= 0)
