"""``earmark label`` from the command line: proposals, what is kept between starts, and the loop back to training."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

import earmark
from earmark.cli.main import main
from earmark.clips.clip import Clip
from earmark.errors import AudioError
from earmark.label.label_clips import path_in
from earmark.models.build_model import ModelSource, load_trained
from tests.label.conftest import TOKEN, Start
from tests.patience import PATIENCE_S, wait_until
from tests.rows import rows_in
from tests.tiny import RATE_HZ, tone, write_tones
from tests.train.small import build


def label(*words: object) -> int:
    return main(["label", *map(str, words), "--device", "cpu"])


def test_tapes_and_folders_that_are_not_there_are_told_of(
    pool: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", model, "--output_dir", tmp_path / "out", "--page", "false")
    assert label(tmp_path / "nowhere", *words) == 2
    assert "nowhere: no such file or folder" in capsys.readouterr().err
    soundfile.write(pool / "tape.wav", tone(500, 4.5), RATE_HZ)  # the model takes a second
    assert label(pool, *words) == 0
    assert "1 recording is longer than 4 times the model's window of 1 s" in capsys.readouterr().err


def test_proposals_are_what_the_model_predicts(pool: Path, model: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert label(pool, "--model", model, "--output_dir", out, "--page", "false", "--order", "uncertain") == 0
    proposals = rows_in(out / "proposals.csv")
    assert [row["rank"] for row in proposals] == [str(rank) for rank in range(1, 9)]
    classifier = earmark.Classifier.from_pretrained(model, device="cpu")
    margins = []
    for row in proposals:
        answers: Any = classifier.predict(out / row["path"], top_k=3)
        assert row["label"] == answers[0]["label"]
        assert float(row["score"]) == pytest.approx(answers[0]["score"], abs=1e-4)
        others = json.loads(row["alternatives"])
        assert [name for name, _ in others] == [answer["label"] for answer in answers[1:]]
        margins.append(answers[0]["score"] - answers[1]["score"])
    assert margins == sorted(margins)
    [bad] = rows_in(out / "bad_audio.csv")
    assert bad["path"] == str(pool / "broken.wav")
    shown = capsys.readouterr()
    assert "8 recordings, proposals in" in shown.out
    assert "the model has no background class, so it also proposes its classes" in shown.err
    assert f"{pool / 'broken.wav'}: cannot be used: " in shown.err


def test_a_temperature_counts(pool: Path, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "warm")
    labels = load_trained(ModelSource(name_or_path=str(model))).labels
    decision = {"version": 1, "labels": labels, "temperature": 3.0, "reject_label": "unknown"}
    decision |= {"reject_threshold": 0.99, "class_thresholds": {}, "fitted": {}}
    (tmp_path / "warm" / "decision.json").write_text(json.dumps(decision))
    assert label(pool, "--model", tmp_path / "warm", "--output_dir", tmp_path / "out", "--page", "false") == 0
    row = rows_in(tmp_path / "out" / "proposals.csv")[0]
    classifier = earmark.Classifier.from_pretrained(tmp_path / "warm", device="cpu")
    answer = classifier.predict_proba([tmp_path / "out" / row["path"]])[0]
    assert float(row["score"]) == pytest.approx(answer.max(), abs=1e-4)
    assert row["label"] in labels  # a person decides, so the class is named even where the model would not


def test_recordings_are_heard_once(pool: Path, model: Path, tmp_path: Path, capsys: Any) -> None:
    words = (pool, "--model", model, "--output_dir", tmp_path / "out", "--page", "false")
    assert label(*words) == 0
    first = (tmp_path / "out" / "proposals.csv").read_text()
    capsys.readouterr()
    assert label(*words) == 0
    assert "scored by this model at an earlier start" in capsys.readouterr().err
    assert (tmp_path / "out" / "proposals.csv").read_text() == first
    soundfile.write(pool / "new.wav", tone(500, 0.3), RATE_HZ)
    assert label(*words) == 0
    assert "an earlier start" not in capsys.readouterr().err
    (tmp_path / "out" / "scores.npz").write_bytes(b"cut short")
    assert label(*words) == 0
    assert "scores the recordings again" in capsys.readouterr().err
    assert len(rows_in(tmp_path / "out" / "proposals.csv")) == 9


def test_long_recordings_count_whole(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    for i in range(2):
        soundfile.write(folder / f"{i}.wav", tone(300 + 900 * i, 2.7, seed=i), RATE_HZ)
    assert label(folder, "--model", model, "--output_dir", tmp_path / "out", "--page", "false") == 0
    classifier = earmark.Classifier.from_pretrained(model, device="cpu")
    for row in rows_in(tmp_path / "out" / "proposals.csv"):
        answer = classifier.predict_proba([tmp_path / "out" / row["path"]])[0]
        assert float(row["score"]) == pytest.approx(answer.max(), abs=1e-4)


def test_a_model_without_embeddings(pool: Path, tmp_path: Path) -> None:
    build("wav2vec2", use_weighted_layer_sum=True).save(tmp_path / "summed")
    assert label(pool, "--model", tmp_path / "summed", "--output_dir", tmp_path / "out", "--page", "false") == 0
    assert len(rows_in(tmp_path / "out" / "proposals.csv")) == 8


def test_wrong_labels_come_first(model: Path, tmp_path: Path) -> None:
    classifier = earmark.Classifier.from_pretrained(model, device="cpu")
    data = tmp_path / "data"
    for i in range(6):
        wave = tone(200 * 1.6**i, 0.5, seed=i)
        answer: Any = classifier.predict(wave, sampling_rate=RATE_HZ)
        name = answer[0]["label"] if i != 3 else "bird"
        (data / name).mkdir(parents=True, exist_ok=True)
        soundfile.write(data / name / f"{i}.wav", wave, RATE_HZ)
    out = tmp_path / "out"
    assert label(data, "--model", model, "--check", "--output_dir", out, "--page", "false") == 0
    first, *others = rows_in(out / "proposals.csv")
    assert first["given_label"] == "bird"
    assert "a class that the model does not have" in first["why"]
    assert all("agrees" in row["why"] for row in others)
    manifest = rows_in(out / "labels.csv")  # all rows, so that corrected labels can be trained on with them
    assert len(manifest) == 6
    assert {row["checked"] for row in manifest} == {""}


def test_a_manifest_keeps_its_columns_and_cuts(pool: Path, model: Path, tmp_path: Path, capsys: Any) -> None:
    table = tmp_path / "table.csv"
    lines = ["sound,species,offset,duration,speaker"]
    lines += ["pool/0.wav,low,0.1,0.2,anna", "pool/2.wav,high,,,ben", "pool/0.wav,low,0.1,0.2,twice"]
    table.write_text("\n".join(lines))
    out = tmp_path / "out"
    words = ["--model", model, "--check", "--output_dir", out, "--page", "false"]
    assert label(table, *words) == 2
    assert "--audio_column_name" in capsys.readouterr().err
    assert label(table, *words, "--audio_column_name", "sound", "--label_column_name", "species") == 0
    assert "1 row ignored, because an earlier row has the same clip" in capsys.readouterr().err
    by_speaker = {row["speaker"]: row for row in rows_in(out / "labels.csv")}
    assert set(by_speaker) == {"anna", "ben"}
    assert (by_speaker["anna"]["offset"], by_speaker["anna"]["duration"]) == ("0.1", "0.2")
    assert by_speaker["ben"]["offset"] == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Name both: earmark label FOLDER --model RUN."),
        (["{pool}"], "no recordings or no model"),
        (["{pool}", "--model", "{model}", "--order", "suspicious"], "Add --check"),
        (["{empty}", "--model", "{model}", "--check"], "no class folders"),
        (["{pool}", "--model", "{model}", "--port", "70000"], "0 to 65535"),
        (["nowhere", "--model", "{model}"], "nowhere: no such file or folder"),
        (["{empty}", "--model", "{model}"], "no audio files in this folder"),
        (["{table}", "--model", "{model}"], "Add --check"),
        (["tabel.csv", "--model", "{model}"], "tabel.csv: no such file or folder"),
        (["{pool}", "--model", "{empty}"], "no config.json"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], said: str, pool: Path, model: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("path,label\n")
    places = {"pool": pool, "model": model, "empty": tmp_path / "empty", "table": tmp_path / "table.csv"}
    named = [word.format(**places) for word in words]
    assert label(*named, "--page", "false", "--output_dir", tmp_path / "out") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("earmark: error: ")
    assert said in last


def test_models_of_other_tasks(pool: Path, tmp_path: Path, capsys: Any) -> None:
    audio = build("wav2vec2")
    audio.model.config.problem_type = "regression"
    audio.save(tmp_path / "number")
    words = ("--output_dir", tmp_path / "out", "--page", "false")
    assert label(pool, "--model", tmp_path / "number", *words) == 2
    assert "predicts a number. Use a model that predicts classes" in capsys.readouterr().err
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "export.json").write_text("{}")
    assert label(pool, "--model", tmp_path / "exported", *words) == 2
    assert "Use the run it was made from" in capsys.readouterr().err


def test_names_that_no_manifest_holds() -> None:
    assert path_in(Path("/x/out"), Clip("a", path="/y/a.wav")) == "/y/a.wav"
    assert path_in(Path("out"), Clip("a", path="pool/a.wav")) == "../pool/a.wav"
    assert path_in(Path("."), Clip("a", path="~a.wav")) == "./~a.wav"
    with pytest.raises(AudioError, match="not UTF-8"):
        path_in(Path("out"), Clip("a", path="pool/\udcff.wav"))


def test_label_then_train(model: Path, tmp_path: Path, start: Start) -> None:
    """The file that the page leaves is trained on as it is."""
    data = write_tones(tmp_path / "tones", per_class=4)
    started = start(data / "train")
    with httpx.Client(base_url=started.url, headers={"X-Earmark-Token": TOKEN}) as client:
        for at in range(8):
            path = client.get(f"/clips/{at}").json()["path"]
            name = 'low, "deep"' if "/low/" in path else "高い"
            body = {"was": None, "now": ["label", name]}
            assert client.post(f"/clips/{at}/decide", json=body).json()["labelled"] == at + 1
    words = ["--train_file", str(started.folder / "labels.csv"), "--model_name_or_path", str(model), "--few_shot"]
    words += ["--validation_fraction", "0.25", "--output_dir", str(tmp_path / "run"), "--device", "cpu"]
    assert main(["train", *words, "--report", "false"]) == 0
    assert json.loads((tmp_path / "run" / "labels.json").read_text()) == ['low, "deep"', "高い"]
    # and the next round is with the new model
    assert label(data / "train", "--model", tmp_path / "run", "--output_dir", started.folder, "--page", "false") == 0
    assert {row["label"] for row in rows_in(started.folder / "proposals.csv")} <= {'low, "deep"', "高い"}
    assert len(rows_in(started.folder / "labels.csv")) == 8


@pytest.mark.slow
def test_the_command_serves_until_a_signal_comes(pool: Path, model: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    log = tmp_path / "log"
    words = [sys.executable, "-m", "earmark", "label", str(pool), "--model", str(model), "--output_dir", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            [*words, "--port", "0", "--device", "cpu"], stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
    pattern = r"http://127\.0\.0\.1:(\d+)/#(\S+)"
    wait_until(lambda: re.search(pattern, log.read_text()) or process.poll() is not None)
    shown = re.search(pattern, log.read_text())
    assert shown is not None, log.read_text()
    port, token = int(shown[1]), shown[2]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-Earmark-Token": token}) as client:
        body = {"was": None, "now": ["label", "mid"]}
        assert client.post("/clips/0/decide", json=body).status_code == 200
        # a second one, in the same folder or at the same port, says so
        assert label(pool, "--model", model, "--output_dir", out, "--page", "false") == 2
        assert f"{out}: process {process.pid} on " in capsys.readouterr().err
        assert label(pool, "--model", model, "--output_dir", tmp_path / "other", "--port", port) == 2
        assert f"error: --port {port}: cannot listen on this address" in capsys.readouterr().err
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    assert "1 labelled" in log.read_text()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert label(pool, "--model", model, "--output_dir", out, "--page", "false") == 0  # the folder is free again
    assert "1 labelled" in capsys.readouterr().out


def test_a_killed_server_loses_nothing(pool: Path, model: Path, tmp_path: Path, start: Start) -> None:
    """What was answered is on disk, whatever becomes of the process: no part of it is held back for the end."""
    started = start(pool)
    with httpx.Client(base_url=started.url, headers={"X-Earmark-Token": TOKEN}) as client:
        client.post("/clips/2/decide", json={"was": None, "now": ["label", "low"]})
        assert [row["label"] for row in rows_in(started.folder / "labels.csv")] == ["low"]
        client.post("/clips/3/decide", json={"was": None, "now": ["aside", "none"]})
        assert [row["why"] for row in rows_in(started.folder / "set_aside.csv")] == ["none"]
    again = start(pool)
    state = httpx.get(f"{again.url}/state", headers={"X-Earmark-Token": TOKEN}).json()
    assert (state["labelled"], state["aside"], state["next"]) == (1, 1, 0)


def test_a_full_disk_is_told(pool: Path, model: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert label(pool, "--model", model, "--output_dir", tmp_path / "out", "--page", "false") == 2
    assert "No space left on device" in capsys.readouterr().err


def test_a_folder_of_the_other_kind(pool: Path, model: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels.csv").write_text("path,label\n../pool/0.wav,low\n")
    words = ("--model", model, "--output_dir", tmp_path / "out", "--page", "false")
    assert label(write_tones(tmp_path / "tones", per_class=2), *words, "--check") == 2
    assert "no column 'given_label'" in capsys.readouterr().err
    assert label(pool, *words) == 0  # and of this kind it is gone on with
    assert "1 labelled" in capsys.readouterr().out
