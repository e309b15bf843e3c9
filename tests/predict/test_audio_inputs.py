"""Every form in which Python code has audio gets the scores of the file; everything else one clear error."""

from __future__ import annotations

import array
import io
import tempfile
import zipfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import earmark
from earmark.errors import AudioError, EarmarkError, InputTypeError, UsageError
from tests.tiny import RATE_HZ, save_model, tone

WAVE = tone(440, 1.3)
INTS = np.round(32767 * WAVE).astype(np.int16)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> earmark.Classifier:
    folder = save_model(tmp_path_factory.mktemp("model"), 1.0)
    return earmark.Classifier.from_pretrained(folder, device="cpu")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("audio") / "tön 1.wav"
    soundfile.write(file, WAVE, RATE_HZ, subtype="FLOAT")
    return file


@pytest.fixture(scope="module")
def expected(classifier: earmark.Classifier, path: Path) -> np.ndarray:
    return classifier.predict_proba([path])[0]


def check(classifier: earmark.Classifier, expected: np.ndarray, audio: Any, **settings: Any) -> None:
    """One recording gets the scores expected from every method."""
    found = classifier.predict_proba(audio, **settings)
    assert found.shape == (1, 3)
    np.testing.assert_allclose(found[0], expected, atol=2e-3)  # half precision
    (one,) = classifier.predict(audio, **settings)  # one recording: its predictions, no list of such lists
    assert one["label"] == classifier.labels[expected.argmax()]
    assert len(classifier.timeline(audio, **settings).windows) == 2


