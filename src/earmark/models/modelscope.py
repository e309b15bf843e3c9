"""Download models from ModelScope by names such as ``modelscope://org/name``. The client library is an extra."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from earmark.errors import ModelError, NetworkError, first_line
from earmark.extras import require

SCHEME = "modelscope://"


def download(name: str, *, revision: str, token: str | None, cache_dir: str | None, patterns: Sequence[str]) -> Path:
    """Download a model's files, or find them in the client's cache in offline mode (HF_HUB_OFFLINE).

    Args:
        name: ``modelscope://org/name``.
        revision: branch or tag; ``main`` is translated to ModelScope's default branch, ``master``.
        token: access token for private models.
        cache_dir: folder for downloads; ``None`` for the client's cache.
        patterns: patterns of the files to download.

    Returns:
        The folder of the files.

    Raises:
        ModelError: there is no such model or revision.
        NetworkError: ModelScope, or the mirror that MODELSCOPE_ENDPOINT names, cannot be reached.
        MissingExtraError: the client is not installed.
    """
    hub = require("modelscope_hub")
    from huggingface_hub import constants

    offline = constants.is_offline_mode()
    repository = name.removeprefix(SCHEME)
    if repository.count("/") != 1:
        raise ModelError(f"{name}: not a name on ModelScope. Write {SCHEME}ORG/NAME.")
    # a new configuration, because the client's default keeps the endpoint of the first call in the process
    config = hub.HubConfig(token=token or None)
    try:
        folder = hub.HubApi(config).download_repo(
            repository,
            "model",
            revision="master" if revision == "main" else revision,
            cache_dir=cache_dir,
            allow_patterns=list(patterns),
            local_files_only=offline,
        )
    except (hub.NotExistError, hub.NotFoundError) as exc:
        raise ModelError(
            f"{name}: no such model or revision on ModelScope. Fix the name, or pass --token for a private model."
        ) from exc
    except (hub.AuthenticationError, hub.PermissionDeniedError) as exc:
        raise ModelError(f"{name}: ModelScope denies access ({first_line(exc)}). Pass --token.") from exc
    except (hub.HubError, OSError) as exc:
        where = os.environ.get("MODELSCOPE_ENDPOINT", "ModelScope")
        why = "offline mode is on, and the model is not in the cache" if offline else first_line(exc)
        raise NetworkError(
            f"{name}: cannot be downloaded from {where} ({why}). Check the network, or name a local folder."
        ) from exc
    return Path(folder)
