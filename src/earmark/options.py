"""The settings of commands that use a trained model, behind their flags. Imports neither torch nor Transformers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from earmark.config import DataArguments, PretrainedArguments, flag, require_value
from earmark.errors import UsageError

DEFAULT_THRESHOLD = 0.5  # of segments


@dataclass(frozen=True)
class OutputFormat:
    """Facts about a format of ``earmark predict`` that decide which flags fit; ``earmark.predict.formats`` writes it.

    Attributes:
        suffix: suffix of ``--output`` that chooses the format, or that the file must have; ``None`` for any.
        table_ending: ending of the file that each recording gets; ``None`` if all recordings share one file.
        has_path: whether a row names its recording, so that one table can hold many.
        has_score: whether a row has a column for the score.
        whole_recordings: whether it has rows without a time.
    """

    suffix: str | None = None
    table_ending: str | None = None
    has_path: bool = True
    has_score: bool = True
    whole_recordings: bool = True


OUTPUT_FORMATS: dict[str, OutputFormat] = {
    "csv": OutputFormat(".csv"),
    "jsonl": OutputFormat(".jsonl"),
    "parquet": OutputFormat(".parquet"),
    "audacity": OutputFormat(table_ending=".labels.txt", has_path=False, has_score=False, whole_recordings=False),
    "raven": OutputFormat(table_ending=".selections.txt", whole_recordings=False),
    "rttm": OutputFormat(".rttm", whole_recordings=False),
    "kaleidoscope": OutputFormat(whole_recordings=False),
}


@dataclass
class InspectOptions(DataArguments):
    """``earmark inspect``: which recordings, and where what was found goes.

    Raises:
        UsageError: a number is out of range.
    """

    output_dir: str | None = flag(
        None, "folder for inspect.html (to look at and listen to), inspect.json and findings.csv (default: print only)"
    )
    unlabelled: bool = flag(
        False,
        "take all recordings below the folder as not labelled, whatever its folders are called; a folder with "
        "recordings right in it and nothing else is taken so without the flag",
    )
    explain: bool = flag(False, "print how each table was read: its separator, what each column is, and why")
    near_duplicates: bool = flag(True, "also look for copies that were recoded, resampled or made louder")
    strict: bool = flag(False, "exit with code 2 when there is an error among the findings, for scripts")
    seed: int = flag(42, "seed of a validation split that has to be made; the same as in training")


@dataclass
class PredictOptions(PretrainedArguments):
    """``earmark predict``: a checkpoint, recordings, and the format of the results.

    A recording that cannot be read does not stop the job: the reason goes to a table beside the output.

    Raises:
        UsageError: no checkpoint, no inputs, or a number is out of range.
    """

    inputs: list[str] = field(default_factory=list, metadata={"help": "recordings and folders of recordings"})
    output: str | None = flag(
        None,
        "file to write (default: standard output); for --format audacity and raven a folder, which gets a file for "
        "each recording, or FILE.txt for one recording or with --one_table",
    )
    overwrite: bool = flag(False, "replace results that are already there")
    resume: bool = flag(False, "continue a stopped job with the same --output, model and settings")
    format: Literal["csv", "jsonl", "parquet", "audacity", "raven", "rttm", "kaleidoscope"] | None = flag(
        None, "format of the results (default: by the suffix of --output, else csv)"
    )
    one_table: bool = flag(False, "raven: write one selection table for all recordings")
    append_score: bool = flag(False, "audacity: write the score after each label")
    rows: Literal["clips", "windows", "segments"] | None = flag(
        None,
        "what gets a row: clips is a whole recording, windows each window of it, segments each stretch in which a "
        "class is detected (default: segments with --window_seconds or --hop_seconds, else clips)",
    )
    top_k: int = flag(1, "number of classes to name for each clip or window, most likely first")
    window_seconds: float | None = flag(None, "length of a window (default: the longest that the model takes)")
    hop_seconds: float | None = flag(None, "from the start of a window to the next (default: the length of a window)")
    aggregate: Literal["mean", "max"] = flag(
        "mean", "clips: mean or highest probability of the windows; max finds short sounds in long recordings"
    )
    threshold: float = flag(
        DEFAULT_THRESHOLD,
        "segments: one begins at the window whose probability reaches this and the model's own threshold of the "
        "class, if it has one (earmark calibrate)",
    )
    release_threshold: float | None = flag(
        None, "segments: one ends before the window below this (default: --threshold); lower keeps a sound in one piece"
    )
    smooth_windows: int = flag(1, "segments: average probabilities over this many neighbouring windows, an odd number")
    merge_gap_seconds: float = flag(0.0, "segments: join those of a class that are at most this far apart")
    min_duration_seconds: float = flag(0.0, "segments: drop shorter ones")
    only_labels: list[str] | None = field(default=None, metadata={"help": "segments: look for these classes only"})
    batch_size: int = flag(32, "windows a batch")
    num_workers: int | None = flag(None, "threads that decode recordings (default: 2)")
    precision: Literal["fp32", "bf16", "fp16"] = flag(
        "fp32",
        "compute in this type; bf16 is about twice as fast on a device that has it, with slightly different scores",
    )
    device: str = flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")
    on_bad_audio: Literal["fail", "skip"] = flag(
        "skip", "unreadable recordings: skip lists the reason beside the output, fail stops at the first"
    )
    engine: Literal["local", "ray"] = flag("local", "ray distributes the recordings over the workers of a Ray cluster")
    ray_workers: int = flag(2, "with --engine ray: processes, each with the model and an accelerator or a core")
    ray_address: str | None = flag(None, "with --engine ray: of a running cluster (default: one on this machine)")

    def __post_init__(self) -> None:
        if not self.model_name_or_path or not self.inputs:
            raise UsageError("name a model and recordings: earmark predict MODEL FILES_OR_FOLDERS...")
        for name in ("top_k", "batch_size", "ray_workers"):
            require_value(getattr(self, name) >= 1, name, getattr(self, name), "a whole number from 1 on")
        threads = self.num_workers
        require_value(threads is None or threads >= 1, "num_workers", threads, "a whole number from 1 on")
        choices_of = {"precision": ("fp32", "bf16", "fp16"), "aggregate": ("mean", "max"), "engine": ("local", "ray")}
        for field_name, choices in choices_of.items():
            require_value(
                getattr(self, field_name) in choices, field_name, getattr(self, field_name), ", ".join(choices)
            )
        self._settle_format()
        self._settle_rows()

    @property
    def output_format(self) -> OutputFormat:
        """Facts about the format."""
        return OUTPUT_FORMATS[self.format or "csv"]

    @property
    def one_file(self) -> bool:
        """Whether the results of all recordings go to one file, or to standard output."""
        if self.output is None or self.output_format.table_ending is None or self.one_table:
            return True
        return Path(self.output).suffix.lower() == ".txt" and not Path(self.output).is_dir()

    def _settle_format(self) -> None:
        suffix = Path(self.output).suffix.lower() if self.output is not None else ".csv"
        if self.format is None:
            by_suffix = {facts.suffix: name for name, facts in OUTPUT_FORMATS.items() if facts.suffix}
            if suffix not in by_suffix:
                raise UsageError(
                    f"--output {self.output}: end it in .csv, .jsonl, .parquet or .rttm, or add --format (audacity and "
                    "raven take a folder)"
                )
            self.format = by_suffix[suffix]  # type: ignore[assignment]  # one of them
        require_value(self.format in OUTPUT_FORMATS, "format", self.format, ", ".join(OUTPUT_FORMATS))
        if self.format == "parquet" and suffix != ".parquet":
            raise UsageError("--format parquet: name a file that ends in .parquet with --output")
        if self.one_table and not self.output_format.has_path:
            raise UsageError(
                f"--one_table: --format {self.format} has no column for the recording. Leave --one_table out, or use "
                "--format raven or csv"
            )
        if self.append_score and self.output_format.has_score:
            raise UsageError(
                f"--append_score: --format {self.format} has the score in a column of its own. Leave --append_score out"
            )

    def _settle_rows(self) -> None:
        """Fill in what gets a row, and refuse flags that would do nothing."""
        only_segments = not self.output_format.whole_recordings
        windowed = self.window_seconds is not None or self.hop_seconds is not None
        if self.rows is None:
            self.rows = "segments" if windowed or only_segments else "clips"
        if only_segments and self.rows == "clips":
            raise UsageError(
                f"--format {self.format} --rows clips: this format has a time for each row. Use --rows segments"
            )
        defaults = {f.name: f.default for f in fields(self)}
        for rows, names in _FLAGS_OF_ROWS.items():
            given = [name for name in names if getattr(self, name) != defaults[name]]
            if given and self.rows not in rows:
                raise UsageError(
                    f"--{given[0]} means nothing with --rows {self.rows}. Leave it out, or use --rows {rows[0]}"
                )


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
class EmbedOptions(PretrainedArguments):
    """``earmark embed``: a checkpoint, recordings, and the file for their embeddings.

    Raises:
        UsageError: no checkpoint, no inputs, no output, or a number is out of range.
    """

    inputs: list[str] = field(default_factory=list, metadata={"help": "recordings and folders of recordings"})
    output: str | None = flag(
        None, "file to write (required): .parquet, or .npy with the recording and times of each row in OUTPUT.rows.csv"
    )
    overwrite: bool = flag(False, "replace results that are already there")
    resume: bool = flag(False, "continue a stopped job with the same --output, model and settings")
    rows: Literal["clips", "windows"] = flag(
        "clips", "what gets a row: clips is a whole recording, the mean of its windows; windows is each of them"
    )
    window_seconds: float | None = flag(None, "length of a window (default: the longest that the model takes)")
    hop_seconds: float | None = flag(None, "from the start of a window to the next (default: the length of a window)")
    batch_size: int = flag(32, "windows a batch")
    num_workers: int | None = flag(None, "threads that decode recordings (default: 2)")
    precision: Literal["fp32", "bf16", "fp16"] = flag("fp32", "compute in this type; rows are float32")
    device: str = flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")
    on_bad_audio: Literal["fail", "skip"] = flag(
        "skip", "unreadable recordings: skip lists them in OUTPUT.bad_audio.csv, fail stops at the first"
    )

    def __post_init__(self) -> None:
        if not self.model_name_or_path or not self.inputs or not self.output:
            raise UsageError(
                "name a model, recordings and a file: earmark embed MODEL FILES_OR_FOLDERS... --output FILE"
            )
        if Path(self.output).suffix.lower() not in (".npy", ".parquet"):
            raise UsageError(f"--output {self.output}: end it in .npy or .parquet")
        require_value(self.batch_size >= 1, "batch_size", self.batch_size, "a whole number from 1 on")
        threads = self.num_workers
        require_value(threads is None or threads >= 1, "num_workers", threads, "a whole number from 1 on")
        require_value(self.rows in ("clips", "windows"), "rows", self.rows, "clips or windows")
        precisions = ("fp32", "bf16", "fp16")
        require_value(self.precision in precisions, "precision", self.precision, ", ".join(precisions))


@dataclass
class LabelOptions(PretrainedArguments):
    """``earmark label``: recordings, the model that proposes labels for them, and where these go.

    Raises:
        UsageError: no recordings, no model, or a number is out of range.
    """

    inputs: list[str] = field(default_factory=list, metadata={"help": "recordings and folders of recordings"})
    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "run folder, model folder or hub name; also --model (required)", "aliases": ["--model"]},
    )
    output_dir: str = flag("labels", "folder for proposals.csv and labels.csv; an existing one is continued")
    check: bool = flag(
        False,
        "the recordings have labels, in class folders or a manifest: those that the model doubts come first, and "
        "labels.csv has all of them, with what is corrected",
    )
    audio_column_name: str = flag("audio", "with --check: column of the manifest with the recording")
    label_column_name: str = flag("label", "with --check: column of the manifest with the class name")
    audio_dir: str | None = flag(None, "with --check: folder of the recordings that a manifest names")
    start_column_name: str | None = flag(
        None, "with --check: column with the start of each event (default: by name); none: whole recordings"
    )
    end_column_name: str | None = flag(None, "with --check: column with the end of each event (default: by name)")
    on_missing_label: Literal["fail", "skip"] = flag(
        "fail", "with --check: rows without a label: fail names the first, skip leaves them out"
    )
    train_split_name: str = flag("train", "with --check: folder of the training split; none if there is none")
    eval_split_name: str = flag("validation", "with --check: folder of the validation split; none if there is none")
    test_split_name: str = flag("test", "with --check: folder of the test split; none if there is none")
    order: Literal["diverse", "uncertain", "confident", "random", "suspicious"] | None = flag(
        None,
        "what comes first: uncertain clips that are unlike those before them (diverse), those between two classes "
        "(uncertain), the surest, a random draw, or given labels that the model doubts (default: diverse, with --check "
        "suspicious)",
    )
    seed: int = flag(42, "seed of --order random")
    page: bool = flag(True, "serve the page to hear and label them, on this machine alone; false: proposals.csv only")
    port: int = flag(8010, "port of the page; 0 takes a free one")
    batch_size: int = flag(32, "windows a batch")
    num_workers: int = flag(2, "threads that decode recordings")
    device: str = flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")

    def __post_init__(self) -> None:
        if not self.model_name_or_path or not self.inputs:
            raise UsageError("name recordings and a model: earmark label FOLDER --model RUN")
        for name in ("batch_size", "num_workers"):
            require_value(getattr(self, name) >= 1, name, getattr(self, name), "a whole number from 1 on")
        require_value(0 <= self.port <= 65535, "port", self.port, "0 to 65535")
        if self.order is None:
            self.order = "suspicious" if self.check else "diverse"
        orders = ("diverse", "uncertain", "confident", "random", "suspicious")
        require_value(self.order in orders, "order", self.order, ", ".join(orders))
        require_value(
            self.on_missing_label in ("fail", "skip"), "on_missing_label", self.on_missing_label, "fail or skip"
        )
        if self.order == "suspicious" and not self.check:
            raise UsageError("--order suspicious looks at labels that are there; add --check")
        if self.check and len(self.inputs) != 1:
            raise UsageError("--check: name one folder of class folders, or one manifest")


@dataclass
class PushOptions:
    """``earmark push``: a run folder and the name that it gets on the hub.

    Raises:
        UsageError: the folder or the name is missing.
    """

    model_name_or_path: str | None = flag(None, "run folder")
    repo: str | None = flag(None, "name on the hub: ORG/NAME, or NAME for your own")
    private: bool = flag(False, "only you and your organisation can see it, if it is made now")
    revision: str | None = flag(None, "branch to commit to (default: main)")
    message: str = flag("Upload model", "of the commit")
    token: str | None = flag(None, "access token that may write (default: HF_TOKEN, or that of `hf auth login`)")

    def __post_init__(self) -> None:
        if not self.model_name_or_path or not self.repo:
            raise UsageError("name a run folder and its name on the hub: earmark push RUN ORG/NAME")


@dataclass
class ExportOptions(PretrainedArguments):
    """``earmark export``: a checkpoint, a format, a folder, and what the export is checked on.

    Raises:
        UsageError: no checkpoint or output, or a value that does not fit.
    """

    format: Literal["onnx", "onnx-int8", "pt2"] = flag(
        "onnx", "onnx; onnx-int8: the same with weights of matrix products in 8 bits; pt2: torch.export"
    )
    output: str | None = flag(None, "folder of the export, new or empty (required)")
    calibration: str | None = flag(
        None,
        "folder of recordings that the export is compared with PyTorch on; in folders named after the classes they "
        "give accuracies too (default: generated speech-like sound)",
    )
    max_calibration_samples: int = flag(500, "use this many of those recordings, evenly spread")
    fixed_shape: str | None = flag(
        None, "BATCHxSECONDS, e.g. 1x1.0: a file for batches of this one shape, as Ascend's ATC wants it"
    )
    soc_version: str = flag("Ascend310P3", "chip in the atc line that is printed for a fixed shape (npu-smi info)")

    def __post_init__(self) -> None:
        if not self.model_name_or_path or not self.output:
            raise UsageError("name a model and a folder for its export: earmark export MODEL --output FOLDER")
        formats = ("onnx", "onnx-int8", "pt2")
        require_value(self.format in formats, "format", self.format, ", ".join(formats))
        count = self.max_calibration_samples
        require_value(count >= 1, "max_calibration_samples", count, "a whole number from 1 on")
        shape = self.fixed_shape
        ok = shape is None or re.fullmatch(r"[1-9][0-9]*x([0-9]+\.?[0-9]*|\.[0-9]+)", shape) is not None
        require_value(ok, "fixed_shape", shape, "BATCHxSECONDS, such as 1x1.0")

    @property
    def batch_and_seconds(self) -> tuple[int, float] | None:
        """``fixed_shape`` as numbers."""
        if self.fixed_shape is None:
            return None
        batch, seconds = self.fixed_shape.split("x")
        return int(batch), float(seconds)


@dataclass
class ServeOptions(PretrainedArguments):
    """``earmark serve``: a checkpoint, where to listen, and what a client may ask for.

    Raises:
        UsageError: no checkpoint, or a number is out of range.
    """

    host: str = flag("127.0.0.1", "address to listen at; one that others can reach asks for a token")
    port: int = flag(8000, "port to listen at; 0 takes a free one and the first log line says which")
    auth_token_file: str | None = flag(
        None, "file whose first line clients must send as bearer token (or set EARMARK_SERVE_TOKEN)"
    )
    allow_public_without_token: bool = flag(False, "listen at an address that others can reach although anyone may ask")
    cors_origins: list[str] | None = field(
        default=None,
        metadata={"help": "pages of these origins may ask from a browser, e.g. https://a.example (default: none)"},
    )
    frame_ancestors: list[str] | None = field(
        default=None,
        metadata={"help": "sites that may show the page in an iframe, e.g. self https://a.example (default: none)"},
    )
    batch_size: int = flag(32, "windows a batch")
    batch_delay_ms: float = flag(5.0, "how long a window waits for others to share its batch, in milliseconds")
    precision: Literal["fp32", "bf16", "fp16"] = flag("fp32", "compute in this type")
    device: str = flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")
    num_workers: int = flag(2, "threads that decode recordings")
    max_body_mb: float = flag(25.0, "largest request body, in megabytes; longer ones are cut off and refused (413)")
    max_seconds: float = flag(300.0, "longest recording, in seconds; decoding stops there (413)")
    max_timeline_seconds: float = flag(3600.0, "the same for /v1/timeline and /v1/stream, which hear window by window")
    decode_timeout_seconds: float = flag(10.0, "longest time that decoding one recording may take (422)")
    queue_size: int = flag(128, "requests that may wait for their answer; more are told to come back (429)")
    read_timeout_seconds: float = flag(10.0, "how long a client may be silent while it sends (408)")
    body_timeout_seconds: float = flag(60.0, "how long a request may take to arrive (408)")
    answer_timeout_seconds: float = flag(60.0, "how long an answer may take once a request has arrived (503)")
    keep_alive_seconds: float = flag(
        5.0, "how long an idle connection stays open; behind a proxy, longer than the proxy keeps it"
    )
    max_connections: int = flag(512, "open connections; more are refused (503)")
    max_streams: int = flag(16, "open streams at /v1/stream, each with a thread; more are told to come back (429)")
    drain_timeout_seconds: float = flag(30.0, "after SIGTERM: how long requests under way may take to finish")

    def __post_init__(self) -> None:
        if not self.model_name_or_path:
            raise UsageError("which model? name its folder first: earmark serve MODEL")
        for name in ("batch_size", "num_workers", "queue_size", "max_connections", "max_streams"):
            require_value(getattr(self, name) >= 1, name, getattr(self, name), "a whole number from 1 on")
        for name in ("max_body_mb", "max_seconds", "max_timeline_seconds", "keep_alive_seconds"):
            require_value(0 < getattr(self, name) < math.inf, name, getattr(self, name), "a number above 0")
        for name in ("decode", "read", "body", "answer", "drain"):
            seconds = f"{name}_timeout_seconds"
            require_value(
                0 < getattr(self, seconds) < math.inf, seconds, getattr(self, seconds), "a number of seconds above 0"
            )
        require_value(0 <= self.batch_delay_ms <= 1000, "batch_delay_ms", self.batch_delay_ms, "0 to 1000")
        require_value(0 <= self.port <= 65535, "port", self.port, "0 to 65535")


@dataclass
class SearchOptions:
    """``earmark search``: what to search, beside the flags of ``earmark train``.

    Raises:
        UsageError: a number is out of range.
    """

    search_space: list[str] = field(
        default_factory=list,
        metadata={
            "help": "what to search, with commas between: NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A|B|C, each NAME a "
            "flag of earmark train (required)"
        },
    )
    trials: int = flag(20, "how many runs, those of earlier calls counted")
    prune: bool = flag(True, "end a trial that is worse than the median of the others at the same point")

    def __post_init__(self) -> None:
        require_value(self.trials >= 1, "trials", self.trials, "a whole number from 1 on")
