"""What is chosen for a device. What an NPU then does with it: tests/npu."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from earmark import device as devices
from earmark.device import (
    Abilities,
    abilities,
    check_processes_fit,
    choose_optimizer,
    choose_precision,
    describe_device,
    select_device,
)
from earmark.errors import DeviceError, UsageError
from earmark.threads.cores import Cores

CPU = torch.device("cpu")
CARDS = 2


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine on which torch reports two cuda devices with bf16; nothing runs on them."""
    backend = SimpleNamespace(is_available=lambda: True, device_count=lambda: CARDS)
    real = devices._backend
    monkeypatch.setattr(devices, "_backend", lambda kind: backend if kind == "cuda" else real(kind))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return backend


@pytest.mark.parametrize("name", ["gpu", "cuda:", "npu:x", "cpu:-1", "", "npu:0,1"])
def test_a_name_that_is_no_device(name: str) -> None:
    with pytest.raises(DeviceError, match=r"not a device\. Use auto, cpu, npu"):
        select_device(name)


@pytest.mark.parametrize("name", ["npu", "npu:9", "cuda", "cuda:0", "xpu", "mps"])
def test_an_absent_device_is_never_the_cpu(name: str) -> None:
    kind = name.partition(":")[0]
    if devices.is_available(kind):
        pytest.skip(f"this machine has {kind}")
    with pytest.raises(DeviceError, match=f"--device {name}: "):
        select_device(name)


def test_auto_takes_a_card_before_the_cpu(cards: SimpleNamespace) -> None:
    assert select_device("auto") == torch.device("cuda:0")
    cards.is_available = lambda: False
    assert select_device("auto") == CPU or devices.is_available("mps")


def test_each_rank_takes_a_card_of_its_own(cards: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert select_device("cuda") == torch.device("cuda:1")
    assert select_device("cuda:0") == torch.device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(DeviceError, match=r"this machine has 2 cuda devices\. Use cuda:0 to cuda:1"):
        select_device("cuda")


def test_more_processes_than_cards(cards: SimpleNamespace) -> None:
    check_processes_fit("cuda", CARDS)
    check_processes_fit("cpu", 64)
    with pytest.raises(
        DeviceError, match=r"this machine has 2 cuda devices, and each process needs one\. Use --num_processes 2"
    ):
        check_processes_fit("auto", CARDS + 1)
    with pytest.raises(DeviceError, match=r"that is one device\. Use --device cuda"):
        check_processes_fit("cuda:1", CARDS)


def test_precision_is_bf16_where_it_is_native(cards: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda:0")
    assert choose_precision(abilities(cuda), bf16=False, fp16=False) == ("bf16", None)
    assert choose_precision(abilities(cuda), bf16=False, fp16=True) == ("fp16", None)
    assert choose_precision(abilities(cuda), bf16=False, fp16=False, precision="fp32") == ("fp32", None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert choose_precision(abilities(cuda), bf16=False, fp16=False) == ("fp16", None)


@pytest.mark.parametrize(("native", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_never_trains_in_fp16(native: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "supports_bf16", lambda device: native)
    assert choose_precision(abilities(CPU), bf16=False, fp16=False) == (chosen, None)
    precision, note = choose_precision(abilities(CPU), bf16=False, fp16=True)
    assert precision == chosen
    assert note == f"--fp16 has no gradient scaler on a CPU: training in {chosen} instead"
    with pytest.raises(DeviceError, match="no gradient scaler on a CPU"):
        choose_precision(abilities(CPU), bf16=False, fp16=False, precision="fp16")
    assert choose_precision(abilities(CPU), bf16=True, fp16=False) == (
        "bf16",
        None,
    )  # emulated, slow, and what was asked for


@pytest.mark.parametrize(
    ("bf16", "fp16", "precision", "flags"),
    [
        (True, True, "auto", "--bf16 and --fp16"),
        (True, False, "fp32", "--bf16 and --precision fp32"),
        (False, True, "bf16", "--fp16 and --precision bf16"),
    ],
)
def test_flags_that_contradict_each_other(bf16: bool, fp16: bool, precision: str, flags: str) -> None:
    with pytest.raises(UsageError, match=f"{flags} contradict each other. Keep one"):
        choose_precision(abilities(CPU), bf16=bf16, fp16=fp16, precision=precision)


def test_the_optimizer_is_fused_where_there_is_a_kernel() -> None:
    assert choose_optimizer(abilities(CPU), "adamw_torch_fused", "fp32") == "adamw_torch_fused"
    assert choose_optimizer(abilities(CPU), "sgd", "fp32") == "sgd"
    assert choose_optimizer(Abilities("mps", has_fused_adamw=True), "adamw_torch", "fp32") == "adamw_torch"
    assert not abilities(torch.device("xla")).has_fused_adamw
    assert choose_optimizer(Abilities("xla"), "adamw_torch_fused", "fp32") == "adamw_torch"
    scaled = Abilities("npu", has_fused_adamw=True)
    assert choose_optimizer(scaled, "adamw_torch_fused", "bf16") == "adamw_torch_fused"
    assert choose_optimizer(scaled, "adamw_torch_fused", "fp16") == "adamw_torch"
    with pytest.raises(UsageError, match="Use adamw_torch_fused"):
        choose_optimizer(abilities(CPU), "adamw_torch_npu_fused", "fp32")


def test_the_compiler_that_a_cpu_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", sys.executable)
    assert abilities(CPU).missing_compiler == ""
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert abilities(CPU).missing_compiler == "no-such-compiler"
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    assert abilities(CPU).missing_compiler in ("g++", "clang++", "cl")


@pytest.mark.parametrize(
    ("cores", "count"), [(Cores(8, 4), "4 cores"), (Cores(64, 64, 2.0), "2 cores"), (Cores(2, 1), "1 core")]
)
def test_a_cpu_is_called_by_its_model(cores: Cores, count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "this_process", lambda: cores)
    name = describe_device(CPU)
    assert name.endswith(f" ({count})"), "hyper-threads and CPUs beyond the quota are no cores"
    assert not name.startswith(" (")
