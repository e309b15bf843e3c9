"""From words and files to settings: defaults < configuration file < flags, and one line for every mistake.

Transformers' own ``HfArgumentParser`` reads the dataclasses, so that all of its flags keep their spelling. A
file is turned into words in front of the command line's, so that both go through the same checks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from earmark.augment_options import AugmentPreviewOptions
from earmark.cli.early import check_early, check_output_and_model, given_flags, known_flags
from earmark.cli.legacy import LEGACY_FLAGS, translate
from earmark.config import (
    OF_EPOCHS,
    DataArguments,
    EvaluateOptions,
    ModelArguments,
    PretrainedArguments,
    RunArguments,
    ignored_by_few_shot,
)
from earmark.decision_options import CalibrateOptions, DecisionArguments
from earmark.errors import UsageError
from earmark.models.checkpoint import local_folder
from earmark.options import (
    EmbedOptions,
    ExportOptions,
    InspectOptions,
    LabelOptions,
    PredictOptions,
    PushOptions,
    SearchOptions,
    ServeOptions,
)
from earmark.words import counted, suggestion

if TYPE_CHECKING:
    from earmark.train.arguments import EarmarkTrainingArguments

T = TypeVar("T")
_SCALARS = (str, int, float, bool)
_NEGATIVE_NUMBER = re.compile(  # argparse: no exponent, and no range such as -6,6
    r"^-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?(,[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)?$", re.IGNORECASE
)

# A training file given to `earmark evaluate` says which data; these say where training began and ended.
_NOT_FOR_EVALUATION = {"model_name_or_path", "model_revision", "output_dir"}
# and these what was fitted then, which is no reason to fit it again
_NOT_FOR_EVALUATION |= {f.name for f in dataclasses.fields(DecisionArguments)}


@dataclass
class TrainSettings:
    """What a training command line came to.

    Attributes:
        data: data settings.
        model: model settings.
        run: run settings.
        training: Transformers' settings; ``do_train`` and ``do_eval`` are set as they will be done.
        notes: one line for each old flag that was translated or left out.
    """

    data: DataArguments
    model: ModelArguments
    run: RunArguments
    training: EarmarkTrainingArguments
    notes: list[str] = field(default_factory=list)


class UsageErrorParser(argparse.ArgumentParser):
    """An argparse parser that raises a one-line :class:`UsageError` instead of printing usage and exiting."""

    dataclass_types: Sequence[type] = ()  # set by HfArgumentParser

    def error(self, message: str) -> NoReturn:
        """Raise, with only the first spelling of the flag."""
        raise UsageError(re.sub(r"^argument (\S+?)(?:/\S+)*: ", r"\1: ", message))

    def parse_flags(self, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Parse flags wherever they stand and return them with the words that are none.

        Raises:
            UsageError: an unknown flag, with the nearest known one, or a value of the wrong type.
        """
        flags, after = _split_at_dashes(words)
        namespace, rest = self.parse_known_args(flags)
        for word in rest:
            if word.startswith("-") and word != "-":
                raise UsageError(f"unknown flag {self._name_and_suggestion(word)}")
        return namespace, [*rest, *after]

    def _name_and_suggestion(self, word: str) -> str:
        flag = word.partition("=")[0]
        name = flag.lstrip("-").replace("-", "_")
        trains = ModelArguments in self.dataclass_types
        if not trains and name in known_flags():
            return f"{flag}: a flag of earmark train, not of this command. Leave it out"
        known = {action.dest for action in self._actions} | (LEGACY_FLAGS if trains else frozenset())
        return f"{flag}{suggestion(name, known, '--')}"


def look_first(words: Sequence[str], *also: type) -> None:
    """See what is wrong with a training command line as far as it shows before Transformers is imported.

    Raises:
        EarmarkError: see :func:`earmark.cli.early.check_early`, and the configuration file cannot be read.
    """
    path, words = _take_config(words)
    check_early(words, _read_file(path) if path else {}, path, also)


def parse_train(words: Sequence[str]) -> TrainSettings:
    """Settings of ``earmark train``, which trains and evaluates.

    Raises:
        UsageError: a flag or the configuration file is wrong, or settings contradict each other.
    """
    values, notes = _train_values(words)
    return _train_settings({**values, "do_train": True, "do_eval": True}, notes)


