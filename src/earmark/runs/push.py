"""Upload a run folder to the hub, with its model card (``earmark push``)."""

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

# Settings, predictions and logs are not uploaded, because they name files and folders of this machine.
FILES = (
    *("config.json", "model*.safetensors", "model*.safetensors.index.json", "preprocessor_config.json"),
    *("adapter_config.json", "adapter_model.safetensors", "README.md", "metrics.json", "decision.json"),
)


@dataclass(frozen=True)
class Pushed:
    """An uploaded model.

    Attributes:
        url: address of the commit.
        files: names of the uploaded files.
    """

    url: str
    files: list[str]


def push(options: PushOptions) -> Pushed:
    """Upload model, feature extractor, card and metrics of a run as one commit; create the repository if needed.

    Raises:
        ModelError: the folder holds no model.
        UsageError: the token is missing or has no write access, or the name is invalid.
        NetworkError: the hub cannot be reached, or the upload was interrupted. The commit comes last, so the hub never
            holds a partial upload.
    """
    folder, repo = folder_to_write(options.model_name_or_path or "", "push takes a run folder"), options.repo or ""
    check_checkpoint(folder)
    if not (folder / "README.md").is_file():
        raise ModelError(f"{folder}: no README.md, the model card that `earmark train` writes. Name a run folder.")
    import huggingface_hub as hub

    token = options.token or hub.get_token()
    if not token:
        raise UsageError("there is no token for the hub. Run `hf auth login`, set HF_TOKEN, or pass --token.")
    with _translated(repo):
        hub.HfApi(token=token).create_repo(repo, private=options.private or None, exist_ok=True)
    return upload(folder, repo, token, revision=options.revision, message=options.message)


def upload(folder: Path, repo: str, token: str | None, *, revision: str | None, message: str | None) -> Pushed:
    """Upload the public files of a run, as one commit to an existing repository.

    Args:
        folder: the run folder.
        repo: name on the hub.
        token: token with write access; ``None`` for the token of ``hf auth login``.
        revision: branch; ``None`` for main.
        message: commit message.

    Raises:
        UsageError: the token has no write access.
        NetworkError: the hub cannot be reached, or the upload was interrupted.
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
        raise UsageError(f"{repo}: not a valid name on the hub ({first_line(exc)}). Give ORG/NAME.") from exc
    except hub_errors.RevisionNotFoundError as exc:
        raise UsageError(f"{repo}: the repository has no such branch. Create it on the hub first.") from exc
    except hub_errors.HfHubHTTPError as exc:
        status = exc.response.status_code if exc.response is not None else None
        if status in (401, 403, 404):
            raise UsageError(
                f"{repo}: the token has no write access ({first_line(exc)}). Use another token, or fix the name."
            ) from exc
        raise NetworkError(f"{repo}: {endpoint()} rejected the upload ({first_line(exc)}). Try again later.") from exc
    except (OSError, ValueError, hub_errors.HTTPError) as exc:  # ValueError: the response is not from a hub
        raise NetworkError(
            f"{repo}: the upload to {endpoint()} was interrupted ({first_line(exc)}). Run the command again."
        ) from exc
