"""A run folder goes to a hub on loopback, and loads from there by its name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from earmark.cli.main import main
from tests.gallery import Gallery, GalleryRun
from tests.models.hub_stand_in import TOKEN, serve
from tests.patience import PATIENCE_S
from tests.tiny import overrides


@pytest.fixture
def trained(gallery: Gallery) -> GalleryRun:
    return gallery["single_label wav2vec2"]


@pytest.fixture
def run(trained: GalleryRun) -> Path:
    return trained.folder


def earmark(*words: str, endpoint: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub library reads its settings when it is imported."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    return subprocess.run(
        [sys.executable, "-m", "earmark", *words],
        env={**os.environ, **settings, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.slow
def test_what_is_pushed_loads_by_its_name(run: Path, trained: GalleryRun, tmp_path: Path) -> None:
    there = tmp_path / "hub"
    there.mkdir()
    recording = next(trained.data.rglob("*.wav"))
    with serve(there, "team/birds") as endpoint:
        done = earmark("push", str(run), "team/birds", "--token", TOKEN, endpoint=endpoint, home=tmp_path / "a")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{endpoint}/team/birds/commit/")
        names = sorted(path.name for path in there.iterdir())
        assert names == ["README.md", "config.json", "metrics.json", "model.safetensors", "preprocessor_config.json"]
        for name in names:
            assert (there / name).read_bytes() == (run / name).read_bytes()
        predicted = earmark(
            "predict", "team/birds", str(recording), "--device", "cpu", endpoint=endpoint, home=tmp_path / "b"
        )
    here = earmark("predict", str(run), str(recording), "--device", "cpu", endpoint=endpoint, home=tmp_path / "b")
    assert predicted.returncode == 0, predicted.stderr
    assert predicted.stdout == here.stdout
    assert "model-index" in (there / "README.md").read_text()


def test_what_cannot_be_pushed_is_one_line(run: Path, tmp_path: Path) -> None:
    with serve(tmp_path, "team/birds") as endpoint:

        def refused(*words: str) -> str:
            done = earmark("push", *words, endpoint=endpoint, home=tmp_path / "home", HF_TOKEN="")
            assert done.returncode == 2, done.stderr
            (line,) = [line for line in done.stderr.splitlines() if line.startswith("earmark: ")]
            return line

        assert "no token for the hub" in refused(str(run), "team/birds")
        assert "the token may not write there" in refused(str(run), "team/birds", "--token", "hf_other")
    assert f"to {endpoint} broke off" in refused(str(run), "team/birds", "--token", TOKEN)
    assert not list(tmp_path.glob("*.safetensors"))


def test_what_is_no_run_is_not_pushed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        ([], "name a run folder"),
        ([str(tmp_path)], "name a run folder"),
        ([str(tmp_path), "team/birds"], "not a checkpoint folder"),
        ([str(tmp_path / "none"), "team/birds"], "no such folder"),
    ):
        assert main(["push", *words]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_training_pushes_the_model_and_no_names_of_recordings(trained: GalleryRun, tmp_path: Path) -> None:
    there, output = tmp_path / "hub", tmp_path / "run"
    there.mkdir()
    words = [*trained.data_flags, "--model_type", "wav2vec2", "--report", "false"]
    words += ["--config_overrides", overrides("wav2vec2"), "--max_steps", "2", "--device", "cpu"]
    words += ["--save_strategy", "steps", "--save_steps", "1", "--eval_strategy", "steps", "--eval_steps", "1"]
    words += ["--push_to_hub", "--hub_model_id", "team/birds", "--hub_token", TOKEN, "--hub_always_push"]
    with serve(there, "team/birds") as endpoint:
        done = earmark("train", *words, "--output_dir", str(output), endpoint=endpoint, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert (output / "splits.csv").is_file()
    names = sorted(path.name for path in there.iterdir())
    assert names == ["README.md", "config.json", "metrics.json", "model.safetensors", "preprocessor_config.json"]
    for name in names:  # of the model that is kept, not of the last checkpoint
        assert (there / name).read_bytes() == (output / name).read_bytes()


@pytest.mark.slow
def test_an_upload_that_fails_at_the_end_leaves_a_finished_run(trained: GalleryRun, tmp_path: Path) -> None:
    output = tmp_path / "run"
    words = [*trained.data_flags, "--model_type", "wav2vec2", "--report", "false"]
    words += ["--config_overrides", overrides("wav2vec2"), "--max_steps", "1", "--device", "cpu"]
    words += ["--push_to_hub", "--hub_strategy", "end"]
    words += ["--hub_model_id", "team/birds", "--hub_token", TOKEN, "--output_dir", str(output)]
    with serve(tmp_path / "no such folder", "team/birds") as endpoint:  # makes the repository, but takes no files
        done = earmark("train", *words, endpoint=endpoint, home=tmp_path / "home")
    assert done.returncode == 2, done.stderr
    assert (output / "results_row.json").is_file()
    last = done.stderr.splitlines()[-1]
    assert last.startswith("earmark: error: --push_to_hub: team/birds: ")
    assert last.endswith(f"upload it with `earmark push {output} team/birds`.")