def parse_search(words: Sequence[str]) -> tuple[SearchOptions, TrainSettings]:
    """What ``earmark search`` is to search, and the settings of ``earmark train`` that all trials share.

    Raises:
        UsageError: as :func:`parse_train`.
    """
    values, notes = _train_values(words, SearchOptions)
    options = _construct(SearchOptions, values)
    return options, _train_settings({**values, "do_train": True, "do_eval": True}, notes)


def parse_example(words: Sequence[str]) -> TrainSettings:
    """Settings of ``run_audio_classification.py``, which does what ``--do_train`` and ``--do_eval`` say.

    A first word that ends in .json, .yaml or .yml is the configuration file, as in Transformers' example.

    Raises:
        UsageError: as :func:`parse_train`, or there is nothing to do.
    """
    values, notes = _train_values(with_config_flag(words))
    if not values["do_train"] and not values["do_eval"]:
        raise UsageError("nothing to do: add --do_train, --do_eval or both")
    if values["num_train_epochs"] is None and not values["few_shot"]:
        values["num_train_epochs"] = 3.0  # the example's default, whatever the data
    return _train_settings(values, notes)


def parse_processes(words: Sequence[str], *also: type) -> tuple[int | None, str]:
    """What a training command line says to ``--num_processes`` and ``--device``.

    Transformers' settings take a card as soon as they are made, which the process that starts the others must not.

    Raises:
        UsageError: as :func:`parse_train`, as far as it can be seen in single flags.
    """
    values, _ = _train_values(words, *also)
    return values["num_processes"], "cpu" if values["use_cpu"] else values["device"]


def with_config_flag(words: Sequence[str]) -> list[str]:
    """Words of ``run_audio_classification.py`` in which a leading file is the value of ``--config``."""
    leading_file = bool(words) and words[0].endswith((".json", ".yaml", ".yml"))
    return ["--config", *words] if leading_file else list(words)


def parse_evaluate(words: Sequence[str]) -> tuple[EvaluateOptions, list[str]]:
    """Options of ``earmark evaluate [MODEL]`` and the lines to show.

    Raises:
        UsageError: a flag or the configuration file is wrong.
    """
    return _evaluation(EvaluateOptions, words)


def _evaluation(cls: type[T], words: Sequence[str]) -> tuple[T, list[str]]:
    parser = build_parser(cls)
    path, words = _take_config(words)
    file_words, notes = _evaluation_file_words(path, parser) if path else ([], [])
    namespace, rest = parser.parse_flags([*_not_overridden(file_words, words, parser), *words])
    _refuse_words(rest[1:])
    values = vars(namespace)
    if rest:
        if any(word.replace("-", "_").startswith("__model_name_or_path") for word in words):
            raise UsageError(f"two models: {rest[0]} and --model_name_or_path {values['model_name_or_path']}")
        values["model_name_or_path"] = rest[0]
    return _construct(cls, values), notes


def parse_calibrate(words: Sequence[str]) -> tuple[CalibrateOptions, list[str]]:
    """Options of ``earmark calibrate [RUN]`` and the lines to show.

    Raises:
        UsageError: a flag or the configuration file is wrong.
    """
    return _evaluation(CalibrateOptions, words)


def parse_inspect(words: Sequence[str]) -> InspectOptions:
    """Options of ``earmark inspect [DATA_DIR]``.

    Raises:
        UsageError: a flag or the configuration file is wrong.
    """
    return _with_data(InspectOptions, words)


def parse_augment_preview(words: Sequence[str]) -> AugmentPreviewOptions:
    """Options of ``earmark augment-preview [DATA_DIR]``.

    Raises:
        UsageError: a flag or the configuration file is wrong.
    """
    return _with_data(AugmentPreviewOptions, words)


def _with_data(cls: type[T], words: Sequence[str]) -> T:
    """Options of a command whose one word is the data; a training file may say the rest."""
    parser = build_parser(cls)
    path, words = _take_config(words)
    # what a model is trained from is what is previewed
    left_out = _NOT_FOR_EVALUATION - {"model_name_or_path", "model_revision"}
    file_words, _ = _evaluation_file_words(path, parser, left_out) if path else ([], [])
    namespace, rest = parser.parse_flags([*_not_overridden(file_words, words, parser), *words])
    values = vars(namespace)
    if rest and not values["data_dir"]:
        values["data_dir"], rest = rest, []
    _refuse_words(rest)
    return _construct(cls, values)


