"""The public class: paths, bytes, arrays, lists, and errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import earmark
from earmark.clips.clip import Clip
from earmark.errors import AudioError, DeviceError, InputTypeError, UsageError
from earmark.models.build_model import ModelSource, build_for_training
from earmark.predict.inputs import find_recordings
from tests.tiny import RATE_HZ, overrides, tone


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    source = ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2"))
    build_for_training(source, ["high", "low", "mid"], 1.0, longest_s=1.0).save(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(model: Path) -> earmark.Classifier:
    return earmark.Classifier.from_pretrained(model, device="cpu")


def scores(rows: list[dict]) -> list[float]:
    return [row["score"] for row in sorted(rows, key=lambda row: row["label"])]


def test_a_path_its_bytes_and_its_samples_get_one_answer(classifier: earmark.Classifier, tmp_path: Path) -> None:
    wave = tone(440, 0.5)
    path = tmp_path / "tön 1.wav"
    soundfile.write(path, wave, RATE_HZ, subtype="FLOAT")
    stereo = np.stack([wave, wave], axis=1)
    answers = [
        classifier.predict(path, top_k=3),
        classifier.predict(str(path), top_k=3),
        classifier.predict(path.read_bytes(), top_k=3),
        classifier.predict(wave, sampling_rate=RATE_HZ, top_k=3),
        classifier.predict(stereo, sampling_rate=RATE_HZ, top_k=3),
        classifier.predict([path, path], top_k=3)[1],
    ]
    with pytest.raises(UsageError, match="--top_k 0: expected a whole number of at least 1"):
        classifier.predict(path, top_k=0)
    for answer in answers:
        assert [row["score"] for row in answer] == sorted((row["score"] for row in answer), reverse=True)
        np.testing.assert_allclose(scores(answer), scores(answers[0]), atol=1e-5)
    assert sum(scores(answers[0])) == pytest.approx(1.0, abs=1e-5)
    assert classifier.predict(path) == answers[0][:1]
    np.testing.assert_allclose(classifier.predict_proba([path])[0], scores(answers[0]), atol=1e-6)


def test_what_cannot_be_answered(classifier: earmark.Classifier, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sampling_rate="):
        classifier.predict(tone(440, 0.1))
    with pytest.raises(AudioError, match=r"none\.wav"):
        classifier.predict(tmp_path / "none.wav")
    with pytest.raises(AudioError):
        classifier.predict(b"not audio at all")
    with pytest.raises(AudioError):
        classifier.predict(np.array([0.0, np.nan], np.float32), sampling_rate=RATE_HZ)
    with pytest.raises(DeviceError, match="--device npu"):
        earmark.Classifier.from_pretrained(model, device="npu:0")
    with pytest.raises(DeviceError, match="not a device"):
        earmark.Classifier.from_pretrained(model, device="gpu")


def test_samples_of_every_kind_are_scaled_by_one_rule(classifier: earmark.Classifier) -> None:
    wave = tone(440, 0.5)
    ints = np.round(32767 * wave).astype(np.int16)
    expected = scores(classifier.predict(ints.astype(np.float32) / 32768, sampling_rate=RATE_HZ, top_k=3))
    for samples in (ints, torch.from_numpy(ints), torch.from_numpy(ints).double().div(32768).requires_grad_()):
        given = classifier.predict(samples, sampling_rate=RATE_HZ, top_k=3)
        np.testing.assert_allclose(scores(given), expected, atol=1e-6)
    for samples, said in [
        (ints.astype(int), "samples of type int64 have no known full scale"),
        (torch.from_numpy(ints).long(), "samples of type int64 have no known full scale"),
        ([ints.tolist()], "samples of type int64 have no known full scale"),
        (ints.astype(np.int32), "int32 samples of at most 32768"),
        (ints.astype(float), "above 8 times full scale"),
        ([ints.astype(float).tolist()], "above 8 times full scale"),
        (torch.from_numpy(ints).bfloat16(), "above 8 times full scale"),
    ]:
        with pytest.raises(AudioError, match=said):
            classifier.predict(samples, sampling_rate=RATE_HZ)


def test_channels_of_opposite_phase_are_not_silence(
    classifier: earmark.Classifier, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wave = tone(440, 0.5)
    opposite = np.stack([wave, -wave], axis=1)
    path = tmp_path / "opposite.wav"
    soundfile.write(path, opposite, RATE_HZ, subtype="FLOAT")
    expected = scores(classifier.predict(wave, sampling_rate=RATE_HZ, top_k=3))
    for audio, rate_hz in [(path, None), (path.read_bytes(), None), (opposite, RATE_HZ)]:
        caplog.clear()
        given = classifier.predict([audio, audio], sampling_rate=rate_hz, top_k=3)
        np.testing.assert_allclose([scores(row) for row in given], [expected] * 2, atol=1e-6)
        which = str(path) if audio is path else "2 recordings (audio[0], audio[1])"
        assert [message for message in caplog.messages if "opposite phase" in message] == [
            f"{which}: the channels have opposite phase and cancel out in the mean. earmark uses one channel instead"
        ]


def test_broken_clips_keep_their_place(classifier: earmark.Classifier, tmp_path: Path) -> None:
    names = []
    for i in range(12):
        path = tmp_path / f"{i:02}.wav"
        if i in (0, 1, 5, 11):
            path.write_bytes(b"RIFF broken")
        else:
            soundfile.write(path, tone(300 + 50 * i, 0.1 + 0.03 * i, seed=i), RATE_HZ)
        names.append(str(path))
    results = list(
        classifier.predict_clips([Clip(source=path, path=path) for path in find_recordings([str(tmp_path)])])
    )
    assert [clip.source for clip, _ in results] == names
    for i, (clip, result) in enumerate(results):
        if i in (0, 1, 5, 11):
            assert isinstance(result, AudioError)
        else:
            expected = classifier.predict_proba([clip.source])[0]
            np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_size": 0}, "--batch_size 0: expected a whole number of at least 1"),
        ({"batch_size": 1.5}, "--batch_size 1.5: expected a whole number"),
        ({"device": None}, "--device null: expected a value"),
        ({"precision": "half"}, "--precision half: expected fp32, bf16 or fp16"),
        ({"cache_dri": "here"}, "cache_dri: unknown setting; did you mean cache_dir"),
        ({"model_type": "whisper"}, "model_type: unknown setting"),
    ],
)
def test_wrong_arguments_are_refused_before_loading(model: Path, wrong: dict, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        earmark.Classifier.from_pretrained(model, **wrong)


def test_names_of_models(classifier: earmark.Classifier, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (None, 3, classifier):
        with pytest.raises(InputTypeError, match=f"name_or_path: found {type(name).__name__}"):
            earmark.Classifier.from_pretrained(name)  # type: ignore[arg-type]
    monkeypatch.setenv("HOME", str(model.parent))
    monkeypatch.setenv("USERPROFILE", str(model.parent))
    assert earmark.Classifier.from_pretrained(f"~/{model.name}").labels == classifier.labels


@pytest.mark.parametrize("wrong", [{"top_k": None}, {"top_k": 1.5}, {"hop_seconds": "long"}, {"window_seconds": []}])
def test_wrong_arguments_of_predict(classifier: earmark.Classifier, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(wrong))} .*: expected"):
        classifier.predict(tone(440, 0.5), sampling_rate=RATE_HZ, **wrong)