def test_files(classifier: earmark.Classifier, expected: np.ndarray, path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    for encoded in (path, str(path), np.str_(path), data, bytearray(data), memoryview(data), io.BytesIO(data)):
        check(classifier, expected, encoded)
    at_end = io.BytesIO()
    at_end.write(data)
    check(classifier, expected, at_end)
    assert at_end.tell() == len(data)
    with open(path, "rb") as file, tempfile.SpooledTemporaryFile() as upload:
        upload.write(data)
        for one in (file, upload):
            check(classifier, expected, one)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.wav", data)
        with archive.open("a.wav") as member:
            check(classifier, expected, member)


def test_a_file_that_cannot_seek_is_read_on(classifier: earmark.Classifier, expected: np.ndarray, path: Path) -> None:
    class Pipe(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return path.read_bytes()

    np.testing.assert_allclose(classifier.predict_proba(Pipe())[0], expected, atol=1e-5)


def every_kind_of_samples(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    for dtype in ("float16", "float32", "float64", "longdouble", ">f4", ">f8"):
        yield dtype, WAVE.astype(dtype)
    for dtype, scale in (("int16", 1), (">i2", 1), ("int32", 1 << 16), (">i4", 1 << 16)):
        yield dtype, (INTS.astype(np.int64) * scale).astype(dtype)
    yield "uint8", np.round(WAVE * 127 + 128).astype(np.uint8)
    yield "list", WAVE.tolist()
    yield "tuple", tuple(WAVE.tolist())
    yield "list of numpy numbers", list(WAVE)
    yield "array.array", array.array("h", INTS.tolist())
    yield "memoryview", memoryview(WAVE)
    yield "non-contiguous", np.repeat(WAVE, 2)[::2]
    yield "backwards", WAVE[::-1].copy()[::-1]
    read_only = WAVE.copy()
    read_only.setflags(write=False)
    yield "read-only", read_only
    INTS.tofile(tmp_path / "raw")
    yield "memmap", np.memmap(tmp_path / "raw", np.int16, "r")
    yield "column", WAVE[:, None]
    yield "stereo", np.stack([WAVE, WAVE], axis=1)
    yield "stereo of half precision", np.stack([WAVE, WAVE], axis=1).astype(np.float16)
    yield "list of frames in a batch", np.stack([WAVE, WAVE], axis=1).astype(">f4")
    for name in ("float16", "bfloat16", "float32", "float64"):
        yield f"tensor {name}", torch.from_numpy(WAVE.copy()).to(getattr(torch, name))
    yield "tensor int16", torch.from_numpy(INTS)
    yield "tensor with gradient", torch.from_numpy(WAVE.copy()).requires_grad_()
    yield "tensor non-contiguous", torch.from_numpy(np.repeat(WAVE, 2))[::2]


def test_samples_of_every_kind(classifier: earmark.Classifier, expected: np.ndarray, tmp_path: Path) -> None:
    for name, samples in every_kind_of_samples(tmp_path):
        tolerance = 0.05 if name in ("uint8", "tensor bfloat16") else 2e-3  # 8 bits
        for audio, rate in ((samples, RATE_HZ), ((RATE_HZ, samples), None), ((samples, np.int64(RATE_HZ)), None)):
            found = classifier.predict_proba(audio, sampling_rate=rate)
            assert found.shape == (1, 3), name
            np.testing.assert_allclose(found[0], expected, atol=tolerance, err_msg=name)


def test_long_loud_channels_of_half_precision_are_mixed(classifier: earmark.Classifier) -> None:
    stereo = np.stack([3 * tone(440, 18.0), 3 * tone(2500, 18.0)], axis=1)  # their power exceeds the largest float16
    found = classifier.predict_proba((stereo.astype(np.float16), RATE_HZ))
    np.testing.assert_allclose(found, classifier.predict_proba((stereo, RATE_HZ)), atol=2e-3)


def test_pairs_and_dicts(classifier: earmark.Classifier, expected: np.ndarray, path: Path) -> None:
    data, stereo = path.read_bytes(), np.stack([WAVE, WAVE], axis=1)
    for audio in (
        (RATE_HZ, INTS),  # gradio, scipy
        [RATE_HZ, INTS],  # the same through JSON
        (WAVE, RATE_HZ),  # soundfile, librosa
        (WAVE, float(RATE_HZ)),
        (WAVE.tolist(), RATE_HZ),
        (stereo, RATE_HZ),  # soundfile
        (stereo.T, RATE_HZ),  # librosa with mono=False
        (torch.from_numpy(stereo.T.copy()), RATE_HZ),  # torchaudio
        (torch.from_numpy(WAVE)[None], torch.tensor(RATE_HZ)),
        {"array": WAVE, "sampling_rate": RATE_HZ},
        {"path": "gone.wav", "array": WAVE.tolist(), "sampling_rate": RATE_HZ},
        {"raw": WAVE, "sampling_rate": RATE_HZ},
        {"path": "gone.wav", "bytes": data},
        {"path": str(path), "bytes": None},
        {"bytes": data},
        {"path": path},
        {"audio": {"array": WAVE, "sampling_rate": RATE_HZ}, "label": 1},
        SimpleNamespace(data=torch.from_numpy(stereo.T.copy()), sample_rate=RATE_HZ),  # torchcodec's AudioSamples
        SimpleNamespace(
            get_all_samples=lambda: SimpleNamespace(data=torch.from_numpy(WAVE)[None], sample_rate=RATE_HZ)
        ),
    ):
        check(classifier, expected, audio)
    check(classifier, expected, {"array": WAVE}, sampling_rate=RATE_HZ)


def test_torchcodec(classifier: earmark.Classifier, expected: np.ndarray, path: Path) -> None:
    try:
        from torchcodec.decoders import AudioDecoder
    except (ImportError, RuntimeError, OSError):
        pytest.skip("torchcodec does not load here")
    check(classifier, expected, AudioDecoder(path))
    check(classifier, expected, AudioDecoder(path).get_all_samples())


def test_batches(classifier: earmark.Classifier, expected: np.ndarray, path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    mixed = [path, path.read_bytes(), (RATE_HZ, INTS), {"raw": WAVE, "sampling_rate": RATE_HZ}, WAVE, WAVE.tolist()]
    several: list[Callable[[], Any]] = [
        lambda: mixed,
        lambda: tuple(mixed),
        lambda: deque(mixed),
        lambda: iter(mixed),
        lambda: (one for one in mixed),
        lambda: [path],
        lambda: path.parent.glob("*.wav"),
        lambda: {path},
        lambda: np.array([str(path), str(path)]),
        lambda: pandas.Series([str(path), str(path)]),
        lambda: pandas.DataFrame({"path": [str(path)]})["path"],
        lambda: [[*WAVE.tolist()], [*WAVE.tolist()]],
        lambda: [WAVE, WAVE],
        lambda: (WAVE, WAVE),
        lambda: [{"audio": {"path": str(path), "bytes": None}}],
    ]
    for make in several:
        found = classifier.predict_proba(make(), sampling_rate=RATE_HZ)
        assert len(found) == len(list(make()))
        np.testing.assert_allclose(found, np.tile(expected, (len(found), 1)), atol=2e-3)
        rows = classifier.predict(make(), sampling_rate=RATE_HZ, top_k=2)
        assert [len(row) for row in rows] == [2] * len(found)
    for nothing in ([], (), iter([])):
        assert classifier.predict(nothing) == []
        assert classifier.predict_proba(nothing).shape == (0, 3)


def test_data_sets(classifier: earmark.Classifier, expected: np.ndarray, path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"audio": [str(path)] * 2, "label": [0, 1]})
    undecoded = table.cast_column("audio", datasets.Audio(decode=False))
    for audio in (table["audio"], undecoded["audio"], undecoded):
        np.testing.assert_allclose(classifier.predict_proba(audio), np.tile(expected, (2, 1)), atol=1e-5)
    check(classifier, expected, undecoded[0])
    check(classifier, expected, undecoded[0]["audio"])


def test_a_generator_is_not_collected_first(classifier: earmark.Classifier) -> None:
    taken: list[int] = []

    def recordings() -> Iterator[Any]:
        for i in range(10_000):
            taken.append(i)
            yield (WAVE, RATE_HZ) if i < 200 else None

    with pytest.raises(InputTypeError, match=r"^audio\[200\]: None is not a recording"):
        classifier.predict(recordings())
    assert len(taken) == 201


class Upload:
    """A file of a web framework, with coroutines."""

    async def read(self, size: int = -1) -> bytes:
        return b""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b""


NO_SAMPLES: list[tuple[Any, str]] = [
    (None, "audio: None is not a recording. Pass a path"),
    (5.0, "audio: an object of type float is not a recording"),
    (True, "audio: an object of type bool is not a recording"),
    (object(), "audio: an object of type object is not a recording"),
    (Upload(), "<Upload>: read() is asynchronous"),
    (Upload().chunks(), "audio: an object of type async_generator is not a recording"),
    (io.StringIO("RIFF"), "<StringIO>: read() gives str, not bytes"),
    ({"sampling_rate": 16_000}, "audio: a dict with the keys 'sampling_rate' is not a recording"),
    ({}, "audio: a dict with the keys none is not a recording"),
    ({"array": "a.wav", "sampling_rate": 1}, "audio: a file has its own sampling rate"),
    (("a.wav", 16_000), "audio: a file has its own sampling rate"),
    ((16_000, b"RIFF"), "audio: a file has its own sampling rate"),
    ((WAVE > 0, 16_000), "audio: samples of type bool are not audio"),
    (([True, False], 16_000), "audio: samples of type bool are not audio"),
    ((WAVE.astype(complex), 16_000), "audio: samples of type complex128 are not audio"),
    ((np.array(["a"] * 3), 16_000), "audio: samples of type <U1 are not audio"),
    ((np.zeros(3, "f4,f4"), 16_000), "are not audio"),
    (([[0.1, 0.2], [0.3]], 16_000), "audio: a list cannot be read as samples"),
    ((torch.zeros(3).to_sparse(), 16_000), "audio: a Tensor cannot be read as samples"),
    ((np.ma.masked_array([0.1, 0.2], [True, False]), 16_000), "some of its samples are masked"),
    ({"array": WAVE, "sampling_rate": "16000"}, "audio: the sampling rate is '16000', not a number"),
    ({"array": WAVE, "sampling_rate": True}, "audio: the sampling rate is True, not a number"),
    ([WAVE, (WAVE, 16_000), None], "audio[2]: None is not a recording"),
    ((WAVE, None), "audio[1]: None is not a recording"),
    ([WAVE, [[0.1], [0.2, 0.3]]], "audio[1]: a list cannot be read as samples"),
    ([WAVE, ["a.wav", "b.wav"]], "audio[1]: samples of type <U5 are not audio"),
    ((audio for audio in [WAVE, 3]), "audio[1]: an object of type int is not a recording"),
]


@pytest.mark.parametrize(("audio", "said"), NO_SAMPLES, ids=range(len(NO_SAMPLES)))
def test_wrong_types_get_one_error(classifier: earmark.Classifier, audio: Any, said: str) -> None:
    with pytest.raises(InputTypeError) as caught:
        classifier.predict(audio, sampling_rate=RATE_HZ)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, EarmarkError)


def test_right_types_with_wrong_values(classifier: earmark.Classifier, tmp_path: Path) -> None:
    closed = io.BytesIO(b"RIFF")
    closed.close()
    (tmp_path / "x.wav").write_bytes(b"")
    cases: list[tuple[Any, type[EarmarkError], str]] = [
        (WAVE, UsageError, "audio: samples need a sampling rate. Pass sampling_rate="),
        (WAVE.tolist(), UsageError, "audio: samples need a sampling rate"),
        ([(WAVE, RATE_HZ), WAVE], UsageError, "audio[1]: samples need a sampling rate"),
        ({"array": WAVE}, UsageError, 'audio: the dict has "array" without "sampling_rate"'),
        ((WAVE, 0), UsageError, "audio: a sampling rate of 0 Hz is impossible"),
        ((WAVE, float("nan")), UsageError, "audio: a sampling rate of nan Hz is impossible"),
        ([(WAVE, RATE_HZ), (np.zeros(0), RATE_HZ)], AudioError, "audio[1]: holds no samples"),
        ((np.zeros(0), RATE_HZ), AudioError, "<ndarray>: holds no samples"),
        ([b"hello"], AudioError, "audio[0]: "),
        (b"", AudioError, "<bytes>: the file is empty"),
        (closed, AudioError, "<BytesIO>: cannot be read (I/O operation on closed file"),
        ({"bytes": b"hello", "path": "sounds/1.wav"}, AudioError, "sounds/1.wav: "),
        (tmp_path / "none.wav", AudioError, "none.wav: no such file"),
    ]
    for audio, kind, said in cases:
        with pytest.raises(kind) as caught:
            classifier.predict(audio)
        assert said in str(caught.value)
    with pytest.raises(AudioError, match=r"shape \(8, 16000\) looks like .* a list of clips"):
        classifier.predict(np.zeros((8, 16_000)), sampling_rate=RATE_HZ)  # their mean would be nonsense
    with pytest.raises(InputTypeError, match="a timeline needs one recording"):
        classifier.timeline(["a.wav", "b.wav"])


def test_a_timeline_names_its_recording(classifier: earmark.Classifier, path: Path) -> None:
    data = path.read_bytes()
    with open(path, "rb") as file:
        for audio, name in (
            (path, str(path)),
            (str(path), str(path)),
            ({"path": "a.wav", "bytes": data}, "a.wav"),
            (file, str(path)),
            (io.BytesIO(data), "<BytesIO>"),
            ((WAVE, RATE_HZ), "<tuple>"),
        ):
            assert classifier.timeline(audio).source == name


def test_objects_that_fail_on_their_own_are_one_error(classifier: earmark.Classifier) -> None:
    class Broken:
        def read(self) -> bytes:
            raise RuntimeError("boom")

    itself: dict[str, Any] = {}
    itself["audio"] = itself
    with pytest.raises(AudioError, match="cannot be read \\(boom\\)"):
        classifier.predict(Broken())
    with pytest.raises(InputTypeError, match="the dict contains itself"):
        classifier.predict(itself)
    for pair in (("16000", WAVE), (WAVE, "16000"), ["16000.0", list(WAVE)]):
        with pytest.raises(InputTypeError, match=r"the sampling rate is '16000.*', not a number"):
            classifier.predict(pair)


def test_a_table_is_not_a_batch(classifier: earmark.Classifier, path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"path": [str(path)], "label": ["x"]})
    with pytest.raises(InputTypeError, match=r'a DataFrame is a table.*Pass one column, table\["path"\]'):
        classifier.predict(table)
    assert len(classifier.predict(table["path"])) == 1
