"""A user's mistake is one line that names the file or the flag, exit code 2 and no traceback."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from earmark.cli.main import main, run_example
from tests.gallery import Gallery
from tests.models.hub_stand_in import use
from tests.tiny import ARCHITECTURES, RATE_HZ, overrides, tone, write_tones

SRC = Path(__file__).parents[2] / "src"
TINY = ["--model_type", "wav2vec2", "--config_overrides", overrides("wav2vec2"), "--device", "cpu"]
WHISPER = ["--model_type", "whisper", "--config_overrides", overrides("whisper"), "--device", "cpu"]
QUICK = ["--max_steps", "1", "--per_device_train_batch_size", "4", "--eval_strategy", "no", "--save_strategy", "no"]


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("data") / "tones", per_class=6, seconds=0.2)


@pytest.fixture(scope="module")
def trained(gallery: Gallery) -> Path:
    """A run that no test may change."""
    return gallery["single_label wav2vec2"].folder


@pytest.fixture
def data(tones: Path, tmp_path: Path) -> Path:
    """A copy of the clips that a test may damage."""
    return Path(shutil.copytree(tones, tmp_path / "data"))


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of the model alone that a test may damage."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        shutil.copy(trained / name, folder)
    return folder


Refusal = Callable[..., str]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs a command that must fail as a user's mistake; its message."""

    def run(*words: str | Path) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert err.count("earmark: error: ") == 1
        return err.partition("earmark: error: ")[2].strip()

    return run


def one_line(message: str, *parts: str | Path) -> None:
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, message


def train(*words: str | Path, to: Path) -> list[str | Path]:
    return ["train", *words, *TINY, *QUICK, "--output_dir", to]


def rewrite_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# recordings


def broken_clips(folder: Path, whole: Path) -> dict[str, str]:
    """Write a clip of each kind of damage; file name to what the message says of it."""
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "zero.wav", np.zeros(0, np.float32), RATE_HZ)
    (folder / "text.wav").write_text("this is no sound " * 50)
    (folder / "cut.wav").write_bytes(whole.read_bytes()[:3000])
    wave = tone(440, 0.2)
    wave[100] = np.nan
    soundfile.write(folder / "nan.wav", wave, RATE_HZ, subtype="FLOAT")
    return {"empty": "empty (0 bytes)", "zero": "no samples", "text": "audio", "cut": "cut short", "nan": "NaN"}


