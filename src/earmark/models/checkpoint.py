"""Where a checkpoint's files lie: a local folder, a folder beside the script, or the hub's cache.

Everything after this file reads a local folder, so local weights and weights from the hub take the same way.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from earmark.errors import ModelError, NetworkError, first_line
from earmark.io.nearby_names import path_suggestion
from earmark.models import modelscope
from earmark.text import and_more, nearest_name

logger = logging.getLogger(__name__)

HUB_SCHEME = "hf://"
_SAFE = "model.safetensors"
_ADAPTER = "adapter_model.safetensors"  # its base model is found when it is loaded
_PICKLED = "pytorch_model.bin"
_EXPORT = "export.json"
_MODEL_FILES = ("config.json", "adapter_config.json", _EXPORT)
_NAMED = 4  # folders in one line
_SCHEMES = (HUB_SCHEME, modelscope.SCHEME)


def find_checkpoint(
    name_or_path: str,
    *,
    revision: str = "main",
    token: str | None = None,
    cache_dir: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Path:
    """The local folder that holds a checkpoint, downloaded first when it is a hub name.

    Args:
        name_or_path: folder, ``org/name`` or ``hf://org/name`` on the hub, or ``modelscope://org/name``. As in the
            original recipe, a folder ``name`` in the working directory is used for ``org/name`` if it holds a model; a
            log line says so.
        revision: branch, tag or commit on the hub.
        token: access token for gated models.
        cache_dir: where downloads go; the hub library's own place when ``None``.
        allow_pickle: also accept pickled weights (``pytorch_model.bin``), which can run code when loaded.
        trust_remote_code: also fetch the checkpoint's Python files.

    Raises:
        ModelError: no such folder or model, or files are missing from it.
        NetworkError: the hub could not be reached and the model is not in its cache.
    """
    patterns = ["*.json", "model*.safetensors", "adapter_model.safetensors"]
    patterns += ["pytorch_model*.bin"] if allow_pickle else []
    patterns += ["*.py"] if trust_remote_code else []
    if name_or_path.startswith(modelscope.SCHEME):
        folder = modelscope.download(
            name_or_path, revision=revision, token=token, cache_dir=cache_dir, patterns=patterns
        )
    else:
        local = local_folder(name_or_path)
        if local is None:
            if not name_or_path.startswith(HUB_SCHEME):
                logger.info("%s: no such folder; asking the hub", name_or_path)
            folder = _download(name_or_path, revision, token, cache_dir, patterns)
        else:
            folder = local
            if folder != Path(name_or_path).expanduser():
                logger.info("%s: using the folder ./%s", name_or_path, folder)
    check_checkpoint(folder, allow_pickle=allow_pickle)
    return folder


def local_folder(name_or_path: str) -> Path | None:
    """Return the local folder that a model's name means, or ``None`` for a name on a hub.

    ``org/name`` means a folder if there is one, or a folder ``name`` in the working directory that holds a model. If
    there is a folder ``org`` without it, the name is most likely a typing error, so the hub is not asked.

    Raises:
        ModelError: the name is that of a file, or of a folder that does not exist.
    """
    if name_or_path.startswith(_SCHEMES):
        return None
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ModelError(f"{name_or_path}: a file; give the folder that holds config.json and {_SAFE}")
    if folder.is_absolute() or name_or_path.startswith((".", "~")) or len(folder.parts) > 2:
        raise ModelError(f"{name_or_path}: no such folder{path_suggestion(folder, folders=True)}")
    if len(folder.parts) == 2:
        beside = Path(folder.name)
        if any((beside / name).is_file() for name in _MODEL_FILES):
            return beside
        if folder.parent.is_dir():
            others = path_suggestion(folder, folders=True)
            stop = "" if others.endswith("?") else "."
            raise ModelError(
                f"{name_or_path}: no such folder{others}{stop} For a model on the hub write "
                f"{HUB_SCHEME}{folder.as_posix()}"
            )
    return None


def hub_name(name_or_path: str) -> str:
    """Return a model's name without ``hf://``, as cards, records and other programs write it."""
    return name_or_path.removeprefix(HUB_SCHEME)


def folder_to_write(name_or_path: str, use: str) -> Path:
    """Return the folder of a model for a command that needs one of its own.

    Args:
        name_or_path: the model.
        use: what the command does with the folder, for the error message.

    Raises:
        ModelError: the model is on a hub, or there is no such folder.
    """
    if name_or_path.startswith(_SCHEMES):
        raise ModelError(f"{name_or_path}: this is a model on the hub, and {use}. Download it, or name a run folder")
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder, and {use}{path_suggestion(folder, folders=True)}")
    return folder


