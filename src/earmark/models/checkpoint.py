"""Find the folder of a checkpoint: a local folder, or the hub's cache.

All other code reads a local folder, so it treats local weights and weights from the hub alike.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout  # another class before Python 3.11
from pathlib import Path

from earmark.errors import ModelError, NetworkError, first_line
from earmark.io.nearby_names import path_suggestion
from earmark.models import modelscope
from earmark.settings.model_flags import KNOWN_MODEL_TYPES
from earmark.text import and_more, nearest_name

logger = logging.getLogger(__name__)

HUB_SCHEME = "hf://"
_SAFE = "model.safetensors"
_ADAPTER = "adapter_model.safetensors"  # the base model is found when the adapter is loaded
_PICKLED = "pytorch_model.bin"
_EXPORT = "export.json"
_MODEL_FILES = ("config.json", "adapter_config.json", _EXPORT)
_NAMED = 4  # maximum number of folders named in a message
_WHAT_TO_GIVE = "Give a folder with weights, or a name on the hub such as facebook/wav2vec2-base."
_SCHEMES = (HUB_SCHEME, modelscope.SCHEME)
_HUB_ANSWERS_WITHIN_S = 10  # including the DNS lookup, to which timeouts of HTTP clients do not apply
_WELL_KNOWN = (  # suggested if the user gives a similar name
    "facebook/data2vec-audio-base",
    "facebook/hubert-base-ls960",
    "facebook/hubert-large-ll60k",
    "facebook/w2v-bert-2.0",
    "facebook/wav2vec2-base",
    "facebook/wav2vec2-large",
    "microsoft/wavlm-base",
    "microsoft/wavlm-base-plus",
    "microsoft/wavlm-large",
    "MIT/ast-finetuned-audioset-10-10-0.4593",
    "ntu-spml/distilhubert",
    "openai/whisper-base",
    "openai/whisper-base.en",
    "openai/whisper-small",
    "openai/whisper-tiny",
    "openai/whisper-tiny.en",
)


def find_checkpoint(
    name_or_path: str,
    *,
    revision: str = "main",
    token: str | None = None,
    cache_dir: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Path:
    """Return the local folder of a checkpoint, and download it first if it is on a hub.

    Args:
        name_or_path: folder, ``org/name`` or ``hf://org/name`` on the hub, or ``modelscope://org/name``. If the working
            directory has a folder ``name`` that holds a model, it is used for ``org/name``, and this is logged.
        revision: branch, tag or commit on the hub.
        token: access token for gated models.
        cache_dir: folder for downloads; ``None`` for the hub library's cache.
        allow_pickle: also accept pickled weights (``pytorch_model.bin``), which can run code when loaded.
        trust_remote_code: also download the checkpoint's Python files.

    Raises:
        ModelError: there is no such folder or model, or files are missing.
        NetworkError: the hub cannot be reached, and the model is not in its cache.
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
            folder = _download(name_or_path, revision, token, cache_dir, patterns)
        else:
            folder = local
            if folder != Path(name_or_path).expanduser():
                logger.info("%s: using the folder ./%s", name_or_path, folder)
    check_checkpoint(folder, allow_pickle=allow_pickle)
    return folder


