"""Set up a data-loader worker without importing Transformers: on macOS and Windows each worker is a new process."""

from __future__ import annotations

import os
import signal
import sys
import threading


def begin_worker(number: int) -> None:
    """Keep a worker running until the trainer ends it, even if all processes get a signal.

    Clusters and ``kill -- -GROUP`` signal all processes. If a worker ended then, the trainer could not finish its step
    and save a checkpoint. torch also ends its workers with SIGTERM, so a worker obeys SIGTERM only from its parent.

    Transformers seeds its workers in this function. earmark does not: torch has already seeded them, and the
    augmentation of a clip depends only on the seed, the epoch and the row.

    Args:
        number: number of the worker, passed by torch.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux" and hasattr(signal, "sigwaitinfo"):  # elsewhere SIGTERM ends the worker
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_parent, name="signals", daemon=True).start()


def _wait_for_parent() -> None:
    if sys.platform == "linux" and hasattr(signal, "sigwaitinfo"):
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)
