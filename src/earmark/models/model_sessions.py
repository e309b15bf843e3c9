"""Let several scorers and threads score with one model at the same time.

A scoring session sets evaluation mode, casts weights and replaces the forward of layers. All of this belongs to the
model, so the first session of any scorer prepares the model, and the last one restores it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from earmark.models.casting import cast_weights
from earmark.models.packed import PackedProducts, Packs

if TYPE_CHECKING:
    from earmark.models.forward import ModelForward


class ModelSessions:
    """The scoring sessions of one model.

    Passes with the model's own weights run at the same time. Passes with cast weights, which are swapped into the
    model, run alone.

    Args:
        forward: forward of the model.

    Attributes:
        keeps_packs: whether packed weights are kept after the last session, because the weights do not change.
        packed: the packed weights of the open sessions; ``None`` if they pack nothing.
    """

    def __init__(self, forward: ModelForward) -> None:
        self.keeps_packs = False
        self.packed: PackedProducts | None = None
        self._forward = forward
        self._changes = threading.Condition()
        self._num_open = self._num_passes = 0
        self._held = ExitStack()
        self._cast: dict[torch.dtype, dict[str, torch.Tensor]] = {}
        self._packs: Packs = {}

    def __reduce__(self) -> tuple[Any, ...]:  # a copy of a model starts without open sessions
        return ModelSessions, (self._forward,)

    @contextmanager
    def session(self, dtype: torch.dtype | None, roots: Sequence[nn.Module] = ()) -> Iterator[None]:
        """Set evaluation mode, and cast and pack the weights, until the last of overlapping sessions ends.

        Weights are cast and packed once, so do not change them in this context.

        Args:
            dtype: type of the passes of this session; ``None`` for the type of the weights.
            roots: modules whose weights are packed if no other session is open; see :class:`PackedProducts`.
        """
        with self._changes:
            if self._num_open == 0:
                self._prepare(roots)
            self._num_open += 1
        try:
            with self._changes:
                if dtype is not None and dtype not in self._cast:
                    self._forward.convolutions.check(dtype, backward=False)
                    self._cast[dtype] = cast_weights(self._forward.model, dtype)
            yield
        finally:
            with self._changes:
                self._num_open -= 1
                if self._num_open == 0:
                    self._held.close()

    def _prepare(self, roots: Sequence[nn.Module]) -> None:
        model = self._forward.model
        with ExitStack() as stack:
            stack.callback(model.train, model.training)
            stack.callback(self._forget)
            model.eval()
            if roots:
                self.packed = PackedProducts(*roots, activated=self._forward.family.activated_linears(model))
                stack.enter_context(self.packed.used(self._packs))
            self._held = stack.pop_all()

    def _forget(self) -> None:
        self.packed = None
        self._cast.clear()
        if not self.keeps_packs:
            self._packs.clear()

    def expect_changes(self) -> None:
        """Drop packed weights, because a pass with gradients precedes a change of the weights."""
        self.keeps_packs = False
        self._packs.clear()

    @contextmanager
    def computing(self, dtype: torch.dtype | None) -> Iterator[None]:
        """Let the model compute a pass in ``dtype``, which a session has cast the weights to."""
        if dtype is None:
            with self._changes:
                self._num_passes += 1
            try:
                yield
            finally:
                with self._changes:
                    self._num_passes -= 1
                    self._changes.notify_all()
            return
        with self.alone():
            before, self._forward.scoring_weights = self._forward.scoring_weights, self._cast.get(dtype)
            try:
                yield
            finally:
                self._forward.scoring_weights = before

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until other passes have ended, and let none begin in this context."""
        with self._changes:
            self._changes.wait_for(lambda: self._num_passes == 0)
            yield

    @contextmanager
    def unpacked(self) -> Iterator[None]:
        """Wait as :meth:`alone` does, and let passes in this context compute without packed weights."""
        with self.alone(), nullcontext() if self.packed is None else self.packed.paused():
            yield
