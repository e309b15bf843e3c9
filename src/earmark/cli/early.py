"""What is wrong with a training command line as far as it shows at once: Transformers takes seconds to import.

The parser, which needs Transformers, looks at everything again; here nothing is refused that it would take.
"""

from __future__ import annotations

import ast
import dataclasses
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from earmark.augment_options import AugmentArguments
from earmark.cli.legacy import LEGACY_FLAGS
from earmark.config import PATH_SETTINGS, DataArguments, ModelArguments, RunArguments
from earmark.decision_options import DecisionArguments, LossArguments
from earmark.errors import DataError, UsageError
from earmark.words import suggestion

_LIGHT = (DataArguments, ModelArguments, RunArguments, LossArguments, DecisionArguments, AugmentArguments)


def given_flags(words: Sequence[str]) -> dict[str, str | None]:
    """Names of the flags among the words of a command line, and the word behind each where it is no flag."""
    given: dict[str, str | None] = {}
    for word, behind in zip(words, [*words, "--"][1:], strict=True):
        if word == "--":
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            after = None if behind.startswith("--") else behind
            given[name.replace("-", "_")] = value if equals else after
    return given


def check_early(
    words: Sequence[str], settings: Mapping[str, object], path: str | None = None, also: Sequence[type] = ()
) -> None:
    """See what can be seen.

    Args:
        words: of the command line.
        settings: of the configuration file.
        path: the file.
        also: dataclasses of flags that the command takes beside those of training.

    Raises:
        UsageError: an unknown flag or setting, no output folder, no model.
        DataError: a folder or manifest that is not there.
    """
    given = given_flags(words)
    known = known_flags(also)
    settings = {name.replace("-", "_"): value for name, value in settings.items()}
    for name in given:
        if known and name not in known and name.removeprefix("no_") not in known:
            raise UsageError(f"unknown flag --{name}{suggestion(name, known, '--')}")
    for name in settings:
        if known and name not in known:
            raise UsageError(f"{path}: unknown setting {name}{suggestion(name, known)}")
    asked = {**settings, **given}
    check_output_and_model(asked)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return  # what one machine lacks the others have to hear of, which they do once they can talk
    for name in PATH_SETTINGS:
        paths = _values_of(name, words) if name in given else settings.get(name) or []
        for path_given in paths if isinstance(paths, list) else [paths]:
            if path_given and not Path(str(path_given)).exists():
                raise DataError(f"{path_given}: no such {'folder' if name.endswith('_dir') else 'file'}")


def _values_of(name: str, words: Sequence[str]) -> list[str | None]:
    """Return every value that a flag is given among the words of a command line."""
    values = []
    for at, word in enumerate(words):
        if word == "--":
            break
        if word.startswith("--") and word[2:].partition("=")[0].replace("-", "_") == name:
            values.append(given_flags(words[at : at + 2])[name])
    return values


def check_output_and_model(values: Mapping[str, object]) -> None:
    """See that it is said where a run goes and what is trained.

    Raises:
        UsageError: it is not.
    """
    if not values.get("output_dir"):
        raise UsageError("no output folder: add --output_dir, e.g. --output_dir runs/first")
    path, model_type = values.get("model_name_or_path"), values.get("model_type")
    if path and model_type:
        raise UsageError(f"--model_name_or_path {path} and --model_type {model_type} contradict: keep one")
    if not (path or model_type or values.get("config_name")):
        raise UsageError(
            "no model: add --model_name_or_path FOLDER_OR_NAME, or --model_type tc_resnet for random weights"
        )


def known_flags(also: Sequence[type] = ()) -> set[str]:
    """Names of all flags of training; empty if those of Transformers cannot be read from its source.

    Args:
        also: dataclasses of flags that the command takes beside those of training.
    """
    transformers = find_spec("transformers")  # does not import it
    if transformers is None or transformers.origin is None:
        return set()
    theirs = _fields_in(Path(transformers.origin).with_name("training_args.py"), "TrainingArguments")
    ours = _fields_in(Path(__file__).parents[1] / "train" / "arguments.py", "EarmarkTrainingArguments")
    light = {field.name for cls in (*_LIGHT, *also) for field in dataclasses.fields(cls)}
    return light | theirs | ours | LEGACY_FLAGS | {"config"} if theirs and ours else set()


def _fields_in(source: Path, name: str) -> set[str]:
    """Annotated names of a class; empty where there is no such class."""
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return set()
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    lines = [line for found in classes for line in found.body if isinstance(line, ast.AnnAssign)]
    return {line.target.id for line in lines if isinstance(line.target, ast.Name)}
