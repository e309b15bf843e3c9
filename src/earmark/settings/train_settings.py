"""All settings of ``earmark train``, read once from a command line, a file or Python keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from earmark.distributed.launched import launched_processes
from earmark.errors import DataError, UsageError
from earmark.io.nearby_names import path_suggestion
from earmark.settings.config_files import resolved_config
from earmark.settings.data_flags import DataArguments, path_settings, paths_in
from earmark.settings.evaluation_flags import EvaluateOptions
from earmark.settings.flags import Scope, Settings, declared_flags
from earmark.settings.given_values import Given, make_settings, read_line, read_values, refuse_words, training_flags
from earmark.settings.model_flags import ModelArguments
from earmark.settings.run_flags import RunArguments
from earmark.settings.training_flags import TrainingArguments
from earmark.settings.transformers_flags import TransformersFlags

TRAIN_CLASSES = (DataArguments, ModelArguments, RunArguments, TrainingArguments)
_EXAMPLES_MODEL = "facebook/wav2vec2-base"
_OLD_DEFAULTS = {"num_train_epochs": 3.0, "optim": "adamw_torch"}  # defaults in the run_config.yaml of earlier versions


@dataclass
class TrainSettings:
    """All settings of a training run.

    Attributes:
        data: data settings.
        model: model settings.
        run: run settings.
        training: settings of the trainer, which do not import Transformers.
        notes: one line for each old flag that was translated or left out.
        words: the command line that holds these settings, to start more processes with it.
        typed: names of the settings given on the command line or as Python keywords, not in a file.

    Raises:
        UsageError: ``--few_shot`` together with flags that have no effect with it.
    """

    data: DataArguments
    model: ModelArguments
    run: RunArguments
    training: TrainingArguments
    notes: list[str] = field(default_factory=list)
    words: tuple[str, ...] = ()
    typed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Check settings of different classes against each other."""
        if self.model.few_shot:
            self._check_few_shot()
        if self.data.validation_fraction == 0:
            self._check_without_validation()

    @property
    def parts(self) -> tuple[Settings, ...]:
        """The settings objects, in the order in which they are saved."""
        return self.data, self.model, self.run, self.training

    @property
    def has_several_runs(self) -> bool:
        """Return whether the settings ask for several runs: folds without ``--fold``, or seeds."""
        return (self.data.has_folds and self.data.fold is None) or self.run.seeds is not None

    def changed(self, **values: Any) -> TrainSettings:
        """Return a copy of the settings with other values, by the names of their flags.

        Raises:
            UsageError: a value is invalid or has no effect.
        """
        names = ("data", "model", "run", "training")
        parts = {name: getattr(self, name) for name in names}
        for name, part in parts.items():
            own = {flag: values[flag] for flag in declared_flags(type(part)) if flag in values}
            parts[name] = replace(part, **own) if own else part
            parts[name].reject_without_effect(own)
        return replace(self, **parts)

    def _check_without_validation(self) -> None:
        evaluated = self.training.eval_strategy
        if evaluated != "no":
            raise UsageError(
                f"--validation_fraction 0 leaves no clips for the evaluations of --eval_strategy {evaluated}. Add "
                "--eval_strategy no, or leave --validation_fraction out."
            )
        if self.run.seeds is not None and not self.data.has_folds:
            raise UsageError(
                "--validation_fraction 0 leaves no clips to compare the runs of --seeds on. Leave one of them out."
            )

    def _check_few_shot(self) -> None:
        if not self.model.model_name_or_path:
            raise UsageError("--few_shot needs a pretrained or trained model. Name one with --model_name_or_path.")
        for part in self.parts:
            for name, one in declared_flags(type(part)).items():
                value = getattr(part, name)
                # A run saves all of its settings, so a file may hold default values of flags that have no effect. On
                # the command line, such a flag is refused even with its default value.
                is_set = bool(value) and value not in (one.default, _OLD_DEFAULTS.get(name))
                if Scope.EPOCHS in one.scope and (is_set or (name in self.typed and value is not None)):
                    raise UsageError(f"--few_shot trains no epochs, so --{name} has no effect. Leave one of them out.")
        weights = self.training.class_weights
        if weights not in (None, "balanced"):
            raise UsageError(f"--few_shot takes no --class_weights {weights}. Use balanced, or leave the flag out.")
        if self.training.push_to_hub:
            raise UsageError("--few_shot does not push. Push the run when it is done: earmark push RUN ORG/NAME.")

    def to_dict(self) -> dict[str, object]:
        """Return every setting as ``--config`` reads it back."""
        return resolved_config(*self.parts)


def parse_train(words: Sequence[str]) -> TrainSettings:
    """Read the command line of ``earmark train``, which trains and evaluates.

    Raises:
        UsageError: a flag or the configuration file is wrong, or settings contradict each other.
    """
    return train_settings(_read(words), words)


