"""Cards for the tutorial of Ascend: those of the tests of NPUs."""

from __future__ import annotations

from tests.npu.conftest import npu

__all__ = ["npu"]