def test_every_broken_recording_is_listed_before_training(data: Path, tmp_path: Path, refusal: Refusal) -> None:
    said = broken_clips(data / "train" / "low", data / "train" / "low" / "train_0.wav")
    first, *lines = refusal(*train("--data_dir", data, to=tmp_path / "run")).splitlines()
    assert "--on_bad_audio skip" in first
    assert len(lines) == len(said)
    for name, reason in said.items():
        (line,) = (line for line in lines if f"{name}.wav: " in line)
        assert reason in line
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_skipped_recordings_are_listed_and_not_replaced(data: Path, tmp_path: Path) -> None:
    said = broken_clips(data / "validation" / "low", data / "train" / "low" / "train_0.wav")
    words = [*train("--data_dir", data, to=tmp_path / "run"), "--on_bad_audio", "skip"]
    assert main([str(word) for word in words]) == 0
    with (tmp_path / "run" / "bad_audio.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {Path(row["path"]).stem for row in rows} == set(said)
    assert {row["split"] for row in rows} == {"validation"}
    with (tmp_path / "run" / "predictions_validation.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 6


def test_a_split_without_one_good_recording(data: Path, tmp_path: Path, refusal: Refusal) -> None:
    for path in (data / "validation").rglob("*.wav"):
        path.write_bytes(b"")
    message = refusal(*train("--data_dir", data, "--on_bad_audio", "skip", to=tmp_path / "run"))
    one_line(message, data / "validation", "none of the 6 recordings could be used")


# tables


def one_class(data: Path) -> str:
    for split in ("train", "validation"):
        shutil.rmtree(data / split / "high")
    return "at least two classes"


def unknown_class(data: Path) -> str:
    shutil.copytree(data / "validation" / "low", data / "validation" / "odd")
    return "'odd' (3 clips)"


def two_spellings(data: Path) -> str:
    shutil.copytree(data / "train" / "low", data / "train" / "LOW")
    return "'LOW' (6 clips) and 'low'"


def nothing_to_train_on(data: Path) -> str:
    shutil.rmtree(data / "train")
    return "no training clips"


def nothing(data: Path) -> str:
    shutil.rmtree(data)
    data.mkdir()
    return "no class folders with recordings in them"


@pytest.mark.parametrize("damage", [one_class, unknown_class, two_spellings, nothing_to_train_on, nothing])
def test_folders_that_cannot_be_learned(data: Path, tmp_path: Path, refusal: Refusal, damage) -> None:
    said = damage(data)
    one_line(refusal(*train("--data_dir", data, to=tmp_path / "run")), data, said)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "the file is empty"),
        ("a.csv", "audio,label\n", "has no rows"),
        ("a.csv", "wave,label\n{low},a\n", "no column 'audio'"),
        ("a.csv", "audio,label\n{low},a,b\n{high},b\n", "row 2: 3 cells"),
        ("a.csv", "audio,label\n{low},0.1\n{high},0.25\n", "--label_column_name"),
        ("a.csv", "audio,label\n{low},a\n{high},\n", "row 3: has no label"),
        ("a.csv", "audio,label\n{low},a\n{high},b\n", "set aside"),
        ("a.jsonl", '{{"audio": "{low}", "label": ["a", "b"]}}\n', "row 1: the label is a list"),
        ("a.jsonl", '{{"audio": "{low}", "label": "a"}}\n{{oops\n', "row 2: not JSON"),
        ("a.txt", "audio,label\n", "has no rows"),
        ("a.doc", "audio,label\n", ".csv"),
        ("a.parquet", "audio,label\n", "cannot be read"),
    ],
)
def test_manifests(tones: Path, tmp_path: Path, refusal: Refusal, name: str, text: str, said: str) -> None:
    clips = {"low": tones / "train" / "low" / "train_0.wav", "high": tones / "train" / "high" / "train_0.wav"}
    manifest = tmp_path / name
    manifest.write_text(text.format(**clips))
    one_line(refusal(*train("--train_file", manifest, to=tmp_path / "run")), manifest, said)


