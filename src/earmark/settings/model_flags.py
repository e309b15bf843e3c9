"""Settings of the model: the checkpoint to load, the network to train, and the part of it to freeze."""

from __future__ import annotations

from dataclasses import dataclass

from earmark.errors import UsageError
from earmark.settings.flags import Check, Scope, Settings, flag, matching
from earmark.settings.transformers_flags import MODEL_TYPES, VERSION

KNOWN_MODEL_TYPES = ("tc_resnet", *MODEL_TYPES)


def may_be_model_type(name: str) -> bool:
    """Return whether a name may be the type of an audio classifier, in any version of Transformers."""
    if name in KNOWN_MODEL_TYPES:
        return True
    from importlib import metadata  # importing it takes a fifth of the time of a help page

    return metadata.version("transformers") != VERSION


@dataclass
class PretrainedArguments(Settings, page="model"):
    """Source of a checkpoint, and permissions for loading it."""

    model_name_or_path: str | None = flag(
        None, "Local folder or hub name of the checkpoint.", scope=Scope.MACHINE | Scope.TRAINING
    )
    model_revision: str = flag("main", "Branch, tag or commit of the checkpoint.", scope=Scope.TRAINING)
    cache_dir: str | None = flag(None, "Folder for downloads (default: the hub's own cache).", scope=Scope.MACHINE)
    token: str | None = flag(
        None,
        "Hub token for private repositories (default: the token of `hf auth login`).",
        scope=Scope.MACHINE | Scope.SECRET,
    )
    trust_remote_code: bool = flag(False, "Run Python code that comes with the checkpoint.")
    allow_pickle: bool = flag(
        False, "Load pickled weights (pytorch_model.bin), which can run code; without it only safetensors are loaded."
    )


def _is_task(name: str) -> bool:
    from earmark.tasks.task_registry import TASKS  # imports numpy, which a command line without --task does not need

    return any(task.name == name for task in TASKS)


TASK = Check(_is_task, "single_label, multi_label or regression")


@dataclass
class TrainedModelArguments(PretrainedArguments, page="model"):
    """A trained model and its task."""

    task: str | None = flag(
        None,
        "Task of a model whose config does not state it: multi_label for taggers such as those of AudioSet, "
        "single_label "
        "or regression (default: single_label).",
        check=TASK,
        scope=Scope.RESULT,
    )


@dataclass
class NetworkArguments(PretrainedArguments):
    """Which network: a checkpoint, or an architecture with random weights.

    Raises:
        UsageError: both a checkpoint and a model type are given.
    """

    model_type: str | None = flag(
        None,
        "Start from random weights: tc_resnet (1 M parameters, for CPUs) or a model type of Transformers.",
        check=Check(may_be_model_type, f"one of {', '.join(KNOWN_MODEL_TYPES)}", KNOWN_MODEL_TYPES),
        scope=Scope.LEARNED,
    )
    config_name: str | None = flag(
        None,
        "Folder or hub name of the model's config, if it is not the checkpoint's.",
        scope=Scope.MACHINE | Scope.TRAINING,
    )
    config_overrides: str | None = flag(
        None,
        "Changes to the model's config: hidden_size=32,num_hidden_layers=2 or a JSON object.",
        scope=Scope.LEARNED,
        mapping=True,
    )
    feature_extractor_name: str | None = flag(
        None,
        "Folder or hub name of the preprocessor, if it is not the checkpoint's.",
        scope=Scope.MACHINE | Scope.TRAINING,
    )

    @property
    def names_a_model(self) -> bool:
        """Return whether a checkpoint, an architecture or a configuration is named."""
        return any((self.model_name_or_path, self.model_type, self.config_name))

    def validate(self) -> None:
        """Check that one model is named, not two."""
        super().validate()
        if self.model_name_or_path and self.model_type:
            raise UsageError(
                f"--model_name_or_path {self.model_name_or_path} and --model_type {self.model_type} contradict each "
                "other. Keep one of them."
            )


@dataclass
class ModelArguments(NetworkArguments):
    """The network to train, and the part of it to freeze.

    Raises:
        UsageError: ``freeze`` has an unknown value, or ``keep_head`` is given without a checkpoint.
    """

    attention_mask: bool = flag(True, "Tell the model which samples of a batch are padding.", scope=Scope.LEARNED)
    freeze: str | None = flag(
        None,
        "Frozen part: none, feature_encoder, encoder or last-N (train the last N layers and the head) (default: "
        "feature_encoder if the model has a convolutional waveform encoder, as in Transformers' example).",
        check=matching(
            r"none|feature_encoder|encoder|last-[1-9][0-9]*", "none, feature_encoder, encoder or last-N, e.g. last-2"
        ),
        scope=Scope.TRAINED,
    )
    few_shot: bool = flag(
        False,
        "Fit only the head, by a regression on the model's embeddings of the clips, in seconds and without epochs; "
        "meant for about ten clips of each class or label.",
        scope=Scope.RESULT,
    )
    keep_head: bool = flag(
        False,
        "Reuse the rows of the checkpoint's head for the classes that it has in common with the recordings (default: "
        "only if all classes are the same).",
        scope=Scope.TRAINED,
    )
    ignore_mismatched_sizes: bool = flag(False, "Accepted for old command lines: the head is always made to fit.")

    def validate(self) -> None:
        """Check that ``keep_head`` is given with a checkpoint."""
        super().validate()
        if self.keep_head and not self.model_name_or_path:
            raise UsageError("--keep_head reuses the head of a checkpoint. Name one with --model_name_or_path.")
