"""Packed products: the same numbers, the same model afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from earmark.families.fused import packing_for
from earmark.models import packed as packed_module
from earmark.models.build_model import ModelSource, build_for_training
from earmark.models.convolutions import relative_error
from earmark.models.packed import (
    PackedProducts,
    Packs,
    Product,
    _multiply,
    _packable_dtypes,
    can_pack,
    constant_products,
)
from earmark.scoring import torch_scorer
from earmark.scoring.torch_scorer import TorchScorer
from tests.tiny import overrides, tone

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not can_pack(CPU), reason="nothing to pack for on this processor")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(24, 40)
        self.without_bias = nn.Linear(40, 12, bias=False)
        self.product = Product()
        self.register_buffer("matrix", torch.randn(12, 6))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.product(self.without_bias(self.linear(rows)), self.matrix)


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn(3, 50, 48)[..., ::2]  # not contiguous


def test_answers_are_the_same_and_so_is_the_model_afterwards(rows: torch.Tensor) -> None:
    model = Small()
    packed = PackedProducts(model)
    with torch.inference_mode():
        expected = model(rows)
        with packed.used():
            torch.testing.assert_close(model(rows), expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(model(rows[:1, :1]), expected[:1, :1], atol=1e-5, rtol=1e-5)
            assert len(packed._packed) == 3
    assert not any({"forward", "packing"} & set(vars(module)) for module in model.modules())


def test_constant_matrices_are_packed_once(rows: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Small()
    packed: list[torch.Tensor] = []
    pack = packed_module._pack_linear
    monkeypatch.setattr(packed_module, "_pack_linear", lambda weight: packed.append(weight) or pack(weight))
    products = constant_products(model, CPU)
    with torch.no_grad():
        expected = model(rows)
        for _ in range(2):
            with products():
                torch.testing.assert_close(model(rows), expected, atol=1e-5, rtol=1e-5)
    assert len(packed) == 3
    with constant_products(None, CPU)(), constant_products(model, torch.device("meta"))():
        assert "packing" not in vars(model.linear)


def test_a_weight_that_has_changed_counts(rows: torch.Tensor) -> None:
    model = Small()
    packed = PackedProducts(model)
    packs: Packs = {}

    def check() -> None:
        with torch.inference_mode():
            expected = model(rows)
            with packed.used(packs):
                torch.testing.assert_close(model(rows), expected, atol=1e-5, rtol=1e-5)

    check()
    with torch.no_grad():
        model.linear.weight.mul_(2)
        model.matrix.add_(1)
    check()
    for _ in range(20):  # the allocator likes to give the same address again
        model.without_bias.weight.data = torch.randn(12, 40)
        check()


@pytest.mark.parametrize("keeps", [False, True], ids=["dropped", "kept"])
def test_a_step_of_a_fused_optimizer_changes_the_scores(keeps: bool) -> None:
    """Such a step changes the weights, but not the numbers of their versions."""
    torch.manual_seed(0)
    audio = build_for_training(
        ModelSource(model_type="whisper", config_overrides=overrides("whisper")), ["a", "b"], 1, 1
    )
    scorer, clip, sessions = TorchScorer(audio.model, audio.frontend, CPU), tone(440, 1.0), audio.model.forward.sessions
    sessions.keeps_packs = keeps

    def scored() -> np.ndarray:
        with scorer.session():
            return scorer.logits([clip])

    first = scored()
    kept = dict(sessions._packs)
    assert bool(kept) == keeps
    np.testing.assert_array_equal(scored(), first)
    assert all(sessions._packs[module] is pack for module, pack in kept.items())
    optimizer = torch.optim.AdamW(audio.model.parameters(), lr=0.1, fused=True)
    inputs = audio.frontend([clip])
    audio.model(**inputs).logits[0, 0].backward()
    optimizer.step()
    with torch.no_grad():
        expected = audio.model.eval()(**inputs).logits.numpy()
    assert np.abs(expected - first).max() > 0.01
    np.testing.assert_allclose(scored(), expected, atol=1e-4, rtol=1e-4)
    assert not sessions._packs


def test_a_replaced_forward_is_called_and_kept(rows: torch.Tensor) -> None:
    model = Small()
    calls: list[int] = []
    plain = model.linear.forward

    def wrapper(values: torch.Tensor) -> torch.Tensor:
        calls.append(len(values))
        return plain(values)

    model.linear.forward = wrapper  # type: ignore[method-assign]
    with torch.inference_mode(), PackedProducts(model).used():
        model(rows)
        model.without_bias.forward = wrapper  # type: ignore[method-assign]
    assert calls == [3]
    assert model.linear.forward is model.without_bias.forward is wrapper
    assert "forward" not in vars(model.product)


def test_what_cannot_be_packed_goes_the_usual_way(rows: torch.Tensor) -> None:
    model = Small()
    packed = PackedProducts(model)
    with packed.used(), packed.paused(), torch.inference_mode():
        model(rows)
        assert not packed._packed
    with packed.used():
        model(rows).sum().backward()
        assert model.linear.weight.grad is not None
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert model(rows).dtype == torch.bfloat16
        assert not packed._packed
        with torch.inference_mode():
            assert model.double()(rows.double()).dtype == torch.float64
        assert not packed._packed


def test_bfloat16_is_packed(rows: torch.Tensor) -> None:
    if torch.bfloat16 not in _packable_dtypes():
        pytest.skip("this processor has no packed products in bfloat16")
    model = Small().bfloat16()
    packed = PackedProducts(model)
    with torch.inference_mode():
        expected = model(rows.bfloat16()).float()
        with packed.used():
            actual = model(rows.bfloat16()).float()
            assert len(packed._packed) == 3
    assert (actual - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_convolution_with_weight_norm_is_packed_until_its_weight_changes(dtype: torch.dtype) -> None:
    if dtype not in _packable_dtypes():
        pytest.skip("this processor has no packed products in this type")
    torch.manual_seed(0)
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(64, 64, 32, padding=16, groups=2), dim=2).to(dtype)
    packed = PackedProducts(conv)
    with torch.no_grad():
        for factor, frames in ((1, 9), (2, 50), (3, 9)):
            conv.parametrizations.weight.original0.mul_(factor)
            values = torch.randn(3, frames, 64).to(dtype)
            expected = conv.float()(values.float().transpose(1, 2)).transpose(1, 2)
            conv.to(dtype)
            with packed.used():
                packing = packing_for(conv, values)
                assert packing is packed
                plain = packing.convolution(conv, values, gelu=False).float()
                activated = packing.convolution(conv, values, gelu=True).float()
            assert relative_error(plain, expected) < 0.02
            assert relative_error(activated, nn.functional.gelu(expected)) < 0.02
    assert packing_for(conv, values) is None


def test_a_packed_convolution_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.bfloat16 not in _packable_dtypes():
        pytest.skip("this processor has no packed products in bfloat16")
    conv = nn.Conv1d(64, 64, 32, padding=16, groups=2).bfloat16()
    monkeypatch.setattr(packed_module, "measured_error", lambda *_, **__: 1.0)
    packed_module._is_right.cache_clear()
    try:
        with PackedProducts(conv).used(), torch.no_grad():
            assert packing_for(conv, torch.ones(1, 9, 64, dtype=torch.bfloat16)) is None
            assert packing_for(conv.float(), torch.ones(1, 9, 64)) is not None
    finally:
        packed_module._is_right.cache_clear()


@pytest.mark.parametrize("kind", ["whisper", "tc_resnet", "audio-spectrogram-transformer", "wav2vec2"])
def test_models_and_their_log_mel_are_packed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    audio = build_for_training(ModelSource(model_type=kind, config_overrides=overrides(kind)), ["a", "b"], 1.0, 1.0)
    scorer = TorchScorer(audio.model, audio.frontend, CPU)
    clips = [tone(300 + 200 * i, 1.0, seed=i) for i in range(3)]
    with scorer.session():
        ours = scorer.logits(clips)
        packed = audio.model.forward.sessions.packed
        assert any(isinstance(module, Product) for module in packed._packed) == (kind != "wav2vec2")
    assert not audio.model.forward.sessions._packs
    monkeypatch.setattr(torch_scorer, "can_pack", lambda _: False)
    with scorer.session():
        np.testing.assert_allclose(ours, scorer.logits(clips), atol=1e-5)


def test_sessions_of_many_threads_leave_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    audio = build_for_training(
        ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2")), ["a", "b"], 1.0, 1.0
    )
    scorer = TorchScorer(audio.model.train(), audio.frontend, CPU)
    clip = tone(440, 0.3)

    def ask(_: int) -> np.ndarray:
        with scorer.session():
            return scorer.logits([clip])

    with ThreadPoolExecutor(8) as pool:
        answers = np.stack(list(pool.map(ask, range(40))))
    np.testing.assert_allclose(answers, np.broadcast_to(answers[0], answers.shape), atol=1e-5)
    assert audio.model.training
    assert not any("forward" in vars(module) for module in audio.model.modules() if module is not audio.model)


@pytest.mark.parametrize("kind", ["whisper", "audio-spectrogram-transformer"])
def test_gelu_is_computed_with_the_layer_before_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    audio = build_for_training(ModelSource(model_type=kind, config_overrides=overrides(kind)), ["a", "b"], 1.0, 1.0)
    scorer = TorchScorer(audio.model, audio.frontend, CPU)
    inputs = audio.frontend([tone(440, 1.0)])
    with torch.no_grad():
        expected = audio.model.eval()(**inputs).logits
    calls: list[bool] = []
    with scorer.session():
        monkeypatch.setattr(
            packed_module,
            "_multiply",
            lambda *given, gelu: (calls.append(gelu), _multiply(*given, gelu=gelu))[1],
        )
        with torch.no_grad():
            torch.testing.assert_close(audio.model(**inputs).logits, expected, atol=1e-5, rtol=1e-4)
        for ways in (audio.model.forward.sessions.packed.paused(), torch.enable_grad()):
            with torch.no_grad(), ways:
                torch.testing.assert_close(audio.model(**inputs).logits, expected, atol=1e-5, rtol=1e-4)
    pairs = audio.family.activated_linears(audio.model)
    assert calls.count(True) == len(pairs)
    assert pairs or kind != "whisper"  # older versions of Transformers name the parts of AST otherwise
    assert not any("forward" in vars(module) for module in audio.model.modules() if module is not audio.model)


def test_hooks_of_packed_layers_run() -> None:
    torch.manual_seed(0)
    audio = build_for_training(
        ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2")), ["a", "b"], 1.0, 1.0
    )
    called = {}
    for name, module in audio.model.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Linear)):
            module.register_forward_hook(lambda _, __, ___, name=name: called.update({name: called.get(name, 0) + 1}))
    scorer = TorchScorer(audio.model, audio.frontend, CPU)
    with scorer.session():
        scorer.logits([tone(440, 0.3)])
    kinds = (nn.Conv1d, nn.Linear)
    assert called == {name: 1 for name, module in audio.model.named_modules() if isinstance(module, kinds)}
