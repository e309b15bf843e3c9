"""Every architecture, tiny and with random weights: lengths, freezing, saving, plain Transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForAudioClassification, pipeline

from earmark.errors import ModelError
from earmark.models.build_model import (
    AudioModel,
    ModelSource,
    build_for_training,
    load_trained,
    supported_architectures,
)
from earmark.models.freeze import body_of, encoder_layers, freeze, head_parameters
from earmark.scoring.inference import score_waveforms
from tests.tiny import ARCHITECTURES, RATE_HZ, overrides, tone

LABELS = ["high", "low", "other"]
CPU = torch.device("cpu")


def build(model_type: str, length_s: float | None = 1.0) -> AudioModel:
    torch.manual_seed(0)
    source = ModelSource(model_type=model_type, config_overrides=overrides(model_type))
    audio = build_for_training(source, LABELS, length_s, longest_s=1.0)
    audio.model.eval()
    return audio


def score(audio: AudioModel, waveforms: list[np.ndarray]) -> np.ndarray:
    return np.stack(list(score_waveforms(audio.model, audio.frontend, waveforms, batch_size=4, device=CPU)))


def test_every_architecture_of_transformers_is_covered() -> None:
    assert set(ARCHITECTURES) == set(supported_architectures())


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_clips_from_one_sample_up_train_and_score(model_type: str) -> None:
    audio = build(model_type)
    clips = [tone(440, seconds) for seconds in (0.0, 0.011, 0.3, 1.0)]  # 1, 176, 4,800 and 16,000 samples
    assert len(clips[0]) == 1
    logits = score(audio, clips)
    assert logits.shape == (4, 3)
    assert np.isfinite(logits).all()
    audio.model.train()
    for batch in (clips[:1], clips):
        out = audio.model(**audio.frontend(batch), labels=torch.zeros(len(batch), dtype=torch.long))
        out.loss.backward()
        assert torch.isfinite(out.loss)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_saved_model_answers_the_same_here_and_in_plain_transformers(model_type: str, tmp_path) -> None:
    audio = build(model_type)
    clip = tone(440, 1.0)
    before = score(audio, [clip])
    audio.save(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    again = load_trained(ModelSource(name_or_path=str(tmp_path)))
    assert again.labels == LABELS
    assert again.frontend.max_samples == audio.frontend.max_samples
    np.testing.assert_allclose(score(again, [clip]), before, atol=1e-5)
    plain = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        np.testing.assert_allclose(plain(**again.frontend([clip])).logits.numpy(), before, atol=1e-5)
    answer = pipeline("audio-classification", model=str(tmp_path), device="cpu")(
        {"raw": clip, "sampling_rate": RATE_HZ}, top_k=3
    )
    expected = np.exp(before[0]) / np.exp(before[0]).sum()
    assert {row["label"]: pytest.approx(row["score"], abs=1e-4) for row in answer} == dict(
        zip(LABELS, expected, strict=True)
    )


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_head_of_another_size_is_replaced(model_type: str, tmp_path) -> None:
    build(model_type).save(tmp_path)
    audio = build_for_training(ModelSource(name_or_path=str(tmp_path)), ["a", "b"], None, longest_s=1.0)
    assert score(audio, [tone(440, 1.0)]).shape == (1, 2)
    assert audio.model.config.label2id == {"a": 0, "b": 1}


@pytest.mark.parametrize("model_type", ARCHITECTURES)
@pytest.mark.parametrize("what", ["none", "feature_encoder", "encoder", "last-1"])
def test_freezing(model_type: str, what: str) -> None:
    model = build(model_type).model
    assert freeze(model, what) == what
    head = head_parameters(model)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert head <= learning
    body = {name for name, _ in model.named_parameters()} - head
    if what == "encoder":
        assert not learning & body
    elif what == "last-1":
        last = {id(parameter) for parameter in encoder_layers(model)[-1].parameters()}
        assert {id(model.get_parameter(name)) for name in learning & body} == last
    elif what == "feature_encoder":
        assert learning & body
        assert body - learning
    assert body_of(model) is not model


def test_freezing_more_layers_than_there_are() -> None:
    with pytest.raises(ModelError, match="has 2 layers"):
        freeze(build("wav2vec2").model, "last-3")


@pytest.mark.parametrize(("model_type", "positions"), [("whisper", 50), ("audio-spectrogram-transformer", None)])
def test_fixed_length_encoders_are_cut_to_the_clip_and_keep_their_positions(
    model_type: str, positions: int | None
) -> None:
    whole, cut = build(model_type, None), None
    torch.manual_seed(0)
    source = ModelSource(model_type=model_type, config_overrides=overrides(model_type))
    whole = build_for_training(source, LABELS, 2.56 if positions is None else 3.0, longest_s=3.0)
    torch.manual_seed(0)
    cut = build_for_training(source, LABELS, 1.0, longest_s=3.0)
    assert cut.frontend.max_samples == RATE_HZ
    if positions is not None:
        table, full = (m.model.encoder.embed_positions.weight for m in (cut, whole))
        assert table.shape[0] == positions
        assert torch.equal(table, full[:positions])
    else:
        table, full = (m.model.base_model.embeddings.position_embeddings for m in (cut, whole))
        assert table.shape[1] < full.shape[1]
        columns, all_columns = (table.shape[1] - 2) // 2, (full.shape[1] - 2) // 2
        assert torch.equal(table[:, 2 : 2 + columns], full[:, 2 : 2 + columns])
        assert torch.equal(table[:, 2 + columns :], full[:, 2 + all_columns : 2 + all_columns + columns])


def test_a_clip_longer_than_the_position_table_is_refused() -> None:
    with pytest.raises(ModelError, match="positions for 3 s"):
        build("whisper", 4.0)