def local_folder(name_or_path: str) -> Path | None:
    """Return the local folder for a model's name, or ``None`` for a name on a hub.

    ``org/name`` is a folder if it exists, or a folder ``name`` in the working directory that holds a model. If only the
    folder ``org`` exists, the name is probably a typing error, so the hub is not searched. A name without a slash is a
    folder; ``hf://name`` is a model on the hub.

    Raises:
        ModelError: the name is a file, or a folder that does not exist.
    """
    if name_or_path.startswith(_SCHEMES):
        return None
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ModelError(f"{name_or_path}: this is a file. Give its folder, {folder.parent}.")
    if folder.is_absolute() or name_or_path.startswith((".", "~")) or len(folder.parts) > 2:
        raise ModelError(f"{name_or_path}: no such folder{path_suggestion(folder, folders=True, fix=_WHAT_TO_GIVE)}")
    if len(folder.parts) == 2:
        beside = Path(folder.name)
        if any((beside / name).is_file() for name in _MODEL_FILES):
            return beside
        if folder.parent.is_dir():
            on_hub = f"For a model on the hub, write {HUB_SCHEME}{folder.as_posix()}."
            near = path_suggestion(folder, folders=True, fix=on_hub)
            raise ModelError(f"{name_or_path}: no such folder{near}{'' if near.endswith(on_hub) else f' {on_hub}'}")
        return None
    fix = "Fix the path, or give a name on the hub as ORG/NAME."
    if name_or_path in KNOWN_MODEL_TYPES:
        fix = f"To train {name_or_path} from random weights, use --model_type {name_or_path}."
    raise ModelError(f"{name_or_path}: no such folder{_similar_model(name_or_path, _model_folders())}. {fix}")


def hub_name(name_or_path: str) -> str:
    """Return a model's name without ``hf://``, for cards, records and other programs."""
    return name_or_path.removeprefix(HUB_SCHEME)


def folder_to_write(name_or_path: str, use: str) -> Path:
    """Return the folder of a model for a command that writes into it.

    Args:
        name_or_path: folder or name of the model.
        use: what the command does with the folder, for the error message.

    Raises:
        ModelError: the model is on a hub, or there is no such folder.
    """
    if name_or_path.startswith(_SCHEMES):
        raise ModelError(f"{name_or_path}: this is a model on the hub, and {use}. Download it, or name a run folder.")
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        near = path_suggestion(folder, folders=True)
        raise ModelError(f"{folder}: no such folder, and {use}{near}")
    return folder


def _model_folders() -> list[str]:
    """Return the model folders at most two levels below the working directory."""
    return [path.parent.as_posix() for pattern in ("*", "*/*") for path in Path().glob(f"{pattern}/config.json")]


def _similar_model(name: str, folders: Sequence[str] = ()) -> str:
    """Return a hint at the most similar model: one of the folders, else a well-known model on the hub."""
    for known in (folders, _WELL_KNOWN):
        by_last_part = {Path(one).name: one for one in known}
        last_part = nearest_name(Path(name).name, by_last_part)
        near = by_last_part.get(Path(name).name) or nearest_name(name, known) or by_last_part.get(last_part or "")
        if near == name:
            return ""
        if near:
            return f" (did you mean {near}?)"
    return ""


