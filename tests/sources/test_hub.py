"""What the package ``datasets`` reads, without a network: save_to_disk, Parquet, snapshots, and a dead line."""

from __future__ import annotations

import io
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earmark.audio.decode import read_clip
from earmark.clips.clip import Splits
from earmark.clips.columns import Columns
from earmark.clips.split_names import SplitNames
from earmark.errors import DataError
from earmark.sources.manifests import load_manifest
from earmark.sources.snapshot import Snapshot
from earmark.sources.source import GivenData, Request
from earmark.sources.source_registry import load_data_dir
from earmark.tasks import MULTI_LABEL
from tests.patience import PATIENCE_S
from tests.tiny import tone

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")

STRUCT = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def load_snapshot(folder: Path, config: str | None = None) -> Splits:
    return Snapshot().load(GivenData(str(folder), Request(config=config), folder))


def wav(frequency_hz: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(frequency_hz, 0.1), 16_000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def table(count: int = 4, **columns: Any) -> Any:
    """Embedded wavs of 200, 300, ... Hz, labels no, yes, no, ... as class numbers."""
    cells = [{"bytes": wav(200 + 100 * i), "path": f"{i}.wav"} for i in range(count)]
    arrow = pyarrow.table(
        {
            "audio": pyarrow.array(cells, type=STRUCT),
            "label": [i % 2 for i in range(count)],
            "speaker": [f"s{i}" for i in range(count)],
            **columns,
        }
    )
    dataset = datasets.Dataset(arrow)
    if "label" not in columns:
        dataset = dataset.cast_column("label", datasets.ClassLabel(names=["no", "yes"]))
    return dataset.cast_column("audio", datasets.Audio(decode=False))


def check(clips: Any, origin: str) -> None:
    assert [clip.label for clip in clips] == ["no", "yes", "no", "yes"]
    assert [clip.source for clip in clips] == [f"{origin} row {i}" for i in range(1, 5)]
    for i, clip in enumerate(clips):
        assert clip.path is None
        again = pickle.loads(pickle.dumps(clip))
        for one in (clip, again):
            np.testing.assert_allclose(read_clip(one, 16_000), tone(200 + 100 * i, 0.1), atol=1e-6)


def test_parquet_with_embedded_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table().to_parquet(path)
    check(load_manifest(path, Columns()), str(path))


def test_no_progress_of_another_package_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    datasets.enable_progress_bars()
    table().to_parquet(tmp_path / "a.parquet")
    capfd.readouterr()
    load_manifest(tmp_path / "a.parquet", Columns())
    assert capfd.readouterr().err == ""
    assert not datasets.are_progress_bars_disabled(), "a program that uses earmark keeps its own bars"


def test_parquet_that_datasets_did_not_write(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    (tmp_path / "a.wav").write_bytes(wav(200))
    cells = [{"bytes": None, "path": "a.wav"}, {"bytes": wav(300), "path": None}]
    for name, column in (
        ("struct", pyarrow.array(cells, type=STRUCT)),
        ("binary", pyarrow.array([wav(200), wav(300)])),
        ("path", pyarrow.array(["a.wav", "a.wav"])),
    ):
        arrow = pyarrow.table({"audio": column, "label": ["x", "y"], "fold": [1, 2], "start": [0.0, 0.05]})
        parquet.write_table(arrow, tmp_path / f"{name}.parquet")
        clips = load_manifest(tmp_path / f"{name}.parquet", Columns())
        assert [(clip.label, clip.fold, clip.offset_s) for clip in clips] == [("x", "1", 0.0), ("y", "2", 0.05)]
        assert [len(read_clip(clip, 16_000)) for clip in clips] == [1600, 800]


def test_parquet_of_samples_with_their_rate(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    waves = [(tone(hz, 0.1) * 20_000).astype(np.int16) for hz in (200, 300)]
    floats = [tone(hz, 0.1) for hz in (200, 300)]
    for name, kind, values in (("i", pyarrow.int16(), waves), ("f", pyarrow.float32(), floats)):
        struct = pyarrow.struct([("array", pyarrow.list_(kind)), ("sampling_rate", pyarrow.int64())])
        cells = [{"array": value.tolist(), "sampling_rate": 16_000} for value in values]
        lists = pyarrow.array([value.tolist() for value in values], type=pyarrow.list_(kind))
        for form, columns in (
            ("struct", {"audio": pyarrow.array(cells, type=struct)}),
            ("list", {"audio": lists, "sampling_rate": [16_000, 16_000]}),
        ):
            path = tmp_path / f"{name}_{form}.parquet"
            parquet.write_table(pyarrow.table({**columns, "label": ["x", "y"]}), path)
            clips = load_manifest(path, Columns())
            for clip, value in zip(clips, values, strict=True):
                expected = value / 32768 if name == "i" else value
                np.testing.assert_allclose(read_clip(pickle.loads(pickle.dumps(clip)), 16_000), expected, atol=1e-7)
    parquet.write_table(pyarrow.table({"audio": lists, "label": ["x", "y"]}), tmp_path / "none.parquet")
    with pytest.raises(DataError, match=r"samples without their sampling rate\. Add a column sampling_rate"):
        load_manifest(tmp_path / "none.parquet", Columns())


def test_save_to_disk(tmp_path: Path) -> None:
    datasets.DatasetDict(train=table(), dev=table(), test=table()).save_to_disk(tmp_path / "saved")
    splits = load_data_dir(str(tmp_path / "saved"), Request(Columns(group="speaker"), SplitNames()))
    for name, clips in (("train", splits.train), ("dev", splits.validation), ("test", splits.test)):
        check(clips, f"{tmp_path}/saved {name}")
    assert [clip.group for clip in splits.train] == ["s0", "s1", "s2", "s3"]
    table().select([3, 2, 1, 0]).save_to_disk(tmp_path / "single")
    single = load_data_dir(str(tmp_path / "single"), Request(Columns(), SplitNames()))
    assert [clip.label for clip in single.train] == ["yes", "no", "yes", "no"]
    np.testing.assert_allclose(read_clip(single.train[0], 16_000), tone(500, 0.1), atol=1e-6)


def test_a_snapshot_of_parquet_files(tmp_path: Path) -> None:
    (tmp_path / "set/data").mkdir(parents=True)
    table().to_parquet(tmp_path / "set/data/train-00000-of-00001.parquet")
    table(label=[-1] * 4).to_parquet(tmp_path / "set/data/test-00000-of-00001.parquet")
    splits = load_snapshot(tmp_path / "set")
    check(splits.train, f"{tmp_path}/set train")
    assert splits.validation is None
    assert splits.test is None
    assert splits.notes == [f"{tmp_path}/set test: not used, because its labels are not published"]


@pytest.mark.parametrize(
    ("columns", "names", "said"),
    [
        (
            Columns(label="word"),
            SplitNames(),
            "no column 'word' with the labels (the columns are audio, label, speaker)",
        ),
        (Columns(group="tape"), SplitNames(), "no column 'tape'"),
        (Columns(), SplitNames(train="learn"), "no split 'learn'. Choose one of train, dev"),
        (Columns(), SplitNames(validation="val"), "no split 'val'. Choose one of train, dev"),
    ],
)
def test_names_that_are_not_there(columns: Columns, names: SplitNames, said: str, tmp_path: Path) -> None:
    datasets.DatasetDict(train=table(), dev=table()).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError) as caught:
        load_data_dir(str(tmp_path / "saved"), Request(columns, names))
    assert said in str(caught.value)


def test_no_split_of_a_usual_name(tmp_path: Path) -> None:
    datasets.DatasetDict(fold1=table(), fold2=table()).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=r"its splits are fold1, fold2\. Name them with --train_split_name"):
        load_data_dir(str(tmp_path / "saved"), Request(Columns(), SplitNames()))
    splits = load_data_dir(str(tmp_path / "saved"), Request(Columns(), SplitNames(train="fold1", validation="fold2")))
    assert len(splits.train) == len(splits.validation) == 4


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0.5, 0.2, 1.0, 1.0], "row 1: the label 0.5 is a measurement"),
        ([["a", "b"], ["b"], ["a"], ["b"]], "row 1: the label is a list"),
        (["a", None, "a", "b"], "row 2: has no label"),
    ],
)
def test_labels_of_the_wrong_type(labels: list[Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table(label=labels).to_parquet(path)
    with pytest.raises(DataError) as caught:
        load_manifest(path, Columns())
    assert said in str(caught.value)


@pytest.mark.parametrize(("number", "said"), [(-1, "row 4: has no label"), (2, "row 4: the label 2 has no class name")])
def test_class_numbers_without_a_name(number: int, said: str, tmp_path: Path) -> None:
    arrow = table().data.table
    at = arrow.schema.get_field_index("label")
    arrow = arrow.set_column(at, arrow.schema.field(at), pyarrow.array([0, 1, 0, number]))
    features = table().features
    path = tmp_path / "saved"
    datasets.Dataset(arrow, info=datasets.DatasetInfo(features=features)).save_to_disk(path)
    with pytest.raises(DataError) as caught:
        load_data_dir(str(path), Request(Columns(), SplitNames()))
    assert said in str(caught.value)


def test_a_file_that_is_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"path,label\n")
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read \(Parquet magic bytes"):
        load_manifest(path, Columns())


def test_a_script_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "superb").mkdir()
    (tmp_path / "superb/superb.py").write_text("raise SystemExit\n")
    with pytest.raises(DataError, match="--dataset_config_name ks --data_dir"):
        load_snapshot(tmp_path / "superb")


def test_no_such_configuration(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    table().to_parquet(tmp_path / "set/train.parquet")
    with pytest.raises(DataError, match=r"'ks' not found\. Available: \['default'\]\. Fix --dataset_config_name"):
        load_snapshot(tmp_path / "set", config="ks")


_ASK = """
from earmark.clips.clip import Splits
from earmark.clips.columns import Columns
from earmark.clips.split_names import SplitNames
from earmark.sources.source import GivenData
from earmark.sources.source_registry import load_given
from earmark.errors import EarmarkError
try:
    load_given(GivenData("someone/recordings", dataset="someone/recordings"))
except EarmarkError as exc:
    print(type(exc).__name__, exc)
"""


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_network_fault_is_called_that_and_soon(offline: str, tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": offline}
        run = subprocess.run(
            [sys.executable, "-c", _ASK],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
    assert run.stdout.startswith("NetworkError someone/recordings: ")
    assert ("HF_HUB_OFFLINE forbids the network" if offline == "1" else f"network error: {endpoint}") in run.stdout
    assert "--data_dir" in run.stdout
    assert "Retry" not in run.stderr  # five of them take half a minute


@pytest.mark.parametrize("is_one_table", [True, False])
def test_a_column_of_splits_in_saved_tables(is_one_table: bool, tmp_path: Path) -> None:
    saved = table(split=["train", "train", "test", "test"])
    (saved if is_one_table else datasets.DatasetDict(train=saved)).save_to_disk(tmp_path / "saved")
    splits = load_data_dir(str(tmp_path / "saved"), Request(Columns(), SplitNames()))
    assert splits.train is not None
    assert splits.test is not None
    assert (len(splits.train), len(splits.test)) == (2, 2)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (datasets.Audio(), {"bytes": b"not a recording", "path": None}),
        (datasets.Value("binary"), b"\x00\x01"),
        (datasets.Sequence(datasets.Value("float32")), [0.5] * 8),
        ({"mean": datasets.Value("float32")}, {"mean": 1.0}),
    ],
)
def test_columns_without_plain_values_are_not_read(kind: Any, value: Any, tmp_path: Path) -> None:
    clips = table().to_dict() | {"other": [value] * 4, "site": ["x"] * 4}
    features = datasets.Features({**table().features, "other": kind, "site": datasets.Value("string")})
    arrays = {name: pyarrow.array(cells, type=features.arrow_schema.field(name).type) for name, cells in clips.items()}
    datasets.Dataset(pyarrow.table(arrays, schema=features.arrow_schema)).save_to_disk(tmp_path / "saved")
    train = load_data_dir(str(tmp_path / "saved"), Request(Columns(), SplitNames())).train
    assert train is not None
    assert [clip.metadata for clip in train] == [{"speaker": f"s{i}", "site": "x"} for i in range(4)]


def test_lists_of_labels_and_a_named_label_among_several_are_read(tmp_path: Path) -> None:
    both = table(label=[["a", "b"]] * 4, species=["x"] * 4, category=["y"] * 4)
    train = load_parquet_of(both, tmp_path, Columns(task=MULTI_LABEL))
    assert [clip.label for clip in train] == [("a", "b")] * 4
    train = load_parquet_of(both.remove_columns("label"), tmp_path, Columns(label="species"))
    assert [clip.label for clip in train] == ["x"] * 4


def load_parquet_of(dataset: Any, folder: Path, columns: Columns) -> Any:
    dataset.to_parquet(folder / "t.parquet")
    return load_manifest(folder / "t.parquet", columns)