def _similar_model(name: str) -> str:
    """Return a hint at the model folder below the working directory whose path or name is most like ``name``."""
    folders = [path.parent for pattern in ("*", "*/*") for path in Path().glob(f"{pattern}/config.json")]
    same_name = [folder.as_posix() for folder in folders if folder.name == Path(name).name]
    near = same_name[0] if same_name else nearest_name(name, [folder.as_posix() for folder in folders])
    return f" (did you mean {near}?)" if near else ""


def check_checkpoint(folder: Path, *, allow_pickle: bool = False) -> None:
    """Name what is missing from a checkpoint folder before any library fails on it.

    Raises:
        ModelError: no ``config.json``, no weights, only pickled weights, or a shard that is not there.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json, so this is not a checkpoint folder{_what_it_is(folder)}")
    index = folder / f"{_SAFE}.index.json"
    if index.is_file():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, UnicodeDecodeError) as exc:
            raise ModelError(f"{index}: not a weights index; copy it again from where the model came from") from exc
        missing = sorted(shard for shard in shards if not (folder / shard).is_file())
        if missing:
            raise ModelError(f"{folder}: weights file {missing[0]} is missing ({len(missing)} of {len(shards)} shards)")
    elif not (folder / _SAFE).is_file() and not (folder / _ADAPTER).is_file():
        pickled = (folder / _PICKLED).is_file() or (folder / f"{_PICKLED}.index.json").is_file()
        if pickled and not allow_pickle:
            raise ModelError(
                f"{folder}: only pickled weights ({_PICKLED}), which can run code when loaded; convert them to "
                f"{_SAFE}, or pass --allow_pickle if you trust where they come from"
            )
        if not pickled:
            raise ModelError(f"{folder}: weights file {_SAFE} is missing")


def _what_it_is(folder: Path) -> str:
    """What a folder that is no model is instead, and which folders in it are models: those of folds and seeds, say."""
    if (folder / _EXPORT).is_file():
        return " but an exported model; predict, evaluate and serve take it, all else the run that it was made from"
    inside = {path.parent for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}/config.json")}
    runs = sorted(path for path in inside if not path.name.startswith("checkpoint-")) or sorted(inside)
    if not runs:
        return ""
    return f"; models are in {and_more([str(path) for path in runs], _NAMED)}: give one of these"


def _download(
    name_or_path: str,
    revision: str,
    token: str | None,
    cache_dir: str | None,
    patterns: list[str],
) -> Path:
    """Fetch a model into the hub's cache, or find it there when the network is off or absent."""
    import huggingface_hub as hub
    from huggingface_hub import errors as hub_errors

    name = hub_name(name_or_path)
    only_hub = name != name_or_path
    nowhere = "no such model on the hub" if only_hub else "neither a folder here nor a model on the hub"
    impossible = (
        "not a possible name on the hub" if only_hub else "neither a folder here nor a possible name on the hub"
    )
    similar = "" if only_hub else _similar_model(name)
    offline = hub.constants.is_offline_mode()
    try:
        if not offline:
            # asked first and alone, so that an unreachable hub is told from a missing model; the library's own
            # fall-back to the cache would be silent
            hub.HfApi(token=token).model_info(name, revision=revision, timeout=10)
    except hub_errors.GatedRepoError as exc:
        raise ModelError(f"{name}: a gated model; accept its terms on the hub and pass --token") from exc
    except hub_errors.RepositoryNotFoundError as exc:
        raise ModelError(f"{name}: {nowhere}{similar} (a private one needs --token)") from exc
    except hub_errors.RevisionNotFoundError as exc:
        raise ModelError(f"{name}: the hub has no revision {revision!r} of it") from exc
    except hub_errors.HFValidationError as exc:
        raise ModelError(f"{name}: {impossible}{similar}") from exc
    except (OSError, hub_errors.HTTPError) as exc:
        logger.info("hub: %s cannot be reached (%s); looking for %s in the cache", endpoint(), first_line(exc), name)
        offline = True
    try:
        folder = hub.snapshot_download(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
            local_files_only=offline,
        )
    except hub_errors.LocalEntryNotFoundError as exc:
        why = "offline mode is on" if hub.constants.is_offline_mode() else f"{endpoint()} cannot be reached"
        if only_hub:
            raise NetworkError(
                f"{name}: not in the hub's cache, and {why}. Check the network, or name a local folder"
            ) from exc
        raise NetworkError(
            f"{name}: not a folder here{similar} and not in the hub's cache, and {why}. Fix the path, or put the "
            f"weights in ./{Path(name).name}"
        ) from exc
    except hub_errors.HFValidationError as exc:
        raise ModelError(f"{name}: {impossible}{similar}") from exc
    except (OSError, hub_errors.HTTPError) as exc:
        raise NetworkError(f"{name}: the download from {endpoint()} broke off ({first_line(exc)}); run again") from exc
    return Path(folder)


def endpoint() -> str:
    """Address of the hub, or of the mirror that is set in its place."""
    import huggingface_hub as hub

    return os.environ.get("HF_ENDPOINT") or hub.constants.ENDPOINT
