from __future__ import annotations

import os
import signal
import time

import pytest

from earmark.train import stopping
from earmark.train.stopping import StopOnSignal
from tests.patience import PATIENCE_S


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_copy_of_a_signal_is_passed_over_and_a_second_one_stops_at_once(
    told: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(told)
    monkeypatch.setattr(stopping, "_SAME_WITHIN_S", PATIENCE_S)  # a busy machine may pause between the two
    with StopOnSignal() as signals:
        os.kill(os.getpid(), told)
        os.kill(os.getpid(), told)
        assert signals.signal == told.name
        monkeypatch.setattr(stopping, "_SAME_WITHIN_S", 0.01)
        time.sleep(0.05)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), told)
    assert signal.getsignal(told) == before