def parse_predict(words: Sequence[str]) -> PredictOptions:
    """Options of ``earmark predict MODEL INPUTS...``; with ``--model_name_or_path`` every word is an input.

    Raises:
        UsageError: a flag or the configuration file is wrong.
    """
    return _construct(PredictOptions, _values_with_inputs(PredictOptions, words))


def _values_with_inputs(options: type, words: Sequence[str]) -> dict[str, Any]:
    values, rest = _values_with_model(options, words)
    return {**values, "inputs": [*values["inputs"], *rest]}


def _values_with_model(options: type, words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Values of the flags, the first word for the model unless a flag names it, and the words behind."""
    parser = build_parser(options)
    path, words = _take_config(words)
    file_words = _plain_file_words(path, _read_file(path), parser) if path else []
    namespace, rest = parser.parse_flags([*_not_overridden(file_words, words, parser), *words])
    values = vars(namespace)
    if rest and not values["model_name_or_path"]:
        values["model_name_or_path"] = rest.pop(0)
    return values, rest


def parse_embed(words: Sequence[str]) -> EmbedOptions:
    """Options of ``earmark embed MODEL INPUTS...``; with ``--model_name_or_path`` every word is an input.

    Raises:
        UsageError: a flag or the configuration file is wrong.
    """
    return _construct(EmbedOptions, _values_with_inputs(EmbedOptions, words))


def parse_label(words: Sequence[str]) -> LabelOptions:
    """Options of ``earmark label INPUTS... --model MODEL``.

    Raises:
        UsageError: a flag or the configuration file is wrong.
    """
    parser = build_parser(LabelOptions)
    path, words = _take_config(words)
    file_words = _plain_file_words(path, _read_file(path), parser) if path else []
    namespace, rest = parser.parse_flags([*_not_overridden(file_words, words, parser), *words])
    values = vars(namespace)
    return _construct(LabelOptions, {**values, "inputs": [*values["inputs"], *rest]})


def parse_push(words: Sequence[str]) -> PushOptions:
    """Options of ``earmark push RUN REPO``.

    Raises:
        UsageError: a flag is wrong.
    """
    namespace, rest = build_parser(PushOptions).parse_flags(words)
    values = vars(namespace)
    for name in ("model_name_or_path", "repo"):
        if rest and not values[name]:
            values[name] = rest.pop(0)
    _refuse_words(rest)
    return _construct(PushOptions, values)


def parse_export(words: Sequence[str]) -> ExportOptions:
    """Options of ``earmark export MODEL``.

    Raises:
        UsageError: a flag or the configuration file is wrong.
    """
    return _with_model(ExportOptions, words)


def parse_serve(words: Sequence[str]) -> ServeOptions:
    """Options of ``earmark serve MODEL``.

    Raises:
        UsageError: a flag or the configuration file is wrong.
    """
    return _with_model(ServeOptions, words)


def _with_model(cls: type[T], words: Sequence[str]) -> T:
    """Options of a command whose one word is the model."""
    values, rest = _values_with_model(cls, words)
    _refuse_words(rest)
    return _construct(cls, values)


def evaluation_of(settings: TrainSettings) -> EvaluateOptions:
    """What ``--do_eval`` without ``--do_train`` asks for: the validation score of the checkpoint given."""
    values: dict[str, Any] = {}
    for part in (settings.training, settings.data, settings.model, settings.run):
        values.update(vars(part))
    names = [f.name for f in dataclasses.fields(EvaluateOptions)]
    return EvaluateOptions(**{name: values[name] for name in names if name in values})


def build_parser(*classes: type) -> UsageErrorParser:
    """A parser with one flag a field, spelled and typed as in Transformers' examples; no abbreviations."""
    from transformers.hf_argparser import HfArgumentParser, string_to_bool

    parser_class: Any = type("Parser", (UsageErrorParser, HfArgumentParser), {})
    parser: UsageErrorParser = parser_class(classes, allow_abbrev=False, add_help=False, prog="")
    parser._negative_number_matcher = _NEGATIVE_NUMBER
    for action in parser._actions:
        if action.type is string_to_bool and action.nargs is None:
            action.nargs, action.const = "?", True  # `bool | None`: a bare flag is true there too
        if get_origin(action.type) is dict:
            action.type = json.loads
    return parser


def train_classes() -> tuple[type, ...]:
    """The dataclasses behind the flags of ``earmark train``. Imports Transformers and torch."""
    from earmark.train.arguments import EarmarkTrainingArguments

    return DataArguments, ModelArguments, RunArguments, EarmarkTrainingArguments


def _train_values(words: Sequence[str], *also: type) -> tuple[dict[str, Any], list[str]]:
    """Field name to value, over all training dataclasses, and the notes on old flags."""
    parser = build_parser(*train_classes(), *also)
    path, words = _take_config(words)
    file_words, file_notes = _train_file_words(path, parser) if path else ([], [])
    words, notes = translate(words)
    namespace, rest = parser.parse_flags([*_not_overridden(file_words, words, parser), *words])
    _refuse_words(rest)
    values = vars(namespace)
    if values["few_shot"]:
        _refuse_flags_of_epochs(words)
    return values, file_notes + notes


def _refuse_flags_of_epochs(words: Sequence[str]) -> None:
    """Refuse flags that were given although ``--few_shot`` trains no epochs, also with the value that they have anyway.

    Those of a file may stand there: a run that was few-shot wrote down all of its settings.
    """
    ignored = [name for name in given_flags(words) if name in OF_EPOCHS]
    if ignored:
        raise UsageError(ignored_by_few_shot(ignored[0]))


def _train_settings(values: dict[str, Any], notes: list[str]) -> TrainSettings:
    from earmark.train.arguments import EarmarkTrainingArguments

    check_output_and_model(values)
    _settle_device(values)
    return TrainSettings(
        data=_construct(DataArguments, values),
        model=_construct(ModelArguments, values),
        run=_construct(RunArguments, values),
        training=_construct(EarmarkTrainingArguments, values),
        notes=notes,
    )


def _settle_device(values: dict[str, Any]) -> None:
    """Transformers picks its device when its settings are made, so ours has to reach them before."""
    from earmark.device import select_device

    if values["use_cpu"]:
        if values["device"] not in ("auto", "cpu"):
            raise UsageError(f"--use_cpu and --device {values['device']} contradict each other: keep one")
        values["device"] = "cpu"
    values["use_cpu"] = select_device(values["device"]).type == "cpu"


def _construct(cls: type[T], values: dict[str, Any]) -> T:
    """Make a settings object, with Transformers' own complaints as one line.

    A trained model that is not there is reported here, because loading one imports torch, which takes seconds.
    """
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    try:
        settings = cls(**{f.name: values[f.name] for f in fields if f.init})
    except (ValueError, TypeError, ImportError, OSError) as exc:
        message = re.sub(r"\b\w+Strategy\.([A-Z]+)", lambda match: match[1].lower(), str(exc))
        raise UsageError(" ".join(message.split())) from exc
    if isinstance(settings, PretrainedArguments) and not isinstance(settings, ModelArguments):
        local_folder(str(settings.model_name_or_path))
    return settings


def _take_config(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Cut ``--config FILE`` out of the words."""
    parser = UsageErrorParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--config", action="append", default=[])
    flags, after = _split_at_dashes(words)
    namespace, rest = parser.parse_known_args(flags)
    if len(namespace.config) > 1:
        raise UsageError(f"--config is given {len(namespace.config)} times: one file at a time")
    return (namespace.config or [None])[0], rest + (["--", *after] if after else [])


def _read_file(path: str) -> dict[str, Any]:
    """Settings of a file. PyYAML is imported with it, not with this module: `earmark doctor` has to do without."""
    from earmark.config_files import read_config_file

    return read_config_file(path)


def _train_file_words(path: str, parser: UsageErrorParser) -> tuple[list[str], list[str]]:
    """Words of a training file, in which old names are translated as on the command line."""
    words = _file_words(path, _read_file(path), parser, also=LEGACY_FLAGS)
    with _naming(path):
        words, notes = translate(words)
        parser.parse_flags(words)
    return words, [f"{path}: {note}" for note in notes]


def _evaluation_file_words(
    path: str, parser: UsageErrorParser, left_out: Iterable[str] = _NOT_FOR_EVALUATION
) -> tuple[list[str], list[str]]:
    """Words of a file for ``earmark evaluate``, which may be the one a run was trained with; without ``left_out``."""
    settings = _read_file(path)
    own = {action.dest for action in parser._actions}
    trained = LEGACY_FLAGS | {f.name for cls in train_classes() for f in dataclasses.fields(cls)}
    unused = {name for name in settings if name not in own and name in trained}
    if not unused:
        return _plain_file_words(path, settings, parser), []
    unused |= {*left_out} & {*settings}
    words = _plain_file_words(path, {k: v for k, v in settings.items() if k not in unused}, parser)
    return words, [f"{path}: a training configuration; {counted(len(unused), 'setting')} not for evaluation"]


def _plain_file_words(path: str, settings: dict[str, Any], parser: UsageErrorParser) -> list[str]:
    words = _file_words(path, settings, parser)
    with _naming(path):
        parser.parse_flags(words)
    return words


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Put the file's name in front of what is wrong with its settings."""
    try:
        yield
    except UsageError as exc:
        raise UsageError(f"{path}: {exc}") from exc


def _file_words(path: str, settings: dict[str, Any], parser: UsageErrorParser, also: Iterable[str] = ()) -> list[str]:
    """The words that say on a command line what the file says; nulls and empty lists become defaults."""
    actions = {action.dest: action for action in parser._actions}
    words: list[str] = []
    for key, value in settings.items():
        name = key.replace("-", "_")
        action = actions.get(name)
        if action is None and name not in also:
            raise UsageError(f"{path}: unknown setting {key}{suggestion(name, actions)}")
        if value is None and name not in _nullable(parser.dataclass_types):
            raise UsageError(f"{path}: {name}: expected a value, found null")
        if value is None or (
            value == [] and action is not None and (action.nargs == "+" or _is_repeatable(name, parser))
        ):
            parser.set_defaults(**{name: value})
        else:
            words += _value_words(path, name, value, action)
    return words


def _not_overridden(file_words: Sequence[str], words: Sequence[str], parser: UsageErrorParser) -> list[str]:
    """Return the words of a file without the repeatable flags that the command line gives too.

    Of any other flag the last value counts, which is the command line's; the values of these would be added up.
    """
    given = {name for name in given_flags(words) if _is_repeatable(name, parser)}
    return [word for word in file_words if not (word.startswith("--") and word[2:].partition("=")[0] in given)]


def _is_repeatable(name: str, parser: UsageErrorParser) -> bool:
    return any(isinstance(action, argparse._AppendAction) and action.dest == name for action in parser._actions)


def _value_words(path: str, name: str, value: Any, action: argparse.Action | None) -> list[str]:
    if isinstance(value, list):
        repeats = isinstance(action, argparse._AppendAction)
        takes_list = action is not None and (repeats or action.nargs == "+")
        if not takes_list or not all(isinstance(item, _SCALARS) for item in value):
            raise UsageError(f"{path}: {name}: expected one value, found a list")
        if repeats:
            return [f"--{name}={_word(item)}" for item in value]
        return [f"--{name}", *map(_word, value)]
    if isinstance(value, dict):
        if name not in _mapping_settings():
            raise UsageError(f"{path}: {name}: expected one value, found a mapping")
        return [f"--{name}={json.dumps(value)}"]
    return [f"--{name}={_word(value)}"]


def _nullable(classes: Iterable[type]) -> set[str]:
    """Names of the fields that may be ``None``."""
    hints = [item for cls in classes for item in get_type_hints(cls).items()]
    return {name for name, hint in hints if type(None) in get_args(hint)}


def _mapping_settings() -> set[str]:
    """Names of the fields that take a JSON object."""
    from transformers import TrainingArguments

    return {"config_overrides", "class_weights", "liger_kernel_config", *TrainingArguments._VALID_DICT_FIELDS}


def _word(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _split_at_dashes(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags, and the words after a bare ``--``, which are never flags."""
    words = list(words)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def _refuse_words(words: Sequence[str]) -> None:
    if words:
        raise UsageError(
            f"unexpected word {words[0]!r}: flags begin with --, and one value follows each; repeat a flag that takes "
            "several values (--train_file a.csv --train_file b.csv)"
        )
