"""What libraries say when ranks lose each other, as recorded or as their sources have it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from earmark.accelerator_faults import ACCELERATOR_FAULTS, explain_fault

TEXTS = {
    "HcclAllReduce failed\nEI0002: The wait execution of the Notify register times out. Reason: ...": "slower",
    "EI0006: Getting socket times out. Reason: Remote Rank did not send the data in time": "HCCL_CONNECT_TIMEOUT",
    "EJ0001: Failed to initialize the HCCP process. Reason: Maybe the last training process is running.": "earlier run",
    "EI0004: The ranktable is invalid,Reason:[rank list size is 7 not 8].": "rank table",
    "[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=5, OpType=ALLREDUCE)": "--ddp_timeout",
    "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled system error\nncclSystemError: System call failed": "network",
    "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:22196.": "has ended",
    "Timed out waiting 1800000ms for recv operation to complete": "waited for another one",
    "wait timeout after 60000ms, keys: /torch.rendezvous.job.1/MASTER_ADDR": "waited for another one",
}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:20])
def test_a_text_is_explained(text: str) -> None:
    fault = explain_fault(text)
    assert fault is not None
    assert TEXTS[text] in fault.means


@pytest.mark.parametrize("text", ["mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)", "CUDA out of memory"])
def test_other_errors_are_not(text: str) -> None:
    assert explain_fault(text) is None


def test_the_page_has_every_code() -> None:
    page = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")
    codes = {code for fault in ACCELERATOR_FAULTS for code in re.findall(r"E[IJ]\d{4}", fault.pattern)}
    assert {"EI0002", "EJ0001"} <= codes
    assert codes == set(re.findall(r"E[IJ]\d{4}", page))
