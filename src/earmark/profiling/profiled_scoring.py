"""Profile the batches of the inference loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from earmark.device import supports_bf16
from earmark.families.model_parts import StepPart
from earmark.profiling.bounds import Advice
from earmark.profiling.part_ranges import named_range, range_name
from earmark.profiling.profile_session import ProfileRequest, ProfileSession
from earmark.scoring.torch_scorer import TorchScorer

_WARM_UP = 1


@contextmanager
def profiled_scoring(scorer: TorchScorer, steps: int, folder: Path, *, workers: str = "") -> Iterator[ProfileSession]:
    """Profile the batches that a scorer computes inside the block.

    Args:
        scorer: the scorer.
        steps: number of batches to profile.
        folder: folder for the files.
        workers: flag for the number of threads that decode recordings; empty without one.

    Raises:
        DeviceError: this installation cannot profile the device.
        OutputError: the folder cannot be made.
    """
    precision = "--precision bf16" if supports_bf16(scorer.device) else ""
    advice = Advice(workers, "--batch_size", "", precision)
    session = ProfileSession(ProfileRequest(steps, _WARM_UP, "batch", folder, advice), scorer.device)
    model: Any = scorer.model
    session.ranges.add_model(model, model.forward.family)
    for name in ("pack", "inputs"):
        session.ranges.add_call(scorer.frontend, name, range_name(StepPart.FRONTEND))
    calls = _Calls(scorer, session)
    try:
        yield session
    finally:
        calls.restore()
        session.close()


class _Calls:
    """Wraps the methods of a scorer: each batch ends a step, and time outside sessions counts as waiting for data."""

    def __init__(self, scorer: TorchScorer, session: ProfileSession) -> None:
        self._scorer = cast(Any, scorer)
        self._profile = session
        self._compute, self._open = scorer.logits, scorer.session
        self._waiting: AbstractContextManager[object] | None = None
        self._scorer.logits, self._scorer.session = self.logits, self.session
        self._wait()

    def _wait(self) -> None:
        self._waiting = named_range(range_name(StepPart.DATA))
        self._waiting.__enter__()

    def _resume(self) -> None:
        if self._waiting is not None:
            self._waiting.__exit__(None, None, None)
            self._waiting = None

    def logits(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        self._resume()
        logits = self._compute(waveforms)
        self._profile.step()
        return logits

    @contextmanager
    def session(self) -> Iterator[None]:
        self._resume()
        with self._open():
            yield
        self._wait()

    def restore(self) -> None:
        self._resume()
        del self._scorer.logits, self._scorer.session
