"""Tests that run in a separate process, because they can crash, hang or fail to import.

``python -m earmark.doctor.probes NAME [ARGUMENT...]`` prints a line of JSON after :data:`MARK` for every completed
stage, so that results before a crash are known. :mod:`earmark.doctor.children` starts this module and reads the lines.
"""

from __future__ import annotations

import datetime
import io
import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MARK = "EARMARK-PROBE "

COLLECTIVE_TIMEOUT_S = 60

_MATRIX = 256
_STEPS = 3
# torch.distributed's name of the collective library of each backend
_COLLECTIVES = {"npu": "hccl", "cuda": "nccl", "xpu": "xccl", "cpu": "gloo"}
# (inputs, outputs, kernel, stride, groups, padding): wrong results in bfloat16 on CPUs with AMX in torch 2.13.0
_KNOWN_FAULTS = [
    (8, 8, 8, 8, 1, 0), (8, 16, 8, 5, 1, 0), (24, 16, 8, 4, 1, 0), (16, 16, 16, 8, 1, 0), (12, 16, 16, 1, 1, 0),
    (16, 16, 8, 1, 2, 4), (32, 32, 16, 1, 4, 8), (8, 8, 128, 1, 4, 64),
]  # fmt: skip
# from wav2vec2-base and Whisper: the first, a middle and the positional convolution, and one on mel frames
_PUBLISHED = [(1, 512, 10, 5, 1, 0), (512, 512, 3, 2, 1, 0), (768, 768, 128, 1, 16, 64), (80, 384, 3, 1, 1, 1)]
_CODECS = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3"}


def emit(**results: object) -> None:
    """Print results for the parent process."""
    print(MARK + json.dumps(results), flush=True)


def probe_torch() -> None:
    """Import torch with its plugins, and list the devices it sees."""
    import torch

    emit(
        torch=torch.__version__,
        built_for_cuda=torch.version.cuda,
        built_for_hip=torch.version.hip,
        npu_loaded="torch_npu" in sys.modules,
    )
    from earmark.device import ACCELERATORS

    for kind in ACCELERATORS:
        _list_devices(kind)


def _list_devices(kind: str) -> None:
    """Emit the devices of a backend, or its error."""
    import torch

    from earmark.device import describe_device, is_available, supports_bf16

    devices = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            count = _count(kind) if is_available(kind) else 0
            for index in range(count):
                device = torch.device(kind, index)
                devices.append({"device": str(device), "name": describe_device(device), "bf16": supports_bf16(device)})
        except Exception as exc:  # a broken driver may raise any error, and the error is the result
            emit(**{f"{kind}_error": f"{type(exc).__name__}: {exc}"})
    told = [str(warning.message) for warning in caught]
    emit(**{kind: devices, f"{kind}_warnings": told})


def _count(kind: str) -> int:
    import torch

    return int(getattr(torch, kind).device_count())


def probe_trainer() -> None:
    """Import what training needs. A broken torch_npu can make this fail even if torch itself can be imported."""
    import accelerate
    import transformers

    emit(transformers=transformers.__version__, accelerate=accelerate.__version__)
    from transformers import Trainer

    emit(trainer=Trainer.__name__)


def probe_device(name: str) -> None:
    """Test a matrix product, bfloat16, training steps and a collective operation, compared with the CPU."""
    import torch

    from earmark.device import select_device, supports_bf16

    device = select_device(name)
    _make_current(device)
    emit(device=str(device))
    emit(matmul_error=_product_error(device, torch.float32))
    native = supports_bf16(device)
    emit(bf16=native, bf16_error=_product_error(device, torch.bfloat16) if native else None)
    losses = _losses(device)
    emit(losses=losses, cpu_losses=losses if device.type == "cpu" else _losses(torch.device("cpu")))
    _try_collective(device)


def probe_convolutions(name: str) -> None:
    """Compare half-precision convolutions with float32 on the same device, forward and backward."""
    import torch

    from earmark.device import select_device, supports_bf16
    from earmark.models.convolutions import Geometry, probe

    device = select_device(name)
    _make_current(device)
    emit(device=str(device))
    types = {"bfloat16": torch.bfloat16} if device.type == "cpu" or supports_bf16(device) else {}
    types |= {} if device.type == "cpu" else {"float16": torch.float16}
    for title, dtype in types.items():
        errors = {}
        for inputs, outputs, kernel, stride, groups, padding in [*_KNOWN_FAULTS, *_PUBLISHED]:
            shape = Geometry(1, inputs, outputs, (kernel,), (stride,), (padding,), (1,), groups, "zeros", True)
            words = f"{inputs} to {outputs} channels, kernel {kernel}, stride {stride}"
            errors[words + (f", {groups} groups" if groups > 1 else "")] = probe(shape, dtype, True, str(device))
        emit(**{title: errors})
    emit(compared=list(types))


