"""The settings of commands that use a trained model, behind their flags. Imports neither torch nor Transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from earmark.config import PretrainedArguments, flag, require_value
from earmark.errors import UsageError


@dataclass
class EmbedOptions(PretrainedArguments):
    """``earmark embed``: a checkpoint, recordings, and where their embeddings go.

    Raises:
        UsageError: no checkpoint, no inputs, no output, or a number is out of range.
    """

    inputs: list[str] = field(default_factory=list, metadata={"help": "recordings and folders of recordings"})
    output: str | None = flag(
        None, "file to write (required): .parquet, or .npy with what each row is of in OUTPUT.rows.csv"
    )
    overwrite: bool = flag(False, "replace an --output that is already there")
    rows: Literal["clips", "windows"] = flag(
        "clips", "what gets a row: clips is a whole recording, the mean of its windows; windows is each of them"
    )
    window_seconds: float | None = flag(None, "length of a window (default: the longest the model hears at once)")
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
                "name a model, what to listen to and a file: earmark embed MODEL FILES_OR_FOLDERS... --output FILE"
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
