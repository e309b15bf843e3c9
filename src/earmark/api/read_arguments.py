"""Turn the arguments ``data`` and ``model`` of the public functions into settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.errors import DataError, InputTypeError, UsageError
from earmark.settings.data_flags import DataArguments
from earmark.settings.flags import Scope, declared_flags, names_with
from earmark.settings.model_flags import KNOWN_MODEL_TYPES, may_be_model_type
from earmark.text import suggestion, with_article

if TYPE_CHECKING:
    from earmark.api.clip_table import Clips
    from earmark.clips.clip import Splits

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
_MODELS = ("model_name_or_path", "model_type")
# Settings that are used after loading, so they can be given with clips that are already loaded.
AFTER_LOADING = names_with(Scope.AFTER_LOADING, DataArguments)


def source_settings(data: Any, settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings for ``data``.

    Args:
        data: a folder, a manifest, or a list of these; ``None`` if the settings name the data.
        settings: other settings of the call.

    Raises:
        UsageError: both ``data`` and the settings name recordings.
        DataError: a path does not exist.
        InputTypeError: an item is not a path.
    """
    if data is None:
        return {}
    if hasattr(data, "to_csv"):  # iterating over a data frame would yield the names of its columns
        raise InputTypeError(
            f"data: {with_article(type(data).__name__)} is not read directly. Write it with to_csv, and pass the path."
        )
    several = not isinstance(data, (str, os.PathLike)) and isinstance(data, Iterable)
    paths = [_path(item) for item in (data if several else [data])]
    folders = [path for path in paths if Path(path).is_dir()]
    manifests = [path for path in paths if path not in folders]
    found: dict[str, object] = {"data_dir": folders} if folders else {}
    found |= {"train_file": manifests} if manifests else {}
    given = next((name for name in found if settings.get(name) is not None), None)
    if given is not None:
        raise UsageError(f"data and {given} both name recordings. Pass one of them.")
    return found


def _path(item: object) -> str:
    if not isinstance(item, (str, os.PathLike)):
        raise InputTypeError(
            f"data: found {type(item).__name__}. Pass a folder, a manifest, a list of these, or clips of load_clips."
        )
    path = os.path.expanduser(os.fsdecode(item))
    if not Path(path).exists():
        raise DataError(f"{path}: no such folder or file. For a data set on the hub, pass dataset_name={path!r}.")
    return path


def clips_settings(clips: Clips, settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that clips were loaded with, combined with ``settings`` that are used later.

    Raises:
        UsageError: a setting only has an effect when clips are loaded.
    """
    late = [name for name in settings if name in declared_flags(DataArguments) and name not in AFTER_LOADING]
    if late:
        raise UsageError(f"{late[0]}: these clips are already loaded. Pass {late[0]} to load_clips.")
    return dict(clips.settings)


def model_settings(model: object, settings: Mapping[str, object]) -> dict[str, object]:
    """Return the setting for ``model``: a folder, a name on the hub, a model type, a run or a classifier.

    A name without a slash is a model type, unless a folder of that name holds a model.

    Raises:
        UsageError: two models are named, or the name is neither a folder nor a model type.
        InputTypeError: the model has another type.
    """
    if model is None:
        return {}
    given = next((name for name in _MODELS if settings.get(name) is not None), None)
    if given is not None:
        raise UsageError(f"model and {given} both name a model. Pass one of them.")
    name = model_name(model)
    is_type = name in KNOWN_MODEL_TYPES or not Path(name).is_dir()
    if isinstance(model, str) and _is_plain_name(name) and is_type:
        if may_be_model_type(name):
            return {"model_type": name}
        fix = suggestion(name, KNOWN_MODEL_TYPES) or ". Use " + ", ".join(KNOWN_MODEL_TYPES)
        raise UsageError(f"model {name}: neither a folder nor a model type{fix}")
    return loading_settings(model, settings)


def loading_settings(model: Any, settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that load a model: ``settings``, then those that a classifier was loaded with.

    Raises:
        InputTypeError: the model has another type.
    """
    if hasattr(model, "predict_proba"):
        return {name: value for name, value in model.loading().items() if settings.get(name) is None}
    return {"model_name_or_path": model_name(model)}


def _is_plain_name(name: str) -> bool:
    holds_model = any((Path(name) / file).is_file() for file in ("config.json", "adapter_config.json"))
    return not holds_model and "/" not in name and os.sep not in name and "://" not in name and name != "."


def model_name(model: Any) -> str:
    """Return the folder or hub name of a model.

    Args:
        model: a folder, a name on the hub, a run, or a classifier that was loaded from one of these.

    Raises:
        InputTypeError: the model has another type.
        UsageError: the classifier was not loaded by name.
    """
    if isinstance(model, (str, os.PathLike)):
        return os.path.expanduser(os.fsdecode(model))
    if hasattr(model, "folder"):  # a run
        return os.fsdecode(model.folder)
    if hasattr(model, "predict_proba"):
        return str(model.source().name_or_path)
    raise InputTypeError(
        f"model: found {type(model).__name__}. Pass a folder, a name on the hub, a model type, a run or a classifier."
    )


def splits_and_settings(
    data: object, settings: Mapping[str, object], output_dir: str | os.PathLike[str] | None
) -> tuple[Splits | None, dict[str, object]]:
    """Return the splits of ``data`` if its clips are already loaded, else ``None``; and the settings for all three."""
    from earmark.api.clip_table import Clips

    named = {} if output_dir is None else {"output_dir": os.path.expanduser(output_dir)}
    if isinstance(data, Clips):
        return data.to_splits(), {**clips_settings(data, settings), **settings, **named}
    return None, {**source_settings(data, settings), **settings, **named}