def parse_example(words: Sequence[str]) -> TrainSettings:
    """Read the command line of ``run_audio_classification.py``, which does what ``--do_train`` and ``--do_eval`` say.

    A first word that ends in .json, .yaml or .yml is the configuration file, as in Transformers' example.

    Raises:
        UsageError: see :func:`parse_train`; or neither training nor evaluation is asked for.
    """
    has_leading_file = bool(words) and words[0].endswith((".json", ".yaml", ".yml"))
    given = _read(["--config", *words] if has_leading_file else words)
    if not given.values.get("do_train") and not given.values.get("do_eval"):
        raise UsageError("nothing to do. Add --do_train, --do_eval or both.")
    if given.values.get("num_train_epochs") is None and not given.values.get("few_shot"):
        given.values["num_train_epochs"] = 3.0  # the example's default for any data
    if not any(given.values.get(name) for name in ("model_name_or_path", "model_type", "config_name")):
        given.values["model_name_or_path"] = _EXAMPLES_MODEL
        given.notes.append(f"no model is named: {_EXAMPLES_MODEL}, the default of Transformers' example, is used")
    return train_settings(given, words, is_example=True)


def parse_with(cls: type[Any], words: Sequence[str]) -> tuple[Any, TrainSettings]:
    """Read a command line with the settings of another class and the settings of ``earmark train``.

    Raises:
        UsageError: see :func:`parse_train`.
    """
    given = _read(words, cls)
    return make_settings(cls, given), train_settings(given, words)


def from_keywords(values: Mapping[str, object]) -> TrainSettings:
    """Read Python keywords.

    Raises:
        UsageError: a name is unknown (the message suggests the nearest one); or see :func:`parse_train`.
    """
    return train_settings(read_values(values, training_flags()))


def _read(words: Sequence[str], *also: type) -> Given:
    flags = {**training_flags(), **declared_flags(*also)}
    given = read_line(words, flags, has_words=False)
    refuse_words(given.words, flags)
    return given


def train_settings(given: Given, words: Sequence[str] = (), *, is_example: bool = False) -> TrainSettings:
    """Create the settings of a training run.

    Args:
        given: the values that the user gave.
        words: the command line, to start more processes with it.
        is_example: whether ``--do_train`` and ``--do_eval`` decide what is done; otherwise the run does both.

    Raises:
        UsageError: no output folder or no model is named, or settings contradict each other.
    """
    values = given.values
    if not values.get("output_dir"):
        raise UsageError("no output folder. Add --output_dir, for example --output_dir runs/first.")
    if not any(values.get(name) for name in ("model_name_or_path", "model_type", "config_name")):
        raise UsageError(
            "no model. Add --model_name_or_path FOLDER_OR_NAME, or --model_type tc_resnet for random weights."
        )
    if values.get("use_cpu"):
        device = values.setdefault("device", "auto")
        if device not in ("auto", "cpu"):
            raise UsageError(f"--use_cpu and --device {device} contradict each other. Keep one of them.")
        values["device"] = "cpu"
    for name in () if is_example else ("do_train", "do_eval"):
        if name in given.typed and not values[name]:
            raise UsageError(
                f"--{name} false: earmark train trains and evaluates. Use earmark evaluate to evaluate only."
            )
        values[name] = True
    noted = declared_flags(TransformersFlags) if is_example else ()  # Transformers' example accepts them
    data, model, run, training = (make_settings(cls, given, noted=noted) for cls in TRAIN_CLASSES)
    typed = frozenset(given.typed)
    return TrainSettings(data, model, run, training, given.notes, tuple(words), typed)  # type: ignore[arg-type]  # in order


def check_sources(data: DataArguments) -> None:
    """Check that folders and manifests exist, before anything slow starts.

    In a run on several machines this check is skipped, because all machines must report a missing file together.

    Raises:
        DataError: a folder or a manifest does not exist.
    """
    if launched_processes() > 1:
        return
    for name in path_settings():
        for path in paths_in(getattr(data, name)):
            if not Path(path).exists():
                is_folder = name.endswith("_dir")
                near = path_suggestion(Path(path), folders=is_folder)
                raise DataError(f"{path}: no such {'folder' if is_folder else 'file'}{near}")


def evaluation_options(settings: TrainSettings) -> EvaluateOptions:
    """Return the settings for ``--do_eval`` alone, which scores the given checkpoint on the validation split."""
    names = declared_flags(EvaluateOptions)
    own = [(part, name) for part in settings.parts for name in declared_flags(type(part)) if name in names]
    values: dict[str, Any] = {name: getattr(part, name) for part, name in own}
    return EvaluateOptions(**values, given=frozenset(name for part, name in own if name in part.given))
