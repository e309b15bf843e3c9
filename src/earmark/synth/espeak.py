"""Speech from eSpeak NG through ctypes. The wheel ``espeakng-loader`` contains its library and voices.

The engine keeps state (phases, flutter, random numbers) between utterances. So a sequence of utterances gives the same
samples only from the start of a fresh process. The constants come from the library's public header, ``speak_lib.h``.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earmark import extras
from earmark.errors import DataError, MissingExtraError, UsageError

_AUDIO_OUTPUT_SYNCHRONOUS = 2  # the callback gets the samples, and espeak_Synth returns after the last callback
_DONT_EXIT = 0x8000  # otherwise missing voice data ends the process
_CHARS_UTF8 = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_OK = 0
_LONGEST_PATH_BYTES = 100  # the engine silently truncates paths at 160 bytes

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class Voice:
    """The voice of a speaker.

    Attributes:
        accent: a language of eSpeak NG, e.g. ``"en-us"``; British English is ``"en"``.
        variant: a voice variant, e.g. ``"f3"``; empty for the plain voice.
        rate_wpm: words per minute, 80 to 450.
        pitch: 0 to 100; 50 is the variant's default.
        pitch_range: range of the intonation, 0 (monotone) to 100.
        volume: 0 to 200; 100 is full scale for most variants.
    """

    accent: str = "en-us"
    variant: str = ""
    rate_wpm: int = 175
    pitch: int = 50
    pitch_range: int = 50
    volume: int = 80

    @property
    def name(self) -> str:
        """Name of the voice in eSpeak NG: ``accent+variant``."""
        return f"{self.accent}+{self.variant}" if self.variant else self.accent


class Espeak:
    """The eSpeak NG engine. Its state is global to the process, so get it from :func:`engine`.

    Attributes:
        sampling_rate_hz: sampling rate of :meth:`speak` (22,050).
    """

    def __init__(self) -> None:
        loader = extras.require("espeakng_loader")
        self._library = _load_library(loader.get_library_path())
        data_path = str(loader.get_data_path())
        self._variants_folder = Path(data_path, "voices", "!v")
        self.sampling_rate_hz = int(
            self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(_short(data_path)), _DONT_EXIT)
        )
        if self.sampling_rate_hz <= 0:
            raise MissingExtraError(
                f"eSpeak NG cannot read its voices in {data_path}. "
                "Reinstall it: pip install --force-reinstall 'earmark[synth]'"
            )
        self._library.espeak_ng_SetRandSeed(0)  # by default, the clock seeds the engine
        self._lock = threading.Lock()
        self._chunks: list[np.ndarray] = []
        self._callback = _Callback(self._collect)  # kept here, because ctypes holds no reference to it
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice) -> np.ndarray:
        """Synthesise speech.

        Args:
            text: English words.
            voice: voice of the speaker.

        Returns:
            int16 ``(samples,)`` at :attr:`sampling_rate_hz`.

        Raises:
            UsageError: the accent or variant does not exist.
            DataError: the engine returned no audio.
        """
        encoded = text.encode()
        with self._lock:
            self._set_voice(voice)
            self._chunks = []
            status = self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _CHARS_UTF8, None, None)
            chunks, self._chunks = self._chunks, []
        if status != _OK or not chunks:
            raise DataError(
                f"{text!r}: eSpeak NG returned no audio (status {status}). Use a voice other than {voice.name}"
            )
        return np.concatenate(chunks)

    def _set_voice(self, voice: Voice) -> None:
        # the engine itself silently uses the plain voice if a variant is missing
        if voice.variant and not (self._variants_folder / voice.variant).is_file():
            raise UsageError(f"eSpeak NG has no voice variant {voice.variant}. Use one of its variants, e.g. f3")
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != _OK:
            raise UsageError(f"eSpeak NG has no voice {voice.name}. Use one of its languages, e.g. en-us")
        # set after the voice, because setting the voice resets them
        for parameter, value in (
            (_RATE, voice.rate_wpm),
            (_VOLUME, voice.volume),
            (_PITCH, voice.pitch),
            (_RANGE, voice.pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)

    def _collect(self, samples: object, count: int, _events: object) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())  # the engine reuses the buffer
        return 0  # continue


def _short(data_path: str) -> str:
    """Return the path, or a short link to it that exists as long as this process."""
    if len(os.fsencode(data_path)) <= _LONGEST_PATH_BYTES:
        return data_path
    folder = tempfile.mkdtemp(prefix="espeak-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    link = os.path.join(folder, "espeak-ng-data")
    try:
        os.symlink(data_path, link)
    except (OSError, NotImplementedError):  # Windows only lets administrators and developers create links
        shutil.copytree(data_path, link)
    return link


def _load_library(path: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(path)
    except OSError as exc:
        raise MissingExtraError(
            f"the shared library of eSpeak NG does not load ({exc}). "
            "Reinstall it: pip install --force-reinstall 'earmark[synth]'"
        ) from exc
    unsigned, pointer = ctypes.c_uint, ctypes.c_void_p
    library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    library.espeak_SetSynthCallback.argtypes = [_Callback]
    library.espeak_SetSynthCallback.restype = None
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    library.espeak_SetParameter.argtypes = [ctypes.c_int] * 3
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, unsigned, ctypes.c_int, unsigned, unsigned, pointer, pointer,
    ]  # fmt: skip
    return library


_engine: Espeak | None = None
_engine_lock = threading.Lock()


def engine() -> Espeak:
    """Return the engine of this process, started on first use.

    Raises:
        MissingExtraError: the wheel ``espeakng-loader`` is missing or broken.
    """
    global _engine
    with _engine_lock:
        if _engine is None:
            _engine = Espeak()
        return _engine