def test_a_recording_that_is_not_there(tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    manifest = tmp_path / "a.csv"
    rows = [f"{path},{path.parent.name}" for path in sorted((tones / "train").rglob("*.wav"))]
    manifest.write_text("\n".join(["audio,label", *rows, f"{tmp_path}/gone.wav,low", ""]))
    message = refusal(*train("--train_file", manifest, to=tmp_path / "run"))
    assert f"{tmp_path}/gone.wav: no such file" in message


def test_odd_labels_odd_names_and_a_split_that_is_made(tmp_path: Path) -> None:
    place = tmp_path / "Ämter & 录音 1"
    place.mkdir()
    labels = ['a, "b"\nc\'d', "日本語"]
    with (place / "my clips.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["audio", "label"])
        for i in range(8):
            soundfile.write(place / f"é {i}.wav", tone(300 + 300 * i, 0.2, seed=i), RATE_HZ)
            rows.writerow([f"é {i}.wav", labels[i % 2]])
    run = place / "a run"
    assert main([str(word) for word in train("--train_file", place / "my clips.csv", to=run)]) == 0
    assert json.loads((run / "labels.json").read_text(encoding="utf-8")) == labels
    output = place / "out put.csv"
    words = ["predict", run, place, "--output", output, "--device", "cpu", "--top_k", "2"]
    assert main([str(word) for word in words]) == 0
    with output.open(newline="", encoding="utf-8") as stream:
        answers = list(csv.DictReader(stream))
    assert [Path(row["path"]).name for row in answers] == [f"é {i}.wav" for i in range(8)]
    assert all({row["label"], row["label_2"]} == set(labels) for row in answers)


def test_one_sample_and_a_studio_recording(data: Path, tmp_path: Path) -> None:
    soundfile.write(data / "train" / "low" / "one.wav", tone(300, 1 / RATE_HZ), RATE_HZ)
    wave = tone(300, 0.3, rate_hz=44_100)
    studio = data / "train" / "low" / "studio.wav"
    soundfile.write(studio, np.stack([wave, wave], axis=1), 44_100, subtype="PCM_24")
    words = [*train("--data_dir", data, to=tmp_path / "run"), "--per_device_train_batch_size", "99"]
    assert main([str(word) for word in words]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["train"]
    assert metrics["steps"] == 1
    assert metrics["clips"] == 14  # all there are, although the batch has room for 99
    assert metrics["samples_per_second"] == pytest.approx(14 / metrics["training_s"])


# models


def no_weights(model: Path) -> str:
    (model / "model.safetensors").unlink()
    return "weights file model.safetensors is missing"


def damaged_weights(model: Path) -> str:
    (model / "model.safetensors").write_bytes(b"\xff" * 1000)
    return "the weights cannot be loaded"


def cut_weights(model: Path) -> str:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return "the weights cannot be loaded"


def pickled_weights(model: Path) -> str:
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")
    return "--allow_pickle"


def missing_shard(model: Path) -> str:
    (model / "model.safetensors").unlink()
    shards = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(shards))
    return "weights files are missing, first model-00001-of-00002.safetensors"


def text_model(model: Path) -> str:
    (model / "config.json").write_text('{"model_type": "bert"}')
    return "bert has no audio classification head"


def no_config(model: Path) -> str:
    (model / "config.json").unlink()
    return "no config.json"


def damaged_config(model: Path) -> str:
    (model / "config.json").write_text("{oops")
    return "config.json cannot be read"


def config_of_the_wrong_type(model: Path) -> str:
    rewrite_json(model / "config.json", hidden_size="many")
    return "config.json cannot be read (Validation error for field 'hidden_size': TypeError"


def config_of_another_size(model: Path) -> str:
    rewrite_json(model / "config.json", hidden_size=32)
    return "the checkpoint lacks"


def damaged_preprocessor(model: Path) -> str:
    (model / "preprocessor_config.json").write_text("[]")
    return "preprocessor_config.json: not a JSON object"


def no_rate(model: Path) -> str:
    rewrite_json(model / "preprocessor_config.json", sampling_rate=0)
    return "sampling_rate is 0"


@pytest.mark.parametrize(
    "damage",
    [
        no_weights, damaged_weights, cut_weights, pickled_weights, missing_shard, text_model, no_config, damaged_config,
        config_of_the_wrong_type, config_of_another_size, damaged_preprocessor, no_rate,
    ],
)  # fmt: skip
def test_checkpoints(model: Path, tones: Path, tmp_path: Path, refusal: Refusal, damage) -> None:
    said = damage(model)
    words = ["--data_dir", tones, "--model_name_or_path", model, *QUICK, "--output_dir", tmp_path / "run"]
    one_line(refusal("train", *words, "--device", "cpu"), model, said)
    one_line(refusal("predict", model, tones, "--device", "cpu"), model, said)


def test_a_folder_of_folds_names_them(trained: Path, tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    several = tmp_path / "several"
    for name in ("seed_0/fold_1", "seed_0/fold_2", "seed_1/fold_1"):
        shutil.copytree(trained, several / name)
    (several / "cross_validation.json").write_text("{}")
    (several / "run_config.yaml").write_text("")
    cpu = ["--device", "cpu"]
    for words in (
        ["predict", several, tones, *cpu],
        ["embed", several, tones, "--output", tmp_path / "x.parquet", *cpu],
        ["evaluate", several, "--data_dir", tones, *cpu],
        ["calibrate", several, "--data_dir", tones, *cpu],
        ["export", several, "--output", tmp_path / "exported"],
        ["serve", several, *cpu, "--port", "0"],
        ["label", tones, "--model", several, "--page", "false", "--output_dir", tmp_path / "labels"],
        ["push", several, "team/birds"],
    ):
        one_line(
            refusal(*words), f"{several}: no config.json", *sorted(several.glob("*/*")), "Give one of the models in it"
        )
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "export.json").write_text("{}")
    one_line(refusal("push", tmp_path / "export", "team/birds"), "an exported model", "the original run")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(several / "seed_0/fold_1", unfinished / "checkpoint-3")
    one_line(refusal("predict", unfinished, tones, *cpu), unfinished / "checkpoint-3")


def test_a_model_without_a_trained_head(tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    Wav2Vec2Model(Wav2Vec2Config(**ARCHITECTURES["wav2vec2"])).save_pretrained(tmp_path / "body")
    for words in (["evaluate", tmp_path / "body", "--data_dir", tones], ["predict", tmp_path / "body", tones]):
        one_line(refusal(*words, "--device", "cpu"), tmp_path / "body", "the head of", "Train it first")


def test_a_name_that_is_neither_a_folder_nor_a_model(tones, tmp_path, refusal, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    words = ["--data_dir", tones, *QUICK, "--output_dir", tmp_path / "run", "--device", "cpu", "--model_name_or_path"]
    one_line(refusal("train", *words, "no/such-model"), "no/such-model", "offline mode is on", "./such-model")
    one_line(refusal("train", *words, "not a name/!"), "not a name/!", "valid name")
    one_line(refusal("train", *words, tmp_path / "gone"), tmp_path / "gone", "no such folder")


@pytest.mark.parametrize(
    "asked",
    [
        ["--data_dir", "tones", "--model_name_or_path", "no/such"],
        ["--dataset_name", "no/such", "--model_type", "tc_resnet"],
        ["--data_dir", "tones", "--model_type", "tc_resnet", "--push_to_hub"],
    ],
)
def test_a_network_fault_is_called_that(
    asked: list[str], tones: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = "http://127.0.0.1:9"
    use(endpoint, tmp_path / "home", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    monkeypatch.chdir(tones.parent)
    line = refusal("train", *asked, *QUICK, "--output_dir", tmp_path / "run", "--device", "cpu")
    if "--push_to_hub" in asked:
        one_line(line, "--push_to_hub", "Connection refused")
    else:
        fault = "is unreachable" if "--dataset_name" in asked else "cannot be reached"
        one_line(line, "no/such", f"{endpoint} {fault}")


# settings


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lerning_rate", "1"], "unknown flag --lerning_rate; did you mean --learning_rate?"),
        (["--learning_rate", "fast"], "--learning_rate fast: expected a number"),
        (["--learning_rate", "-1"], "--learning_rate -1: expected 0 or more"),
        (["--num_train_epochs", "0", "--max_steps", "-1"], "--num_train_epochs 0: expected a number above 0"),
        (["--max_steps", "0"], "--max_steps 0"),
        (
            ["--per_device_train_batch_size", "0"],
            "--per_device_train_batch_size 0: expected a whole number of",
        ),
        (["--per_device_eval_batch_size", "0"], "--per_device_eval_batch_size 0"),
        (["--gradient_accumulation_steps", "0"], "--gradient_accumulation_steps 0"),
        (["--dataloader_num_workers", "-1"], "--dataloader_num_workers -1"),
        (["--dataloader_drop_last", "--per_device_train_batch_size", "99"], "--dataloader_drop_last"),
        (["--seed", "-1"], "--seed -1"),
        (["--freeze", "last-99"], "--freeze last-99: the model has 2 layers"),
        (["--freeze", "half"], "--freeze half: expected none"),
        (["--device", "npu"], "--device npu: this torch has no NPU support"),
        (["--device", "cuda:9"], "--device cuda:9"),
        (["--device", "gpu"], "--device gpu: not a device"),
        (
            ["--config_overrides", '{"hidden_size": "x"}'],
            "--config_overrides: Validation error for field 'hidden_size'",
        ),
        (["--config_overrides", '{"conv_dim": [8]}'], "cannot be built with these settings"),
        (["--metric_for_best_model", "acuracy"], "Choose one of accuracy, balanced_accuracy, macro_f1"),
        (
            ["--metric_for_best_model", "mae"],
            "--metric_for_best_model mae: not a metric of this task (one label a clip)",
        ),
        (["--metric_for_best_model", "top_5_accuracy"], "not a metric of this task (one label a clip) with 2 classes"),
        (["--metric_for_best_model", "eval_loss", "--greater_is_better", "True"], "loss is better when it is lower"),
        (["--report_to", "abacus"], "--report_to abacus: Transformers has no such tracker"),
        (["--metric", "nowhere"], "--metric nowhere"),
        (["--resume_from_checkpoint", "True"], "no checkpoint in"),
        (["--resume_from_checkpoint", "."], "not a complete checkpoint"),
        (["--max_length_seconds", "0"], "--max_length_seconds 0"),
    ],
)
def test_settings(tones: Path, tmp_path: Path, refusal: Refusal, monkeypatch, words: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    one_line(refusal(*train("--data_dir", tones, to=tmp_path / "run"), *words), said)
    assert not (tmp_path / "run" / "run_config.yaml").exists()  # found before anything is written


def test_a_length_that_whisper_has_no_positions_for(tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    words = ["--data_dir", tones, *WHISPER, *QUICK, "--output_dir", tmp_path / "run", "--max_length_seconds", "9"]
    one_line(refusal("train", *words), "--max_length_seconds 9", "Use at most 3")


def test_a_length_shorter_than_a_frame_is_padded(tones: Path, tmp_path: Path) -> None:
    words = [*train("--data_dir", tones, to=tmp_path / "run"), "--max_length_seconds", "0.01"]
    assert main([str(word) for word in words]) == 0


def test_an_unknown_command(refusal: Refusal) -> None:
    one_line(refusal("trian"), "unknown command trian", "train")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.yaml", None, "cannot read this configuration file"),
        ("c.yaml", "", "holds no settings"),
        ("c.yaml", "- a\n", "found a list"),
        ("c.yaml", "a: [1\n", "not YAML"),
        ("c.yaml", "lerning_rate: 3\n", "unknown flag --lerning_rate; did you mean --learning_rate?"),
        ("c.yaml", "learning_rate: fast\n", "--learning_rate fast: expected a number"),
        ("c.json", "{", "line 1: not JSON"),
        ("c.ini", "", "End its name in .yaml"),
    ],
)
def test_configuration_files(tmp_path: Path, refusal: Refusal, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    words = ["--model_type", "tc_resnet", "--output_dir", tmp_path / "run"]
    one_line(refusal("train", "--config", tmp_path / name, *words), tmp_path / name, said)


# outputs


def test_output_folders(tones: Path, trained: Path, model: Path, tmp_path: Path, refusal: Refusal) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    one_line(refusal(*train("--data_dir", tones, to=trained)), trained, "holds a run already", "--overwrite_output_dir")
    (tmp_path / "file").write_text("mine")
    one_line(refusal(*train("--data_dir", tones, to=tmp_path / "file")), tmp_path / "file", "a file is in the way")
    below = tmp_path / "file" / "run"
    one_line(refusal(*train("--data_dir", tones, to=below)), below, "cannot write")
    for place in (model, trained):  # the model to start from is never removed, whatever is told
        words = ["--data_dir", tones, "--model_name_or_path", place, *QUICK, "--output_dir", place, "--device", "cpu"]
        one_line(refusal("train", *words, "--overwrite_output_dir"), place, "--output_dir")
    assert (model / "model.safetensors").is_file()
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_a_run_is_only_replaced_when_the_new_one_can_start(trained, tones, tmp_path, refusal) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    refusal(*train("--data_dir", tmp_path / "gone", to=run), "--overwrite_output_dir")
    refusal(*train("--data_dir", tones, to=run), "--overwrite_output_dir", "--metric", "nowhere")
    assert {path.name for path in run.iterdir()} == {path.name for path in trained.iterdir()}


def test_a_checkpoint_that_cannot_be_gone_on_with(tones: Path, tmp_path: Path, refusal: Refusal, capsys) -> None:
    run = tmp_path / "run"
    words = ["--data_dir", str(tones), "--per_device_train_batch_size", "4", "--output_dir", str(run)]
    assert main(["train", *words, *TINY, "--num_train_epochs", "2"]) == 0
    newest = run / "checkpoint-6"
    other = ["--model_type", "tc_resnet", "--device", "cpu", "--resume"]
    one_line(refusal("train", *words, *other), newest, "belongs to another model")
    more = [*TINY, "--num_train_epochs", "3", "--resume_from_checkpoint"]
    (newest / "optimizer.pt").write_bytes(b"half")
    one_line(refusal("train", *words, *more, newest), newest, "optimizer.pt has 4 bytes")
    (newest / "complete.json").unlink()  # as other programs write them: found out when it is loaded
    one_line(refusal("train", *words, *more, newest), newest, "cannot be resumed")
    capsys.readouterr()
    assert main(["train", *words, *more, "True"]) == 0  # the one before is taken
    said = capsys.readouterr().err
    assert f"{newest}: skipped" in said
    assert f"resuming from {run / 'checkpoint-3'}" in said


def test_evaluation_into_a_run_leaves_its_figures(trained: Path, tones: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before = (run / "metrics.json").read_bytes()
    words = ["--do_eval", "--data_dir", str(tones), "--model_name_or_path", str(run), "--output_dir", str(run)]
    assert run_example([*words, "--use_cpu"]) == 0
    assert (run / "metrics.json").read_bytes() == before
    assert (run / "evaluation_validation" / "metrics.json").is_file()


def test_evaluate(trained: Path, tones: Path, data: Path, tmp_path: Path, refusal: Refusal) -> None:
    cpu = ["--device", "cpu", "--output_dir", tmp_path / "scores"]
    one_line(refusal("evaluate"), "earmark evaluate MODEL")
    one_line(refusal("evaluate", trained, *cpu), "no recordings")
    one_line(refusal("evaluate", tmp_path / "gone", "--data_dir", tones, *cpu), tmp_path / "gone")
    one_line(refusal("evaluate", trained, "--data_dir", tones, "--split", "test", *cpu), "no test clips", "validation")
    unknown_class(data)
    one_line(refusal("evaluate", trained, "--data_dir", data, *cpu), data, "'odd'", "'high', 'low'")
    (tmp_path / "scores").write_text("")
    one_line(refusal("evaluate", trained, "--data_dir", tones, *cpu), tmp_path / "scores", "cannot write")


def test_predict(trained: Path, tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "empty").mkdir()
    cpu = ["--device", "cpu"]
    one_line(refusal("predict", trained), "earmark predict MODEL")
    one_line(refusal("predict", trained, tmp_path / "empty", *cpu), tmp_path / "empty", "no audio files")
    (tmp_path / "file").write_text("mine")
    inside = tmp_path / "file" / "x.csv"
    one_line(refusal("predict", trained, tones, "--output", inside, *cpu), inside, "cannot be written")
    one_line(refusal("predict", trained, tones, "--output", tmp_path / "x.doc"), tmp_path / "x.doc", ".jsonl")
    one_line(refusal("predict", trained, tones, "--num_workers", "-1"), "--num_workers -1")
    one_line(refusal("predict", trained, tmp_path / "gone.wav", *cpu), "gone.wav: no such file or folder")
    (tmp_path / "x.csv").write_text("mine")
    one_line(refusal("predict", trained, tones, "--output", tmp_path / "x.csv", *cpu), tmp_path / "x.csv", "exists")
    assert (tmp_path / "x.csv").read_text() == "mine"


def test_results(tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    one_line(refusal("results"), "earmark results RUN")
    one_line(refusal("results", tmp_path / "gone"), tmp_path / "gone", "no such folder")
    one_line(refusal("results", tones), tones, "not a finished run")
