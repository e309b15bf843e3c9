"""What a run held out stays held out: evaluate and calibrate score no clip that the run was trained on."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.clips.clip import Clip, ClipTable, Splits
from earmark.errors import DataError, UsageError
from earmark.evaluate.evaluate_model import evaluate, for_task
from earmark.evaluate.held_out import check_given_files, find_held_out
from earmark.evaluate.place import first_place
from earmark.models.build_model import load_trained
from earmark.models.model_source import ModelSource
from earmark.runs.folder import RunFolder
from earmark.runs.split_record import find_record
from earmark.runs.split_settings import read_split_settings
from earmark.settings.config_files import save_config
from earmark.settings.data_flags import DataArguments
from earmark.settings.evaluation_flags import EvaluateOptions
from earmark.sources.load_clips import load_folds, load_splits
from earmark.store.usable import keep_usable
from tests.evaluate.held_out_runs import LABELS, chosen, names, record, write
from tests.tiny import RATE_HZ, save_model


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Path:
    rows = [(f"data/{label}/{i:02}.wav", label, f"s{i % 10}", i % 10 % 3) for label in LABELS for i in range(30)]
    path = folder.parent / "all.csv"
    path.write_text("path,label,speaker,fold\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows))
    return path


TRAININGS: dict[str, dict[str, object]] = {
    "another seed": {"seed": 1},
    "another fraction": {"validation_fraction": 0.3},
    "a part of the training clips": {"max_train_samples": 10, "seed": 3},
    "a few of each class": {"shots": 3},
    "a part of the validation clips": {"max_eval_samples": 2, "seed": 5, "validation_fraction": 0.4},
    "groups": {"group_column": "speaker", "seed": 7},
    "a fold of a column": {"fold_column": "fold", "fold": "1", "seed": 2},
    "a fold that was made": {"folds": 4, "fold": "3", "seed": 9},
}


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS.keys())
def test_the_split_of_the_run_is_scored_whatever_made_it(training, manifest, tmp_path) -> None:
    settings = dict(training)
    seed = int(settings.pop("seed", 42))
    splits = load_splits(DataArguments(train_file=str(manifest), **settings), seed=seed)
    run = record(tmp_path / "run", splits)
    found = chosen(run, train_file=str(manifest))
    assert names(found.table) == names(splits.validation)
    usable, _ = keep_usable({"validation": found.table}, 8000, DataArguments(store="off"))  # at any rate
    trained_on = found.trained_on(usable["validation"])
    assert trained_on is not None
    assert not trained_on.any()
    if splits.test is not None:
        assert names(chosen(run, train_file=str(manifest), split="test").table) == names(splits.test)
    used = names(splits.train) | names(splits.validation) | (names(splits.test) if splits.test else set())
    everything = names(load_splits(DataArguments(train_file=str(manifest)), seed=0).train) | names(
        load_splits(DataArguments(train_file=str(manifest)), seed=0).validation
    )
    if used < everything:
        assert names(chosen(run, train_file=str(manifest), split="unseen").table) == everything - used


@pytest.mark.parametrize("store", ["int16", "float16", "float32", "off"])
def test_files_that_moved_are_known_by_their_samples(folder, tmp_path, store) -> None:
    splits = load_splits(DataArguments(data_dir=str(folder)), seed=1)
    run = record(tmp_path / "run", splits, store=store)
    held = names(splits.validation)
    renamed = {}
    for label in LABELS:
        for number, path in enumerate(sorted((folder / label).iterdir(), reverse=True)):
            samples, rate_hz = soundfile.read(path, dtype="int16")
            new = tmp_path / "elsewhere" / label / f"clip_{number}.flac"
            new.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(new, samples, rate_hz)
            renamed[f"{label}/{new.name}"] = f"{label}/{path.name}"
    found = chosen(run, data_dir=str(tmp_path / "elsewhere"), store_dir=str(tmp_path / "no stores"))
    assert {renamed[name] for name in names(found.table)} == held


def test_clips_that_were_decoded_before_are_not_decoded_again(folder, tmp_path, monkeypatch) -> None:
    splits = load_splits(DataArguments(data_dir=str(folder)), seed=1)
    run = record(tmp_path / "run", splits, store_dir=str(tmp_path / "stores"))
    decoded: list[str] = []

    def watched(clip: Clip) -> int:
        decoded.append(clip.source)
        return 1 << 50

    monkeypatch.setattr("earmark.store.known_contents.clip_content", watched)
    found = chosen(run, data_dir=str(folder), store_dir=str(tmp_path / "stores"))
    assert names(found.table) == names(splits.validation)
    assert decoded == []
    monkeypatch.setattr("earmark.evaluate.held_out.default_store_root", lambda: tmp_path / "no stores")
    (run / "run_config.yaml").write_text(f"store_dir: {tmp_path / 'stores'}\n")
    assert names(chosen(run, data_dir=str(folder)).table) == names(splits.validation)
    assert decoded == []  # the run's own stores are searched without being named
    write(tmp_path / "more" / "low" / "new.wav", 77, "low")
    shutil.copytree(folder, tmp_path / "more", dirs_exist_ok=True)
    chosen(run, data_dir=str(tmp_path / "more"), store_dir=str(tmp_path / "stores"))
    assert len(decoded) == 61  # other files: what they hold is not known


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seed 1."""
    return record(tmp_path_factory.mktemp("runs") / "run", load_splits(DataArguments(data_dir=str(folder)), seed=1))


