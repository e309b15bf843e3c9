"""The self-test: what it compares, and that it notices a device that computes otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from earmark.doctor import selftest
from earmark.doctor.children import Probe
from earmark.doctor.machine import Answer, Machine
from earmark.doctor.selftest import LOSS_TOLERANCE, WEIGHT_TOLERANCE, only_card, render_selftest, run_selftest
from earmark.doctor.selftest_worker import STEPS, train_once

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
    (row,) = selftest._rows_of("npu:0", told(card[0]), told(reference[0]), distance)
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


def test_half_precision_has_to_stay_finite(reference: Trained) -> None:
    figures = {"losses": [1.1] * STEPS, "finite": True, "seconds": 1.0}
    for finite, verdict in ((True, "finite"), (False, "NaN or infinite")):
        probe = told({**figures, "finite": finite}, "fp16")
        (row,) = selftest._rows_of("npu:0", probe, told(reference[0]), None)
        assert (row.precision, row.passed, row.verdict) == ("fp16", finite, verdict)


def test_a_precision_that_a_card_dies_in_is_named(reference: Trained) -> None:
    results = {"fp32": reference[0], "trying": "bf16"}
    probe = Probe(
        results, Answer(1, "", "RuntimeError: NPU function error: call aclnnAdd failed, error code is 507015")
    )
    rows = selftest._rows_of("npu:0", probe, told(reference[0]), 0.0)
    assert [(row.precision, row.passed) for row in rows] == [("fp32", True), ("bf16", False)]
    assert rows[1].verdict.startswith("failed: RuntimeError: NPU function error")
    assert "AI core exception" in selftest._notes("npu:0", probe)[0]


@pytest.mark.parametrize(
    ("card", "environment", "expected"),
    [
        ("npu:3", {}, {"ASCEND_RT_VISIBLE_DEVICES": "3"}),
        ("npu:1", {"ASCEND_RT_VISIBLE_DEVICES": "4, 6"}, {"ASCEND_RT_VISIBLE_DEVICES": "6"}),
        ("cuda:0", {"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}, {"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}),
        ("mps", {}, {}),
    ],
)
def test_each_process_sees_one_card(card: str, environment: dict[str, str], expected: dict[str, str]) -> None:
    assert only_card(card, environment) == expected


def test_on_a_machine_with_the_cpu_alone() -> None:
    """The processes themselves, with a card that is not there."""
    test = run_selftest(["npu:99"], Machine())
    assert [(row.device, row.verdict == "reference", row.passed) for row in test.rows] == [
        ("cpu", True, True),
        ("npu:99", False, False),
    ]
    table = render_selftest(test)
    assert f"losses within {LOSS_TOLERANCE:g} at every step" in table
    assert "failed: earmark.errors.DeviceError: --device npu: " in table
    assert test.to_dict()["passed"] is False
