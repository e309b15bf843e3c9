"""What it means, in words, when ranks of a distributed run lose each other: texts of HCCL, NCCL, gloo and torch.

A table of patterns over what the libraries say. It knows their wording and imports nothing. Sources: the CANN
troubleshooting reference for the codes of HCCL (EI....) and HCCP (EJ....), the NCCL manual for its results, torch's own
texts for the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_OTHERS_FIRST = "look at the other ranks first: the one that stopped earliest has the cause"
_PLOG = "the first ERROR in ~/ascend/log/debug/plog of each rank says more"


@dataclass(frozen=True)
class AcceleratorFault:
    """One way in which ranks fail.

    Attributes:
        pattern: what the text of the error holds.
        means: what has happened.
        mend: what puts it right.
    """

    pattern: str
    means: str
    mend: str


# More telling ones first: one text can match several.
ACCELERATOR_FAULTS = (
    AcceleratorFault(
        "EI0001", "an HCCL_* environment variable has a value that HCCL refuses", "correct or unset the one it names"
    ),
    AcceleratorFault(
        "EI0002",
        "a card waited for another one until HCCL_EXEC_TIMEOUT (1836 s unless set): a rank failed, is much slower, or "
        "has another number of batches",
        f"{_OTHERS_FIRST}; only where all are merely slow: export HCCL_EXEC_TIMEOUT=3600",
    ),
    AcceleratorFault("EI0003", "a collective operation was given an argument that HCCL refuses", _PLOG),
    AcceleratorFault(
        "EI0004|EI0014",
        "the rank table does not describe these machines",
        "correct the file in RANK_TABLE_FILE, or unset it",
    ),
    AcceleratorFault(
        "EI0005",
        "ranks called the same collective operation with different arguments",
        "start every rank with the same command, code and data",
    ),
    AcceleratorFault(
        "EI0006|wait socket establish timeout",
        "no connection to another rank within HCCL_CONNECT_TIMEOUT (120 s unless set): it did not start, died, or its "
        "network is out of reach",
        "see that every rank has started; where they start at different times: export HCCL_CONNECT_TIMEOUT=1200; "
        "hccn_tool -i 0 -net_health -g checks the network of a card",
    ),
    AcceleratorFault(
        "EI0007|EI0011",
        "HCCL got no memory or other resource on the card",
        "end what else npu-smi info lists there, or make its buffers smaller: export HCCL_BUFFSIZE=100",
    ),
    AcceleratorFault("EI0008", "the ranks have different versions of CANN", "install the same one on every machine"),
    AcceleratorFault(
        "EI0009|EI0010|EI0012|EI0013",
        "the link between two cards failed, or the process at its other end died",
        f"{_OTHERS_FIRST}; hccn_tool -i 0 -link -g checks the link of a card",
    ),
    AcceleratorFault(
        "EI0015",
        "some ranks never reached the first one",
        "see that all have started and can reach --master_addr or --rdzv_endpoint; HCCL_SOCKET_IFNAME names the "
        "network interface",
    ),
    AcceleratorFault(
        "EI0019|EI0020|EJ0003",
        "a port or address is taken, mostly by an earlier run",
        "end that run, or choose other ports: export HCCL_IF_BASE_PORT=50000",
    ),
    AcceleratorFault(
        "EJ0001",
        "the communication process of a card did not start: an earlier run on it has not ended yet",
        "end what npu-smi info still lists on the card, wait 10 s and start again",
    ),
    AcceleratorFault(
        "EJ0002|EJ0004",
        "the card's own network is not set up, or is not what the rank table says",
        "hccn_tool -i 0 -ip -g shows the address that the card has",
    ),
    AcceleratorFault(
        "Watchdog caught collective operation timeout|NCCL[^\\n]{0,200}(?:timeout|timed out)",
        "a card waited for another one until --ddp_timeout (1800 s unless set): a rank failed, is much slower, or has "
        "another number of batches",
        f"{_OTHERS_FIRST}; only where all are merely slow: --ddp_timeout 3600",
    ),
    AcceleratorFault(
        "ncclSystemError|ncclInternalError|ncclUnhandledCudaError|ncclRemoteError|NCCL error",
        "NCCL failed: the network between the cards, too little /dev/shm, or a rank that died",
        f"{_OTHERS_FIRST}; NCCL_DEBUG=INFO says which; NCCL_SOCKET_IFNAME names the network interface; a container "
        "takes --shm-size=8g",
    ),
    AcceleratorFault(
        "HCCL[^\\n]{0,200}(?:timeout|timed out)",
        "a card waited for another one too long",
        f"{_OTHERS_FIRST}; {_PLOG}",
    ),
    AcceleratorFault(
        "Connection closed by peer|Connection reset by peer|Broken pipe|Connection refused|recvBytes",
        "the connection to another rank was lost: it has ended or its machine is gone",
        _OTHERS_FIRST,
    ),
    AcceleratorFault(
        "Timed out waiting [0-9]+ms|Wait timeout|client socket has timed out|Gloo[^\n]{0,200}tim(?:eout|ed out)",
        "a rank waited for another one until --ddp_timeout (1800 s unless set)",
        f"{_OTHERS_FIRST}; see that all machines have started and can reach each other",
    ),
)


def explain_fault(text: str) -> AcceleratorFault | None:
    """The fault that the text of a library's error tells of; ``None`` for an error that is not in the table."""
    return next((fault for fault in ACCELERATOR_FAULTS if re.search(fault.pattern, text, re.IGNORECASE)), None)
