"""The preprocessor of a checkpoint, in every form in which Transformers saves one."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from earmark.errors import ModelError
from earmark.models.build_model import AudioModel, ModelSource, build_for_training, load_trained
from tests.tiny import overrides, tone

LABELS = ["high", "low"]


def ctc_tokenizer(folder: Path) -> Any:
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({"<pad>": 0, "<unk>": 1, "|": 2, "a": 3}))
    return transformers.Wav2Vec2CTCTokenizer(str(vocabulary))


def save_as_extractor(extractor: Any, folder: Path, kind: str) -> None:
    extractor.save_pretrained(folder)
    assert (folder / "preprocessor_config.json").is_file()


def save_as_processor(extractor: Any, folder: Path, kind: str) -> None:
    """A processor with a tokenizer, as the installed Transformers writes it."""
    of_kind = {
        "wav2vec2": transformers.Wav2Vec2Processor,
        "wav2vec2-bert": transformers.Wav2Vec2BertProcessor,
        "whisper": transformers.WhisperProcessor,
    }
    tokenizer: Any = transformers.WhisperTokenizer() if kind == "whisper" else ctc_tokenizer(folder)
    of_kind[kind](feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    assert not (folder / "preprocessor_config.json").exists()


def save_under_the_coming_name(extractor: Any, folder: Path, kind: str) -> None:
    (folder / "processor_config.json").write_text(json.dumps({"audio_processor": extractor.to_dict()}))


def save_in_the_old_form(extractor: Any, folder: Path, kind: str) -> None:
    """A processor of Transformers 4: a file that only names its class, beside the extractor's own."""
    extractor.save_pretrained(folder)
    (folder / "processor_config.json").write_text('{"processor_class": "Wav2Vec2Processor"}')


FORMS = [save_as_extractor, save_as_processor, save_under_the_coming_name, save_in_the_old_form]


def checkpoint(folder: Path, kind: str = "wav2vec2") -> AudioModel:
    """A model alone, without a preprocessor."""
    torch.manual_seed(0)
    source = ModelSource(model_type=kind, config_overrides=overrides(kind))
    audio = build_for_training(source, LABELS, 1.0, 1.0)
    audio.model.save_pretrained(folder)
    return audio


@pytest.mark.parametrize("save", FORMS)
def test_rate_and_normalization_are_those_that_were_saved(
    save: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint(tmp_path)
    save(transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=False), tmp_path, "wav2vec2")
    audio = load_trained(ModelSource(name_or_path=str(tmp_path)))
    assert audio.frontend.sampling_rate_hz == 8000
    samples = audio.frontend([tone(440, 1.0, rate_hz=8000)])["input_values"]
    torch.testing.assert_close(samples[0], torch.from_numpy(tone(440, 1.0, rate_hz=8000)))
    assert not caplog.records
    trained = build_for_training(ModelSource(name_or_path=str(tmp_path)), LABELS, 0.5, 0.5)
    assert (trained.frontend.sampling_rate_hz, trained.frontend.max_samples) == (8000, 4000)


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-bert", "whisper"])
def test_a_processor_predicts_like_its_extractor_alone(kind: str, tmp_path: Path) -> None:
    logits = []
    for save in (save_as_extractor, save_as_processor):
        folder = tmp_path / save.__name__
        settings = checkpoint(folder, kind).frontend.extractor
        save(getattr(transformers, settings.extractor_type)(**settings.to_json()), folder, kind)
        audio = load_trained(ModelSource(name_or_path=str(folder)))
        with torch.no_grad():
            logits.append(audio.model(**audio.frontend([tone(440, 1.0)])).logits)
    torch.testing.assert_close(logits[0], logits[1])


def test_what_is_assumed_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint(tmp_path)
    source = ModelSource(name_or_path=str(tmp_path))
    with caplog.at_level(logging.WARNING, "earmark"):
        for _ in range(2):
            load_trained(source)
    (line,) = caplog.messages
    assert "so earmark assumes sampling_rate 16000, do_normalize True" in line
    caplog.clear()
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "sampling_rate"}))
    load_trained(ModelSource(name_or_path=str(tmp_path)))
    (line,) = caplog.messages
    assert "so earmark assumes sampling_rate 16000. If" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "not a JSON object"),
        ('{"feature_extractor": {"sampling_rate": 0}}', "rate is 0"),
        ('{"feature_extractor": {"padding_value": "x"}}', "padding_value is 'x', not a number. Fix"),
    ],
)
def test_a_damaged_processor_is_named(text: str, said: str, tmp_path: Path) -> None:
    checkpoint(tmp_path)
    (tmp_path / "processor_config.json").write_text(text)
    with pytest.raises(ModelError, match=rf"processor_config\.json: .*{said}"):
        load_trained(ModelSource(name_or_path=str(tmp_path)))


