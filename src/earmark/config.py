"""The settings behind the flags. Imports neither torch nor Transformers.

One dataclass a subject: :class:`DataArguments`, :class:`ModelArguments`, :class:`RunArguments` and, beside
the trainer because it needs Transformers, ``earmark.train.arguments.EarmarkTrainingArguments``. Field names
are those of Transformers' example scripts wherever these have one. :mod:`earmark.config_files` reads and
writes them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from earmark.errors import UsageError


def _flag(default: Any, help: str) -> Any:
    """A field with the text that ``--help`` shows for it."""
    return field(default=default, metadata={"help": help})


def _require(condition: bool, flag: str, value: object, expected: str) -> None:
    """Raise a one-line :class:`UsageError` for a value out of range."""
    if not condition:
        raise UsageError(f"--{flag} {value}: expected {expected}")


@dataclass
class DataArguments:
    """Which recordings, in which splits, with which labels.

    Raises:
        UsageError: a number is out of range.
    """

    dataset_name: str | None = _flag(None, "data set on the hub, or a local snapshot or save_to_disk folder")
    dataset_config_name: str | None = _flag(None, "configuration of the data set, e.g. ks for superb")
    dataset_revision: str | None = _flag(None, "branch, tag or commit of the data set")
    data_dir: str | None = _flag(
        None,
        "folder of recordings: class folders, with or without train/validation/test above them, an "
        "audiofolder, or (with --dataset_name superb --dataset_config_name ks) the Speech Commands archive",
    )
    train_file: str | None = _flag(None, "manifest to train on: .csv, .tsv, .jsonl or .parquet")
    eval_file: str | None = _flag(None, "manifest of the validation clips")
    test_file: str | None = _flag(None, "manifest of the test clips")
    train_split_name: str = _flag("train", "name of the training split")
    eval_split_name: str = _flag("validation", "name of the validation split")
    test_split_name: str = _flag("test", "name of the test split")
    audio_column_name: str = _flag("audio", "column with the recording: a path or bytes")
    label_column_name: str = _flag("label", "column with the class name")
    group_column: str | None = _flag(
        None, "column whose values (speaker, tape, site) must not be in two splits, when a split is made"
    )
    validation_fraction: float = _flag(
        0.1, "share of the training clips set aside for validation when the data has no validation split"
    )
    max_length_seconds: float | None = _flag(
        None,
        "longest stretch of a clip the model sees, in seconds; longer training clips are cut at random, "
        "others scored in windows (default: the longest training clip, at most 20 s as in Transformers' example)",
    )
    max_train_samples: int | None = _flag(None, "use this many training clips only, drawn with --seed")
    max_eval_samples: int | None = _flag(None, "use this many validation clips only, drawn with --seed")
    on_bad_audio: Literal["fail", "skip"] = _flag(
        "fail",
        "unreadable recordings: fail lists all of them before training starts, skip leaves them out, "
        "counts them and lists them in bad_audio.csv",
    )
    silence_percentage: float | None = _flag(
        None,
        "Speech Commands only: silence clips cut from _background_noise_, in percent of the training clips "
        "(default: what SUPERB does)",
    )
    preprocessing_num_workers: int | None = _flag(None, "threads that read and decode recordings (default: one a core)")
    store: Literal["int16", "float16", "float32", "off"] = _flag(
        "int16",
        "decode every recording once and keep its samples on the disk, as such numbers (one second at 16 kHz takes "
        "32 kB as int16); off decodes again in every epoch",
    )
    store_dir: str | None = _flag(None, "folder for the decoded samples (default: earmark/waveforms in your cache)")
    bucket_waste: float = _flag(
        0.1,
        "clips of different length: most padding, as a share of the samples computed on; batches are made of clips of "
        "like length to keep to it; 1 draws batches without regard to length",
    )

    def __post_init__(self) -> None:
        share = self.validation_fraction
        _require(0 < share < 1, "validation_fraction", share, "between 0 and 1")
        seconds = self.max_length_seconds
        ok = seconds is None or (math.isfinite(seconds) and seconds > 0)
        _require(ok, "max_length_seconds", seconds, "seconds above 0")
        percent = self.silence_percentage
        _require(percent is None or percent >= 0, "silence_percentage", percent, "0 or more")
        _require(self.on_bad_audio in ("fail", "skip"), "on_bad_audio", self.on_bad_audio, "fail or skip")
        waste = self.bucket_waste
        _require(0 <= waste <= 1, "bucket_waste", waste, "between 0 and 1")
        stores = ("int16", "float16", "float32", "off")
        _require(self.store in stores, "store", self.store, ", ".join(stores))
        for name in ("max_train_samples", "max_eval_samples", "preprocessing_num_workers"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "a whole number from 1 on")


@dataclass
class PretrainedArguments:
    """Where a checkpoint comes from and what loading it may do."""

    model_name_or_path: str | None = _flag(None, "local folder or hub name of the checkpoint")
    model_revision: str = _flag("main", "branch, tag or commit of the checkpoint")
    cache_dir: str | None = _flag(None, "folder for downloads (default: the hub's own cache)")
    token: str | None = _flag(None, "hub token for private repositories (default: the one of `hf auth login`)")
    trust_remote_code: bool = _flag(False, "run Python code that comes with the checkpoint")
    allow_pickle: bool = _flag(
        False, "load pickled weights (pytorch_model.bin), which can run code; off: safetensors only"
    )


@dataclass
class ModelArguments(PretrainedArguments):
    """Which network is trained and which part of it is frozen.

    Raises:
        UsageError: ``freeze`` is not one of its values.
    """

    model_type: str | None = _flag(
        None,
        "start from random weights: tc_resnet (1 M parameters, for CPUs) or a model type of Transformers",
    )
    config_name: str | None = _flag(None, "folder or hub name of the model's config, where it is not the checkpoint's")
    config_overrides: str | None = _flag(
        None, "changes to the model's config: hidden_size=32,num_hidden_layers=2 or a JSON object"
    )
    feature_extractor_name: str | None = _flag(None, "folder or hub name of the preprocessor, where it is another")
    attention_mask: bool = _flag(True, "tell the model which samples of a batch are padding")
    freeze: str | None = _flag(
        None,
        "none, feature_encoder, encoder or last-N (train the last N layers and the head) (default: "
        "feature_encoder where the model has a convolutional waveform encoder, as in Transformers' example)",
    )
    ignore_mismatched_sizes: bool = _flag(False, "accepted for old command lines: the head is always made to fit")

    def __post_init__(self) -> None:
        known = r"none|feature_encoder|encoder|last-[1-9][0-9]*"
        ok = self.freeze is None or re.fullmatch(known, self.freeze) is not None
        _require(ok, "freeze", self.freeze, "none, feature_encoder, encoder or last-N, e.g. last-2")


@dataclass
class RunArguments:
    """How and where this one run happens."""

    device: str = _flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = _flag(
        "auto", "what training computes in; auto: bf16 where it is native, else fp16 on accelerators, fp32 on CPUs"
    )
    overwrite_output_dir: bool = _flag(False, "replace a run that is already in the output folder")
    resume: bool = _flag(
        False, "go on from the newest whole checkpoint of the output folder; start anew where there is none"
    )
    num_processes: int | None = _flag(
        None,
        "train in this many processes of this machine, one a card; starts torch's own launcher (default: this process)",
    )
    metric: str | None = _flag(None, "folder of a local `evaluate` metric, computed beside the built-in ones")
    logging_dir: str | None = _flag(None, "folder for TensorBoard events (default: runs/ in the output folder)")


@dataclass
class EvaluateOptions(PretrainedArguments, DataArguments):
    """``earmark evaluate``: the data settings, a checkpoint, and these.

    Raises:
        UsageError: no checkpoint, or a number is out of range.
    """

    split: Literal["validation", "test"] = _flag("validation", "which split to score")
    output_dir: str | None = _flag(None, "folder for metrics and predictions (default: inside the model's folder)")
    per_device_eval_batch_size: int = _flag(32, "clips a batch on each device")
    seed: int = _flag(42, "seed of a validation split that has to be made; the same as in training")
    device: str = _flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")
    metric: str | None = _flag(None, "folder of a local `evaluate` metric, computed beside the built-in ones")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model_name_or_path:
            raise UsageError("which model? name its folder first: earmark evaluate MODEL --data_dir DIR")
        size = self.per_device_eval_batch_size
        _require(size >= 1, "per_device_eval_batch_size", size, "a whole number from 1 on")


@dataclass
class PredictOptions(PretrainedArguments):
    """``earmark predict``: a checkpoint, recordings, and the form of the answer.

    A recording that cannot be read gets a row with empty cells, its reason in a table beside the output: a folder of
    10,000 files must not die on one of them.

    Raises:
        UsageError: no checkpoint, no inputs, or a number is out of range.
    """

    inputs: list[str] = field(default_factory=list, metadata={"help": "recordings and folders of recordings"})
    output: str | None = _flag(
        None,
        "file to write (default: standard output); for --format audacity and raven a folder, which gets a file for "
        "each recording, or FILE.txt for one recording",
    )
    overwrite: bool = _flag(False, "replace an --output that is already there")
    resume: bool = _flag(False, "go on where an earlier, stopped job with this --output was")
    format: Literal["csv", "jsonl", "parquet", "audacity", "raven", "rttm"] | None = _flag(
        None, "form of the answers (default: by the suffix of --output, else csv)"
    )
    rows: Literal["clips", "windows", "segments"] | None = _flag(
        None,
        "what gets a row: clips is a whole recording, windows each window of it, segments each stretch in which a "
        "class is heard (default: segments with --window_seconds or --hop_seconds, else clips)",
    )
    top_k: int = _flag(1, "how many classes to name for each clip or window, most likely first")
    window_seconds: float | None = _flag(
        None, "length of a window (default: the longest that the model hears at a time)"
    )
    hop_seconds: float | None = _flag(None, "from the start of a window to the next (default: the length of a window)")
    aggregate: Literal["mean", "max"] = _flag(
        "mean", "clips: mean or highest probability of the windows; max finds short sounds in long recordings"
    )
    threshold: float = _flag(0.5, "segments: a class is heard from the window on whose probability reaches this")
    release_threshold: float | None = _flag(
        None, "segments: and until it falls below this (default: --threshold); lower keeps a sound in one piece"
    )
    smooth_windows: int = _flag(1, "segments: average probabilities over this many neighbouring windows, an odd number")
    merge_gap_seconds: float = _flag(0.0, "segments: those of a class at most so far apart become one")
    min_duration_seconds: float = _flag(0.0, "segments: leave shorter ones out")
    only_labels: list[str] | None = field(default=None, metadata={"help": "segments: look for these classes only"})
    batch_size: int = _flag(32, "windows a batch")
    num_workers: int | None = _flag(None, "threads that decode recordings (default: 2)")
    precision: Literal["fp32", "bf16", "fp16"] = _flag(
        "fp32",
        "compute in this type; bf16 is about twice as fast on a device that has it and answers a little differently",
    )
    device: str = _flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")
    on_bad_audio: Literal["fail", "skip"] = _flag(
        "skip", "unreadable recordings: skip gives them an empty row and lists the reason, fail stops at the first"
    )

    def __post_init__(self) -> None:
        if not self.model_name_or_path or not self.inputs:
            raise UsageError("name a model and what to listen to: earmark predict MODEL FILES_OR_FOLDERS...")
        for name in ("top_k", "batch_size"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "a whole number from 1 on")
        threads = self.num_workers
        _require(threads is None or threads >= 1, "num_workers", threads, "a whole number from 1 on")
        for field_name, choices in (("precision", ("fp32", "bf16", "fp16")), ("aggregate", ("mean", "max"))):
            _require(getattr(self, field_name) in choices, field_name, getattr(self, field_name), ", ".join(choices))
        self._settle_format()
        self._settle_rows()

    def _settle_format(self) -> None:
        suffix = Path(self.output).suffix.lower() if self.output is not None else ".csv"
        if self.format is None:
            if suffix not in (".csv", ".jsonl", ".parquet", ".rttm"):
                raise UsageError(
                    f"--output {self.output}: end it in .csv, .jsonl, .parquet or .rttm, or add --format (audacity and "
                    "raven take a folder)"
                )
            self.format = suffix[1:]  # type: ignore[assignment]  # one of them
        if self.format == "parquet" and suffix != ".parquet":
            raise UsageError("--format parquet: name a file that ends in .parquet with --output")

    def _settle_rows(self) -> None:
        """Fill in what gets a row, and refuse flags that would do nothing."""
        only_segments = self.format in ("audacity", "raven", "rttm")
        windowed = self.window_seconds is not None or self.hop_seconds is not None
        if self.rows is None:
            self.rows = "segments" if windowed or only_segments else "clips"
        if only_segments and self.rows == "clips":
            raise UsageError(f"--format {self.format} --rows clips: this format has a time for each row; use segments")
        defaults = {f.name: f.default for f in fields(self)}
        for rows, names in _FLAGS_OF_ROWS.items():
            given = [name for name in names if getattr(self, name) != defaults[name]]
            if given and self.rows not in rows:
                raise UsageError(f"--{given[0]} means nothing with --rows {self.rows}; add --rows {rows[0]}")


# flags of ``earmark predict`` that mean something to some rows only
_FLAGS_OF_ROWS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("segments",): (
        "threshold",
        "release_threshold",
        "smooth_windows",
        "merge_gap_seconds",
        "min_duration_seconds",
        "only_labels",
    ),
    ("clips",): ("aggregate",),
    ("clips", "windows"): ("top_k",),
}


@dataclass
class ServeOptions(PretrainedArguments):
    """``earmark serve``: a checkpoint, where to listen, and what a client may ask for.

    Raises:
        UsageError: no checkpoint, or a number is out of range.
    """

    host: str = _flag("127.0.0.1", "address to listen at; one that others can reach asks for a token")
    port: int = _flag(8000, "port to listen at; 0 takes a free one and the first log line says which")
    auth_token_file: str | None = _flag(
        None, "file whose first line clients must send as bearer token (or set EARMARK_SERVE_TOKEN)"
    )
    allow_public_without_token: bool = _flag(
        False, "listen at an address that others can reach although anyone may ask"
    )
    cors_origins: list[str] | None = field(
        default=None,
        metadata={"help": "pages of these origins may ask from a browser, e.g. https://a.example (default: none)"},
    )
    batch_size: int = _flag(32, "windows a batch")
    batch_delay_ms: float = _flag(5.0, "how long a window waits for others to share its batch, in milliseconds")
    precision: Literal["fp32", "bf16", "fp16"] = _flag("fp32", "compute in this type")
    device: str = _flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")
    num_workers: int = _flag(2, "threads that decode recordings")
    max_body_mb: float = _flag(25.0, "largest request body, in megabytes; longer ones are cut off and refused (413)")
    max_seconds: float = _flag(300.0, "longest recording, in seconds; decoding stops there (413)")
    max_timeline_seconds: float = _flag(3600.0, "the same for /v1/timeline and /v1/stream, which hear window by window")
    decode_timeout_seconds: float = _flag(10.0, "longest time that decoding one recording may take (422)")
    queue_size: int = _flag(128, "requests that may wait for their answer; more are told to come back (429)")
    read_timeout_seconds: float = _flag(10.0, "how long a client may be silent while it sends (408)")
    body_timeout_seconds: float = _flag(60.0, "how long a request may take to arrive (408)")
    answer_timeout_seconds: float = _flag(60.0, "how long an answer may take once a request has arrived (503)")
    max_connections: int = _flag(512, "open connections; more are refused (503)")
    max_streams: int = _flag(16, "open streams at /v1/stream, each with a thread; more are told to come back (429)")
    drain_timeout_seconds: float = _flag(30.0, "after SIGTERM: how long requests under way may take to finish")

    def __post_init__(self) -> None:
        if not self.model_name_or_path:
            raise UsageError("which model? name its folder first: earmark serve MODEL")
        for name in ("batch_size", "num_workers", "queue_size", "max_connections", "max_streams"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "a whole number from 1 on")
        for name in ("max_body_mb", "max_seconds", "max_timeline_seconds"):
            _require(0 < getattr(self, name) < math.inf, name, getattr(self, name), "a number above 0")
        for name in ("decode", "read", "body", "answer", "drain"):
            flag = f"{name}_timeout_seconds"
            _require(0 < getattr(self, flag) < math.inf, flag, getattr(self, flag), "a number of seconds above 0")
        _require(0 <= self.batch_delay_ms <= 1000, "batch_delay_ms", self.batch_delay_ms, "0 to 1000")
        _require(0 <= self.port <= 65535, "port", self.port, "0 to 65535")


# flags of ``earmark bench`` that mean nothing to some of its three jobs
_BENCH_FLAGS = {
    "num_workers": ("data",),
    "steps": ("train",),
    "skipped_steps": ("train",),
    "freeze": ("train",),
    "keep_frozen": ("train",),
    "bucket_waste": ("data", "train"),
    "passes": ("infer",),
    "precision": ("infer",),
    "model_name_or_path": ("train", "infer"),
    "model_type": ("train", "infer"),
    "config_name": ("train", "infer"),
    "config_overrides": ("train", "infer"),
    "device": ("train", "infer"),
}


@dataclass
class BenchOptions(ModelArguments):
    """``earmark bench data|train|infer``: what to measure, on which clips, with which model.

    Raises:
        UsageError: nothing to measure, no model, a flag of another job, or a number out of range.
    """

    work: str = field(default="", metadata={"help": "data, train or infer"})
    data_dir: str | None = _flag(None, "folder of recordings, as `earmark train` takes it; its training clips are used")
    lengths: str = _flag(
        "fixed:1.0",
        "lengths of synthetic clips, in seconds: fixed:1.0, uniform:0.5,16 (shortest, longest) or "
        "lognormal:2.0,0.8,0.5,16 (median, sigma of the logarithm, shortest, longest)",
    )
    num_clips: int = _flag(500, "how many synthetic clips")
    seed: int = _flag(0, "seed of the synthetic clips, of random weights and of the order")
    max_length_seconds: float | None = _flag(
        None, "longest stretch of a clip, in seconds (default: the longest clip, at most 20 s)"
    )
    batch_size: int | None = _flag(None, "clips a batch (default: 128 for data, else 32)")
    bucket_waste: float = _flag(0.1, "data, train: most padding in length buckets, as for `earmark train`")
    num_workers: int = _flag(1, "data: processes that make batches")
    steps: int = _flag(10, "train: optimizer steps that are timed")
    skipped_steps: int = _flag(3, "train: steps before those, which are not timed")
    keep_frozen: bool = _flag(
        True, "train: compute the frozen part of the model once, before the steps, as `earmark train` does"
    )
    passes: int = _flag(1, "infer: times through the clips")
    precision: Literal["fp32", "bf16"] = _flag("fp32", "infer: what the model computes in")
    device: str = _flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")
    json: str | None = _flag(None, "file for all figures, settings and versions; replaced where it exists")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.work not in ("data", "train", "infer"):
            raise UsageError(f"measure what? earmark bench data, train or infer{self.work and f', not {self.work}'}")
        for name, works in _BENCH_FLAGS.items():
            given = getattr(self, name) != type(self).__dataclass_fields__[name].default
            if given and self.work not in works:
                raise UsageError(f"--{name} is for earmark bench {' and '.join(works)}, not for {self.work}")
        if self.model_name_or_path and self.model_type:
            raise UsageError(f"--model_name_or_path {self.model_name_or_path} and --model_type contradict: keep one")
        if self.work != "data" and not (self.model_name_or_path or self.model_type or self.config_name):
            raise UsageError(
                f"no model: earmark bench {self.work} --model_name_or_path FOLDER_OR_NAME, or --model_type for "
                "random weights"
            )
        if self.batch_size is None:
            self.batch_size = 128 if self.work == "data" else 32
        for name in ("num_clips", "batch_size", "num_workers", "steps", "skipped_steps", "passes"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "a whole number from 1 on")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "a whole number from 0 to 4294967295")
        _require(0 <= self.bucket_waste <= 1, "bucket_waste", self.bucket_waste, "between 0 and 1")
        seconds = self.max_length_seconds
        ok = seconds is None or (math.isfinite(seconds) and seconds >= 0.025)
        _require(ok, "max_length_seconds", seconds, "seconds from 0.025 on")


@dataclass
class ExportOptions(PretrainedArguments):
    """``earmark export``: a checkpoint, a format, a folder, and what the export is checked on.

    Raises:
        UsageError: no checkpoint or output, or a value that does not fit.
    """

    format: Literal["onnx", "onnx-int8", "pt2"] = _flag(
        "onnx", "onnx; onnx-int8: the same with weights of matrix products in 8 bits; pt2: torch.export"
    )
    output: str | None = _flag(None, "folder of the export, new or empty (required)")
    calibration: str | None = _flag(
        None,
        "folder of recordings that the export is compared with PyTorch on; in folders named after the classes they "
        "give accuracies too (default: generated speech-like sound)",
    )
    max_calibration_samples: int = _flag(500, "use this many of those recordings, evenly spread")
    fixed_shape: str | None = _flag(
        None, "BATCHxSECONDS, e.g. 1x1.0: a file for batches of this one shape, as Ascend's ATC wants it"
    )
    soc_version: str = _flag("Ascend310P3", "chip in the atc line that is printed for a fixed shape (npu-smi info)")

    def __post_init__(self) -> None:
        if not self.model_name_or_path or not self.output:
            raise UsageError("name a model and a folder for its export: earmark export MODEL --output FOLDER")
        formats = ("onnx", "onnx-int8", "pt2")
        _require(self.format in formats, "format", self.format, ", ".join(formats))
        count = self.max_calibration_samples
        _require(count >= 1, "max_calibration_samples", count, "a whole number from 1 on")
        shape = self.fixed_shape
        ok = shape is None or re.fullmatch(r"[1-9][0-9]*x([0-9]+\.?[0-9]*|\.[0-9]+)", shape) is not None
        _require(ok, "fixed_shape", shape, "BATCHxSECONDS, such as 1x1.0")

    @property
    def batch_and_seconds(self) -> tuple[int, float] | None:
        """``fixed_shape`` as numbers."""
        if self.fixed_shape is None:
            return None
        batch, seconds = self.fixed_shape.split("x")
        return int(batch), float(seconds)