def test_new_clips_are_counted_and_scored_when_asked(run, folder, grown, caplog) -> None:
    held = names(chosen(run, data_dir=str(folder)).table)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert names(chosen(run, data_dir=str(grown)).table) == held
    (line,) = (text for text in caplog.messages if "(by content, " in text)
    assert f"using the {len(held)} of 63 clips that the run held out" in line
    assert "; 54 were trained on; 3 are new to the run and not scored (--split unseen" in line
    new = {f"low/new_{i}.wav" for i in range(3)}
    assert names(chosen(run, data_dir=str(grown), split="unseen").table) == new
    assert len(chosen(run, data_dir=str(grown), max_eval_samples=2).table) == 2


def test_data_of_which_the_run_has_used_nothing_is_scored_whole(run, tmp_path, caplog) -> None:
    for label in LABELS:
        for i in range(4):
            write(tmp_path / "other" / label / f"{i}.wav", 200 + i, label)
    with caplog.at_level(logging.INFO):
        assert len(chosen(run, data_dir=str(tmp_path / "other")).table) == 8
    assert "using the 8 of 8 clips that the run has not used" in caplog.text


def test_data_without_a_held_out_clip_is_refused(run, folder, tmp_path) -> None:
    held = names(chosen(run, data_dir=str(folder)).table)
    rest = tmp_path / "rest"
    shutil.copytree(folder, rest, ignore=lambda place, files: [f for f in files if f"{Path(place).name}/{f}" in held])
    with pytest.raises(
        DataError, match=r"none of 54 clips is in the validation split of the run .*: 54 in its training split\. Name"
    ):
        chosen(run, data_dir=str(rest))
    with pytest.raises(DataError, match=r"none of 54 clips is new to the run .*Name clips that the run has not used"):
        chosen(run, data_dir=str(rest), split="unseen")
    with pytest.raises(DataError) as refused:
        chosen(run, data_dir=str(rest), split="test")
    assert str(refused.value) == (
        f"{rest}: no test clips in this data, which has: train. The run has no test split either ({run}/splits.csv). "
        "Name test clips with --test_file FILE, or add --split validation to score clips that the run held out."
    )
    write(rest / "low" / "new.wav", 300, "low")
    with pytest.raises(DataError, match=r"54 in its training split, 1 new to the run\. Add --split unseen to score"):
        chosen(run, data_dir=str(rest))


def test_clips_of_another_split_of_the_run_are_counted_with_the_flag_that_scores_them(folder, grown, tmp_path) -> None:
    splits = load_splits(DataArguments(data_dir=str(folder)), seed=1)
    assert splits.train is not None
    splits.test, splits.train = splits.train.keep(range(10)), splits.train.keep(range(10, len(splits.train)))
    run = record(tmp_path / "run", splits)
    tested = tmp_path / "tested"
    for clip in splits.test:
        (tested / str(clip.label)).mkdir(parents=True, exist_ok=True)
        shutil.copy(str(clip.path), tested / str(clip.label))
    with pytest.raises(DataError) as refused:
        chosen(run, data_dir=str(tested))
    assert str(refused.value) == (
        f"{tested}: none of 10 clips is in the validation split of the run ({run}/splits.csv): 10 in its test split. "
        "Add --split test to score these clips."
    )
    assert len(chosen(run, data_dir=str(tested), split="test").table) == 10
    shutil.copy(grown / "low" / "new_0.wav", tested / splits.test[0].label_text / "new.wav")
    with pytest.raises(DataError, match=r"10 in its test split, 1 new to the run\. Add --split test or --split unseen"):
        chosen(run, data_dir=str(tested))