def _make_current(device: torch.device) -> None:
    """Make this the current device, which optimizers and collective operations use."""
    import torch

    setter = getattr(getattr(torch, device.type), "set_device", None)
    if setter is not None:
        setter(device)


def _product_error(device: torch.device, dtype: torch.dtype) -> float:
    """Return the largest deviation of a matrix product from float64, relative to the largest element."""
    import torch

    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(_MATRIX, _MATRIX, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    product = (a.to(device, dtype) @ b.to(device, dtype)).float().cpu().double()
    return float((product - exact).abs().max() / exact.abs().max())


def _losses(device: torch.device) -> list[float]:
    """Return the losses of a few steps of a small convolutional network, equal on all devices up to rounding."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    convolution = [nn.Conv1d(1, 8, 9, stride=4), nn.GroupNorm(2, 8), nn.GELU()]
    model = nn.Sequential(*convolution, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3))
    clips, labels = torch.randn(12, 1, 400), torch.arange(12) % 3
    model, clips, labels = model.to(device), clips.to(device), labels.to(device)
    # a large epsilon, because otherwise Adam makes full steps from gradients that are only rounding errors
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, eps=1e-3)
    losses = []
    for _ in range(_STEPS):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(clips), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def _try_collective(device: torch.device) -> None:
    """Sum over the ranks of a group of one process, with the backend's own library."""
    from torch import distributed

    backend = _COLLECTIVES.get(device.type)
    if backend is None or not distributed.is_available() or not distributed.is_backend_available(backend):
        emit(collective=None, backend=backend)
        return
    emit(backend=backend)
    store = distributed.HashStore()  # type: ignore[attr-defined, unused-ignore]  # not on Windows
    emit(collective=_sum_over_ranks(device, store, 0, 1))


def probe_group(name: str, rank: str, world_size: str, file: str) -> None:
    """Sum over ranks with one process per card. ``file`` is the rendezvous file of the processes."""
    from torch import distributed

    from earmark.device import select_device

    device = select_device(name)
    _make_current(device)
    store = distributed.FileStore(file, int(world_size))
    emit(collective=_sum_over_ranks(device, store, int(rank), int(world_size)))


def _sum_over_ranks(device: torch.device, store: Any, rank: int, world_size: int) -> float:
    """Return the first element of the sum over all ranks of a tensor of ones."""
    import torch
    from torch import distributed

    limit = datetime.timedelta(seconds=COLLECTIVE_TIMEOUT_S)
    backend = _COLLECTIVES[device.type]
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=limit)
    tensor = torch.ones(4, device=device)
    distributed.all_reduce(tensor)
    total = float(tensor[0].cpu())
    distributed.destroy_process_group()
    return total


def probe_codecs() -> None:
    """Write a short tone in each format, and read it as training does."""
    import numpy as np
    import soundfile

    from earmark.audio.decode import decode_bytes
    from earmark.errors import AudioError

    tone = 0.3 * np.sin(np.arange(44_100) * 0.06).astype(np.float32)
    emit(soundfile=soundfile.__version__, libsndfile=soundfile.__libsndfile_version__)
    failed = {}
    for name, container in _CODECS.items():
        encoded = io.BytesIO()
        try:
            soundfile.write(encoded, tone, 44_100, format=container)
            decoded = decode_bytes(encoded.getvalue(), 16_000)
            if abs(len(decoded) - 16_000) > 400:
                failed[name] = f"{len(decoded)} samples instead of 16000"
        except (AudioError, RuntimeError, ValueError) as exc:  # soundfile's own errors are RuntimeErrors
            failed[name] = str(exc)
    emit(codecs=sorted(set(_CODECS) - set(failed)), failed=failed)
    try:
        import av

        emit(av=av.__version__)
    except ImportError as exc:  # missing, or installed but broken
        emit(av=None, av_error=f"{type(exc).__name__}: {exc}")


def probe_hub() -> None:
    """Emit the hub's URL and cache folder, as read by the hub library."""
    from huggingface_hub import constants

    emit(endpoint=constants.ENDPOINT, offline=bool(constants.HF_HUB_OFFLINE), cache=constants.HF_HUB_CACHE)


PROBES: dict[str, Callable[..., None]] = {
    "torch": probe_torch,
    "trainer": probe_trainer,
    "device": probe_device,
    "convolutions": probe_convolutions,
    "group": probe_group,
    "codecs": probe_codecs,
    "hub": probe_hub,
}

if __name__ == "__main__":
    PROBES[sys.argv[1]](*sys.argv[2:])
    sys.stdout.flush()
    os._exit(0)  # threads of a backend can abort the interpreter when it ends, after all results are complete
