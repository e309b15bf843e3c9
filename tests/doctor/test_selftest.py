"""The self-test: what it compares, and that it notices a device that computes otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from earmark.doctor import selftest
from earmark.doctor.children import Probe
from earmark.doctor.machine import Answer, Machine
from earmark.doctor.selftest import LOSS_TOLERANCE, WEIGHT_TOLERANCE, only_card, render_selftest, run_selftest
from earmark.doctor.selftest_worker import STEPS, train_once
from earmark.errors import DeviceError
from tests.doctor.trees import write

Trained = tuple[dict[str, object], Path]


def trained(precision: str, folder: Path) -> Trained:
    figures, moved = train_once(torch.device("cpu"), precision, folder)
    np.savez(folder / "moved.npz", **moved)
    return figures, folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained("fp32", tmp_path_factory.mktemp("reference"))


def told(figures: dict[str, object], precision: str = "fp32", code: int = 0) -> Probe:
    return Probe({"name": "a card", precision: figures}, Answer(code, ""))


def judge(card: Trained, reference: Trained) -> selftest.Row:
    distance = selftest._distance(reference[1], card[1])
    (row,) = selftest._card_rows("npu:0", told(card[0]), told(reference[0]), distance)
    return row


def test_the_same_training_again_is_as_the_cpu(reference: Trained, tmp_path: Path) -> None:
    assert len(reference[0]["losses"]) == STEPS
    assert reference[0]["losses"][-1] < reference[0]["losses"][0] - 0.05  # it learns, so there is something to compare
    row = judge(trained("fp32", tmp_path), reference)
    assert (row.passed, row.verdict) == (True, "as the CPU")
    assert (row.loss_difference, row.weight_difference) == (0, 0)


def test_coarser_arithmetic_is_noticed(reference: Trained, tmp_path: Path) -> None:
    figures, folder = trained("bf16", tmp_path)
    assert figures["finite"]
    row = judge((figures, folder), reference)
    assert (row.passed, row.verdict) == (False, "differs from the CPU")
    assert row.weight_difference > WEIGHT_TOLERANCE


def test_a_wrong_loss_is_noticed(reference: Trained) -> None:
    figures, folder = reference
    losses = [*figures["losses"][:-1], figures["losses"][-1] + 2 * LOSS_TOLERANCE]
    row = judge(({**figures, "losses": losses}, folder), reference)
    assert not row.passed


def test_weights_that_went_elsewhere_are_noticed(reference: Trained, tmp_path: Path) -> None:
    with np.load(reference[1] / "moved.npz") as moved:
        np.savez(tmp_path / "moved.npz", **{name: (1 + 2 * WEIGHT_TOLERANCE) * moved[name] for name in moved.files})
    row = judge((reference[0], tmp_path), reference)
    assert not row.passed
    assert row.weight_difference == pytest.approx(2 * WEIGHT_TOLERANCE, rel=1e-3)


def test_half_precision_has_to_stay_finite(reference: Trained) -> None:
    figures = {"losses": [1.1] * STEPS, "finite": True, "seconds": 1.0}
    for finite, verdict in ((True, "finite"), (False, "NaN or infinite")):
        probe = told({**figures, "finite": finite}, "fp16")
        (row,) = selftest._card_rows("npu:0", probe, told(reference[0]), None)
        assert (row.precision, row.passed, row.verdict) == ("fp16", finite, verdict)


def test_a_precision_that_a_card_dies_in_is_named(reference: Trained) -> None:
    results = {"fp32": reference[0], "trying": "bf16"}
    probe = Probe(
        results, Answer(1, "", "RuntimeError: NPU function error: call aclnnAdd failed, error code is 507015")
    )
    rows = selftest._card_rows("npu:0", probe, told(reference[0]), 0.0)
    assert [(row.precision, row.passed) for row in rows] == [("fp32", True), ("bf16", False)]
    assert rows[1].verdict.startswith("failed: RuntimeError: NPU function error")
    assert "AI core exception" in selftest._notes("npu:0", probe)[0]


@pytest.mark.parametrize(
    ("card", "environment", "expected"),
    [
        ("npu:3", {}, {"ASCEND_RT_VISIBLE_DEVICES": "3"}),
        ("npu:1", {"ASCEND_RT_VISIBLE_DEVICES": "4, 6"}, {"ASCEND_RT_VISIBLE_DEVICES": "6"}),
        ("cuda:0", {"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}, {"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}),
        ("cuda:GPU-8932f937", {"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}),
        ("mps", {}, {}),
    ],
)
def test_each_process_sees_one_card(card: str, environment: dict[str, str], expected: dict[str, str]) -> None:
    assert only_card(card, environment) == expected


@pytest.mark.slow
def test_the_process_that_trains_tells_what_the_table_shows() -> None:
    test = run_selftest([], Machine())
    (row,) = test.rows
    assert (row.device, row.precision, row.verdict) == ("cpu", "fp32", "reference")
    assert test.passed
    table = render_selftest(test)
    assert f"losses within {LOSS_TOLERANCE:g} at every step" in table
    assert f"{row.first_loss:.4f} to {row.last_loss:.4f}" in table


def test_a_cpu_that_cannot_be_trained_on(tmp_path: Path) -> None:
    write(tmp_path, "torch/__init__.py", "raise ImportError('libcudnn.so.9: cannot open shared object file')")
    with pytest.raises(DeviceError, match=r"the self-test fails on the CPU: ImportError: libcudnn\.so\.9"):
        run_selftest(["npu:0"], Machine(environment={**os.environ, "PYTHONPATH": str(tmp_path)}))