def test_manifests_of_another_split_name_the_flag_without_loading_the_model(run, folder) -> None:
    options = {"model_name_or_path": str(run)}  # the run has no model to load
    with pytest.raises(UsageError) as refused:
        evaluate(EvaluateOptions(test_file="some.csv", **options))
    assert str(refused.value) == (
        "--test_file some.csv: these are test clips, and --split is validation. Add --split test to score them."
    )
    with pytest.raises(UsageError, match=r"--eval_file some\.csv: these are validation clips, and --split is test"):
        evaluate(EvaluateOptions(eval_file="some.csv", split="test", **options))
    for other in ({"split": "test"}, {"split": "unseen"}, {"data_dir": str(folder)}, {"train_file": "train.csv"}):
        check_given_files(EvaluateOptions(test_file="some.csv", **other, **options))
    check_given_files(EvaluateOptions(**options))


def test_copies_of_training_clips_are_not_scored_and_silence_is_no_copy(folder, tmp_path, caplog) -> None:
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    for i in range(6):
        soundfile.write(data / "low" / f"silence_{i}.wav", np.zeros(500), RATE_HZ)
    table = ClipTable(
        [Clip(str(path), path.parent.name, str(path)) for path in sorted(data.glob("*/*.wav"))], str(data)
    )
    held = [row for row, clip in enumerate(table) if Path(clip.source).stem in ("03", "silence_1", "silence_4")]
    splits = Splits(table.keep([row for row in range(len(table)) if row not in held]), table.keep(held))
    run = record(tmp_path / "run", splits)
    assert len(chosen(run, data_dir=str(data)).table) == 4
    with (run / "splits.csv").open("a") as stream:  # as if low/03.wav had been in training under another name, too
        content = next(line for line in (run / "splits.csv").read_text().splitlines() if "low/03.wav" in line)
        stream.write(f"train,{content.split(',')[1]},copy.wav\n")
    with caplog.at_level(logging.INFO):
        found = chosen(run, data_dir=str(data))
    stems = sorted("silence" if "silence" in clip.source else Path(clip.source).stem for clip in found.table)
    assert stems == ["03", "silence", "silence"]
    assert "; 1 of these was also held out and is skipped as copies of training clips" in caplog.text


def test_a_split_of_the_data_is_taken_as_it_is_and_marked(run, folder, tmp_path) -> None:
    rows = [(folder / label / f"{i:02}.wav", label) for label in LABELS for i in range(10)]
    path = tmp_path / "eval.csv"
    path.write_text("path,label\n" + "".join(f"{name},{label}\n" for name, label in rows))
    found = chosen(run, eval_file=str(path))
    assert len(found.table) == 20
    usable, _ = keep_usable({"validation": found.table}, RATE_HZ, DataArguments())
    held = names(chosen(run, data_dir=str(folder)).table)
    trained_on = found.trained_on(usable["validation"])
    assert trained_on is not None
    assert {name for name, trained in zip(rows, trained_on, strict=True) if not trained} == {
        (name, label) for name, label in rows if f"{label}/{name.name}" in held
    }
    assert 0 < trained_on.sum() < 20
    # a checkpoint of the run is as good as the run
    (run / "checkpoint-3").mkdir(exist_ok=True)
    assert names(chosen(run / "checkpoint-3", data_dir=str(folder)).table) == held


def test_a_fold_that_is_named_is_a_split_of_the_data(manifest, tmp_path) -> None:
    folds = load_folds(DataArguments(train_file=str(manifest), fold_column="fold"), seed=0)
    run = record(tmp_path / "run", folds.splits("1", 0))
    found = chosen(run, train_file=str(manifest), fold_column="fold", fold="2", split="test")
    assert names(found.table) == names(folds.splits("2", 0).test)
    usable, _ = keep_usable({"test": found.table}, RATE_HZ, DataArguments())
    trained_on = found.trained_on(usable["test"])
    assert trained_on is not None
    assert trained_on.any()


