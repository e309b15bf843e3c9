"""The inference loop: order, windows, and answers that do not depend on company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from earmark.models import model_sessions
from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.models.casting import cast_weights
from earmark.scoring import inference
from earmark.scoring.torch_scorer import TorchScorer
from earmark.tasks import softmax
from tests.tiny import RATE_HZ, overrides, tone

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def audio() -> AudioModel:
    torch.manual_seed(0)
    source = ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2"))
    return build_for_training(source, ["a", "b", "c"], 0.5, longest_s=1.0)


def score(audio: AudioModel, waveforms: list[np.ndarray], batch_size: int = 4) -> np.ndarray:
    return np.stack(
        list(inference.score(TorchScorer(audio.model, audio.frontend, CPU), waveforms, batch_size=batch_size))
    )


def test_a_clip_has_one_answer_alone_and_in_any_company(audio: AudioModel) -> None:
    lengths = [0.1, 0.5, 0.25, 0.1, 0.4, 1.3, 0.5, 0.1]
    clips = [tone(300 + 100 * i, seconds, seed=i) for i, seconds in enumerate(lengths)]
    alone = np.stack([score(audio, [clip])[0] for clip in clips])
    for batch_size in (1, 3, 32):
        np.testing.assert_allclose(score(audio, clips, batch_size), alone, atol=1e-5)
    np.testing.assert_allclose(score(audio, clips[::-1]), alone[::-1], atol=1e-5)


def test_a_long_clip_is_the_mean_of_its_windows(audio: AudioModel) -> None:
    clip = np.concatenate([tone(300, 0.5, seed=1), tone(2000, 0.5, seed=2)])
    halves = softmax(score(audio, [clip[:8000], clip[8000:]]))
    np.testing.assert_allclose(softmax(score(audio, [clip]))[0], halves.mean(axis=0), atol=1e-5)


def test_answers_stream_before_the_input_ends(audio: AudioModel) -> None:
    taken = 0

    def source():
        nonlocal taken
        for i in range(100):
            taken += 1
            yield tone(440, 0.1, seed=i)

    first = next(inference.score(TorchScorer(audio.model, audio.frontend, CPU), source(), batch_size=2))
    assert first.shape == (3,)
    assert taken < 20


def test_the_model_is_left_in_the_mode_it_was_in(audio: AudioModel) -> None:
    for training in (True, False):
        audio.model.train(training)
        score(audio, [tone(440, 0.1)])
        assert audio.model.training is training


def test_a_session_within_a_session_casts_nothing_again(audio: AudioModel, monkeypatch: pytest.MonkeyPatch) -> None:
    casts: list[torch.dtype] = []
    monkeypatch.setattr(
        model_sessions, "cast_weights", lambda model, dtype: (casts.append(dtype), cast_weights(model, dtype))[1]
    )
    scorer = TorchScorer(audio.model, audio.frontend, CPU, torch.bfloat16)
    clip = tone(440, 0.1)
    with scorer.session():
        with scorer.session():
            inside = scorer.logits([clip])
        assert casts == [torch.bfloat16]
        np.testing.assert_array_equal(scorer.logits([clip]), inside)
    assert audio.model.forward.scoring_weights is None
    assert np.abs(score(audio, [clip])[0] - inside).max() > 0, "float32 again"


def test_softmax_rows_sum_to_one_even_for_large_logits() -> None:
    rows = softmax(np.array([[1000.0, 999.0], [-1000.0, 0.0]]))
    np.testing.assert_allclose(rows.sum(axis=1), 1.0)
    np.testing.assert_allclose(rows[0, 0], 1 / (1 + np.exp(-1)))


def test_frontend_takes_clips_at_the_models_rate(audio: AudioModel) -> None:
    assert audio.frontend.sampling_rate_hz == RATE_HZ
    assert audio.frontend.max_samples == RATE_HZ // 2
