"""``earmark push``: a run folder as a model on the hub, with its card."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from earmark.errors import ModelError, NetworkError, UsageError, first_line
from earmark.models.checkpoint import check_checkpoint, endpoint, folder_to_write
from earmark.settings.export_flags import PushOptions
from earmark.text import counted

logger = logging.getLogger(__name__)

# what others need; settings, predictions and logs name files and folders of this machine and stay here
FILES = (
    *("config.json", "model*.safetensors", "model*.safetensors.index.json", "preprocessor_config.json"),
    *("adapter_config.json", "adapter_model.safetensors", "README.md", "metrics.json", "decision.json"),
)


@dataclass(frozen=True)
class Pushed:
    """A model that is on the hub now.

    Attributes:
        url: of the commit.
        files: names that were uploaded.
    """

    url: str
    files: list[str]


def push(options: PushOptions) -> Pushed:
    """Upload a run folder's model, feature extractor, card and metrics as one commit; the repository is made if needed.

    Raises:
        ModelError: the folder holds no model.
        UsageError: no token, or one that may not write there; a name that cannot be.
        NetworkError: the hub cannot be reached, or the upload broke off. Nothing is half there: the commit comes last.
    """
    import huggingface_hub as hub

    folder, repo = folder_to_write(options.model_name_or_path or "", "push takes a run folder"), options.repo or ""
    check_checkpoint(folder)
    if not (folder / "README.md").is_file():
        raise ModelError(f"{folder}: no README.md, the model card that `earmark train` writes; push takes a run folder")
    token = options.token or hub.get_token()
    if not token:
        raise UsageError("no token for the hub: run `hf auth login`, set HF_TOKEN, or pass --token")
    with _translated(repo):
        hub.HfApi(token=token).create_repo(repo, private=options.private or None, exist_ok=True)
    return upload(folder, repo, token, revision=options.revision, message=options.message)


def upload(folder: Path, repo: str, token: str | None, *, revision: str | None, message: str | None) -> Pushed:
    """Upload the files that others need of a run folder to a repository that is there, as one commit.

    Args:
        folder: the run folder.
        repo: name on the hub.
        token: that may write there; ``None`` for the one of ``hf auth login``.
        revision: branch; ``None`` for main.
        message: of the commit.

    Raises:
        UsageError: the token may not write there.
        NetworkError: the hub cannot be reached, or the upload broke off.
    """
    import huggingface_hub as hub

    files = sorted(path.name for pattern in FILES for path in folder.glob(pattern))
    size_mb = sum((folder / name).stat().st_size for name in files) / 1e6
    logger.info("%s: %s, %.1f MB, to %s/%s", folder, counted(len(files), "file"), size_mb, endpoint(), repo)
    with _translated(repo):
        commit = hub.HfApi(token=token).upload_folder(
            repo_id=repo, folder_path=folder, allow_patterns=files, revision=revision, commit_message=message
        )
    return Pushed(str(commit.commit_url), files)


@contextmanager
def _translated(repo: str) -> Iterator[None]:
    from huggingface_hub import errors as hub_errors

    try:
        yield
    except hub_errors.HFValidationError as exc:
        raise UsageError(f"{repo}: not a possible name on the hub ({first_line(exc)})") from exc
    except hub_errors.RevisionNotFoundError as exc:
        raise UsageError(f"{repo}: the hub has no such branch of it; make it there first") from exc
    except hub_errors.HfHubHTTPError as exc:
        status = exc.response.status_code if exc.response is not None else None
        if status in (401, 403, 404):
            raise UsageError(f"{repo}: the token may not write there ({first_line(exc)})") from exc
        raise NetworkError(f"{repo}: {endpoint()} refused it ({first_line(exc)})") from exc
    except (OSError, ValueError, hub_errors.HTTPError) as exc:  # ValueError: an answer that is not the hub's
        raise NetworkError(f"{repo}: the upload to {endpoint()} broke off ({first_line(exc)}); run again") from exc