def test_the_run_is_found_in_the_home_folder(run, folder, tmp_path, monkeypatch) -> None:
    shutil.copytree(run, tmp_path / "home" / "run")
    (tmp_path / "home" / "run" / "run_config.yaml").write_text("seed: 5\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    record_at_home = find_record("~/run")
    assert record_at_home is not None
    assert record_at_home.path == tmp_path / "home" / "run" / "splits.csv"
    assert find_record("~/run/checkpoint-2") is not None
    assert read_split_settings("~/run/checkpoint-2") == {"seed": 5}
    found = find_held_out(EvaluateOptions(model_name_or_path="~/run", data_dir=str(folder)))
    assert found.record is not None
    assert names(found.table) == names(chosen(run, data_dir=str(folder)).table)
    assert first_place(EvaluateOptions(model_name_or_path="~/run", data_dir=str(folder)))[0] == (
        tmp_path / "home" / "run" / "evaluation_validation"
    )


def test_a_run_without_a_record_has_its_split_made_again_and_says_so(folder, manifest, tmp_path, caplog) -> None:
    run = tmp_path / "run"
    run.mkdir()
    settings = {"seed": 1, "validation_fraction": 0.3, "group_column": "speaker", "fold_column": None, "folds": None}
    (run / "run_config.yaml").write_text(json.dumps(settings))
    wanted = load_splits(
        DataArguments(train_file=str(manifest), validation_fraction=0.3, group_column="speaker"), seed=1
    )
    with caplog.at_level(logging.WARNING):
        found = chosen(run, train_file=str(manifest))
    assert found.record is None
    assert names(found.table) == names(wanted.validation)
    assert "has no record of its training clips (splits.csv), so these clips may be among them" in caplog.text
    assert "made again with the settings of the run: seed 1, --validation_fraction 0.3, --group_column" in caplog.text
    usable, _ = keep_usable({"validation": found.table}, RATE_HZ, DataArguments())
    assert found.trained_on(usable["validation"]) is None
    caplog.clear()
    plain = tmp_path / "plain"
    plain.mkdir()
    assert names(chosen(plain, data_dir=str(folder), seed=1).table) == names(
        load_splits(DataArguments(data_dir=str(folder)), seed=1).validation
    )
    assert "the settings of this command: seed 1, --validation_fraction 0.1" in caplog.text
    with pytest.raises(UsageError, match=r"--split unseen: .* has no record"):
        chosen(plain, data_dir=str(folder), split="unseen")


def test_a_damaged_record_is_an_error(run, tmp_path) -> None:
    for number, text in enumerate(
        ("", "split,content\n", "split,content,clip\ntrain,xyz,a\n", "split,content,clip\na\n")
    ):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "splits.csv").write_text(text)
        with pytest.raises(DataError, match=r"splits\.csv: the file is damaged .* Train again, or delete"):
            find_record(place)


def test_clips_that_cannot_be_read_are_not_passed_over(run, folder, tmp_path) -> None:
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    (data / "low" / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"1 recording cannot be used.*\n.*broken\.wav"):
        chosen(run, data_dir=str(data))
    skipped = Path(shutil.copytree(run, tmp_path / "run"))
    (skipped / "run_config.yaml").write_text("on_bad_audio: skip\n")  # as a run that has left it out
    assert len(chosen(skipped, data_dir=str(data)).bad) == 1
    found = chosen(run, data_dir=str(data), on_bad_audio="skip")
    assert [Path(clip.source).name for clip in found.bad] == ["broken.wav"]
    assert names(found.table) == names(chosen(run, data_dir=str(folder)).table)


def test_clips_inside_tables_are_known_by_their_samples(folder, tmp_path) -> None:
    datasets = pytest.importorskip("datasets")
    cells = [{"bytes": path.read_bytes(), "path": None} for path in sorted(folder.glob("*/*.wav"))]
    labels = [path.parent.name for path in sorted(folder.glob("*/*.wav"))]
    datasets.Dataset.from_dict({"audio": cells, "label": labels}).save_to_disk(tmp_path / "saved")
    splits = load_splits(DataArguments(data_dir=str(tmp_path / "saved")), seed=1)
    run = record(tmp_path / "run", splits)
    found = chosen(run, data_dir=str(tmp_path / "saved"))
    assert [clip.source for clip in found.table] == [clip.source for clip in splits.validation or []]
    assert 0 < len(found.table) < 60


def test_the_column_label_is_asked_for_if_training_was_asked_for_it(tmp_path: Path) -> None:
    audio = load_trained(ModelSource(str(save_model(tmp_path / "run", 0.3))))
    options = EvaluateOptions(model_name_or_path=str(tmp_path / "run"))
    assert not for_task(options, audio).is_set("label_column_name")
    save_config({"label_column_name": "label", "given": ["label_column_name"]}, RunFolder(tmp_path / "run").config)
    assert for_task(options, audio).is_set("label_column_name")
    named = EvaluateOptions(model_name_or_path=str(tmp_path / "run"), label_column_name="species")
    assert for_task(named, audio).label_column_name == "species"
