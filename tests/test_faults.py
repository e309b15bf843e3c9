"""Recorded error texts and what is said about them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from earmark.faults import explain

# what importing torch prints where torch_npu is installed and CANN is not
BROKEN_PLUGIN = """\
Traceback (most recent call last):
  File "site-packages/torch/__init__.py", line 2756, in _import_device_backends
    entrypoint = backend_extension.load()
  File "site-packages/torch_npu/utils/__init__.py", line 1, in <module>
    from torch_npu import _C
ImportError: {library}: cannot open shared object file: No such file or directory

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "<string>", line 1, in <module>
RuntimeError: Failed to load the backend extension: torch_npu. You can disable extension auto-loading with \
TORCH_DEVICE_BACKEND_AUTOLOAD=0.
"""
CANN_LIBRARIES = ["libhccl", "libascendcl", "libacl_op_compiler", "libge_runner", "libgraph", "libacl_tdt_channel"]


@pytest.mark.parametrize("library", CANN_LIBRARIES)
def test_a_missing_library_of_cann(library: str) -> None:
    told = explain(BROKEN_PLUGIN.format(library=f"{library}.so"))
    assert told is not None
    assert "does not find CANN" in told.means
    assert "set_env.sh" in told.fix
    assert told.line == f"ImportError: {library}.so: cannot open shared object file: No such file or directory"


def test_a_missing_library_of_the_driver() -> None:
    told = explain(BROKEN_PLUGIN.format(library="libascend_hal.so"))
    assert told is not None
    assert "driver" in told.means
    assert "/dev/davinci_manager" in told.fix


RECORDED = [
    ("RuntimeError: Failed to load the backend extension: torch_npu. You can disable", "torch itself may be fine"),
    ("AttributeError: module 'torch_npu' has no attribute '_autoload'", "working directory"),
    ("ImportError: site-packages/torch_npu/lib/libtorch_npu.so: undefined symbol: _ZNK2at10TensorBase4nameB5", "torch"),
    ("ImportError: libtorch_npu.so: undefined symbol: MsprofSysCycleTime", "CANN"),
    ("ImportError: libtorch_npu.so: undefined symbol: _ZN3atb15CreateOperationINS_5infer14GroupTopkParamE", "CANN"),
    ("ImportError: /usr/local/Ascend/lib64/libruntime.so: undefined symbol: halMemGetInfoEx", "driver is older"),
    ("RuntimeError: Both PYTORCH_NPU_ALLOC_CONF and PYTORCH_ALLOC_CONF have been set, please set", "both set"),
    (
        "RuntimeError: aclnnForeachMulScalar or aclnnForeachMulScalarGetWorkspaceSize not in libopapi.so",
        "CANN lacks an operator",
    ),
    ("dcmi module initialize failed. ret is -8005", "cannot talk to the driver"),
    ("NPU function error: aclrtSetDevice, error code is 507899", "driver failed"),
    ("NPU function error: call aclnnInplaceZero failed, error code is 561103", "do not match"),
    ("AclSetCompileopt(ACL_PRECISION_MODE), error code is 500001", "Python package"),
    ("RuntimeError: NPU out of memory. Tried to allocate 2.00 GiB (NPU 0; 60.97 GiB total)", "memory is full"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.", "memory is full"),
    ("UserWarning: CUDA initialization: The NVIDIA driver on your system is too old (found version 12080).", "older"),
    ("Failed to initialize NVML: Driver/library version mismatch", "old one is still loaded"),
    ("AssertionError: Torch not compiled with CUDA enabled", "CPU only"),
    ("RuntimeError: No CUDA GPUs are available", "CUDA_VISIBLE_DEVICES"),
    ("CUDA error: no kernel image is available for execution on the device", "architecture"),
    ("ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory", "CUDA libraries"),
    ("ImportError: libgomp-d22c30c5.so.1.0.0: cannot allocate memory in static TLS block", "OpenMP"),
    ("ImportError: /lib64/libc.so.6: version `GLIBC_2.34' not found (required by x.so)", "older"),
    ("Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7)", "waited for each other"),
    ("[Wait][LinkEstablish]wait socket establish timeout, role[0] rank[0] timeout[120 s]", "waited for each other"),
    ("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:268", "NCCL failed"),
]


@pytest.mark.parametrize(("text", "means"), RECORDED, ids=lambda text: text[:40])
def test_recorded_texts(text: str, means: str) -> None:
    told = explain(f"some line before\n{text}\nand one behind")
    assert told is not None
    assert means in f"{told.means} {told.fix}"
    assert told.fix
    assert told.line == text


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("EI0001: 2024-04-20-10:42:34 Environment variable [HCCL_EXEC_TIMEOUT] is invalid.", "environment variable"),
        ("EI0002: The wait execution of the Notify register times out.", "HCCL_EXEC_TIMEOUT"),
        ("Communication_Error_Get_Socket(EI0006): timeout[120 s]", "HCCL_CONNECT_TIMEOUT"),
        ("Execution Error ROCE CQE(EI0013): An error CQE occurred during operator execution.", "lost packets"),
        ("EJ0001: Failed to initialize the HCCP process.", "earlier run"),
        ("Bind_Failed(EJ0003): Failed to bind the IP port.", "already in use"),
    ],
)
def test_codes_of_hccl_win_over_general_words(text: str, means: str) -> None:
    told = explain(f"[ERROR] (PID:2090824) ERR02200 DIST call hccl api failed.\n{text}\nHCCL timeout")
    assert told is not None
    assert means in told.means
    assert told.line == text


def test_a_missing_package_is_named() -> None:
    told = explain("ModuleNotFoundError: No module named 'soxr'")
    assert told is not None
    assert told.fix == "pip install soxr into the environment that earmark runs in"


def test_numbers_that_are_no_error_codes_are_left_alone() -> None:
    assert explain("trained 507014 clips, loss 0.207001, error code is 1") is None
    assert explain("") is None
    assert explain("ValueError: expected 3 arguments") is None


def test_code_in_a_traceback_is_not_what_was_raised() -> None:
    quoted = '  File "a.py", line 3, in f\n    raise RuntimeError("Torch not compiled with CUDA enabled")\n    ~~~^^^\n'
    assert explain(f"Traceback (most recent call last):\n{quoted}ValueError: x") is None
    told = explain(f"{quoted}RuntimeError: No CUDA GPUs are available")
    assert told is not None
    assert told.line == "RuntimeError: No CUDA GPUs are available"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4021", "connection to another rank"),
        ("Timed out waiting 1800000ms for recv operation to complete", "longer than --ddp_timeout"),
    ],
)
def test_a_lost_rank_is_one_only_in_a_distributed_run(text: str, words: str) -> None:
    assert explain(text) is None
    found = explain(text, of_ranks=True)
    assert found is not None
    assert words in found.means


# as recorded, or as the libraries' sources have it
OF_RANKS = {
    "HcclAllReduce failed\nEI0002: The wait execution of the Notify register times out. Reason: ...": "slower",
    "EI0006: Getting socket times out. Reason: Remote Rank did not send the data in time": "HCCL_CONNECT_TIMEOUT",
    "EJ0001: Failed to initialize the HCCP process. Reason: Maybe the last training process is running.": "earlier run",
    "EI0004: The ranktable is invalid,Reason:[rank list size is 7 not 8].": "rank table",
    "[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=5, OpType=ALLREDUCE)": "--ddp_timeout",
    "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled system error\nncclSystemError: System call failed": "network",
    "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:22196.": "has ended",
    "wait timeout after 60000ms, keys: /torch.rendezvous.job.1/MASTER_ADDR": "waited for another one",
}


@pytest.mark.parametrize("text", OF_RANKS, ids=lambda text: text[:20])
def test_what_ranks_say_when_they_lose_each_other(text: str) -> None:
    found = explain(text, of_ranks=True)
    assert found is not None
    assert OF_RANKS[text] in found.means + found.fix


def test_the_documentation_knows_only_codes_that_are_explained() -> None:
    pages = [*(Path(__file__).parents[1] / "docs").rglob("*.md")]
    codes = {code for page in pages for code in re.findall(r"\bE[IJ]\d{4}\b", page.read_text(encoding="utf-8"))}
    assert "EI0002" in codes
    assert all(explain(f"{code}: failed") for code in codes)
