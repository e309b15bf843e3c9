"""Gives the real torch_npu, over stub CANN libraries, the host's arithmetic; notes operators that it has no kernel for.

torch loads this package as a backend. ``_C`` is built from ``host_arithmetic.cpp`` by ``tests/npu/building.py``.
"""

from __future__ import annotations

import atexit
import json
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch_npu  # its kernels have to be there before they are replaced

from npu_host_arithmetic import _C

# of torch_npu: these handle memory, shapes and views only, and work on stub libraries as they are
KEPT = {
    "_copy_from_and_resize",
    "_has_compatible_shallow_copy_type",
    "_lazy_clone",
    "_local_scalar_dense",
    "_pin_memory",
    "_reshape_alias",
    "as_strided",
    "as_strided_",
    "copy_memory_",
    "empty.memory_format",
    "empty_strided",
    "empty_with_format",
    "empty_with_swapped_memory",
    "get_storage_size",
    "is_pinned",
    "is_set_to",
    "new_empty_strided",
    "record_stream",
    "resize_",
    "set_",
    "set_.source_Storage",
    "set_.source_Storage_storage_offset",
    "set_.source_Tensor",
    "unsafe_empty_with_format",
    "view",
    "view_as_complex",
    "view_as_real",
}
# implemented by host_arithmetic.cpp, one by one
OWN = {"_copy_from", "convolution_backward_overrideable", "convolution_overrideable", "copy_"}
# torch composes these of others, torch_npu has a kernel for the whole
COMPOSED = {
    "_convolution",
    "_to_copy",
    "clone",
    "contiguous",
    "convolution",
    "convolution_backward",
    "empty_like",
    "resize_as_",
    "scaled_dot_product_attention",
}
# torch's formula for _weight_norm, which stands here for torch_npu's, is made of these
OF_FORMULAS = {"_weight_norm_interface", "_weight_norm_interface_backward"}


def _registered(*keys: str) -> set[str]:
    """Operators of torch with a kernel for one of these dispatch keys, without the namespace."""
    names = [name for key in keys for name in torch._C._dispatch_get_registrations_for_dispatch_key(key)]
    return {name.removeprefix("aten::") for name in names if name.startswith("aten::")}


def _take_over() -> None:
    of_npu, of_cpu = _registered("PrivateUse1"), _registered("CPU")
    composed = _registered(
        "CompositeExplicitAutograd", "CompositeImplicitAutograd", "CompositeExplicitAutogradNonFunctional"
    )
    kernels = (of_npu & (of_cpu | composed)) - KEPT - OWN - COMPOSED | OF_FORMULAS
    missing = of_cpu - of_npu - composed - OF_FORMULAS
    formulas = _registered("AutogradPrivateUse1") & _registered("CompositeImplicitAutograd")
    _C.take_over(sorted(kernels), sorted(COMPOSED), sorted(missing), sorted(formulas))


def _hccl(store: Any, rank: int, size: int, timeout: Any) -> Any:
    return _C.hccl(dist.ProcessGroupGloo(store, rank, size, timeout=timeout))


def _write_census() -> None:
    folder = Path(os.environ["EARMARK_NPU_CENSUS"])
    internal_format = torch_npu._C._npu_getOption("ALLOW_INTERNAL_FORMAT")
    settings = {
        "jit_compile": not torch_npu.npu.is_jit_compile_false(),
        "allow_internal_format": internal_format is not None and internal_format.decode() == "enable",
    }
    told = {"operators": _C.census(), "settings": settings, "unregistered": sorted(_C.unregistered())}
    (folder / f"census-{os.getpid()}.json").write_text(json.dumps(told))


def autoload() -> None:
    """What ``import torch`` calls; importing this package has done all there is to do."""


_take_over()
dist.Backend._plugins["HCCL"] = dist.Backend._BackendPlugin(_hccl, False)
if "EARMARK_NPU_CENSUS" in os.environ:
    atexit.register(_write_census)
