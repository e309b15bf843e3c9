"""Ranks on several machines: what they must agree on, and one that is lost."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from earmark.cli.main import main
from tests.distributed.processes import free_port, is_open, kill_with_children, ranks_of, running, wait_for, words_of
from tests.patience import PATIENCE_S
from tests.tiny import write_tones


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("data"), per_class=6, seconds=0.2)


@pytest.mark.slow
def test_machines_that_see_other_recordings_stop_at_once(tmp_path: Path) -> None:
    """The same words, the same path, and a folder that is still being copied to the second machine."""
    for name, count in (("a", 6), ("b", 5)):
        (tmp_path / name).mkdir()
        write_tones(tmp_path / name / "recordings", per_class=count, seconds=0.2)
    words = words_of("recordings", tmp_path / "run", "--num_train_epochs", "1")
    (code, said), (other_code, other_said) = ranks_of(["-m", "earmark", *words], [tmp_path / "a", tmp_path / "b"])
    assert (code, other_code) == (2, 2)
    host = socket.gethostname()
    expected = (
        f"rank 1 on {host}/1 differs from rank 0 on {host}/0: training clips 10 not 12, validation clips 4 not 6, "
    )
    assert expected in said
    assert said.splitlines()[-1].startswith("earmark: error: ")
    assert "rank 1: error: rank 1 on" in other_said  # in its own log, too: there was no launcher to end it
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.slow
def test_machines_that_read_other_settings_stop_at_once(tmp_path: Path) -> None:
    """Each would wait for the other at other steps, for half an hour."""
    write_tones(tmp_path / "recordings", per_class=4, seconds=0.2)
    for name, steps in (("a", 3), ("b", 4)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.yaml").write_text(f"eval_strategy: steps\neval_steps: {steps}\nsave_strategy: 'no'\n")
    words = words_of(tmp_path / "recordings", tmp_path / "run", "--max_steps", "12", "--config", "own.yaml")
    (code, said), (other_code, _) = ranks_of(["-m", "earmark", *words], [tmp_path / "a", tmp_path / "b"])
    assert (code, other_code) == (2, 2)
    assert "--eval_steps 4.0 not 3.0" in said.splitlines()[-1]


@pytest.mark.slow
def test_a_machine_without_recordings_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    write_tones(tmp_path / "a" / "recordings", per_class=4, seconds=0.2)
    words = words_of("recordings", tmp_path / "run", "--num_train_epochs", "1")
    (code, said), (other_code, _) = ranks_of(["-m", "earmark", *words], [tmp_path / "a", tmp_path / "b"])
    assert (code, other_code) == (2, 2)
    assert said.splitlines()[-1].startswith(f"earmark: error: rank 1 on {socket.gethostname()}/1: recordings: no such")


@pytest.mark.slow
def test_machines_with_stores_of_their_own_train_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each decodes its recordings and computes the frozen part; only the run folder is shared."""
    for name in ("a", "b"):
        write_tones(tmp_path / name / "recordings", per_class=5, seconds=0.2)
    words = words_of("recordings", tmp_path / "two", "--freeze", "encoder", "--num_train_epochs", "2")
    words += ["--global_batch_size", "4"]
    for code, said in ranks_of(["-m", "tests.train.in_float32", *words], [tmp_path / "a", tmp_path / "b"]):
        assert code == 0, said
    assert len(list((tmp_path / "b" / "store").glob("*/samples.bin"))) == 2
    monkeypatch.chdir(tmp_path / "a")
    monkeypatch.setattr("earmark.device.supports_bf16", lambda _: False)
    assert main([word if word != str(tmp_path / "two") else str(tmp_path / "one") for word in words]) == 0
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=2e-5, err_msg=name)


@pytest.mark.slow
def test_two_machines_of_which_one_is_lost_and_comes_back(data: Path, tmp_path: Path) -> None:
    """Two of torch's agents that meet on loopback; nothing is shared but the folders and the address."""
    port = free_port()
    flags = [
        "--nnodes",
        "2",
        "--nproc_per_node",
        "1",
        "--max_restarts",
        "3",
        "--rdzv_backend",
        "c10d",
        "--rdzv_id",
        "job",
    ]
    flags += [
        "--rdzv_endpoint",
        f"127.0.0.1:{port}",
        "--rdzv_conf",
        "keep_alive_interval=1",
        "--local_addr",
        "127.0.0.1",
    ]
    run, store = tmp_path / "run", tmp_path / "store"
    words = words_of(data, run, "--resume", "--max_steps", "150", "--eval_strategy", "no", "--save_total_limit", "99")
    words += ["--save_strategy", "steps", "--save_steps", "10"]
    agent = ["-m", "torch.distributed.run", *flags, "-m", "earmark", *words]
    own = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    with running(agent, store, more=own) as first:
        wait_for(lambda: is_open(port), first)  # it keeps the meeting point, the other can be lost
        with running(agent, store, more=own) as second:
            wait_for(lambda: (run / "checkpoint-10" / "trainer_state.json").exists(), first)
            kill_with_children(second.pid)
        written = (run / "checkpoint-10" / "trainer_state.json").stat().st_mtime
        with running(agent, store, more=own) as again:
            out, err = first.communicate(timeout=PATIENCE_S)
            assert again.wait(PATIENCE_S) == 0
    assert first.returncode == 0, err
    assert "earmark: error: the connection to another rank was lost" in err
    assert out.count("validation: accuracy ") == 1
    assert json.loads((run / "checkpoint-150" / "trainer_state.json").read_text())["global_step"] == 150
    assert (run / "checkpoint-10" / "trainer_state.json").stat().st_mtime == written  # it did not start again
