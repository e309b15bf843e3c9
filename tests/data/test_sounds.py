from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.config import DataArguments
from earmark.data.sounds import load_sounds
from earmark.errors import DataError
from tests.tiny import RATE_HZ, tone


def write(path: Path, samples: np.ndarray, **settings: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE_HZ, **settings)


@pytest.mark.parametrize("store", ["int16", "off"])
def test_sounds_are_read_wherever_they_begin(tmp_path: Path, store: str) -> None:
    waves = [tone(300, 0.2, seed=1), tone(500, 0.1, seed=2)]
    write(tmp_path / "noise" / "a.wav", waves[0])
    write(tmp_path / "noise" / "deeper" / "b.flac", waves[1])
    options = DataArguments(store=store, store_dir=str(tmp_path / "store"))  # type: ignore[arg-type]
    sounds = load_sounds("augment_noise", str(tmp_path / "noise"), RATE_HZ, options)
    assert [sounds.name(i) for i in range(len(sounds))] == ["a.wav", "b.flac"]
    assert sounds.lengths().tolist() == [3200, 1600]
    np.testing.assert_allclose(sounds.read(0, 100, 50), waves[0][100:150], atol=1e-4)
    np.testing.assert_allclose(sounds.read(1, 1599, 1), waves[1][1599:], atol=1e-4)


@pytest.mark.parametrize("make", ["missing", "empty", "text", "nan", "silent"])
def test_a_folder_that_cannot_serve_is_named(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "noise"
    if make != "missing":
        folder.mkdir()
    if make == "text":
        (folder / "a.wav").write_text("no sound")
    elif make == "nan":
        write(folder / "a.wav", np.full(100, np.nan, dtype=np.float32), subtype="FLOAT")
    elif make == "silent":
        write(folder / "a.wav", np.zeros(100))
    says = {"missing": "no such folder", "empty": "no recordings", "silent": "digital silence, first", "nan": "NaN"}
    for on_bad_audio in ("fail", "skip"):  # there is nothing left to go on with
        options = DataArguments(on_bad_audio=on_bad_audio, store_dir=str(tmp_path / "store"))  # type: ignore[arg-type]
        with pytest.raises(DataError) as error:
            load_sounds("augment_noise", str(folder), RATE_HZ, options)
        assert str(folder) in str(error.value)
        if on_bad_audio == "fail":
            assert says.get(make, "a.wav") in str(error.value)


def test_bad_sounds_among_good_ones_end_the_run_or_are_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "noise"
    write(folder / "a.wav", np.zeros(100))
    write(folder / "c.wav", tone(300, 0.1))
    options = DataArguments(store_dir=str(tmp_path / "store"))
    with pytest.raises(DataError, match=r"1 of 2 recordings are digital silence, first .*a\.wav"):
        load_sounds("augment_noise", str(folder), RATE_HZ, options)
    (folder / "b.wav").write_text("no sound")
    with pytest.raises(DataError, match=r"b\.wav"):
        load_sounds("augment_noise", str(folder), RATE_HZ, options)
    options.on_bad_audio = "skip"
    with caplog.at_level("WARNING", logger="earmark"):
        sounds = load_sounds("augment_noise", str(folder), RATE_HZ, options)
    assert [sounds.name(i) for i in range(len(sounds))] == ["c.wav"]
    np.testing.assert_allclose(sounds.read(0, 0, 1600), tone(300, 0.1), atol=1e-4)
    assert [clip.source for _, clip in sounds.bad] == [str(folder / "b.wav")]
    assert "left out" in caplog.text
    assert "a.wav" in caplog.text
