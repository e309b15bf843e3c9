"""``load_clips``, ``inspect`` and ``evaluate`` on a table of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import earmark
from earmark.errors import DataError, UsageError
from tests.api.small import SMALL, mean_logit
from tests.tiny import RATE_HZ, tone


@pytest.fixture(scope="module")
def clips(recordings: Path) -> earmark.Clips:
    return earmark.load_clips(recordings)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One table without splits: 12 clips of 3 speakers, in 2 folds."""
    folder = tmp_path_factory.mktemp("manifest")
    rows = ["file_name,word,speaker,fold,room"]
    for i in range(12):
        soundfile.write(folder / f"{i}.wav", tone(300 * (1 + i % 2) + 7 * i, 0.2, seed=i), RATE_HZ)
        rows.append(f"{i}.wav,{('low', 'high')[i % 2]},s{i % 3},{i // 6},{'hall' if i < 4 else ''}")
    (folder / "all.csv").write_text("\n".join(rows))
    return folder / "all.csv"


def test_a_table_of_the_splits_of_a_folder(clips: earmark.Clips) -> None:
    assert clips.splits == ["train", "validation"]
    assert (len(clips), len(list(clips)), len(clips.split("train"))) == (18, 18, 12)
    assert clips.labels == ["high", "low"]
    assert clips.label_counts == {"high": 9, "low": 9}
    assert clips[0] == next(iter(clips))
    assert clips[-1] == list(clips)[-1]
    assert [clip.source for clip in clips[10:14]] == [clip.source for clip in list(clips)[10:14]]
    assert clips[10:14].splits == ["train", "validation"]
    assert repr(clips).endswith("train 12, validation 6; high 9, low 9>")
    assert clips._repr_html_().count("<tr>") == 11
    with pytest.raises(UsageError, match=r"no split validaton; did you mean validation\?"):
        clips.split("validaton")


def test_filters_give_new_tables(clips: earmark.Clips) -> None:
    low = clips.filter(label="low")
    assert (len(low), low.labels, len(clips)) == (9, ["low"], 18)
    first = clips.split("validation").filter(lambda clip: clip.source.endswith("_0.wav"))
    assert [Path(clip.source).name for clip in first] == ["validation_0.wav"] * 2
    assert first.splits == ["validation"]
    assert len(clips.filter(lambda clip: False)) == 0
    with pytest.raises(UsageError, match=r"no clip has the label lo; did you mean low\?"):
        clips.filter(label="lo")


def test_a_data_frame_has_the_columns_that_there_are(clips: earmark.Clips, manifest: Path) -> None:
    pytest.importorskip("pandas")
    frame = clips.to_pandas()
    assert list(frame.columns) == ["path", "split", "label"]
    assert frame["split"].value_counts().to_dict() == {"train": 12, "validation": 6}
    columns = {"label_column_name": "word", "group_column": "speaker", "fold_column": "fold"}
    table = earmark.load_clips(manifest, **columns).to_pandas()
    assert {"group", "fold", "room"} <= set(table.columns)
    assert table["group"].tolist()[:3] == ["s0", "s1", "s2"]


