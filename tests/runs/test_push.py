"""A run folder goes to a hub on loopback, and loads from there by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.cli.main import main
from tests.gallery import Gallery, GalleryRun
from tests.models.hub_stand_in import TOKEN, UPLOADS, serve, use

pytestmark = pytest.mark.filterwarnings(UPLOADS)
FILES = ["README.md", "config.json", "metrics.json", "model.safetensors", "preprocessor_config.json"]


@pytest.fixture
def trained(gallery: Gallery) -> GalleryRun:
    return gallery["single_label wav2vec2"]


def check_pushed(there: Path, run: Path) -> None:
    """See that the hub has the files of the model that the run keeps, and none that names recordings."""
    assert sorted(path.name for path in there.iterdir()) == FILES
    for name in FILES:
        assert (there / name).read_bytes() == (run / name).read_bytes()


def test_what_is_pushed_loads_by_its_name(
    trained: GalleryRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there, recording = tmp_path / "hub", next(trained.data.rglob("*.wav"))
    there.mkdir()
    with serve(there, "team/birds") as endpoint:
        use(endpoint, tmp_path / "home", monkeypatch)
        capsys.readouterr()
        assert main(["push", str(trained.folder), "team/birds", "--token", TOKEN]) == 0
        assert capsys.readouterr().out.startswith(f"{endpoint}/team/birds/commit/")
        check_pushed(there, trained.folder)
        assert main(["predict", "team/birds", str(recording), "--device", "cpu"]) == 0
        predicted = capsys.readouterr().out
    assert main(["predict", str(trained.folder), str(recording), "--device", "cpu"]) == 0
    assert predicted == capsys.readouterr().out
    assert "model-index" in (there / "README.md").read_text()


def test_what_cannot_be_pushed_is_one_line(
    trained: GalleryRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        capsys.readouterr()
        assert main(["push", str(trained.folder), "team/birds", *words]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("earmark: ")]
        return line

    with serve(tmp_path, "team/birds") as endpoint:
        use(endpoint, tmp_path / "home", monkeypatch)
        assert "no token for the hub" in refused()
        assert "the token has no write access" in refused("--token", "hf_other")
    assert f"to {endpoint} was interrupted" in refused("--token", TOKEN)
    assert not list(tmp_path.glob("*.safetensors"))


def test_what_is_no_run_is_not_pushed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        ([], "no run folder"),
        ([str(tmp_path)], "no run folder"),
        ([str(tmp_path), "team/birds"], "not a checkpoint folder"),
        ([str(tmp_path / "none"), "team/birds"], "no such folder"),
    ):
        assert main(["push", *words]) == 2
        assert said in capsys.readouterr().err


def test_training_pushes_the_model_and_no_names_of_recordings(
    trained: GalleryRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, output = tmp_path / "hub", tmp_path / "run"
    there.mkdir()
    words = ["--max_steps", "2", "--save_strategy", "steps", "--save_steps", "1", "--eval_strategy", "steps"]
    words += ["--eval_steps", "1", "--push_to_hub", "--hub_model_id", "team/birds", "--hub_token", TOKEN]
    with serve(there, "team/birds") as endpoint:
        use(endpoint, tmp_path / "home", monkeypatch)
        assert main(trained.command(output, *words, "--hub_always_push")) == 0
    assert (output / "splits.csv").is_file()
    check_pushed(there, output)  # of the model that is kept, not of the last checkpoint


def test_an_upload_that_fails_at_the_end_leaves_a_finished_run(
    trained: GalleryRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    words = ["--push_to_hub", "--hub_strategy", "end", "--hub_model_id", "team/birds", "--hub_token", TOKEN]
    with serve(tmp_path / "no such folder", "team/birds") as endpoint:  # makes the repository, but takes no files
        use(endpoint, tmp_path / "home", monkeypatch)
        assert main(trained.command(output, *words)) == 2
    assert (output / "results_row.json").is_file()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("earmark: error: --push_to_hub: team/birds: ")
    assert last.endswith(f"upload it with `earmark push {output} team/birds`.")
