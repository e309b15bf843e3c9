from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.errors import DataError
from earmark.settings.data_flags import DataArguments
from earmark.sources.sounds import load_sounds
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
    sounds = load_sounds({"augment_noise": str(tmp_path / "noise")}, RATE_HZ, options)["augment_noise"]
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
    says = {"missing": "no such folder", "empty": "no recordings", "silent": "a.wav: digital silence", "nan": "NaN"}
    for on_bad_audio in ("fail", "skip"):  # there is nothing left to go on with
        options = DataArguments(on_bad_audio=on_bad_audio, store_dir=str(tmp_path / "store"))  # type: ignore[arg-type]
        with pytest.raises(DataError) as error:
            load_sounds({"augment_noise": str(folder)}, RATE_HZ, options)
        assert str(folder) in str(error.value)
        if on_bad_audio == "fail":
            assert says.get(make, "a.wav") in str(error.value)
        elif make not in ("missing", "empty"):
            assert str(error.value) == f"--augment_noise {folder}: no usable recording (1 bad). Replace them"


@pytest.mark.parametrize("store", ["int16", "off"])
def test_all_that_is_wrong_with_all_folders_is_one_error(
    tmp_path: Path, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    folders = {"augment_noise": str(tmp_path / "noise"), "augment_reverb": str(tmp_path / "rooms")}
    write(tmp_path / "noise" / "a.wav", np.zeros(100))
    write(tmp_path / "noise" / "c.wav", tone(300, 0.1))
    (tmp_path / "noise" / "b.wav").write_text("no sound")
    response = np.exp(-np.arange(300) / 50)
    write(tmp_path / "rooms" / "d.wav", np.full(100, np.nan, dtype=np.float32), subtype="FLOAT")
    write(tmp_path / "rooms" / "e.wav", np.stack([response, -response], axis=1))
    write(tmp_path / "rooms" / "f.wav", response)
    options = DataArguments(store=store, store_dir=str(tmp_path / "store"))  # type: ignore[arg-type]
    with pytest.raises(DataError) as error:
        load_sounds(folders, RATE_HZ, options)
    first, *rest = str(error.value).splitlines()
    assert first == "4 recordings cannot be used. Fix or remove them, or leave them out with --on_bad_audio skip:"
    assert sorted(Path(line.split(": ")[0].strip()).name for line in rest) == ["a.wav", "b.wav", "d.wav", "e.wav"]
    options.on_bad_audio = "skip"
    with caplog.at_level("WARNING", logger="earmark"):
        sounds = load_sounds(folders, RATE_HZ, options)
    assert {flag: [of.name(i) for i in range(len(of))] for flag, of in sounds.items()} == {
        "augment_noise": ["c.wav"],
        "augment_reverb": ["f.wav"],
    }
    np.testing.assert_allclose(sounds["augment_noise"].read(0, 0, 1600), tone(300, 0.1), atol=1e-4)
    np.testing.assert_allclose(sounds["augment_reverb"].read(0, 0, 300), response, atol=1e-4)
    bad = {(flag, clip.index, Path(clip.source).name) for flag, of in sounds.items() for _, clip in of.bad}
    assert bad == {
        ("augment_noise", 0, "a.wav"),
        ("augment_noise", 1, "b.wav"),
        ("augment_reverb", 0, "d.wav"),
        ("augment_reverb", 1, "e.wav"),
    }
    assert caplog.text.count("ignoring 4 recordings") == 1


@pytest.mark.parametrize(
    ("right", "cancels"),
    [
        (lambda left, other: -left, True),
        (lambda left, other: 0.05 * other - left, True),
        (lambda left, other: other, False),  # two microphones
        (lambda left, other: 0.0 * left, False),
        (lambda left, other: left, False),
        (lambda left, other: -np.roll(left, 20), False),
    ],
)
def test_responses_whose_channels_cancel_are_told(
    tmp_path: Path, right: Callable[..., np.ndarray], cancels: bool
) -> None:
    rng = np.random.default_rng(0)
    left, other = (0.5 * rng.standard_normal((2, 4000)) * np.exp(-np.arange(4000) / 800)).clip(-1, 1)
    write(tmp_path / "rooms" / "good.wav", left)
    write(tmp_path / "rooms" / "room.wav", np.stack([left, right(left, other)], axis=1).clip(-1, 1))
    folder = {"augment_reverb": str(tmp_path / "rooms")}
    options = DataArguments(store_dir=str(tmp_path / "store"))
    if not cancels:
        assert len(load_sounds(folder, RATE_HZ, options)["augment_reverb"]) == 2
        return
    with pytest.raises(
        DataError, match=r"room\.wav: its channels have opposite phase and cancel out: their mean has .* %"
    ):
        load_sounds(folder, RATE_HZ, options)
