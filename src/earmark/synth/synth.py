"""A synthetic corpus of spoken commands in the layout of the Speech Commands archive, written by ``earmark synth``.

A fresh process speaks (:mod:`earmark.synth.espeak` explains why), while this process puts each word at a random
position in a clip of one second, adds background noise and writes the file.
"""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from earmark import extras
from earmark.errors import DataError, OutputError, UsageError
from earmark.io.atomic import unfinished, writing
from earmark.sources.speech_commands import BACKGROUND, COMMANDS, SILENCE, UNKNOWN
from earmark.synth.espeak import Voice, engine
from earmark.synth.synth_noise import background_recordings
from earmark.synth.synth_plan import (
    OTHER_WORDS,
    TEST_SET,
    SynthPlan,
    Utterance,
    make_plan,
    test_set_class_size,
)

logger = logging.getLogger(__name__)

DEFAULT_UTTERANCES = 3_000
TEST_SET_FOLDER = "speech_commands_test_set_v0.01"

_FEWEST_UTTERANCES = 300  # with fewer, validation has hardly two clips per command
_RATE_HZ = 16_000
_VERSION = 1  # increase it whenever the code writes different files for equal settings
_MARKER = "synthetic.json"
_BATCH, _BATCHES_AHEAD = 32, 8  # batches of utterances spoken ahead of mixing
_QUIET = 0.01  # fraction of a word's peak below which audio around it is silence

_README = """\
This corpus is synthetic. `earmark synth` wrote it: the speech synthesiser eSpeak NG speaks the words, and the
background noise is computed. The layout is the layout of the Speech Commands archive v0.01 and of its separate test
archive, so any program that reads these can read this corpus. Good results on it only show that a model has learned
synthesised voices, and say little about real speech.
"""


@dataclass(frozen=True)
class CorpusSummary:
    """The content of a corpus.

    Attributes:
        folder: folder of the corpus.
        utterances: number of words in the archive, by split (``train``, ``validation``, ``testing``).
        speakers: number of voices, by split. No voice is in two splits.
        test_clips: number of clips in the separate test archive, including silence.
        reused: whether the corpus already existed.
    """

    folder: str
    utterances: dict[str, int]
    speakers: dict[str, int]
    test_clips: int
    reused: bool

    @property
    def summary(self) -> str:
        """Summary in a few lines, for people."""
        parts = [
            f"{count:,} {split} words by {self.speakers[split]} voices" for split, count in self.utterances.items()
        ]
        return (
            f"synthetic corpus {'found' if self.reused else 'written'} in {self.folder}\n"
            f"{', '.join(parts)}; no voice in two splits\n"
            f"test archive {TEST_SET_FOLDER}: {self.test_clips:,} clips in {len(COMMANDS) + 2} classes"
        )


