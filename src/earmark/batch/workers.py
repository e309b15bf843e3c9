"""Start of a data-loader worker. Imports no Transformers: macOS and Windows start each worker as a new process."""

from __future__ import annotations

import os
import signal
import sys
import threading


def begin_worker(number: int) -> None:
    """Keep a worker running until the trainer ends it, even if a signal goes to all processes.

    Clusters and ``kill -- -GROUP`` signal all processes. A worker that ends then takes the step with it, and the
    checkpoint. torch ends its workers with SIGTERM too, so a worker obeys SIGTERM from its parent only.

    Transformers seeds its workers here. earmark does not: torch has seeded them, and a clip's augmentation depends on
    the seed, the epoch and the row only.

    Args:
        number: of the worker, as torch passes it.
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
