"""The settings behind the flags. Imports neither torch nor Transformers.

One dataclass a subject: :class:`DataArguments`, :class:`ModelArguments`, :class:`RunArguments` and, beside
the trainer because it needs Transformers, ``earmark.train.arguments.EarmarkTrainingArguments``. Field names
are those of Transformers' example scripts wherever these have one. :mod:`earmark.config_files` reads and
writes them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from earmark.errors import UsageError

DEFAULT_LONGEST_S = 20.0  # what training takes of a clip where it is not told, as in Transformers' example


def flag(default: Any, help: str) -> Any:
    """A field with the text that ``--help`` shows for it."""
    return field(default=default, metadata={"help": help})


# One path, several, or none. A single path stays text, also in run_config.yaml.
Paths = list[str] | str | None


def _repeatable(help: str) -> dict[str, str]:
    """Metadata of a flag that may be given several times."""
    return {"help": f"{help}; repeat the flag for several", "action": "append"}


def paths_in(value: Paths) -> list[str]:
    """Return the paths of a setting in their order, each once."""
    return list(dict.fromkeys([value] if isinstance(value, str) else value or []))


PATH_SETTINGS = ("data_dir", "train_file", "eval_file", "test_file", "background_dir")


# Settings that decide where background clips are cut, from recordings that other settings name.
BACKGROUND_CUTS = ("background_class", "background_ratio", "background_margin_seconds")


def require_value(condition: bool, flag: str, value: object, expected: str) -> None:
    """Raise a one-line :class:`UsageError` for a value out of range."""
    if not condition:
        raise UsageError(f"--{flag} {value}: expected {expected}")


@dataclass
class DataArguments:
    """Which recordings, in which splits, with which labels.

    Raises:
        UsageError: a number is out of range.
    """

    dataset_name: str | None = flag(None, "data set on the hub, or a local snapshot or save_to_disk folder")
    dataset_config_name: str | None = flag(None, "configuration of the data set, e.g. ks for superb")
    dataset_revision: str | None = flag(None, "branch, tag or commit of the data set")
    data_dir: Paths = field(
        default=None,
        metadata=_repeatable(
            "folder of recordings: class folders, with or without train/validation/test above them, an audiofolder, or "
            "(with --dataset_name superb --dataset_config_name ks) the Speech Commands archive"
        ),
    )
    train_file: Paths = field(
        default=None,
        metadata=_repeatable("manifest of training clips, added to those of --data_dir: .csv, .tsv, .jsonl, .parquet"),
    )
    eval_file: Paths = field(default=None, metadata=_repeatable("manifest of validation clips"))
    test_file: Paths = field(default=None, metadata=_repeatable("manifest of test clips"))
    train_split_name: str = flag(
        "train", "name of the training split; none if the data has none, so that a folder called train is a class"
    )
    eval_split_name: str = flag("validation", "name of the validation split; none if the data has none")
    test_split_name: str = flag("test", "name of the test split; none if the data has none")
    audio_column_name: str = flag("audio", "column with the recording: a path or bytes")
    audio_dir: str | None = flag(
        None, "folder of the recordings that manifests name, searched with its subfolders (default: the manifest's own)"
    )
    start_column_name: str | None = flag(
        None,
        "column with the start of each event in its recording (default: by name, e.g. onset); none: whole recordings",
    )
    end_column_name: str | None = flag(
        None, "column with the end of each event (default: by name, e.g. offset beside onset)"
    )
    label_column_name: str = flag("label", "column with the class name, the labels or the number")
    task: Literal["single_label", "multi_label", "regression"] | None = flag(
        None,
        "what a clip's label is: one class, any number of labels (a list, or names with --label_separator between), "
        "or a number (default: single_label; of a trained model its own)",
    )
    label_separator: str = flag(",", "what stands between the labels of a cell of text, with --task multi_label")
    group_column: str | None = flag(
        None, "column whose values (speaker, tape, site) must not be in two splits, when a split is made"
    )
    fold_column: str | None = flag(
        None,
        "cross-validation by the folds in this column: one run for each fold, tested on it and trained on the others",
    )
    folds: int | None = flag(
        None, "cross-validation by so many folds, made with --seed, stratified, no --group_column value in two of them"
    )
    fold: str | None = flag(
        None, "with either: hold this fold out as the test split and do the one run (default: one run for each fold)"
    )
    validation_fraction: float = flag(
        0.1, "share of the training clips set aside for validation when the data has no validation split"
    )
    max_length_seconds: float | None = flag(
        None,
        "longest stretch of a clip the model sees, in seconds; longer training clips are cut at random, "
        "others scored in windows (default: the longest training clip, at most 20 s as in Transformers' example)",
    )
    max_train_samples: int | None = flag(None, "use this many training clips only, drawn with --seed")
    shots: int | None = flag(None, "use this many training clips of each class only, drawn with --seed")
    max_eval_samples: int | None = flag(None, "use this many validation clips only, drawn with --seed")
    on_bad_audio: Literal["fail", "skip"] = flag(
        "fail",
        "unreadable recordings: fail lists all of them before training starts, skip leaves them out, "
        "counts them and lists them in bad_audio.csv",
    )
    on_missing_label: Literal["fail", "skip"] = flag(
        "fail", "rows of a manifest without a label (empty, nan, None): fail names the first, skip leaves them out"
    )
    silence_percentage: float | None = flag(
        None,
        "Speech Commands only: silence clips cut from _background_noise_, in percent of the training clips "
        "(default: what SUPERB does)",
    )
    background_dir: Paths = field(
        default=None,
        metadata=_repeatable(
            "folder of recordings in which none of the classes occurs; clips of them become the background class"
        ),
    )
    background_gaps: bool = flag(
        False,
        "cut the background class from the stretches of annotated recordings (offset, duration in a manifest) that are "
        "outside every annotation",
    )
    background_class: str = flag("background", "name of that class; with --task multi_label its clips have no label")
    background_ratio: float = flag(1.0, "background clips, as a multiple of the clips that the average class has")
    background_margin_seconds: float = flag(1.0, "least distance of --background_gaps from an annotation, in seconds")
    preprocessing_num_workers: int | None = flag(None, "threads that read and decode recordings (default: one a core)")
    store: Literal["int16", "float16", "float32", "off"] = flag(
        "int16",
        "decode every recording once and keep its samples on the disk, as such numbers (one second at 16 kHz takes "
        "32 kB as int16); off decodes again in every epoch",
    )
    store_dir: str | None = flag(None, "folder for the decoded samples (default: earmark/waveforms in your cache)")
    bucket_waste: float = flag(
        0.1,
        "clips of different length: most padding, as a share of the samples computed on; batches are made of clips of "
        "like length to keep to it; 1 draws batches without regard to length",
    )

    def __post_init__(self) -> None:
        for name in PATH_SETTINGS:
            paths = paths_in(getattr(self, name))
            setattr(self, name, paths if len(paths) > 1 else paths[0] if paths else None)
        share = self.validation_fraction
        require_value(0 < share < 1, "validation_fraction", share, "between 0 and 1")
        seconds = self.max_length_seconds
        ok = seconds is None or (math.isfinite(seconds) and seconds > 0)
        require_value(ok, "max_length_seconds", seconds, "seconds above 0")
        percent = self.silence_percentage
        require_value(percent is None or percent >= 0, "silence_percentage", percent, "0 or more")
        require_value(self.on_bad_audio in ("fail", "skip"), "on_bad_audio", self.on_bad_audio, "fail or skip")
        require_value(
            self.on_missing_label in ("fail", "skip"), "on_missing_label", self.on_missing_label, "fail or skip"
        )
        ratio, margin_s = self.background_ratio, self.background_margin_seconds
        require_value(math.isfinite(ratio) and ratio > 0, "background_ratio", ratio, "a number above 0")
        ok = math.isfinite(margin_s) and margin_s >= 0
        require_value(ok, "background_margin_seconds", margin_s, "seconds from 0 on")
        require_value(bool(self.background_class.strip()), "background_class", "''", "a name")
        waste = self.bucket_waste
        require_value(0 <= waste <= 1, "bucket_waste", waste, "between 0 and 1")
        stores = ("int16", "float16", "float32", "off")
        require_value(self.store in stores, "store", self.store, ", ".join(stores))
        tasks = (None, "single_label", "multi_label", "regression")
        require_value(self.task in tasks, "task", self.task, "single_label, multi_label or regression")
        require_value(bool(self.label_separator), "label_separator", repr(self.label_separator), "a character or more")
        for name in ("max_train_samples", "shots", "max_eval_samples", "preprocessing_num_workers"):
            value = getattr(self, name)
            require_value(value is None or value >= 1, name, value, "a whole number from 1 on")
        self._check_folds()

    @property
    def has_folds(self) -> bool:
        """Whether the clips are shared out over folds."""
        return self.fold_column is not None or self.folds is not None

    @property
    def has_background(self) -> bool:
        """Whether a background class is cut from recordings."""
        return self.background_dir is not None or self.background_gaps

    def _check_folds(self) -> None:
        require_value(self.folds is None or self.folds >= 2, "folds", self.folds, "a whole number from 2 on")
        if self.fold is not None and not self.has_folds:
            raise UsageError(f"--fold {self.fold}: of which folds? add --fold_column NAME or --folds N")
        if not self.has_folds:
            return
        given = f"--fold_column {self.fold_column}" if self.fold_column is not None else f"--folds {self.folds}"
        if self.fold_column is not None and self.folds is not None:
            raise UsageError(f"{given} and --folds {self.folds}: take the folds of the column, or have some made")
        for name in ("eval_file", "test_file"):
            if getattr(self, name):
                raise UsageError(
                    f"{given} with --{name}: each fold is the test split in its turn, and validation clips are set "
                    f"aside from the others; leave --{name} out"
                )


# settings of a training by epochs, which --few_shot does not do
OF_EPOCHS = (
    *("num_train_epochs", "max_steps", "early_stopping_patience", "eval_epochs"),
    *("learning_rate", "head_learning_rate", "layer_decay", "global_batch_size"),
    *(
        "gradient_accumulation_steps",
        "per_device_train_batch_size",
        "warmup_steps",
        "weight_decay",
        "lr_scheduler_type",
    ),
    *("ema", "lora", "augment", "focal_gamma", "sampler", "label_smoothing_factor", "fsdp", "deepspeed", "freeze"),
    "keep_head",
)


def ignored_by_few_shot(name: str) -> str:
    """What is said of one of them."""
    return f"--few_shot: no epochs are trained, so --{name} does nothing; leave one of them out"


@dataclass
class PretrainedArguments:
    """Where a checkpoint comes from and what loading it may do."""

    model_name_or_path: str | None = flag(None, "local folder or hub name of the checkpoint")
    model_revision: str = flag("main", "branch, tag or commit of the checkpoint")
    cache_dir: str | None = flag(None, "folder for downloads (default: the hub's own cache)")
    token: str | None = flag(None, "hub token for private repositories (default: the one of `hf auth login`)")
    trust_remote_code: bool = flag(False, "run Python code that comes with the checkpoint")
    allow_pickle: bool = flag(
        False, "load pickled weights (pytorch_model.bin), which can run code; off: safetensors only"
    )


@dataclass
class ModelArguments(PretrainedArguments):
    """Which network is trained and which part of it is frozen.

    Raises:
        UsageError: ``freeze`` is not one of its values.
    """

    model_type: str | None = flag(
        None,
        "start from random weights: tc_resnet (1 M parameters, for CPUs) or a model type of Transformers",
    )
    config_name: str | None = flag(None, "folder or hub name of the model's config, where it is not the checkpoint's")
    config_overrides: str | None = flag(
        None, "changes to the model's config: hidden_size=32,num_hidden_layers=2 or a JSON object"
    )
    feature_extractor_name: str | None = flag(None, "folder or hub name of the preprocessor, where it is another")
    attention_mask: bool = flag(True, "tell the model which samples of a batch are padding")
    freeze: str | None = flag(
        None,
        "none, feature_encoder, encoder or last-N (train the last N layers and the head) (default: "
        "feature_encoder where the model has a convolutional waveform encoder, as in Transformers' example)",
    )
    few_shot: bool = flag(
        False,
        "train no epochs: fit the head by logistic regression on what the model makes of the clips, in seconds; for "
        "some ten clips a class",
    )
    keep_head: bool = flag(
        False,
        "reuse the rows of the checkpoint's head for the classes that it has in common with the recordings "
        "(default: only if all classes are the same)",
    )
    ignore_mismatched_sizes: bool = flag(False, "accepted for old command lines: the head is always made to fit")

    def __post_init__(self) -> None:
        known = r"none|feature_encoder|encoder|last-[1-9][0-9]*"
        ok = self.freeze is None or re.fullmatch(known, self.freeze) is not None
        require_value(ok, "freeze", self.freeze, "none, feature_encoder, encoder or last-N, e.g. last-2")
        if self.keep_head and not self.model_name_or_path:
            raise UsageError("--keep_head reuses the head of a checkpoint. Name one with --model_name_or_path.")


@dataclass
class RunArguments:
    """How and where this one run happens."""

    device: str = flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = flag(
        "auto", "what training computes in; auto: bf16 where it is native, else fp16 on accelerators, fp32 on CPUs"
    )
    overwrite_output_dir: bool = flag(False, "replace a run that is already in the output folder")
    resume: bool = flag(
        False, "resume from the newest whole checkpoint of the output folder; start from the beginning without one"
    )
    num_processes: int | None = flag(
        None,
        "train in this many processes of this machine, one a card; starts torch's own launcher (default: this process)",
    )
    seeds: str | None = flag(
        None, "several runs, one for each of these seeds: 0,1,2 (with folds: all folds for each); mean and deviation"
    )
    metric: str | None = flag(None, "folder of a local `evaluate` metric, computed beside the built-in ones")
    report: bool = flag(True, "write report.html, the figures as a page with sound, in the run folder")
    logging_dir: str | None = flag(None, "folder for TensorBoard events (default: runs/ in the output folder)")

    def __post_init__(self) -> None:
        self.seed_list()

    def seed_list(self) -> list[int]:
        """The numbers of ``--seeds``; empty without the flag.

        Raises:
            UsageError: not whole numbers with commas between them, or one twice.
        """
        if self.seeds is None:
            return []
        words = [word.strip() for word in str(self.seeds).split(",")]
        ok = all(re.fullmatch("[0-9]+", word) and int(word) < 2**32 for word in words)
        require_value(ok, "seeds", self.seeds, "whole numbers from 0 to 4294967295 with commas between, e.g. 0,1,2")
        numbers = [int(word) for word in words]
        require_value(len(set(numbers)) == len(numbers), "seeds", self.seeds, "each number once")
        return numbers


@dataclass
class EvaluateOptions(PretrainedArguments, DataArguments):
    """``earmark evaluate``: the data settings, a checkpoint, and these.

    Raises:
        UsageError: no checkpoint, or a number is out of range.
    """

    split: Literal["validation", "test", "unseen"] = flag(
        "validation", "which split to score; unseen: the clips that the run neither trained on nor judged by"
    )
    output_dir: str | None = flag(None, "folder for metrics and predictions (default: inside the model's folder)")
    per_device_eval_batch_size: int = flag(32, "clips a batch on each device")
    seed: int | None = flag(
        None,
        "seed of a split that has to be made because the run has no record of its own (default: the run's, or 42)",
    )
    device: str = flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")
    metric: str | None = flag(None, "folder of a local `evaluate` metric, computed beside the built-in ones")
    report: bool = flag(True, "write report.html, the figures as a page with sound, beside them")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model_name_or_path:
            raise UsageError("which model? name its folder first: earmark evaluate MODEL --data_dir DIR")
        size = self.per_device_eval_batch_size
        require_value(size >= 1, "per_device_eval_batch_size", size, "a whole number from 1 on")
