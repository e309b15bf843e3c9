"""``--push_to_hub``: upload the model of each checkpoint during training, and the run at the end."""

from __future__ import annotations

import shlex
import shutil
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers import TrainerState, TrainingArguments
from transformers.trainer_utils import HubStrategy, SaveStrategy

from earmark.errors import NetworkError, UsageError
from earmark.runs.push import FILES, upload


class CheckpointUploads:
    """Uploads of checkpoints in the background. Trainer waits for them when training ends."""

    def __init__(self) -> None:
        self._jobs: list[Future[Any]] = []

    def is_done(self) -> bool:
        """Return whether every upload has ended."""
        return all(job.done() for job in self._jobs)

    def wait_until_done(self) -> None:
        """Wait for the uploads that have not ended."""
        wait(self._jobs)

    def are_due(self, args: TrainingArguments) -> bool:
        """Return whether to upload a new checkpoint, according to ``--hub_strategy`` and ``--hub_always_push``."""
        return args.hub_strategy != HubStrategy.END and (args.hub_always_push or self.is_done())

    def start(self, args: TrainingArguments, repo: str, checkpoint: Path, state: TrainerState) -> None:
        """Copy the model of a checkpoint into the run folder, and upload it from there.

        It uploads the same files as `earmark push`. Transformers would upload every file of the run folder, some of
        which name recordings and folders of this machine.

        Args:
            args: output folder, hub strategy and token. A strategy that pushes checkpoints also uploads all files of
                the checkpoint, because training resumes from them.
            repo: name of the repository on the hub.
            checkpoint: folder of a complete checkpoint.
            state: steps and epochs done.
        """
        folder = Path(str(args.output_dir))
        for pattern in FILES:
            for path in checkpoint.glob(pattern):
                shutil.copy(path, folder / path.name)
        by_step, epoch = args.save_strategy == SaveStrategy.STEPS, int(state.epoch or 0.0)
        message = f"Training in progress, {f'step {state.global_step}' if by_step else f'epoch {epoch}'}"
        common: dict[str, Any] = {"repo_id": repo, "revision": args.hub_revision, "run_as_future": True}
        upload_folder = HfApi(token=args.hub_token).upload_folder
        jobs = [upload_folder(folder_path=folder, allow_patterns=list(FILES), commit_message=message, **common)]
        if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            place = "last-checkpoint" if args.hub_strategy == HubStrategy.CHECKPOINT else checkpoint.name
            message += ", checkpoint"
            jobs.append(upload_folder(folder_path=checkpoint, path_in_repo=place, commit_message=message, **common))
        self._jobs = [*(job for job in self._jobs if not job.done()), *jobs]


def upload_finished(args: TrainingArguments, repo: str) -> str:
    """Upload the saved model, its card and its metrics with any hub strategy; return the log line.

    Raises:
        EarmarkError: the upload failed; the run folder is complete.
    """
    folder = Path(str(args.output_dir))
    try:
        pushed = upload(folder, repo, args.hub_token, revision=args.hub_revision, message="End of training")
    except (NetworkError, UsageError) as exc:
        words = ["earmark", "push", str(folder), repo]
        again = shlex.join([*words, "--revision", args.hub_revision] if args.hub_revision else words)
        raise type(exc)(f"--push_to_hub: {exc}. The run is complete; upload it with `{again}`.") from exc
    return f"uploaded: {pushed.url}"
