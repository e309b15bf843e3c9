"""The speech engine: what it returns, and the mistakes it would let pass by itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

loader = pytest.importorskip("espeakng_loader")

from earmark.errors import UsageError  # noqa: E402
from earmark.synth.espeak import Voice, engine  # noqa: E402
from tests.patience import PATIENCE_S  # noqa: E402


def spoken_s(samples: np.ndarray) -> float:
    """Duration without the silence around it."""
    loud = np.flatnonzero(np.abs(samples.astype(float)) > 0.01 * np.abs(samples.astype(float)).max())
    return (loud[-1] - loud[0]) / engine().sampling_rate_hz


def fundamental_hz(samples: np.ndarray) -> float:
    """Pitch of the middle of a word, by autocorrelation."""
    middle = samples[len(samples) // 3 :][:2048].astype(float)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(2048), 4096)) ** 2
    likeness = np.fft.irfft(spectrum)
    lags = slice(engine().sampling_rate_hz // 400, engine().sampling_rate_hz // 60)
    return engine().sampling_rate_hz / (lags.start + int(np.argmax(likeness[lags])))


def test_speech_is_int16_at_the_rate_of_the_engine_and_has_the_length_of_a_word():
    speech = engine().speak("seven", Voice())
    assert engine().sampling_rate_hz == 22_050
    assert speech.dtype == np.int16
    assert speech.ndim == 1
    assert 0.2 < spoken_s(speech) < 0.8
    assert np.abs(speech.astype(int)).max() > 3_000


def test_rate_pitch_and_volume_do_what_they_say():
    slow, fast = (spoken_s(engine().speak("marvin", Voice(rate_wpm=rate))) for rate in (120, 220))
    assert slow > 1.3 * fast
    low, high = (fundamental_hz(engine().speak("three", Voice(pitch=pitch))) for pitch in (10, 90))
    assert high > 1.3 * low
    soft, loud = (np.abs(engine().speak("no", Voice(volume=volume)).astype(int)).max() for volume in (20, 80))
    assert loud > 2 * soft


def test_accent_and_variant_change_the_voice():
    voices = [Voice(accent, variant) for accent in ("en", "en-us") for variant in ("m3", "f3")]
    sounds = {engine().speak("house", voice).tobytes() for voice in voices}
    assert len(sounds) == 4
    man, woman = (fundamental_hz(engine().speak("three", Voice("en-us", variant))) for variant in ("m3", "f3"))
    assert woman > 1.2 * man


@pytest.mark.parametrize("voice", [Voice("en-us", "nonesuch"), Voice("xx-yy", "f3"), Voice("nowhere")])
def test_an_unknown_voice_is_refused_by_name(voice):
    with pytest.raises(UsageError, match=r"nonesuch|xx-yy|nowhere"):
        engine().speak("yes", voice)


def test_threads_take_turns():
    with ThreadPoolExecutor(4) as pool:
        lengths = list(pool.map(lambda text: spoken_s(engine().speak(text, Voice())), ["up", "marvin"] * 20))
    assert max(lengths[::2]) < min(lengths[1::2])


def test_the_engine_finds_its_voices_under_a_path_longer_than_its_buffers(tmp_path):
    deep = tmp_path / ("d" * 200)
    shutil.copytree(Path(loader.__file__).parent, deep / "espeakng_loader")
    code = (
        f"import sys; sys.path.insert(0, {str(deep)!r})\n"
        "from earmark.synth.espeak import Voice, engine\n"
        "import espeakng_loader; print(espeakng_loader.__file__, len(engine().speak('yes', Voice('en-us', 'f3'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    path, count = done.stdout.split()
    assert path.startswith(str(deep))
    assert int(count) > 3_000
