"""Two processes train one model: as many steps on each, every clip in every epoch, the answers of one process.

The file is also what torchrun runs: see :func:`work`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from earmark.batch.dataset import TrainingClips
from earmark.cli.main import main
from earmark.models.build_model import ModelSource, load_trained
from earmark.scoring.table import score_table
from earmark.store.usable import UsableClips
from earmark.train.recipe import global_batch_size, with_global_batch
from earmark.train.trainer import AudioTrainer
from tests.patience import PATIENCE_S
from tests.tiny import overrides
from tests.train.small import CPU, build, make_trainer, mixed_lengths_s, usable, write_clips

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
# what launches two processes on cards does so on a machine without any, too
ACCELERATE = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
ACCELERATE += ["--dynamo_backend", "no", "--num_processes"]
UNEVEN = {"sampler": "balanced", "class_weights": "low=3", "focal_gamma": 2.0, "label_smoothing_factor": 0.1}


def start(words: list[str], store: Path, num_processes: int = 2, launcher: list[str] = TORCHRUN) -> str:
    """Run ``python WORDS`` in two processes; what they logged."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
        "EARMARK_STORE": str(store),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, *launcher, str(num_processes), *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


# what each of the two processes does


class Watched:
    """Batches that training took in this process, and the scores they led to."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.reads: Any = TrainingClips.__getitems__

    def __enter__(self) -> Watched:
        def recorded(clips: TrainingClips, indices: Sequence[int]) -> dict[str, torch.Tensor]:
            self.rows.append([int(i) for i in indices])
            batch: dict[str, torch.Tensor] = self.reads(clips, indices)
            return batch

        TrainingClips.__getitems__ = recorded
        return self

    def __exit__(self, *exc: object) -> None:
        TrainingClips.__getitems__ = self.reads


def trained(trainer: AudioTrainer, resume_from: Path | None = None) -> dict[str, Any]:
    """Train; what can be told of it."""
    with Watched() as watched:
        trainer.train(resume_from_checkpoint=None if resume_from is None else str(resume_from))
    return {
        "rows": watched.rows,
        "steps": trainer.state.global_step,
        "clips_a_step": global_batch_size(trainer.args),
        "weights": flat_weights(trainer).tolist(),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    }


def flat_weights(trainer: AudioTrainer) -> np.ndarray:
    return torch.cat([value.detach().flatten().float() for value in trainer.audio.model.parameters()]).numpy()


def globally(clips_a_step: int, folder: Path, clips: dict[str, UsableClips]) -> AudioTrainer:
    """A trainer whose steps take so many clips, on however many processes, in batches of 2."""
    sizes = {"per_device_train_batch_size": 2, "global_batch_size": clips_a_step}
    plain = make_trainer(build(), clips, folder / "out", **sizes)
    return AudioTrainer(plain.audio, with_global_batch(plain.args), clips["train"], clips["validation"])


def probe(folder: Path, clips: dict[str, UsableClips]) -> dict[str, Any]:
    """Train a head, keep the model, and score the validation clips."""
    trainer = make_trainer(build("sew", "encoder"), clips, folder / "out", learning_rate=1e-2)
    with ExitStack() as stack, Watched() as watched:
        trainer.keep_frozen(stack, folder / "frozen", small_only=False)
        trainer.train()
    if trainer.is_world_process_zero():
        trainer.audio.save(folder / "probe")
    scores = trainer.scorer.score(clips["validation"])
    return {"computed": watched.rows, "scores": scores.tolist(), "figures": trainer.evaluate()}


def work(folder: Path) -> None:
    """All that is to be done in two processes, in one go: starting them takes longer than training."""
    splits = {name: usable(folder / name) for name in ("even", "odd", "few", "level")}
    settings = {"per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 4, "save_total_limit": None}
    result: dict[str, Any] = {}
    for name, stop_at in (("odd", 8), ("level", 4)):  # in the second epoch of two
        run = folder / f"{name}_run"
        result[name] = trained(make_trainer(build(), splits[name], run, **settings))
        resumed = make_trainer(build(), splits[name], run, **settings)
        result[f"{name} resumed"] = trained(resumed, run / f"checkpoint-{stop_at}")
    run = folder / "uneven_run"
    result["uneven"] = trained(make_trainer(build(), splits["odd"], run, **settings, **UNEVEN))
    resumed = make_trainer(build(), splits["odd"], run, **settings, **UNEVEN)
    result["uneven resumed"] = trained(resumed, run / "checkpoint-8")
    result["few"] = trained(make_trainer(build(), splits["few"], folder / "out"))
    result["even"] = trained(make_trainer(build(), splits["even"], folder / "out"))
    for name in ("odd", "level"):
        result[f"{name} global"] = trained(globally(8, folder, splits[name]))
    result["probe"] = probe(folder, splits["odd"])
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


def work_of_three(folder: Path) -> None:
    """Score 7 clips and train on 20 in steps of 12."""
    clips = usable(folder / "odd")
    trainer = globally(12, folder, clips)
    result = {"scores": trainer.scorer.score(clips["validation"]).tolist(), "figures": trainer.evaluate()}
    result["global"] = trained(trainer)
    (folder / f"rank{os.environ['RANK']}_of_3.json").write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


# what came of it


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    for name, count in (("even", 24), ("odd", 21), ("few", 3)):
        write_clips(folder / name, mixed_lengths_s(count, seed=count), validation_s=mixed_lengths_s(7))
    write_clips(folder / "level", [0.2] * 13)
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    """What each process told."""
    start(["-m", "tests.train.test_two_processes", str(folder)], folder / "store")
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def in_turn(ranks: list[dict[str, Any]], name: str) -> list[list[int]]:
    """Rows of the batches that all processes take at once."""
    batches = zip(*(rank[name]["rows"] for rank in ranks), strict=True)
    return [[row for batch in at_once for row in batch] for at_once in batches]


def trained_on(rows: Sequence[int], num_clips: int) -> list[int]:
    """Rows that count, also those that come again in an epoch; the others fill a batch up."""
    return [row % num_clips for row in rows if row // num_clips % 2 == 0]


def test_both_do_the_same_steps_on_all_clips(ranks: list[dict[str, Any]]) -> None:
    assert [rank["odd"]["steps"] for rank in ranks] == [12, 12]
    steps = in_turn(ranks, "odd")
    assert len(steps) == 12
    for epoch in (steps[:6], steps[6:]):
        assert sorted(trained_on([row for step in epoch for row in step], 21)) == list(range(21))
        assert [len(step) for step in epoch] == [4] * 6
        assert {row % 21 for row in epoch[5]} == set(trained_on(epoch[5], 21))  # the last step is filled up with itself
    assert steps[:6] != steps[6:]
    assert ranks[0]["odd"]["weights"] == ranks[1]["odd"]["weights"]


@pytest.mark.parametrize(
    ("name", "stop_at"),
    [
        ("odd", 8),
        ("level", 4),
    ],
)
def test_a_run_of_two_goes_on_with_the_clips_not_yet_seen(name: str, stop_at: int, ranks: list[dict[str, Any]]) -> None:
    assert in_turn(ranks, f"{name} resumed") == in_turn(ranks, name)[stop_at:]
    for rank in ranks:
        np.testing.assert_allclose(rank[f"{name} resumed"]["weights"], rank[name]["weights"], atol=1e-6)


def test_classes_heard_equally_often_by_two(ranks: list[dict[str, Any]], folder: Path, tmp_path: Path) -> None:
    """As one process hears them, with weights in the loss, and from the middle of the second epoch on."""
    clips = usable(folder / "odd")
    alone = trained(make_trainer(build(), clips, tmp_path, per_device_train_batch_size=4, **UNEVEN))
    steps = in_turn(ranks, "uneven")
    assert [sorted(trained_on(step, 21)) for step in steps] == [sorted(trained_on(step, 21)) for step in alone["rows"]]
    labels = [clip.label for clip in clips["train"].table]
    for epoch in (steps[:6], steps[6:]):
        heard = [labels[row] for step in epoch for row in trained_on(step, 21)]
        assert sorted(map(heard.count, ("low", "high"))) == [10, 11]
    assert in_turn(ranks, "uneven resumed") == steps[8:]
    for rank in ranks:
        np.testing.assert_allclose(rank["uneven"]["weights"], alone["weights"], atol=2e-5)
        np.testing.assert_allclose(rank["uneven resumed"]["weights"], rank["uneven"]["weights"], atol=1e-6)


def test_fewer_clips_than_a_step_takes(ranks: list[dict[str, Any]]) -> None:
    assert [rank["few"]["steps"] for rank in ranks] == [2, 2]
    for step in in_turn(ranks, "few"):
        assert sorted(trained_on(step, 3)) == [0, 1, 2]
    assert np.isfinite(ranks[0]["few"]["weights"]).all()
    assert ranks[0]["few"]["weights"] == ranks[1]["few"]["weights"]


def test_two_learn_what_one_learns_of_the_same_clips(ranks: list[dict[str, Any]], folder: Path, tmp_path: Path) -> None:
    alone = trained(make_trainer(build(), usable(folder / "even"), tmp_path, per_device_train_batch_size=8))
    assert alone["steps"] == ranks[0]["even"]["steps"] == 6
    assert [sorted(step) for step in in_turn(ranks, "even")] == [sorted(step) for step in alone["rows"]]
    np.testing.assert_allclose(ranks[0]["even"]["weights"], alone["weights"], atol=2e-5)


@pytest.mark.parametrize(("name", "num_clips"), [("odd", 21), ("level", 13)])
def test_a_global_batch_teaches_two_what_it_teaches_one(
    name: str, num_clips: int, ranks: list[dict[str, Any]], folder: Path, tmp_path: Path
) -> None:
    """Float32, no dropout and no masks; neither 2 nor the step divides the number of clips."""
    alone = globally(8, tmp_path, usable(folder / name))
    assert alone.args.gradient_accumulation_steps == 4
    expected = trained(alone)
    together = in_turn(ranks, f"{name} global")
    same_steps(together, expected, 2, num_clips)
    for rank in ranks:
        same_result(rank[f"{name} global"], expected)


def test_three_score_and_learn_as_one(folder: Path, tmp_path: Path) -> None:
    start(["-m", "tests.train.test_two_processes", str(folder)], folder / "store", 3)
    told = [json.loads((folder / f"rank{rank}_of_3.json").read_text()) for rank in range(3)]
    clips = usable(folder / "odd")
    alone = globally(12, tmp_path, clips)
    scores = alone.scorer.score(clips["validation"])
    assert len(scores) == 7
    figures = alone.evaluate()
    for of_rank in told:
        np.testing.assert_allclose(of_rank["scores"], scores, atol=1e-6)
        exact = {name: value for name, value in figures.items() if "runtime" not in name and "per_second" not in name}
        assert {name: of_rank["figures"][name] for name in exact} == pytest.approx(exact, abs=1e-6)
    expected = trained(alone)
    same_steps(in_turn(told, "global"), expected, 3, 21)
    for of_rank in told:
        same_result(of_rank["global"], expected)


def same_steps(together: list[list[int]], alone: dict[str, Any], num_ranks: int, num_clips: int) -> None:
    """See that each step of two epochs took the same clips, of those that count."""
    batches_a_step = alone["clips_a_step"] // 2  # of one process
    mine = clips_of_steps(alone["rows"], batches_a_step, num_clips)
    theirs = clips_of_steps(together, batches_a_step // num_ranks, num_clips)
    assert theirs == mine
    assert len(mine) == alone["steps"]


def clips_of_steps(batches: list[list[int]], batches_a_step: int, num_clips: int) -> list[list[int]]:
    half = len(batches) // 2
    steps = [
        epoch[i : i + batches_a_step]
        for epoch in (batches[:half], batches[half:])
        for i in range(0, half, batches_a_step)
    ]
    return [sorted(trained_on([row for batch in step for row in batch], num_clips)) for step in steps]


def same_result(of_rank: dict[str, Any], alone: dict[str, Any]) -> None:
    assert of_rank["steps"] == alone["steps"]
    np.testing.assert_allclose(of_rank["losses"], alone["losses"], atol=2e-5)
    np.testing.assert_allclose(of_rank["weights"], alone["weights"], atol=2e-5)


def test_a_probe_of_two_answers_as_the_saved_model(ranks: list[dict[str, Any]], folder: Path) -> None:
    computed = [row for rank in ranks for batch in rank["probe"]["computed"] for row in batch]
    assert sorted(computed) == list(range(21))  # each clip once, by one of them
    assert ranks[0]["probe"]["computed"]
    assert ranks[1]["probe"]["computed"]
    saved = load_trained(ModelSource(name_or_path=str(folder / "probe")))
    clips = usable(folder / "odd")["validation"]
    logits = score_table(saved.model, saved.frontend, clips.waveforms, batch_size=1, device=CPU)
    for rank in ranks:
        np.testing.assert_allclose(rank["probe"]["scores"], logits, atol=1e-5)
        assert rank["probe"]["figures"]["eval_accuracy"] == ranks[0]["probe"]["figures"]["eval_accuracy"]
    assert [path.name for path in (folder / "frozen").iterdir()] == []


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_the_script_on_two_processes(launcher: list[str], folder: Path, tmp_path: Path) -> None:
    data, run, store = ["--data_dir", str(folder / "odd")], tmp_path / "run", tmp_path / "store"
    words = [*data, "--model_type", "wav2vec2", "--config_overrides", overrides("wav2vec2"), "--device", "cpu"]
    words += ["--freeze", "encoder", "--num_train_epochs", "2", "--per_device_train_batch_size", "2"]
    words += ["--learning_rate", "1e-2", "--global_batch_size", "8", "--output_dir", str(run)]
    script = [str(ROOT / "run_audio_classification.py"), "--do_train", "--do_eval"]
    log = start([*script, *words], store, launcher=launcher)
    assert log.count(": decoded ") == 2  # training and validation clips, each once
    assert log.count("embeddings of 21 clips computed once") == 1
    assert log.count("batches: 8 clips a step = 2 processes x 2 x 2 accumulated") == 1
    assert not list(store.glob("frozen-*"))
    assert main(["evaluate", str(run), *data, "--device", "cpu"]) == 0
    alone = json.loads((run / "evaluation_validation" / "metrics.json").read_text())["validation"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["validation"]["confusion_matrix"] == alone["confusion_matrix"]
    assert metrics["validation"]["loss"] == pytest.approx(alone["loss"], abs=1e-5)


if __name__ == "__main__":
    {"2": work, "3": work_of_three}[os.environ["WORLD_SIZE"]](Path(sys.argv[1]))
