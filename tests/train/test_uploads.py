"""``--push_to_hub`` during training: which files of a checkpoint are uploaded, and that training waits for them."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from transformers import Trainer

from earmark.runs.push import FILES
from tests.tiny import write_tones
from tests.train.small import build, make_trainer, usable

SECRET = "hf_" + "b" * 20


class Hub:
    """Takes what is uploaded: at once, or when somebody waits for it."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.uploads: list[dict[str, Any]] = []
        self.waited = 0

    def upload_folder(self, **given: Any) -> Future[None]:
        self.uploads.append(given)
        job: Future[None] = Future()
        if self.at_once:
            job.set_result(None)
        return job

    def wait(self, jobs: list[Future[None]]) -> None:
        for job in jobs:
            job.set_result(None)
            self.waited += 1


def train(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    monkeypatch.setattr(Trainer, "init_hf_repo", lambda self: setattr(self, "hub_model_id", "org/name"))
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **given: hub.upload_folder(**given))
    monkeypatch.setattr("earmark.train.uploads.wait", hub.wait)
    clips = usable(write_tones(folder / "data", per_class=4, seconds=0.2))
    often = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None, "max_steps": 3}
    hub_settings = {"push_to_hub": True, "hub_token": SECRET, **settings}
    make_trainer(build("tc_resnet", length_s=0.2), clips, folder / "run", **often, **hub_settings).train()


def test_the_model_of_each_checkpoint_is_uploaded_without_the_names_of_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub()
    train(hub, tmp_path, monkeypatch, hub_strategy="all_checkpoints", hub_always_push=True)
    of_run, of_checkpoints = hub.uploads[::2], hub.uploads[1::2]
    assert [one["commit_message"] for one in of_run] == [f"Training in progress, step {step}" for step in (1, 2, 3)]
    assert all(one["allow_patterns"] == list(FILES) for one in of_run)
    assert [one["path_in_repo"] for one in of_checkpoints] == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]
    for checkpoint in (tmp_path / "run").glob("checkpoint-*"):
        assert (checkpoint / "complete.json").is_file()
        assert all(SECRET.encode() not in path.read_bytes() for path in checkpoint.iterdir())
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_checkpoints_are_left_out_while_an_upload_goes_on_and_the_end_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(at_once=False)
    train(hub, tmp_path, monkeypatch, hub_strategy="every_save")
    assert [one["commit_message"] for one in hub.uploads] == ["Training in progress, step 1"]
    assert hub.waited == 1


def test_nothing_is_uploaded_before_the_end_if_only_the_end_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub()
    train(hub, tmp_path, monkeypatch, hub_strategy="end")
    assert not hub.uploads