def test_without_pandas_the_message_has_the_pip_command(clips: earmark.Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(
        earmark.EarmarkError, match=r"to_pandas needs the package pandas\. Install it: pip install pandas"
    ):
        clips.to_pandas()


@pytest.mark.parametrize("name", ["shots", "max_train_samples", "folds", "validation_fraction", "store"])
def test_settings_of_training_are_refused_when_clips_are_loaded(name: str, recordings: Path) -> None:
    with pytest.raises(UsageError, match=f"{name}: used after the clips are loaded. Pass {name} to earmark.train"):
        earmark.load_clips(recordings, **{name: 2})


def test_inspect_reports_on_a_table(recordings: Path) -> None:
    clips = earmark.load_clips(recordings).filter(label="low")
    with pytest.raises(earmark.EarmarkError, match="no clips"):
        earmark.inspect(clips[:0])
    found = earmark.inspect(clips, near_duplicates=False)
    assert len(found.audited.table) == 9
    assert found.findings
    shown = found._repr_html_()
    assert "9 clips of" in shown
    assert all(finding.level in shown for finding in found.findings)
    whole = earmark.inspect(recordings, near_duplicates=False)
    assert len(whole.audited.table) == 18


def test_training_on_a_filtered_table_takes_these_clips_only(manifest: Path, tmp_path: Path) -> None:
    clips = earmark.load_clips(manifest, label_column_name="word", group_column="speaker")
    some = clips.filter(lambda clip: clip.group != "s2")
    run = earmark.train(some, model="tc_resnet", output_dir=tmp_path / "run", validation_fraction=0.5, **SMALL)
    kept = (run.folder / "splits.csv").read_text()
    assert kept.count("\n") - 1 == 8
    assert [name for name in (f"{i}.wav" for i in range(2, 12, 3)) if f"/{name}" in kept] == []
    groups = {row["group"] for row in run.predictions()}
    assert len(groups) == 1  # whole groups are set aside, as the clips were loaded
    assert run.settings["label_column_name"] == "word"

    held_out = earmark.evaluate(run, clips)
    assert held_out.metrics["num_clips"] == len(run.predictions())
    assert {row["path"] for row in held_out.predictions} == {row["path"] for row in run.predictions()}
    unseen = earmark.evaluate(run, clips, split="unseen", metrics=[mean_logit], output_dir=tmp_path / "unseen")
    assert {row["group"] for row in unseen.predictions} == {"s2"}
    assert np.isfinite(unseen.metrics["custom_metrics"]["mean_logit"])
    assert unseen.folder == tmp_path / "unseen"
    assert unseen.report._repr_html_().startswith("<iframe")
    assert "num_clips" in unseen._repr_html_()


def test_evaluate_scores_the_split_that_a_table_has(run: earmark.Run, recordings: Path, tmp_path: Path) -> None:
    test = earmark.load_clips(recordings / "validation", test_split_name="none").filter(label=["low", "high"])
    tables = {"test": test.split("train")._tables["train"]}
    found = earmark.evaluate(run, earmark.Clips(tables, test.settings), output_dir=tmp_path / "test", report=False)
    assert (found.split, found.metrics["num_clips"]) == ("test", 6)
    assert found.metrics["accuracy"] == run.metrics["validation"]["accuracy"]
    by_classifier = earmark.evaluate(
        run.classifier(device="cpu"), recordings, output_dir=tmp_path / "again", device="cpu"
    )
    assert by_classifier.metrics["loss"] == pytest.approx(found.metrics["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"label_column_name": "x"}, "label_column_name: these clips are already loaded. Pass label_column_name to"),
        ({"data_dir": "."}, "data_dir: these clips are already loaded"),
        ({"task": "multi_label"}, "task: these clips are already loaded"),
    ],
)
def test_settings_of_loading_come_too_late(
    settings: dict[str, Any], said: str, clips: earmark.Clips, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        earmark.train(clips, model="tc_resnet", output_dir=tmp_path / "run", **settings)
    with pytest.raises(UsageError, match=said):
        earmark.evaluate(tmp_path, clips, **settings)


def test_labels_of_another_task_are_refused(run: earmark.Run, manifest: Path) -> None:
    several = earmark.load_clips(manifest, label_column_name="word", task="multi_label")
    with pytest.raises(UsageError, match="loaded for the task multi_label, and the model was trained for single_label"):
        earmark.evaluate(run, several)


def test_no_clips_are_an_error(clips: earmark.Clips, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        earmark.train(clips.filter(lambda clip: False), model="tc_resnet", output_dir=tmp_path / "run", **SMALL)
    with pytest.raises(UsageError):
        earmark.load_clips()
