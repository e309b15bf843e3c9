"""Traces of GPUs and NPUs, written by hand as the profilers write them."""

from __future__ import annotations

from typing import Any

from earmark.profiling.trace_events import read_events


def entry(name: str, **others: Any) -> dict[str, Any]:
    return {"ph": "X", "name": name, "pid": 1, "tid": 2, "ts": 10.0, "dur": 5.0, **others}


def test_a_trace_of_a_gpu() -> None:
    arguments = {
        "External id": 4, "Sequence number": 12, "Fwd thread id": 0, "Input Dims": [[3, 4], [], [[2], [3]]],
        "Input type": ["", "c10::Half"], "Concrete Inputs": ["", "[1]"],
    }  # fmt: skip
    events = read_events(
        {
            "traceEvents": [
                {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "python"}},
                entry("aten::mm", cat="cpu_op", args=arguments),
                entry("MmBackward0", cat="cpu_op", args={"Sequence number": 12, "Fwd thread id": 1}),
                entry("earmark: MLP", cat="user_annotation", args={}),
                entry("earmark: MLP", cat="gpu_user_annotation", args={}),
                entry("cudaLaunchKernel", cat="cuda_runtime", args={"External id": 4}),
                entry("gemm", cat="kernel", ts=20, args={"External id": 4, "stream": 7}),
            ]
        }
    )
    operator, node, annotation, gemm = events
    assert (operator.id, operator.sequence, operator.is_backward, operator.end_us) == (4, 12, False, 15.0)
    assert operator.shapes[0] == [3, 4]
    assert operator.dtype == "c10::Half"
    assert operator.values == ["", "[1]"]
    assert node.is_backward
    assert annotation.name == "earmark: MLP"
    assert gemm.thread is None
    assert gemm.launched_by == operator.id


def test_a_trace_of_an_npu() -> None:
    """A list of events; times and shapes are text, and arrows lead from operators to what runs on the device."""
    arguments = {"Sequence number": -1, "Fwd thread id": 0, "Input Dims": "3,4;\r\n4,5;\r\n;", "Input type": "float;"}
    events = read_events(
        [
            {"ph": "M", "name": "process_name", "pid": 9, "args": {"name": "Ascend Hardware"}},
            entry("aten::mm", cat="cpu_op", ts="10.250", args=arguments),
            entry("MatMulV2", pid=9, tid=3, ts="30.125", dur=7.5, args={}),
            {"ph": "s", "cat": "async_npu", "name": "torch_to_npu", "id": 1, "pid": 1, "tid": 2, "ts": "10.250"},
            {"ph": "f", "cat": "async_npu", "name": "torch_to_npu", "id": 1, "pid": 9, "tid": 3, "ts": "30.125"},
            entry("hcom_allReduce_", pid=9, tid=4, ts="40.0", dur=1),
            entry("Dequeue@aclnnMatmul", cat="dequeue", args={}),
        ]
    )
    operator, product, collective = events
    assert operator.sequence is None
    assert list(operator.shapes) == [[3, 4], [4, 5], [], []]
    assert product.thread is None
    assert product.launched_by == operator.id
    assert (product.start_us, product.duration_us) == (30.125, 7.5)
    assert collective.launched_by is None