def write_corpus(
    folder: str | os.PathLike[str],
    *,
    utterances: int = DEFAULT_UTTERANCES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> CorpusSummary:
    """Write a corpus, unless it already exists.

    Equal settings give identical files. A corpus with the same settings is kept. One with other settings, or an
    incomplete one from a killed run, is written again.

    Args:
        folder: an empty or new folder, or a corpus written by this function.
        utterances: number of words in train, validation and testing; the test archive is additional.
        seed: seed for voices, levels and noises.
        progress: called with ``(words done, all words)``.

    Returns:
        Summary of the corpus.

    Raises:
        UsageError: too few utterances, or a negative seed.
        OutputError: the folder contains other files, or cannot be written.
        MissingExtraError: the wheel ``espeakng-loader`` is not installed.
    """
    if utterances < _FEWEST_UTTERANCES:
        raise UsageError(
            f"{utterances} utterances are too few for 12 classes in three splits. Use at least {_FEWEST_UTTERANCES}"
        )
    if seed < 0:
        raise UsageError(f"seed {seed}: too small. Use a whole number of at least 0")
    root = Path(folder)
    settings = {"version": _VERSION, "utterances": utterances, "seed": seed}
    plan = make_plan(utterances, seed)
    try:
        if _is_complete(root, settings):
            return _summarise(root, plan, utterances, reused=True)
        extras.require("espeakng_loader")
        _clear(root)
        _write_marker(root, settings | {"complete": False})
        _write_files(root, plan, utterances, seed, progress)
        _write_marker(root, settings | {"complete": True})
    except OSError as exc:
        raise OutputError(f"{root}: the corpus cannot be written ({exc}). Choose another folder") from exc
    return _summarise(root, plan, utterances, reused=False)


def _is_complete(root: Path, settings: dict[str, Any]) -> bool:
    marker = _read_marker(root)
    return marker is not None and marker == settings | {"complete": True}


def _read_marker(root: Path) -> Any:
    try:
        return json.loads((root / _MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return {}  # left by a run that was killed while it wrote its first file


def _write_marker(root: Path, content: dict[str, Any]) -> None:
    with writing(root / _MARKER) as stream:
        stream.write(json.dumps(content, indent=1) + "\n")


def _clear(root: Path) -> None:
    """Create the folder, and remove only what an earlier run wrote."""
    if root.exists() and not root.is_dir():
        raise OutputError(f"{root}: is a file. Choose a folder for the corpus")
    root.mkdir(parents=True, exist_ok=True)
    if _read_marker(root) is None:
        if any(entry.name != unfinished(root / _MARKER).name for entry in root.iterdir()):
            raise OutputError(
                f"{root}: contains files that are not a synthetic corpus. Choose a new folder, or empty this one"
            )
        return
    logger.info("%s: the existing corpus is incomplete or has other settings, so it is written again", root)
    for name in (*COMMANDS, *OTHER_WORDS, BACKGROUND, TEST_SET_FOLDER):
        shutil.rmtree(root / name, ignore_errors=True)


def _write_files(
    root: Path, plan: SynthPlan, utterances: int, seed: int, progress: Callable[[int, int], None] | None
) -> None:
    for name in (*COMMANDS, *OTHER_WORDS, BACKGROUND):
        (root / name).mkdir()
    for name in (*COMMANDS, UNKNOWN, SILENCE):
        (root / TEST_SET_FOLDER / name).mkdir(parents=True)
    (root / "README.txt").write_text(_README, encoding="utf-8", newline="")
    for split in ("validation", "testing"):
        listed = sorted(f"{said.folder}/{said.name}" for said in plan.utterances if said.split == split)
        (root / f"{split}_list.txt").write_text("".join(f"{line}\n" for line in listed), encoding="utf-8", newline="")

    requests = [talker for bank in plan.babble.values() for talker in bank]
    requests += [(said.word, said.voice) for said in plan.utterances]
    spoken = _spoken(requests)
    backgrounds = {
        split: _make_backgrounds([next(spoken) for _ in bank], split, [seed, 1, index])
        for index, (split, bank) in enumerate(plan.babble.items())
    }
    for name, wave in backgrounds["train"].items():
        _write_wav(root / BACKGROUND / f"{name}.wav", wave)
    # load_superb_ks may cut silence for validation from the last fifth of each recording, so training words must not
    # contain it.
    backgrounds["train"] = {name: wave[: len(wave) * 4 // 5] for name, wave in backgrounds["train"].items()}
    _write_silence(root, list(backgrounds[TEST_SET].values()), utterances, seed)
    for index, (said, speech) in enumerate(zip(plan.utterances, spoken, strict=True)):
        noises = list(backgrounds[said.split].values())
        wave = _place(speech, noises, np.random.default_rng([seed, 2, index]), said)
        _write_wav(_utterance_path(root, said), wave)
        if progress is not None:
            progress(index + 1, len(plan.utterances))


def _utterance_path(root: Path, said: Utterance) -> Path:
    top = root / TEST_SET_FOLDER if said.split == TEST_SET else root
    return top / said.folder / said.name


def _make_backgrounds(talkers: list[np.ndarray], split: str, seed: list[int]) -> dict[str, np.ndarray]:
    shortest_s, longest_s = (30, 60) if split == "train" else (15, 25)  # only those for training become files
    return background_recordings(np.random.default_rng(seed), talkers, shortest_s, longest_s)


def _write_silence(root: Path, noises: list[np.ndarray], utterances: int, seed: int) -> None:
    rng = np.random.default_rng([seed, 3])
    for index in range(test_set_class_size(utterances)):
        noise = noises[index % len(noises)]
        start = int(rng.integers(len(noise) - _RATE_HZ))
        cut = noise[start : start + _RATE_HZ] * 10 ** (rng.uniform(-10, 0) / 20)
        _write_wav(root / TEST_SET_FOLDER / SILENCE / f"{index:03d}.wav", cut)


def _place(speech: np.ndarray, noises: list[np.ndarray], rng: np.random.Generator, said: Utterance) -> np.ndarray:
    """Put a word at a random position in a second of background noise, at a random level.

    Args:
        speech: float32 ``(samples,)`` at 16 kHz, with the engine's silence around the word.
        noises: background recordings at 16 kHz.
        rng: random generator for position, levels and noise.
        said: the utterance that is spoken, to name it in errors.

    Returns:
        float32 ``(samples,)``, one second; less for one clip in ten.
    """
    loud = np.flatnonzero(np.abs(speech) > _QUIET * np.abs(speech).max())
    word = speech[loud[0] : loud[-1] + 1]
    if len(word) > _RATE_HZ:
        raise DataError(f"{said.word!r} takes {len(word) / _RATE_HZ:.2f} s. Use a voice other than {said.voice.name}")
    count = _RATE_HZ
    if rng.random() < 0.1:  # as in the archive, some recordings end early
        count = int(rng.integers(max(len(word), _RATE_HZ * 3 // 4), _RATE_HZ + 1))
    noise = noises[rng.integers(len(noises))]
    start = int(rng.integers(len(noise) - count))
    wave = noise[start : start + count].copy()
    word = word * (10 ** (rng.uniform(-18, -3) / 20) / np.abs(word).max())  # peak 3 to 18 dB below full scale
    ratio_db = rng.uniform(5, 30)
    wave *= _rms(word) / max(_rms(wave), 1e-6) * 10 ** (-ratio_db / 20)
    at = int(rng.integers(count - len(word) + 1))
    wave[at : at + len(word)] += word
    return wave * min(1.0, 0.99 / np.abs(wave).max())


def _rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))


def _write_wav(path: Path, wave: np.ndarray) -> None:
    encoded = io.BytesIO()  # via memory, because soundfile waits for the disk when it writes a file
    soundfile.write(encoded, wave, _RATE_HZ, format="WAV", subtype="PCM_16")
    path.write_bytes(encoded.getvalue())


def _spoken(requests: list[tuple[str, Voice]]) -> Iterator[np.ndarray]:
    """Yield the speech of each request, float32 ``(samples,)`` at 16 kHz, spoken in order by one fresh process."""
    batches = iter([requests[i : i + _BATCH] for i in range(0, len(requests), _BATCH)])
    ahead: deque[Future[list[np.ndarray]]] = deque()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            while True:
                while len(ahead) < _BATCHES_AHEAD and (batch := next(batches, None)):
                    ahead.append(pool.submit(_speak, batch))
                if not ahead:
                    return
                yield from ahead.popleft().result()
        except BrokenProcessPool as exc:
            raise DataError("the process that runs eSpeak NG ended. Try again, or use another machine") from exc
        finally:
            for future in ahead:
                future.cancel()


def _speak(requests: list[tuple[str, Voice]]) -> list[np.ndarray]:
    voices = engine()
    return [
        soxr.resample(voices.speak(text, voice).astype(np.float32) / 32768, voices.sampling_rate_hz, _RATE_HZ)
        for text, voice in requests
    ]


def _summarise(root: Path, plan: SynthPlan, utterances: int, *, reused: bool) -> CorpusSummary:
    words: dict[str, int] = {}
    speakers: dict[str, set[str]] = {}
    for said in plan.utterances:
        words[said.split] = words.get(said.split, 0) + 1
        speakers.setdefault(said.split, set()).add(said.speaker)
    test_clips = words.pop(TEST_SET) + test_set_class_size(utterances)
    voices = {split: len(speakers[split]) for split in words}
    return CorpusSummary(str(root), words, voices, test_clips, reused)