WRITTEN_BY_TRANSFORMERS = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 8000}


def test_what_the_settings_do_not_know_is_saved_again(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**WRITTEN_BY_TRANSFORMERS, "processor_class": "Wav2Vec2Processor"}))
    audio = load_trained(ModelSource(name_or_path=str(tmp_path)))
    audio.frontend.save(tmp_path)
    saved = json.loads(path.read_text())
    assert (saved["processor_class"], saved["sampling_rate"]) == ("Wav2Vec2Processor", 8000)
    assert transformers.AutoFeatureExtractor.from_pretrained(tmp_path).sampling_rate == 8000


@pytest.mark.parametrize("named", [{}, {"feature_extractor_type": "WhisperAudioProcessor"}])
def test_the_family_says_the_frontend_where_no_known_class_is_named(named: dict[str, str], tmp_path: Path) -> None:
    audio = checkpoint(tmp_path, "whisper")
    values = {name: value for name, value in audio.frontend.extractor.to_json().items() if name not in DERIVED}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**values, **named}))
    loaded = load_trained(ModelSource(name_or_path=str(tmp_path))).frontend
    clip = tone(440, 1.0)
    torch.testing.assert_close(loaded([clip]), audio.frontend([clip]))


DERIVED = ("n_samples", "nb_max_frames", "feature_extractor_type")


@pytest.mark.parametrize(
    ("kind", "extractor"),
    [
        ("whisper", transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=1, dither=1e-6)),
        ("wav2vec2", transformers.Wav2Vec2FeatureExtractor(padding_side="left", return_attention_mask=True)),
        ("wav2vec2", transformers.SpeechT5FeatureExtractor(do_normalize=True)),
    ],
    ids=["dither", "left", "SpeechT5"],
)
def test_extractors_without_tensor_code_run_through_transformers(kind: str, extractor: Any, tmp_path: Path) -> None:
    checkpoint(tmp_path, kind)
    extractor.save_pretrained(tmp_path)
    audio = load_trained(ModelSource(name_or_path=str(tmp_path)))
    assert audio.frontend.features is None
    with torch.no_grad():
        assert audio.model(**audio.frontend([tone(440, 1.0), tone(300, 0.5)])).logits.shape == (2, 2)
    trained = build_for_training(ModelSource(name_or_path=str(tmp_path)), LABELS, 1.0, 1.0)
    trained.save(tmp_path)
    assert type(transformers.AutoFeatureExtractor.from_pretrained(tmp_path)) is type(extractor)


CUSTOM = """
from transformers import Wav2Vec2FeatureExtractor

class Halved(Wav2Vec2FeatureExtractor):
    def __call__(self, *args, **kwargs):
        batch = super().__call__(*args, **kwargs)
        batch["input_values"] = batch["input_values"] / 2
        return batch
"""


def test_custom_code_runs_if_it_is_trusted(tmp_path: Path) -> None:
    plain = checkpoint(tmp_path).frontend
    (tmp_path / "halved.py").write_text(CUSTOM)
    named = {"feature_extractor_type": "Halved", "auto_map": {"AutoFeatureExtractor": "halved.Halved"}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**plain.extractor.to_json(), **named}))
    trusted = load_trained(ModelSource(name_or_path=str(tmp_path), trust_remote_code=True)).frontend
    clip = tone(440, 1.0)
    torch.testing.assert_close(trusted([clip])["input_values"], plain([clip])["input_values"] / 2)
    with pytest.raises(ModelError, match=r"preprocessor_config\.json: cannot be read"):
        load_trained(ModelSource(name_or_path=str(tmp_path)))


def test_an_unknown_class_with_settings_of_its_own_is_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    values = {"feature_extractor_type": "Unheard", "sampling_rate": 16000, "spectrum": "cochlear"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"preprocessor_config\.json: cannot be read"):
        load_trained(ModelSource(name_or_path=str(tmp_path)))
