"""An iterator over recordings may be closed by the garbage collector, in any thread and at any moment."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import soundfile

from earmark.audio.reading import read_in_order, stream_in_order
from earmark.clips.clip import Clip
from tests.tiny import RATE_HZ, tone


@pytest.mark.parametrize("read", [read_in_order, stream_in_order])
def test_closing_it_waits_for_no_thread(read: Callable[..., Iterator[Any]]) -> None:
    buffer, may_go_on = io.BytesIO(), threading.Event()
    soundfile.write(buffer, tone(440, 0.1), RATE_HZ, format="WAV")

    def slow() -> bytes:
        may_go_on.wait(300)
        return buffer.getvalue()

    reading = read([Clip("a", read_bytes=buffer.getvalue), Clip("b", read_bytes=slow)], RATE_HZ, num_threads=1)
    assert next(reading)[0].source == "a"
    closed = threading.Thread(target=reading.close, daemon=True)
    closed.start()
    closed.join(60)
    assert not closed.is_alive()
    may_go_on.set()
