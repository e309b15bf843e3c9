"""Explain error messages of torch, torch_npu, CANN, HCCL, CUDA and NCCL, and say how to fix their causes.

The table maps patterns of recorded messages to explanations. Sources: the CANN troubleshooting reference for the codes
of HCCL (EI....) and HCCP (EJ....), CANN's ``rt_error_codes.h`` and its aclnn return codes for the numbers, and user
reports for the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SET_ENV = "source CANN's set_env.sh (/usr/local/Ascend/cann/set_env.sh; before CANN 8.5 /usr/local/Ascend/"
_SET_ENV += "ascend-toolkit/set_env.sh) in the shell that starts earmark"
_MATCHING = "install versions that belong together: `earmark doctor --device npu` names them"
_SMALLER = "halve --per_device_train_batch_size and double --gradient_accumulation_steps, or shorten "
_SMALLER += "--max_length_seconds"
_LOGS = "read the first ERROR in the plog files of every rank (~/ascend/log/debug/plog)"
_WHICH_OPERATOR = "export ASCEND_LAUNCH_BLOCKING=1 to see which operator failed; " + _LOGS
# Source lines in a traceback quote messages that were never raised.
_SOURCE_LINES = re.compile(r'^(\s*File "[^"\n]*", line \d+.*\n)(?: {4,}.*\n)+', re.MULTILINE)


@dataclass(frozen=True)
class Explanation:
    """An explained error.

    Attributes:
        means: what happened.
        fix: the command or the change that fixes it.
        line: the line of the text that contains the error.
    """

    means: str
    fix: str
    line: str


@dataclass(frozen=True)
class Fault:
    """A known error, recognized by its text.

    Attributes:
        pattern: matches part of the error's text.
        means: what happened.
        fix: the command or the change that fixes it.
    """

    pattern: re.Pattern[str]
    means: str
    fix: str


def _fault(pattern: str, means: str, fix: str) -> Fault:
    return Fault(re.compile(pattern, re.IGNORECASE | re.DOTALL), means, fix)


# error code in the text -> (meaning, fix)
_HCCL_CODES = {
    "EI0001": ("an HCCL_* environment variable has an invalid value", "correct or unset the variable in the message"),
    "EI0002": (
        "a card waited for another one longer than HCCL_EXEC_TIMEOUT (1836 s unless set): a rank failed, is much "
        "slower, or has a different number of batches",
        "look at the other ranks first: the one that stopped earliest has the cause; if all ranks are only slow, "
        "export HCCL_EXEC_TIMEOUT=3600",
    ),
    "EI0003": ("a collective operation got an invalid argument", _LOGS),
    "EI0004": ("the rank table does not describe these machines", "correct the file in RANK_TABLE_FILE, or unset it"),
    "EI0005": (
        "ranks called the same collective operation with different arguments",
        "start every rank with the same command, code and data",
    ),
    "EI0006": (
        "no connection to another rank within HCCL_CONNECT_TIMEOUT (120 s unless set): that rank did not start, died, "
        "or its network cannot be reached",
        "check that every rank started; if preparing data takes longer on one of them, export "
        "HCCL_CONNECT_TIMEOUT=1200; check the cards' network with hccn_tool -i 0 -net_health -g",
    ),
    "EI0007": (
        "a resource for communication could not be allocated",
        "end the other processes that npu-smi info lists on these cards if they are yours, or wait for them",
    ),
    "EI0008": ("the ranks have different versions of CANN", "install the same CANN on every machine"),
    "EI0009": ("the link between two cards failed", "check every card's link: hccn_tool -i 0 -link -g"),
    "EI0010": ("two cards cannot reach each other's memory", "use cards that npu-smi info -t topo shows as connected"),
    "EI0011": ("too little memory on the card for HCCL's buffers", "export HCCL_BUFFSIZE=100, or use smaller batches"),
    "EI0012": ("copying between cards failed (SDMA)", "the other card's process may have died: " + _LOGS),
    "EI0013": (
        "the network between two cards lost packets, or the process at the other end died (RoCE CQE error)",
        "look at the other ranks first; then check the cards' network with hccn_tool -i 0 -link -g",
    ),
    "EI0014": ("the rank table contradicts itself", "correct the file in RANK_TABLE_FILE, or unset it"),
    "EI0015": (
        "some ranks never connected to the first rank",
        "check that all ranks started and that every machine can reach --master_addr (HCCL_SOCKET_IFNAME names the "
        "network interface)",
    ),
    "EI0016": ("settings of HCCL contradict each other", "unset the HCCL_* variables that are not needed"),
    "EI0019": ("a port is taken", "end the earlier run, or export HCCL_NPU_SOCKET_PORT_RANGE=auto"),
    "EI0020": ("a port is taken", "end the earlier run, or export HCCL_NPU_SOCKET_PORT_RANGE=auto"),
    "EJ0001": (
        "the communication process of a card did not start: an earlier run on this card has not ended yet",
        "end the processes that npu-smi info still lists on the card, wait 10 s and start again",
    ),
    "EJ0002": ("the card's network has no address", "set one with hccn_tool; hccn_tool -i 0 -ip -g shows it"),
    "EJ0003": (
        "an address and port are already in use, usually by an earlier run",
        "end that run, or choose another port: export HCCL_IF_BASE_PORT=50000",
    ),
    "EJ0004": (
        "the rank table has a wrong address for a card",
        "compare with hccn_tool -i 0 -ip -g and correct the file in RANK_TABLE_FILE",
    ),
}

# Return codes of CANN's runtime and operators.
_CANN_CODES = {
    "107001": (
        "there is no card with that number",
        "choose a number that npu-smi info lists; ASCEND_RT_VISIBLE_DEVICES may hide cards",
    ),
    "207001": (
        "the card's memory is full",
        _SMALLER,
    ),
    "207018": (
        "the card's memory is full",
        _SMALLER,
    ),
    "500001": (
        "CANN's operator compiler could not start: a Python package that it imports is missing, or numpy 2.x is "
        "installed with CANN 8.2 or older",
        "pip install attrs decorator psutil scipy sympy cloudpickle cffi pyyaml; with CANN up to 8.2 also 'numpy<2'",
    ),
    "507014": ("an operator exceeded the card's time limit", _LOGS),
    "507015": (
        "an operator failed on the card (AI core exception)",
        _WHICH_OPERATOR,
    ),
    "507018": (
        "an operator failed on the card (AI CPU exception)",
        _WHICH_OPERATOR,
    ),
    "507035": ("an operator failed on the card (vector core)", _WHICH_OPERATOR),
    "507046": ("the card did not finish its work in time", _LOGS),
    "507899": ("the driver failed", "npu-smi info; if that fails too, reinstall the driver or restart the machine"),
    "561003": (
        "CANN has no compiled kernel for this card: its operator package is missing or is for another chip",
        "install Ascend-cann-kernels-<chip> (CANN up to 8.3) or Ascend-cann-<chip>-ops (8.5 and later)",
    ),
    "561103": ("the versions of CANN, its operators and the card do not match", _MATCHING),
}

_CODED = tuple(_fault(rf"\b{code}\b", means, fix) for code, (means, fix) in _HCCL_CODES.items()) + tuple(
    _fault(rf"(?:error code(?: is)?:?|ret(?:urn)?(?: code)?)\W{{0,3}}{code}\b", means, fix)
    for code, (means, fix) in _CANN_CODES.items()
)

_NO_FILE = r"[^\s:]*: cannot open shared object file"
_LIBRARIES = (
    _fault(
        r"lib(?:ascend_hal|drvdsmi_host|dcmi|mmpa|c_sec)\.so" + _NO_FILE,
        "the Ascend driver's libraries are not found: there is no driver, or the container does not see it",
        "install the driver on the host; in a container mount /usr/local/Ascend/driver/lib64 and give it /dev/davinci0,"
        " /dev/davinci_manager, /dev/devmm_svm and /dev/hisi_hdc; on a machine without a card: pip uninstall torch_npu",
    ),
    _fault(
        r"lib(?:hccl|ascendcl|acl_op_compiler|ge_runner|graph|acl_tdt_channel|hcomm|runtime|profapi|msprofiler|opapi)"
        r"\.so" + _NO_FILE,
        "torch_npu does not find CANN: it is not installed, or its environment is not set in this shell",
        _SET_ENV + "; on a machine without a card: pip uninstall torch_npu",
    ),
    _fault(
        r"lib(?:cudart|cublas|cublasLt|cudnn|cufft|curand|cusparse|cusparseLt|nccl|nvJitLink|cupti|nvshmem\w*)\.so"
        + _NO_FILE,
        "torch was built for CUDA, and its CUDA libraries are missing",
        "install torch again with the libraries it requires: pip install --force-reinstall torch==<the same version>",
    ),
    _fault(
        r"libgomp[^\n]*cannot allocate memory in static TLS block",
        "on this processor, the OpenMP library has to be loaded before all other libraries",
        "export LD_PRELOAD=<the path of libgomp in the message>",
    ),
    _fault(
        r"version `(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+' not found",
        "the system's C or C++ library is older than the one the package was built for",
        "use a newer system or container image, or a version of the package that was built for this system",
    ),
)
_SYMBOLS = (
    _fault(
        r"undefined symbol: (?:hal|drv|dcmi)\w*",
        "the driver is older than CANN expects",
        "update the driver to the version that CANN's release notes name",
    ),
    _fault(
        r"torch_npu[^\n]*undefined symbol: _Z\w{0,4}?(?:3c10|2at|5torch)",
        "torch_npu was built for another version of torch",
        "install the pair: pip install torch==2.12.0 torch_npu==2.12.0, or the versions in another row of "
        "docs/doctor.md",
    ),
    _fault(
        r"(?:torch_npu|/Ascend/)[^\n]*undefined symbol: \w+|undefined symbol: (?:Msprof|acl|Hccl)\w+",
        "the versions of torch_npu and CANN do not match",
        _MATCHING,
    ),
)
_OPERATORS = (
    _fault(
        r"\w+ not in libopapi\.so",
        "CANN lacks an operator that torch_npu calls: its operator package is missing, or CANN is older than this "
        "torch_npu needs",
        "install Ascend-cann-kernels-<chip> (CANN up to 8.3) or Ascend-cann-<chip>-ops (8.5 and later), for the CANN "
        "version that torch_npu needs",
    ),
)
_SETTINGS = (
    _fault(
        r"Both PYTORCH_NPU_ALLOC_CONF and PYTORCH_ALLOC_CONF",
        "PYTORCH_ALLOC_CONF and PYTORCH_NPU_ALLOC_CONF are both set, which torch_npu refuses",
        "unset PYTORCH_ALLOC_CONF",
    ),
    _fault(
        r"module 'torch_npu' has no attribute",
        "Python imports an incomplete torch_npu: a folder of that name in the working directory, or a broken install",
        "change to another directory; else pip install --force-reinstall --no-deps torch_npu==<the version of torch>",
    ),
    _fault(
        r"dcmi (?:module initialize|model initialized) failed|DrvMngGetConsoleLogLevel failed",
        "npu-smi cannot talk to the driver: it is not loaded, or this user or container has no access to it",
        "run it as root on the host; sudo usermod -aG HwHiAiUser $USER gives access",
    ),
)
_CUDA = (
    _fault(
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient",
        "the NVIDIA driver is too old for the CUDA version that torch was built for",
        "update the driver, or install a torch for an older CUDA version (nvidia-smi shows the newest that works)",
    ),
    _fault(
        r"Driver/library version mismatch",
        "the NVIDIA driver was updated, but the old one is still loaded",
        "restart the machine",
    ),
    _fault(
        r"Torch not compiled with CUDA enabled",
        "this torch is a build for the CPU only",
        "pip install --force-reinstall torch==<the same version> from the index for your CUDA",
    ),
    _fault(
        r"no kernel image is available|is not compatible with the current PyTorch installation",
        "this torch has no code for the architecture of the card",
        "install a torch built for a CUDA version that supports the card",
    ),
    _fault(
        r"CUDA-capable devices? (?:is|are) busy|No CUDA GPUs are available|no CUDA-capable device",
        "torch sees no GPU that it may use: hidden by CUDA_VISIBLE_DEVICES, taken by another process, or not given to "
        "this container",
        "check CUDA_VISIBLE_DEVICES and nvidia-smi; start the container with --gpus all",
    ),
)
_MEMORY = (
    _fault(
        r"(?:NPU|CUDA|XPU|MPS)[^\n]{0,40}out of memory",
        "the card's memory is full",
        _SMALLER,
    ),
)
_RUNNING = (
    _fault(
        r"HCCL[^\n]*(?:timeout|timed out)|wait socket establish timeout",
        "ranks waited for each other too long: one did not start, died or is much slower",
        "look at the other ranks first; HCCL_CONNECT_TIMEOUT (120 s) and HCCL_EXEC_TIMEOUT (1836 s) raise the limits",
    ),
    _fault(
        r"NCCL[^\n]*(?:timeout|timed out)|Watchdog caught collective operation timeout",
        "ranks waited for each other too long: one did not start, died or is much slower",
        "look at the other ranks first; --ddp_timeout raises the limit",
    ),
    _fault(
        r"ncclSystemError|ncclUnhandledCudaError|ncclInternalError|NCCL error",
        "NCCL failed: the network between the cards, too little /dev/shm, or a card that failed",
        "export NCCL_DEBUG=INFO to see the cause; start a container with --shm-size=8g; NCCL_SOCKET_IFNAME names the "
        "interface",
    ),
)
_RANKS = (
    _fault(
        r"Connection closed by peer|Connection reset by peer|Broken pipe|Connection refused|recvBytes",
        "the connection to another rank was lost: that rank has ended or its machine is gone",
        "look at the other ranks first: the one that stopped earliest has the cause",
    ),
    _fault(
        r"Timed out waiting \d+ms|Wait timeout|client socket has timed out|Gloo[^\n]*tim(?:eout|ed out)",
        "a rank waited for another one longer than --ddp_timeout (1800 s unless set)",
        "look at the other ranks first; check that all machines have started and can reach each other",
    ),
)
_GENERAL = (
    _fault(
        r"Failed to load the backend extension: torch_npu",
        "importing torch loads the installed torch_npu, and that failed; torch itself may be fine",
        _MATCHING + "; on a machine without a card: pip uninstall torch_npu",
    ),
    _fault(
        r"compiled using NumPy 1\.x cannot be run|numpy\.core\.multiarray failed to import",
        "a package was built for numpy 1, but numpy 2 is installed",
        "pip install 'numpy<2', or a newer version of the package",
    ),
    _fault(
        r"No module named '(?P<package>torch|torch_npu|transformers|accelerate|numpy|soundfile|soxr)'",
        "a package is not installed in this Python",
        r"pip install \g<package> into the environment that earmark runs in",
    ),
    _fault(
        r"call acl api failed|ERR00100|ERR02200|EZ9999|EE9999",
        "CANN failed and describes the reason only in its own log",
        _LOGS,
    ),
)

_FAULTS = (*_MEMORY, *_SETTINGS, *_LIBRARIES, *_SYMBOLS, *_OPERATORS, *_CODED, *_CUDA, *_RUNNING, *_GENERAL)


def codes() -> dict[str, tuple[str, str]]:
    """Return what each known code of HCCL and CANN means and how to fix it."""
    return _HCCL_CODES | _CANN_CODES


def texts() -> tuple[Fault, ...]:
    """Return the known error texts without a code."""
    return tuple(one for one in (*_FAULTS, *_RANKS) if one not in _CODED)


def explain(text: str, *, of_ranks: bool = False) -> Explanation | None:
    """Explain an error message of a library.

    Args:
        text: the message, or the whole output of a process.
        of_ranks: whether a distributed run printed it, where a lost connection means a lost rank.

    Returns:
        The most specific explanation, or ``None`` for an error that is not in the table.
    """
    text = _SOURCE_LINES.sub(r"\1", text)
    for fault in (*_FAULTS, *_RANKS) if of_ranks else _FAULTS:
        match = fault.pattern.search(text)
        if match:
            start = text.rfind("\n", 0, match.start()) + 1
            return Explanation(fault.means, match.expand(fault.fix), text[start:].partition("\n")[0].strip())
    return None
