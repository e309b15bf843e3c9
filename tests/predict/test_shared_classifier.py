"""Threads that share one classifier or one model get the results of a single thread."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import earmark
from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.models.packed import can_pack
from earmark.scoring.torch_scorer import TorchScorer
from tests.tiny import RATE_HZ, overrides, tone

CPU = torch.device("cpu")
_ROUNDS = 40  # of each thread
Call = Callable[[], np.ndarray]
FORKING = """
import multiprocessing

import numpy as np
import torch

import earmark
from tests.predict.test_shared_classifier import build
from tests.tiny import RATE_HZ, tone

audio = build("wav2vec2")
clips = [(RATE_HZ, tone(440, 0.5))] * 32


def score(number):
    return earmark.Classifier(audio, device="cpu").predict_proba(clips), torch.get_num_threads()


expected, _ = score(0)
with multiprocessing.get_context("fork").Pool(1) as pool:
    found, threads = pool.apply_async(score, (0,)).get(60)
print(np.allclose(found, expected, atol=1e-5), threads)
"""


@pytest.fixture(autouse=True)
def threads_alternate_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def build(kind: str) -> AudioModel:
    torch.manual_seed(0)
    return build_for_training(ModelSource(model_type=kind, config_overrides=overrides(kind)), ["a", "b"], 1.0, 1.0)


def assert_same_in_threads(calls: list[Call], tolerance: float = 1e-5) -> None:
    expected = [call() for call in calls]

    def repeated(call: Call) -> list[np.ndarray]:
        return [call() for _ in range(_ROUNDS)]

    with ThreadPoolExecutor(len(calls)) as pool:
        for rows, one in zip(pool.map(repeated, calls), expected, strict=True):
            np.testing.assert_allclose(rows, np.broadcast_to(one, (_ROUNDS, *one.shape)), atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_threads_embed_and_predict(kind: str, precision: str) -> None:
    audio = build(kind)
    classifier = earmark.Classifier(audio, device="cpu", batch_size=1, precision=precision)
    clip = tone(440, 0.3)
    tolerance = 1e-5 if precision == "fp32" else 0.02

    def embed() -> np.ndarray:
        return classifier.embed(clip, sampling_rate=RATE_HZ)

    def predict() -> np.ndarray:
        return classifier.predict_proba(clip, sampling_rate=RATE_HZ)

    assert_same_in_threads([embed, embed, embed], tolerance)
    assert_same_in_threads([predict, embed, predict], tolerance)
    if can_pack(CPU):
        assert classifier.scorer.model.forward.sessions._packs
    model = classifier.scorer.model
    assert not any({"forward", "packing"} & set(vars(module)) for module in model.modules() if module is not model)


def test_the_first_comparison_with_float32_disturbs_no_thread() -> None:
    clip = tone(440, 0.3)

    def first(classifier: earmark.Classifier) -> np.ndarray:
        return classifier.predict_proba(clip, sampling_rate=RATE_HZ)

    for _ in range(5):
        classifier = earmark.Classifier(build("wav2vec2"), device="cpu", batch_size=1, precision="bf16")
        with ThreadPoolExecutor(3) as pool:
            rows = list(pool.map(first, [classifier] * 3))
        np.testing.assert_allclose(rows, np.broadcast_to(rows[0], np.shape(rows)), atol=0.02)


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2", "tc_resnet"])
def test_classifiers_of_two_precisions_do_not_change_each_other(kind: str) -> None:
    audio, clip = build(kind), tone(440, 0.3)
    exact = earmark.Classifier(audio, device="cpu")
    expected = exact.predict_proba(clip, sampling_rate=RATE_HZ)
    half = earmark.Classifier(audio, device="cpu", precision="bf16")
    rounded = half.predict_proba(clip, sampling_rate=RATE_HZ)
    assert np.abs(rounded - expected).max() > 0
    for classifier, probabilities in ((exact, expected), (earmark.Classifier(audio, device="cpu"), expected)):
        np.testing.assert_array_equal(classifier.predict_proba(clip, sampling_rate=RATE_HZ), probabilities)
    np.testing.assert_array_equal(half.predict_proba(clip, sampling_rate=RATE_HZ), rounded)


def test_a_classifier_on_another_device_does_not_move_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/npu also predicts on the other device."""
    audio, clip = build("whisper"), tone(440, 0.3)
    first = earmark.Classifier(audio, device="cpu")
    expected = first.predict_proba(clip, sampling_rate=RATE_HZ)
    audio.model.forward.compared.add((type(audio.model), torch.bfloat16))
    monkeypatch.setattr("earmark.predict.scorers.select_device", torch.device)
    second: Any = earmark.Classifier(audio, device="meta").scorer
    tensors = [*second.model.parameters(), *second.model.buffers()]
    assert {one.device.type for one in tensors} == {"meta"}
    assert second.frontend.features is not audio.frontend.features
    assert not second.model.forward.compared
    np.testing.assert_array_equal(first.predict_proba(clip, sampling_rate=RATE_HZ), expected)


def test_scorers_of_two_precisions_share_a_model() -> None:
    audio = build("wav2vec2")
    audio.model.train()
    clip = tone(440, 0.3)

    def scored(dtype: torch.dtype | None) -> Call:
        scorer = TorchScorer(audio.model, audio.frontend, CPU, dtype)

        def call() -> np.ndarray:
            with scorer.session():
                return scorer.logits([clip])

        return call

    exact, half = scored(None), scored(torch.bfloat16)
    difference = np.abs(exact() - half()).max()
    assert difference > 0
    assert_same_in_threads([exact, half, exact, half], tolerance=difference / 10)
    assert audio.model.training
    assert audio.model.forward.scoring_weights is None


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_forked_processes_predict_after_their_parent() -> None:
    """OpenMP's threads do not survive a fork: a process that used them before would wait for them forever."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING],
        env={**os.environ, "EARMARK_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "True 1\n"), done.stderr
