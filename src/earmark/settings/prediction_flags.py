"""The settings of ``earmark predict`` and ``earmark embed``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from earmark.errors import UsageError
from earmark.formats.format import Writer
from earmark.formats.format_registry import DEFAULT_WRITER, readable_suffixes, writers, writers_with
from earmark.formats.parquet import PARQUET
from earmark.settings.flags import COUNT, PROBABILITY, Check, flag, not_negative
from earmark.settings.kinds import alternatives
from earmark.settings.model_flags import PretrainedArguments, TrainedModelArguments
from earmark.settings.profile_flags import BATCHES, profile_flag
from earmark.settings.run_flags import DEVICE_HELP

DEFAULT_THRESHOLD = 0.5  # of segments
# checks of the segment rules, also used by SegmentRules in the Python API
ODD = Check(lambda value: value >= 1 and value % 2 == 1, "an odd number of at least 1")
SECONDS = not_negative("0 or more")
EMBEDDING_SUFFIXES = (".npy", *PARQUET.suffixes)
_OTHER_TABLES = (".xlsx", ".tab", ".lab")  # suffixes of tables in formats that earmark does not write


def _named(condition: Callable[[Writer], object]) -> str:
    """Return the names of the formats for which a condition holds, for a help text."""
    return " and ".join(writers_with(condition))


_WITH_FILES = _named(lambda writer: writer.table_ending)  # formats that write a file for each recording


@dataclass
class InferenceOptions(PretrainedArguments, page="inference"):
    """Recordings, and how a model scores them."""

    REQUIRED: ClassVar[tuple[str, ...]] = ("model_name_or_path", "inputs")

    inputs: list[str] = flag([], "Recordings and folders of recordings.", metavar="FILE_OR_FOLDER")
    output: str | None = flag(None, "File to write.", metavar="FILE")
    overwrite: bool = flag(False, "replace existing results.", needs="output")
    resume: bool = flag(False, "Continue a stopped job with the same --output, model and settings.")
    window_seconds: float | None = flag(
        None, "Length of a window, in seconds (default: the longest that the model takes)."
    )
    hop_seconds: float | None = flag(
        None, "Time from the start of a window to the next, in seconds (default: the length of a window)."
    )
    batch_size: int = flag(32, "Windows per batch.", check=COUNT)
    num_workers: int | None = flag(None, "Threads that decode recordings (default: 2).", check=COUNT)
    precision: Literal["fp32", "bf16", "fp16"] = flag(
        "fp32",
        "Number format of the computation; bf16 is about twice as fast on a device that has it, with slightly "
        "different scores.",
    )
    device: str = flag("auto", f"Device: {DEVICE_HELP}")
    on_bad_audio: Literal["fail", "skip"] = flag(
        "skip", "Unreadable recordings: skip lists them beside the output with the reason, fail stops at the first."
    )


@dataclass
class PredictOptions(TrainedModelArguments, InferenceOptions, page="prediction"):
    """Settings of ``earmark predict``: a checkpoint, recordings, and the format of the results.

    A recording that cannot be read does not stop the job: the reason goes to a table next to the output.

    Raises:
        UsageError: no checkpoint or no inputs are named, a number is out of range, or a setting has no effect.
    """

    MISSING = "no model or no recordings. Name both: earmark predict MODEL FILES_OR_FOLDERS..."

    output: str | None = flag(
        None,
        f"File to write (default: standard output, also written as -); for --format {_WITH_FILES}, a folder with a "
        "file for each recording, or FILE.txt for a single recording or with --one_table.",
        metavar="FILE",
    )
    format: str | None = flag(
        None,
        f"Format of the results (default: by the suffix of --output, else {DEFAULT_WRITER}).",
        choices=lambda: tuple(writers()),
    )
    one_table: bool = flag(
        False, f"{_named(lambda writer: writer.table_ending and writer.has_path)}: write one table for all recordings."
    )
    append_score: bool = flag(
        False, f"{_named(lambda writer: not writer.has_score)}: write the score after each label."
    )
    rows: Literal["clips", "windows", "segments"] | None = flag(
        None,
        "What a row describes: a recording (clips), a window (windows) or a stretch in which a class is detected "
        "(segments) (default: segments with --window_seconds or --hop_seconds, else clips).",
    )
    top_k: int = flag(1, "number of classes to name, most likely first.", check=COUNT, only="clips, windows")
    aggregate: Literal["mean", "max"] = flag(
        "mean", "mean or highest probability of the windows; max finds short sounds in long recordings.", only="clips"
    )
    threshold: float = flag(
        DEFAULT_THRESHOLD,
        "start a segment at the first window whose probability reaches this value and the model's own threshold for "
        "the class, if it has one (earmark calibrate).",
        check=PROBABILITY,
        only="segments",
    )
    release_threshold: float | None = flag(
        None,
        "end a segment before its first window below this value (default: --threshold); lower values keep a sound in "
        "one segment.",
        check=PROBABILITY,
        only="segments",
    )
    smooth_windows: int = flag(
        1, "average probabilities over this many neighbouring windows, an odd number.", check=ODD, only="segments"
    )
    merge_gap_seconds: float = flag(
        0.0, "join segments of a class that are at most this far apart, in seconds.", check=SECONDS, only="segments"
    )
    min_duration_seconds: float = flag(
        0.0, "drop segments shorter than this, in seconds.", check=SECONDS, only="segments"
    )
    only_labels: list[str] | None = flag(None, "look for these classes only.", only="segments")
    include_background: bool = flag(
        False, "also write segments of background classes (silence, noise, unknown and the like).", only="segments"
    )
    engine: Literal["local", "ray"] = flag("local", "ray distributes the recordings over the workers of a Ray cluster.")
    ray_workers: int = flag(
        2, "processes, each with the model and an accelerator or a core.", check=COUNT, needs="engine=ray"
    )
    ray_address: str | None = flag(
        None, "address of a running cluster (default: one on this machine).", needs="engine=ray"
    )

    profile: int | None = profile_flag(BATCHES, "batches", "the folder OUTPUT.profile")

    def validate(self) -> None:
        """Choose the default format and rows, and refuse flags that would have no effect."""
        super().validate()
        if self.output == "-":  # - is standard output in most programs
            self.output = None
        self._check_profile()
        self._settle_format()
        self._settle_rows()
        if self.release_threshold is not None and self.release_threshold > self.threshold:
            raise UsageError(
                f"--release_threshold {self.release_threshold:g}: expected at most the threshold, {self.threshold:g}"
            )
        if self.output is not None and self._is_folder_named_like_a_table():
            raise UsageError(
                f"--output {self.output}: --format {self.format} writes a folder with a table for each recording. Name "
                f"a folder, or a file that ends in .txt for one recording{self._or_one_table}"
            )

    def _check_profile(self) -> None:
        if self.profile is not None and self.output is None:
            raise UsageError("--profile writes its files next to the results. Add --output.")
        if self.profile is not None and self.engine != "local":
            raise UsageError(f"--profile: --engine {self.engine} cannot be profiled. Leave one of them out.")

    @property
    def writer(self) -> Writer:
        """The writer of the format."""
        return writers()[self.format or DEFAULT_WRITER]

    @property
    def one_file(self) -> bool:
        """Whether the results of all recordings go to one file, or to standard output."""
        if self.output is None or self.writer.table_ending is None or self.one_table:
            return True
        return Path(self.output).suffix.lower() == ".txt" and not Path(self.output).is_dir()

    def _is_folder_named_like_a_table(self) -> bool:
        output = Path(str(self.output))
        suffixes = {*readable_suffixes(), *_OTHER_TABLES} - {".txt"}
        return not self.one_file and output.suffix.lower() in suffixes and not output.is_dir()

    @property
    def _or_one_table(self) -> str:
        return " or with --one_table" if self.writer.has_path else ""

    def _settle_format(self) -> None:
        suffix = Path(self.output).suffix.lower() if self.output is not None else None
        if self.format is None and suffix is not None:
            by_suffix = {writer.suffix: name for name, writer in writers().items() if writer.suffix}
            if suffix not in by_suffix:
                raise UsageError(
                    f"--output {self.output}: unknown suffix. End it in {alternatives(list(by_suffix))}, or add "
                    f"--format ({_WITH_FILES} take a folder)."
                )
            self.format = by_suffix[suffix]
        self.format = self.format or DEFAULT_WRITER
        if self.writer.convert is not None and suffix != self.writer.suffix:
            raise UsageError(
                f"--format {self.format} writes a file. Name one that ends in {self.writer.suffix} with --output."
            )
        if self.one_table and not self.writer.has_path:
            raise UsageError(
                f"--one_table: --format {self.format} has no column for the recording. Leave --one_table out, or use "
                f"--format {alternatives(writers_with(lambda writer: writer.has_path))}"
            )
        if self.append_score and self.writer.has_score:
            raise UsageError(
                f"--append_score: --format {self.format} has the score in a column of its own. Leave --append_score out"
            )

    def _settle_rows(self) -> None:
        """Choose the default of ``rows``, and refuse flags that would have no effect."""
        only_segments = not self.writer.whole_recordings
        windowed = self.window_seconds is not None or self.hop_seconds is not None
        if self.rows is None:
            self.rows = "segments" if windowed or only_segments else "clips"
        if only_segments and self.rows == "clips":
            raise UsageError(
                f"--format {self.format} --rows clips: this format needs a start and an end in each row. Use --rows "
                "segments"
            )
        assert self.rows is not None
        self.reject_without(
            [self.rows],
            lambda one: (
                f"--{one.name} has no effect with --rows {self.rows}. Leave it out, or use --rows "
                f"{alternatives(one.only)}."
            ),
        )


@dataclass
class EmbedOptions(InferenceOptions, page="embeddings"):
    """Settings of ``earmark embed``: a checkpoint, recordings, and the file for their embeddings.

    Raises:
        UsageError: no checkpoint, no inputs or no output are named, or a number is out of range.
    """

    REQUIRED = ("model_name_or_path", "inputs", "output")
    MISSING = "no model, recordings or file. Name all three: earmark embed MODEL FILES_OR_FOLDERS... --output FILE"

    output: str | None = flag(
        None,
        "File to write (required): Parquet, or .npy with the recording and times of each row in OUTPUT.rows.csv.",
        metavar="FILE",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = flag(  # type: ignore[assignment]  # one value more
        "auto", "Number format of the computation; auto: bf16 on a device that computes faster in it, else fp32."
    )
    rows: Literal["clips", "windows"] = flag(
        "clips", "What a row describes: a recording, by the mean over its windows (clips), or a window (windows)."
    )

    def validate(self) -> None:
        """Check the output file."""
        super().validate()
        if Path(str(self.output)).suffix.lower() not in EMBEDDING_SUFFIXES:
            raise UsageError(
                f"--output {self.output}: unknown file format. End it in {alternatives(EMBEDDING_SUFFIXES)}"
            )
