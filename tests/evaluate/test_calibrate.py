"""``earmark calibrate`` from the shell, and one answer for a clip wherever it is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from safetensors.torch import load_file, save_file

import earmark
from earmark.cli.main import main
from earmark.errors import ModelError, UsageError
from earmark.evaluate.evaluate_model import evaluate
from earmark.http.lifecycle import Lifecycle
from earmark.predict.timeline import SegmentRules
from earmark.runs.push import FILES
from earmark.serve.app import build_app
from earmark.serve.server_metrics import ServerMetrics
from earmark.serve.service import Service
from earmark.serve.stream import Streams
from earmark.settings.evaluation_flags import CalibrateOptions, EvaluateOptions
from earmark.settings.serving_flags import ServeOptions
from earmark.tasks.decision import Decision
from tests.rows import rows_in
from tests.tiny import RATE_HZ, tone

LABELS = ["high", "low", "mid"]
FITTED = Decision(temperature=2.5, reject_label="none", class_thresholds={"high": 0.6, "low": 0.45, "mid": 0.4})


def write_decision(folder: Path, decision: Decision = FITTED) -> None:
    (folder / "decision.json").write_text(json.dumps(decision.to_dict(LABELS)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "clips"
    for i in range(24):
        place = folder / "validation" / LABELS[i % 3]
        place.mkdir(parents=True, exist_ok=True)
        wave = tone(200 + 170 * i, 0.3 + 0.07 * (i % 20), seed=i)  # the longest are cut into windows
        soundfile.write(place / f"{i:02}.wav", wave, RATE_HZ, subtype="FLOAT")
    return folder


def test_recordings_that_cannot_be_used_are_listed_beside_those_of_training(
    model: Path, data: Path, tmp_path: Path
) -> None:
    clips = shutil.copytree(data, tmp_path / "clips")
    (clips / "validation" / "mid" / "broken.wav").write_bytes(b"RIFF")
    listed = model / "bad_audio.csv"
    listed.write_text("path,split,reason\nold.wav,train,empty file\n")
    command = ["calibrate", str(model), "--data_dir", str(clips), "--calibrate", "--on_bad_audio", "skip"]
    for _ in range(2):  # once, however often it is found
        assert main([*command, "--device", "cpu"]) == 0
        assert [Path(row["path"]).name for row in rows_in(listed)] == ["old.wav", "broken.wav"]
    assert [row["split"] for row in rows_in(listed)] == ["train", "validation"]


def test_one_answer_wherever_it_is_asked_for(model: Path, data: Path, tmp_path: Path) -> None:
    write_decision(model)
    paths = sorted(data.rglob("*.wav"))
    classifier = earmark.Classifier.from_pretrained(model, device="cpu")
    expected = classifier.predict(paths, top_k=3)
    answers = [top[0]["label"] for top in expected]
    assert 3 <= answers.count("none") <= len(answers) - 3, "both kinds are there"
    # probabilities are those of the raw logits at the temperature, by hand
    bare = tmp_path / "bare"
    shutil.copytree(model, bare, ignore=shutil.ignore_patterns("decision.json"))
    raw = earmark.Classifier.from_pretrained(bare, device="cpu").predict_proba(paths[:1])[0].astype(float)
    np.testing.assert_allclose(classifier.predict_proba(paths[:1])[0], raw**0.4 / (raw**0.4).sum(), atol=1e-5)

    def check(top: list[dict], i: int) -> None:
        assert top[0]["label"] == answers[i]
        assert top[0]["score"] == pytest.approx(expected[i][0]["score"], abs=1e-4)
        assert top[0].get("below_threshold") == expected[i][0].get("below_threshold")

    words = ["predict", str(model), *map(str, paths), "--device", "cpu", "--top_k", "2"]
    assert main([*words, "--output", str(tmp_path / "a.jsonl")]) == 0
    for i, line in enumerate((tmp_path / "a.jsonl").read_text().splitlines()):
        check(json.loads(line)["predictions"], i)
    assert main([*words, "--output", str(tmp_path / "a.csv")]) == 0
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "path,label,score,label_2,score_2,below_threshold"
    for i, row in enumerate(rows_in(tmp_path / "a.csv")):
        flag = {"below_threshold": row["below_threshold"]} if row["below_threshold"] else {}
        check([{"label": row["label"], "score": float(row["score"]), **flag}], i)
    given = EvaluateOptions(
        model_name_or_path=str(model), data_dir=str(data), output_dir=str(tmp_path / "e"), device="cpu"
    )
    outcome = evaluate(given)
    by_path = {row["path"]: row["answer"] for row in rows_in(tmp_path / "e" / "predictions_validation.csv")}
    assert [by_path[str(path)] for path in paths] == answers
    decided = outcome.metrics["decision"]
    assert decided["coverage"] == pytest.approx(1 - answers.count("none") / len(answers))
    right = [answer == path.parent.name for answer, path in zip(answers, paths, strict=True)]
    assert decided["precision"] == pytest.approx(sum(right) / (len(answers) - answers.count("none")))
    assert "predicts a class for" in outcome.summary


@pytest.mark.parametrize("format", ["audacity", "rttm", "raven", "parquet"])
def test_other_formats_carry_the_answer(format: str, model: Path, data: Path, tmp_path: Path) -> None:
    write_decision(model, Decision(reject_label="none of it", reject_threshold=1.0))
    path = min(data.rglob("*.wav"))
    suffix = {"audacity": "txt", "raven": "txt"}.get(format, format)
    words = ["predict", str(model), str(path), "--format", format, "--output", str(tmp_path / f"a.{suffix}")]
    assert main([*words, "--rows", "windows", "--device", "cpu"]) == 0
    written = (tmp_path / f"a.{suffix}").read_bytes()
    assert b"none of it" in written or b"none_of_it" in written
    if format == "parquet":
        from pyarrow import parquet

        assert parquet.read_table(tmp_path / "a.parquet")["below_threshold"].to_pylist()[0] in LABELS


def test_a_class_that_is_never_answered_has_no_segments(model: Path, data: Path) -> None:
    path = max(data.rglob("*.wav"), key=lambda path: path.stat().st_size)
    before = earmark.Classifier.from_pretrained(model, device="cpu").timeline(path, window_seconds=0.2)
    found = before.segments(SegmentRules(threshold=0.5))
    assert found
    never = dict.fromkeys(LABELS, float("inf"))
    write_decision(model, Decision(class_thresholds=never))
    after = earmark.Classifier.from_pretrained(model, device="cpu").timeline(path, window_seconds=0.2)
    np.testing.assert_allclose(after.probabilities, before.probabilities, atol=1e-6)
    assert after.segments(SegmentRules(threshold=0.5)) == []
    assert after.segments() == []
    # a threshold of the model raises that of the rules, and never lowers it
    write_decision(model, Decision(class_thresholds=dict.fromkeys(LABELS, 0.1)))
    low = earmark.Classifier.from_pretrained(model, device="cpu").timeline(path, window_seconds=0.2)
    assert [(one.start_s, one.label) for one in low.segments()] == [(one.start_s, one.label) for one in found]


@pytest.fixture
def client(model: Path) -> Iterator[TestClient]:
    write_decision(model)
    classifier = earmark.Classifier.from_pretrained(model, device="cpu")
    options = ServeOptions(model_name_or_path=str(model))
    metrics, lifecycle = ServerMetrics(), Lifecycle(1.0)
    service = Service(classifier, options, metrics)
    streams = Streams(classifier, service.batcher, options, lifecycle)
    yield TestClient(build_app(service, streams, lifecycle, metrics, token=None, cors_origins=[]))
    streams.close()
    service.close()


def test_the_server_gives_the_same_answers(client: TestClient, model: Path, data: Path) -> None:
    classifier = earmark.Classifier.from_pretrained(model, device="cpu")
    seen, smallest = set(), 1.0
    for path in sorted(data.rglob("*.wav"))[::3]:
        (expected,) = classifier.predict(path)  # type: ignore[misc]
        seen.add(expected["label"])
        answer = client.post("/v1/classify?top_k=2", content=path.read_bytes()).json()
        assert answer[0]["label"] == expected["label"]
        assert answer[0].get("below_threshold") == expected.get("below_threshold")
        assert answer[0]["score"] == pytest.approx(expected["score"], abs=1e-4)
        heard = client.post("/v1/timeline?top_k=1", content=path.read_bytes()).json()
        assert heard["scores"][0]["label"] == expected["label"]
        low = client.post("/v1/timeline?threshold=0.05", content=path.read_bytes()).json()["segments"]
        found = classifier.timeline(path).segments(SegmentRules(threshold=0.05))
        assert [one["label"] for one in low] == [one.label for one in found]
        assert all(one["score"] >= 0.4 for one in low), "the model's own thresholds are higher"
        rows = classifier.timeline(path).windows
        assert [window["scores"][0]["label"] for window in heard["windows"]] == [
            classifier.top(row.probabilities)[0]["label"] for row in rows
        ]
        logits = client.post("/v1/classify?top_k=3&function_to_apply=none", content=path.read_bytes()).json()
        assert not any("below_threshold" in one for one in logits), "thresholds are of probabilities"
        smallest = min(smallest, logits[0]["score"])
    assert smallest < 0.4, "a number that would be rejected were it a probability"
    assert "none" in seen
    assert len(seen) > 1


def test_the_stream_and_the_model_s_description(client: TestClient, model: Path) -> None:
    told = client.get("/v1/model").json()
    assert told["labels"] == LABELS
    assert told["decision"]["temperature"] == 2.5
    classifier = earmark.Classifier.from_pretrained(model, device="cpu")
    wave = tone(700, 1.0)
    with client.websocket_connect("/v1/stream?encoding=f32le&top_k=1") as socket:
        socket.send_bytes(wave.astype("<f4").tobytes())
        socket.send_text("end")
        row = socket.receive_json()
    assert row["scores"][0]["label"] == classifier.predict(wave, sampling_rate=RATE_HZ)[0]["label"]  # type: ignore[call-overload, index]


def test_calibrate_fits_writes_and_replaces(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(model / "model.safetensors")
    save_file(weights | {"classifier.weight": 3 * weights["classifier.weight"]}, model / "model.safetensors")
    paths = sorted(map(str, data.rglob("*.wav")))
    answers = [rows[0]["label"] for rows in earmark.Classifier.from_pretrained(model, device="cpu").predict(paths)]
    wrong = dict(zip(LABELS, [*LABELS[1:], LABELS[0]], strict=True))
    rows = [
        f"{path},{answer if i % 3 else wrong[answer]}"
        for i, (path, answer) in enumerate(zip(paths, answers, strict=True))
    ]
    manifest = tmp_path / "mostly right.csv"
    manifest.write_text("\n".join(["path,label", *rows]) + "\n")
    words = ["calibrate", str(model), "--eval_file", str(manifest), "--device", "cpu"]
    assert main(words) == 0
    first = json.loads((model / "decision.json").read_text())
    assert first["temperature"] > 2, "it is certain, and a third of its answers is wrong"
    assert (
        first["fitted"]["cross_fitted"]["calibration_error"]
        < first["fitted"]["cross_fitted"]["calibration_error_before"]
    )
    assert "temperature" in capsys.readouterr().out
    thresholds = ["--target_precision", "0.6", "--reject_class", "mid", "--reject_false_accept_rate", "0.25"]
    assert main([*words, *thresholds]) == 0
    out, err = capsys.readouterr()
    assert "replaced" in err
    assert "of the 'mid' clips" in out
    second = json.loads((model / "decision.json").read_text())
    assert second["temperature"] == pytest.approx(first["temperature"]), "fitted again on the model's own logits"
    assert second["reject_label"] == "mid"
    assert set(second["class_thresholds"]) <= {"high", "low"}
    assert main([*words, "--calibrate", "false", "--target_precision", "0.5"]) == 0
    assert json.loads((model / "decision.json").read_text())["temperature"] == 1.0
    (model / "decision.json").write_text("{")  # damaged: a new one replaces it
    assert main(words) == 0
    assert json.loads((model / "decision.json").read_text())["temperature"] == pytest.approx(first["temperature"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--calibrate", "false"], "nothing is left to fit"),
        (["--target_precision", "2"], "expected above 0 and at most 1"),
        (["--reject_class", "mid"], "needs a threshold"),
        (["--reject_false_accept_rate", "0.1", "--reject_class", "hum"], "'hum' is not a class of the model"),
        (["--split", "test"], "no test clips"),
        (["--output_dir", "elsewhere"], "not of this command"),
    ],
)
def test_calibrate_says_what_cannot_be(
    words: list[str], says: str, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(model), "--data_dir", str(data), "--device", "cpu", *words]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("earmark: error: ")
    assert says in last
    assert not (model / "decision.json").exists()


def test_calibrate_without_a_class_of_clips(model: Path, data: Path, tmp_path: Path, capsys) -> None:
    part = Path(shutil.copytree(data, tmp_path / "part"))
    shutil.rmtree(part / "validation" / "mid")
    words = ["calibrate", str(model), "--data_dir", str(part), "--device", "cpu", "--target_precision", "0.3"]
    assert main(words) == 0
    assert "never predicted, because no clip has that class: 'mid'" in capsys.readouterr().out
    assert json.loads((model / "decision.json").read_text())["class_thresholds"]["mid"] is None
    words += ["--reject_class", "mid", "--reject_false_accept_rate", "0.1"]
    assert main(words) == 2
    assert "no validation clips of --reject_class 'mid'" in capsys.readouterr().err


def test_a_model_that_answers_nan_is_one_line_and_keeps_its_decision(model: Path, data: Path, capsys) -> None:
    weights = load_file(model / "model.safetensors")
    weights["classifier.bias"][0] = np.nan
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    write_decision(model)
    before = (model / "decision.json").read_text()
    assert main(["calibrate", str(model), "--data_dir", str(data), "--device", "cpu"]) == 2
    assert "error: the model predicts NaN or infinity for" in capsys.readouterr().err.strip().splitlines()[-1]
    assert (model / "decision.json").read_text() == before


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_thresholds_of_another_aggregate_are_warned_of(aggregate: str, model: Path, data: Path, capsys) -> None:
    words = ["predict", str(model), str(data), "--device", "cpu", "--aggregate", aggregate]
    assert main(words) == 0
    assert "thresholds were fitted" not in capsys.readouterr().err  # there are none
    write_decision(model)
    assert main(words) == 0
    assert ("thresholds were fitted to the mean" in capsys.readouterr().err) == (aggregate == "max")


def test_other_models_are_not_calibrated(tmp_path: Path, model: Path, data: Path, capsys) -> None:
    assert main(["calibrate", str(tmp_path / "nowhere"), "--data_dir", str(data)]) == 2
    assert "no such folder" in capsys.readouterr().err
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    words = ["calibrate", str(model), "--data_dir", str(data)]
    assert main([*words, "--reject_class", "high", "--reject_false_accept_rate", "0.1"]) == 2
    assert "--reject_false_accept_rate: a model of several labels predicts none" in capsys.readouterr().err
    assert main([*words, "--task", "single_label"]) == 2
    assert "the model was trained for multi_label" in capsys.readouterr().err


def test_a_damaged_file_stops_every_way_in(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "decision.json").write_text('{"version": 1, "labels": ["high"]}')
    with pytest.raises(ModelError, match="fitted for classes other than"):
        earmark.Classifier.from_pretrained(model)
    for words in (["predict", str(model), str(data)], ["evaluate", str(model), "--data_dir", str(data)]):
        assert main(words) == 2
        assert "decision.json: fitted for classes other than" in capsys.readouterr().err


def test_the_hub_gets_the_file() -> None:
    assert "decision.json" in FILES


@pytest.mark.slow
def test_an_export_answers_alike_and_says_how(model: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from earmark.export.export_model import export
    from earmark.settings.export_flags import ExportOptions

    write_decision(model)
    folder = tmp_path / "pt2"
    outcome = export(ExportOptions(model_name_or_path=str(model), format="pt2", output=str(folder)))
    assert outcome.description.checked["flips"] == 0
    assert "temperature 2.5 in the model file" in outcome.summary
    told = json.loads((folder / "export.json").read_text())["decision"]
    assert told == json.loads((folder / "decision.json").read_text()) == FITTED.to_dict(LABELS)
    paths = sorted(data.rglob("*.wav"))
    ours = earmark.Classifier.from_pretrained(folder, device="cpu").predict(paths)
    theirs = earmark.Classifier.from_pretrained(model, device="cpu").predict(paths)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine[0]["label"] == other[0]["label"]  # type: ignore[index]
        assert mine[0]["score"] == pytest.approx(other[0]["score"], abs=1e-4)  # type: ignore[index]
    assert main(["calibrate", str(folder), "--data_dir", str(data)]) == 2
    write_decision(folder, Decision(temperature=1.5))
    with pytest.raises(ModelError, match=r"the temperature 1\.5, the model file 2\.5"):
        earmark.Classifier.from_pretrained(folder)
    (folder / "decision.json").unlink()
    with pytest.raises(ModelError, match="Copy the whole folder"):
        earmark.Classifier.from_pretrained(folder)


def test_a_job_that_was_begun_under_other_thresholds_is_not_gone_on_with(
    model: Path, data: Path, tmp_path: Path
) -> None:
    from earmark.predict.job import Job
    from earmark.settings.prediction_flags import PredictOptions

    options = PredictOptions(model_name_or_path=str(model), inputs=[str(data)], device="cpu")
    assert "decision" not in Job(options).settings()
    write_decision(model)
    one = Job(options).settings()["decision"]
    write_decision(model, Decision(temperature=2.6))
    assert Job(options).settings()["decision"] != one


def test_calibrate_of_no_model() -> None:
    with pytest.raises(UsageError, match="no model"):
        CalibrateOptions()