def check_checkpoint(folder: Path, *, allow_pickle: bool = False) -> None:
    """Check that the files of a checkpoint exist, before a library fails on a missing one.

    Raises:
        ModelError: ``config.json``, the weights or a shard are missing, or the weights are pickled.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json, so this is not a checkpoint folder{_folder_hint(folder)}")
    index = folder / f"{_SAFE}.index.json"
    if index.is_file():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, UnicodeDecodeError) as exc:
            raise ModelError(f"{index}: not a weights index. Copy it again from the model's source.") from exc
        missing = sorted(shard for shard in shards if not (folder / shard).is_file())
        if missing:
            raise ModelError(
                f"{folder}: {len(missing)} of {len(shards)} weights files are missing, first {missing[0]}. Copy them "
                "again from the model's source."
            )
    elif not (folder / _SAFE).is_file() and not (folder / _ADAPTER).is_file():
        pickled = (folder / _PICKLED).is_file() or (folder / f"{_PICKLED}.index.json").is_file()
        if pickled and not allow_pickle:
            raise ModelError(
                f"{folder}: only pickled weights ({_PICKLED}), which can run code when loaded. Convert them to "
                f"{_SAFE}, or add --allow_pickle if you trust their source."
            )
        if not pickled:
            raise ModelError(f"{folder}: the weights file {_SAFE} is missing. Copy it again from the model's source.")


def _folder_hint(folder: Path) -> str:
    """Return the end of an error about a folder without a model, if it is an export or has models in subfolders."""
    if (folder / _EXPORT).is_file():
        return (
            ", but an exported model. Use it with predict, evaluate and serve, and the original run for anything else."
        )
    inside = {path.parent for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}/config.json")}
    runs = sorted(path for path in inside if not path.name.startswith("checkpoint-")) or sorted(inside)
    if not runs:
        return ""
    return f". Give one of the models in it: {and_more([str(path) for path in runs], _NAMED)}."


def _download(
    name_or_path: str,
    revision: str,
    token: str | None,
    cache_dir: str | None,
    patterns: list[str],
) -> Path:
    """Download a model into the hub's cache, or find it there without a network."""
    import huggingface_hub as hub
    from huggingface_hub import constants
    from huggingface_hub import errors as hub_errors
    from huggingface_hub.utils import validate_repo_id

    name = hub_name(name_or_path)
    only_hub = name != name_or_path
    not_here = "" if only_hub else f"not a folder here{_similar_model(name, _model_folders())} and "
    try:
        validate_repo_id(name)
    except hub_errors.HFValidationError as exc:
        raise ModelError(f"{name}: {not_here}not a valid name on the hub. Fix the name.") from exc
    logger.info("looking for %s %s", name, "in the hub's cache" if constants.is_offline_mode() else f"on {endpoint()}")
    unreachable = "offline mode is on" if constants.is_offline_mode() else _ask_hub(name, revision, token, not_here)
    try:
        folder = hub.snapshot_download(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
            local_files_only=bool(unreachable),
        )
    except hub_errors.LocalEntryNotFoundError as exc:
        fix = (
            "Check the network, or name a local folder"
            if only_hub
            else f"Fix the path, or put the weights into ./{Path(name).name}"
        )
        raise NetworkError(f"{name}: {not_here}not in the hub's cache, and {unreachable}. {fix}.") from exc
    except (OSError, hub_errors.HTTPError) as exc:
        raise NetworkError(
            f"{name}: the download from {endpoint()} was interrupted ({first_line(exc)}). Run the command again."
        ) from exc
    return Path(folder)


def _ask_hub(name: str, revision: str, token: str | None, not_here: str) -> str:
    """Return why the hub cannot be reached; empty if it has the model.

    ``snapshot_download`` uses the cache if a download fails, so it does not distinguish a model that does not exist
    from a hub that cannot be reached.
    """
    import huggingface_hub as hub
    from huggingface_hub import errors as hub_errors

    asked: Future[object] = Future()

    def ask() -> None:
        try:
            api = hub.HfApi(token=token)
            asked.set_result(api.model_info(name, revision=revision, timeout=_HUB_ANSWERS_WITHIN_S))
        except BaseException as exc:  # raised by result() below
            asked.set_exception(exc)

    threading.Thread(target=ask, name="earmark-hub", daemon=True).start()
    try:
        asked.result(timeout=_HUB_ANSWERS_WITHIN_S)
    except hub_errors.GatedRepoError as exc:
        raise ModelError(f"{name}: this model is gated. Accept its terms on the hub, and pass --token.") from exc
    except hub_errors.RepositoryNotFoundError as exc:
        similar = "" if not_here else _similar_model(name)
        raise ModelError(
            f"{name}: {not_here}no such model on the hub{similar}. Fix the name, or pass --token for a private model."
        ) from exc
    except hub_errors.RevisionNotFoundError as exc:
        raise ModelError(f"{name}: the hub has no revision {revision!r} of this model. Fix the revision.") from exc
    except (FutureTimeout, OSError, hub_errors.HTTPError) as exc:
        why = first_line(exc) if asked.done() else f"no answer within {_HUB_ANSWERS_WITHIN_S} s"
        unreachable = f"{endpoint()} cannot be reached ({why})"
        logger.info("hub: %s, so the cache is searched for %s", unreachable, name)
        return unreachable
    return ""


def endpoint() -> str:
    """Return the address of the hub, or of the mirror that replaces it."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
