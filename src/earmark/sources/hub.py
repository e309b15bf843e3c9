"""Data sets on the Hugging Face hub, downloaded or from the cache, read with the package ``datasets``."""

from __future__ import annotations

import logging
import os

from earmark.clips.clip import Splits
from earmark.errors import DataError
from earmark.extras import require
from earmark.sources.dataset_splits import dataset_splits, hub_errors, network_error
from earmark.sources.folders import load_folder
from earmark.sources.source import GivenData, Source

logger = logging.getLogger(__name__)

_TIMEOUT_S = 10.0


class HubDataset(Source):
    """``--dataset_name`` if it is not a folder. Uses ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE``."""

    name = "a data set on the hub"
    because = "--dataset_name is not a folder"
    settings = ("dataset_config_name", "dataset_revision")

    def recognises(self, given: GivenData) -> bool:
        """Return whether the named data set is not on this machine; false if none is named."""
        return given.dataset is not None and given.folder is None

    def load(self, given: GivenData) -> Splits:
        """Download a data set, or take it from the cache, and list its clips.

        Raises:
            NetworkError: the hub cannot be reached, or the connection broke.
            DataError: the data set, configuration, split or column does not exist; or the data set is a script.
            MissingExtraError: the package ``datasets`` is not installed.
        """
        datasets = require("datasets")
        name, request = given.name, given.request
        _check_reachable(given)
        arguments = {"revision": request.revision, "token": request.hub.token, "cache_dir": request.hub.cache_dir}
        with hub_errors(name):
            builder = datasets.load_dataset_builder(name, request.config, **arguments)
            if "audiofolder" in type(builder).__module__:
                return load_folder(_download_snapshot(given), request.names, request.columns)
            logger.info("%s: loading it with datasets", name)
            tables = datasets.load_dataset(name, request.config, **arguments)
        title = f"{name} {request.config}" if request.config else name
        return dataset_splits(tables, title, os.curdir, request.columns, request.names)


def _check_reachable(given: GivenData) -> None:
    """Request the data set's information once, because ``datasets`` retries a dead connection for half a minute."""
    import huggingface_hub as hub
    from huggingface_hub import constants, errors

    if constants.is_offline_mode():
        return
    name, revision = given.name, given.request.revision
    try:
        hub.HfApi(token=given.request.hub.token).dataset_info(name, revision=revision, timeout=_TIMEOUT_S)
    except errors.GatedRepoError as exc:
        raise DataError(
            f"{name}: the data set requires consent. Accept its terms on its page, then log in (hf auth login) "
            "or add --token"
        ) from exc
    except errors.RevisionNotFoundError as exc:
        raise DataError(f"{name}: no revision {revision!r}. Fix --dataset_revision") from exc
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as exc:
        raise DataError(
            f"{name}: no such folder, and no such data set on the hub. Fix the name, or add --token if it is private"
        ) from exc
    except (OSError, errors.HTTPError) as exc:
        raise network_error(name, exc) from exc


def _download_snapshot(given: GivenData) -> str:
    """Download a data set of plain audio files, which ``datasets`` itself reads only with torchcodec."""
    import huggingface_hub as hub

    cache_dir = given.request.hub.cache_dir
    folder: str = hub.snapshot_download(
        given.name,
        repo_type="dataset",
        revision=given.request.revision,
        token=given.request.hub.token,
        cache_dir=os.path.join(cache_dir, "hub") if cache_dir else None,
    )
    return folder
