"""Embeddings of recordings and windows: what the head works on, for every architecture."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import earmark
from earmark.cli.main import main
from earmark.errors import AudioError
from earmark.models.build_model import ModelSource, build_for_training, load_trained
from earmark.models.embedding import classify_all
from earmark.scoring.inference import score
from earmark.scoring.torch_scorer import TorchScorer
from tests.small_files import no_file_longer_than
from tests.tiny import RATE_HZ, overrides, tone

CPU = torch.device("cpu")


def make_model(kind: str, folder: Path, **settings: object) -> Path:
    torch.manual_seed(0)
    source = ModelSource(model_type=kind, config_overrides=json.dumps(json.loads(overrides(kind)) | settings))
    build_for_training(source, ["high", "low"], 1.0, longest_s=1.0).save(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model("wav2vec2", tmp_path_factory.mktemp("models") / "w")


@pytest.fixture
def tapes(tmp_path: Path) -> Path:
    folder = tmp_path / "tapes"
    folder.mkdir()
    for i, seconds in enumerate((0.7, 2.5, 1.0)):
        soundfile.write(folder / f"{i}.wav", tone(300 + 400 * i, seconds, seed=i), RATE_HZ, subtype="FLOAT")
    (folder / "3.wav").write_bytes(b"RIFF broken")
    return folder


def embed(model: Path, *words: object) -> int:
    return main(["embed", str(model), *map(str, words), "--device", "cpu"])


@pytest.mark.parametrize("kind", ["wav2vec2", "audio-spectrogram-transformer", "tc_resnet"])
def test_the_head_makes_the_logits_of_them(kind: str, tmp_path: Path) -> None:
    model = make_model(kind, tmp_path / "model")
    wave = tone(440, 0.7)
    soundfile.write(tmp_path / "a.wav", wave, RATE_HZ, subtype="FLOAT")
    assert embed(model, tmp_path / "a.wav", "--output", tmp_path / "e.npy", "--precision", "fp32") == 0
    rows = np.load(tmp_path / "e.npy")
    audio = load_trained(ModelSource(name_or_path=str(model)))
    logits = next(score(TorchScorer(audio.model, audio.frontend, CPU), [wave], batch_size=1))
    np.testing.assert_allclose(classify_all(audio.model, rows, CPU)[0], logits, atol=1e-4)


def test_a_classifier_gives_the_embeddings_of_the_command(model: Path, tapes: Path) -> None:
    (tapes / "3.wav").unlink()
    assert embed(model, tapes, "--hop_seconds", "0.5", "--output", tapes / "e.npy", "--precision", "fp32") == 0
    classifier = earmark.Classifier.from_pretrained(model, device="cpu")
    paths = sorted(tapes.glob("*.wav"))
    rows = classifier.embed(paths, hop_seconds=0.5)
    np.testing.assert_allclose(rows, np.load(tapes / "e.npy"), atol=1e-6)
    assert classifier.embed(paths[0]).shape == (1, rows.shape[1])
    assert classifier.embed([]).shape[0] == 0
    (tapes / "3.wav").write_bytes(b"RIFF broken")
    with pytest.raises(AudioError, match=r"3\.wav"):
        classifier.embed([*paths, tapes / "3.wav"])


@pytest.mark.parametrize(
    ("has_bf16", "words", "precision"),
    [(True, [], "bf16"), (False, [], "fp32"), (True, ["--precision", "fp32"], "fp32")],
)
def test_bfloat16_where_it_is_faster_and_nothing_else_asked_for(
    has_bf16: bool,
    words: list[str],
    precision: str,
    model: Path,
    tapes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("earmark.predict.scorers.supports_bf16", lambda _: has_bf16)
    output, exact = tapes / "e.npy", tapes / "exact.npy"
    assert embed(model, tapes, "--output", output, *words) == 0
    assert f"embeddings are computed in {precision} on " in capsys.readouterr().err
    assert json.loads(Path(f"{output}.earmark.json").read_text())["settings"]["precision"] == precision
    assert embed(model, tapes, "--output", exact, "--precision", "fp32") == 0
    rows, expected = np.load(output), np.load(exact)
    error = np.linalg.norm(rows - expected) / np.linalg.norm(expected)
    assert error < 0.02
    assert (error == 0) == (precision == "fp32")


def test_a_model_that_bfloat16_computes_wrongly_is_embedded_in_float32(
    model: Path, tapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("earmark.predict.scorers.supports_bf16", lambda _: True)
    plain = torch.nn.GELU.forward

    def forward(self: Any, values: torch.Tensor) -> torch.Tensor:
        output = plain(self, values)
        return output.flip(-1) if values.dtype != torch.float32 else output

    monkeypatch.setattr(torch.nn.GELU, "forward", forward)
    assert embed(model, tapes, "--output", tapes / "e.npy") == 0
    said = capsys.readouterr().err
    assert "bfloat16 on cpu: compared with float32 the " in said
    assert "; computing in float32, which is slower" in said
    assert "embeddings are computed in fp32 on " in said
    assert embed(model, tapes, "--output", tapes / "e.npy", "--overwrite", "--precision", "bf16") == 2


def test_a_device_without_an_operator_in_bfloat16_embeds_in_float32(
    model: Path, tapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("earmark.predict.scorers.supports_bf16", lambda _: True)
    plain = torch.nn.LayerNorm.forward

    def forward(self: Any, values: torch.Tensor) -> torch.Tensor:
        if values.dtype == torch.bfloat16:
            raise RuntimeError('"LayerNorm" not implemented for BFloat16')
        return plain(self, values)

    monkeypatch.setattr(torch.nn.LayerNorm, "forward", forward)
    assert embed(model, tapes, "--output", tapes / "e.npy") == 0
    said = capsys.readouterr().err
    assert (
        'this device cannot compute the model: "LayerNorm" not implemented for BFloat16; computing in float32' in said
    )
    assert "embeddings are computed in fp32 on " in said


def test_windows_and_whole_recordings_in_both_forms(model: Path, tapes: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for rows in ("windows", "clips"):
        for form in ("npy", "parquet"):
            output = tapes / f"{rows}.{form}"
            assert embed(model, tapes, "--rows", rows, "--hop_seconds", "0.5", "--output", output) == 0
        with (tapes / f"{rows}.npy.rows.csv").open(newline="") as stream:
            places = list(csv.DictReader(stream))
        values = np.load(tapes / f"{rows}.npy")
        table = parquet.read_table(tapes / f"{rows}.parquet").to_pydict()
        assert table["path"] == [place["path"] for place in places]
        assert table["end_s"] == [float(place["end_s"]) for place in places]
        np.testing.assert_array_equal(np.array(table["embedding"], np.float32), values)
        assert "3.wav" in (tapes / f"{rows}.npy.bad_audio.csv").read_text()
    windows, clips = np.load(tapes / "windows.npy"), np.load(tapes / "clips.npy")
    assert windows.shape[0] == 1 + 4 + 1
    assert clips.shape[0] == 3
    np.testing.assert_allclose(clips[1], windows[1:5].mean(axis=0), atol=1e-6)
    assert not list(tapes.glob("*.part")) + list(tapes.glob("*.writing"))


@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_rows_that_do_not_fit_are_one_line(
    form: str, model: Path, tapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    output = tapes / f"full.{form}"
    with no_file_longer_than(50):
        assert embed(model, tapes, "--output", output) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"earmark: error: {output}: cannot be written (")
    assert "File too large" in last
    assert [path.name for path in tapes.glob("full*")] in ([], [f"{output.name}.bad_audio.csv"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--output", "x.csv"], "x.csv: unknown file format. End it in .npy or .parquet"),
        ([], "no model, recordings or file. Name all three"),
        (
            ["--output", "e.npy", "--window_seconds", "9"],
            "--window_seconds 9: expected above 0 and at most 1",
        ),
        (["--output", "there.npy"], "there.npy: exists already"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    model: Path,
    tapes: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tapes.parent)
    Path("there.npy").write_text("mine")
    assert embed(model, tapes, *words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("earmark: ")]
    assert said in line
    assert sorted(path.name for path in Path().iterdir()) == ["tapes", "there.npy"]


def test_a_learned_sum_of_layers_has_none(tapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model("wav2vec2", tmp_path / "sum", use_weighted_layer_sum=True)
    assert embed(model, tapes, "--output", tmp_path / "e.npy") == 2
    assert "it has no single embedding" in capsys.readouterr().err
