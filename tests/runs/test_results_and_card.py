"""The results table and the model card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from earmark.errors import DataError
from earmark.runs.card import CardFacts, model_card
from earmark.runs.folder import RunFolder, write_json
from earmark.runs.results import ResultsRow, load_row, results_table
from earmark.tasks.single_label_figures import compute_metrics

ROW = ResultsRow("wav2vec2", "wav2vec2-base", "ks", "8 x Ascend910B1", 1234.56, 0.98, 0.6371, "test")


@pytest.mark.parametrize(("count", "named"), [(2, "fold_1, fold_2"), (5, "fold_1, fold_2, fold_3 and 2 more")])
def test_runs_of_a_cross_validation_that_are_not_finished_are_counted(count: int, named: str, tmp_path: Path) -> None:
    found = {"unfinished": [f"fold_{i + 1}" for i in range(count)], "runs": []}
    RunFolder(tmp_path).cross_validation.write_text(json.dumps(found))
    with pytest.raises(DataError, match=f": {named} not finished"):
        load_row(tmp_path)


def test_the_table_has_a_row_a_run_in_the_order_given(tmp_path: Path) -> None:
    for name, row in (("b", ROW), ("a", ResultsRow("a|b", "x", "y", "cpu", None, 0.5, 0.25, "validation"))):
        (tmp_path / name).mkdir()
        row.save(RunFolder(tmp_path / name))
    lines = results_table([str(tmp_path / "b"), str(tmp_path / "a")]).splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "wav2vec2", "wav2vec2-base", "ks", "8 x Ascend910B1", "1,234.6", "0.9800", "0.6371", "test"
    ]  # fmt: skip
    assert r"a\|b" in lines[3]
    assert len({len(line) for line in lines}) == 1


def test_of_a_folder_of_runs_the_finished_ones_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("b", "a", "unfinished", "notes"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        replace(ROW, recipe=name).save(RunFolder(tmp_path / name))
    RunFolder(tmp_path / "unfinished").config.write_text("")
    with caplog.at_level("INFO", logger="earmark"):
        table = results_table([str(tmp_path)])
    assert table == results_table([str(tmp_path / "a"), str(tmp_path / "b")])
    assert caplog.messages == [f"{tmp_path / 'unfinished'}: skipped, because the run is not finished"]
    (tmp_path / "folds").mkdir()
    RunFolder(tmp_path / "folds").config.write_text("")
    RunFolder(tmp_path / "folds").cross_validation.write_text(json.dumps({"unfinished": ["fold_2"], "runs": []}))
    caplog.clear()
    with caplog.at_level("INFO", logger="earmark"):
        assert results_table([str(tmp_path)]) == table
    assert f"{tmp_path / 'folds'}: skipped, because the run is not finished" in caplog.messages
    # a run that was evaluated and is not finished itself is not told by its evaluation
    (tmp_path / "unfinished" / "evaluation_test").mkdir()
    ROW.save(RunFolder(tmp_path / "unfinished" / "evaluation_test"))
    with pytest.raises(DataError, match="not a finished run"):
        results_table([str(tmp_path / "unfinished")])


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a finished run"):
        results_table([str(tmp_path)])
    write_json(RunFolder(tmp_path).results_row, {**ROW.__dict__, "accuracy": "high"})
    with pytest.raises(DataError, match="not a results row"):
        results_table([str(tmp_path)])


def test_rows_of_earlier_runs_are_read_and_other_figures_are_named(tmp_path: Path) -> None:
    for name in ("earlier", "labels"):
        (tmp_path / name).mkdir()
    values = {name: value for name, value in ROW.__dict__.items() if name not in ("value", "baseline", "metric")}
    write_json(RunFolder(tmp_path / "earlier").results_row, {**values, "accuracy": 0.98, "majority_class_rate": 0.6371})
    assert load_row(tmp_path / "earlier") == ROW
    replace(ROW, value=0.61, baseline=0.08, metric="mAP").save(RunFolder(tmp_path / "labels"))
    table = results_table([str(tmp_path / "earlier"), str(tmp_path / "labels")])
    assert "| Result          | Baseline |" in table
    assert "| Accuracy 0.9800 | 0.6371   |" in table
    assert "| mAP 0.6100      | 0.0800   |" in table


def facts(base_model: str | None) -> CardFacts:
    logits = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
    labels = ["yes", "no|maybe", "off"]
    metrics = compute_metrics(logits, np.array([0, 1, 2, 2]), labels)
    return CardFacts("my model", "wav2vec2", base_model, "field tapes", labels, 16_000, 1.0, {"test": metrics})


def test_the_card_reads_back_with_its_model_index() -> None:
    card = ModelCard(model_card(facts("facebook/wav2vec2-base")))
    assert card.data.base_model == "facebook/wav2vec2-base"
    assert card.data.pipeline_tag == "audio-classification"
    assert card.data.library_name == "transformers"
    figures = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    assert figures["accuracy"] == 0.75
    assert "| test | 4 | 0.7500 | 0.5000 |" in card.text
    assert r"no\|maybe |" in card.text
    assert 'classify({"raw": samples, "sampling_rate": 16_000})' in card.text
    assert "needs the program ffmpeg" in card.text
    assert "import earmark." not in card.text


def test_the_scheme_of_the_hub_is_no_part_of_the_name() -> None:
    card = ModelCard(model_card(facts("hf://facebook/wav2vec2-base")))
    assert card.data.base_model == "facebook/wav2vec2-base"
    assert "hf://" not in card.text


@pytest.mark.parametrize("base_model", [None, "./weights", "/data/weights"])
def test_a_local_folder_is_no_hub_model(base_model: str | None) -> None:
    assert ModelCard(model_card(facts(base_model))).data.base_model is None


def test_an_existing_folder_is_no_hub_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "w2v").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert ModelCard(model_card(facts("models/w2v"))).data.base_model is None
