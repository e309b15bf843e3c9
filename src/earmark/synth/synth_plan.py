"""The plan of the synthetic corpus: words, speakers and counts, decided before any audio is made.

Five in six utterances are one of the ten commands, and the rest are the other twenty words of Speech Commands v0.01.
These proportions make the classes of SUPERB KS about equally frequent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from earmark.sources.speech_commands import COMMANDS, UNKNOWN
from earmark.synth.espeak import Voice

_OTHER_WORDS = "bed bird cat dog eight five four happy house marvin nine one seven sheila six three tree two wow zero"
OTHER_WORDS = tuple(_OTHER_WORDS.split())
TEST_SET = "test_set"

_ACCENTS = (
    "en", "en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-us", "en-us-nyc",
)  # fmt: skip
# Variants that sound nearly the same, such as iven and iven2, michel and miguel, stay in one split.
_VARIANTS = {
    "train": (
        "m1 m3 m4 m7 m8 f1 f3 f5 Alex Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Mario Michael Mike Nguyen "
        "Reed Storm adam anika benjamin boris caleb david ed edward edward2 grandma gustave iven iven2 iven3 iven4 "
        "klatt klatt2 klatt3 klatt4 klatt5 klatt6 marcelo max michel miguel mike2 norbert paul shelby steph "
        "steph2 steph3 victor zac"
    ),
    "validation": "m2 m6 f2 Lee belinda ian kaukovalta quincy rob robert travis",
    "testing": "m5 f4 Andrea antonio aunty grandpa john linda pablo sandro",
}
_FRACTIONS = {"train": 0.8, "validation": 0.1, "testing": 0.1}
_UTTERANCES_PER_SPEAKER = 12
_BABBLE_TALKERS = 10
_RUNNING_SPEECH = (
    "The kettle was already warm when they came in from the garden and put the baskets on the table. "
    "Nobody had said much about the weather, and the neighbours were late with their answer as usual. "
    "After lunch we walked along the river, counted the boats and talked about what to do in the winter."
)


@dataclass(frozen=True, slots=True)
class Utterance:
    """One word spoken by one speaker.

    Attributes:
        split: ``train``, ``validation``, ``testing``, or ``test_set`` for the separate test archive.
        folder: class folder of its file.
        word: the spoken word.
        speaker: ID of the speaker, eight hexadecimal digits.
        voice: voice of the speaker.
        name: file name.
    """

    split: str
    folder: str
    word: str
    speaker: str
    voice: Voice
    name: str


@dataclass(frozen=True, slots=True)
class SynthPlan:
    """All utterances of a corpus.

    Attributes:
        utterances: in the order in which they are spoken.
        babble: continuous speech of the talkers, for each set of background recordings.
    """

    utterances: list[Utterance]
    babble: dict[str, list[tuple[str, Voice]]]


def make_plan(utterances: int, seed: int) -> SynthPlan:
    """Choose speakers, words and voices.

    Args:
        utterances: number of words in the archive; the test archive is additional.
        seed: random seed.
    """
    rng = np.random.default_rng([seed, 0])
    planned: list[Utterance] = []
    babble: dict[str, list[tuple[str, Voice]]] = {}
    for split, count in zip(_FRACTIONS, apportion(utterances, list(_FRACTIONS.values())), strict=True):
        speakers = _make_speakers(split, count, rng)
        planned += _deal(split, _words(count), speakers, rng)
        babble[split] = _running_speech(speakers, rng)
        if split == "testing":
            planned += _deal(TEST_SET, _test_set_words(utterances), speakers, rng)
            babble[TEST_SET] = _running_speech(speakers, rng)
    return SynthPlan(planned, babble)


def test_set_class_size(utterances: int) -> int:
    """Return the number of clips in each of the twelve folders of the test archive."""
    return max(1, round(utterances / 60))


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Return whole numbers in proportion to ``weights`` that add up to ``total`` (largest remainder method)."""
    exact = np.asarray(weights, dtype=float) / sum(weights) * total
    counts = np.floor(exact + 1e-9).astype(int)
    first = np.argsort(-(exact - counts), kind="stable")[: total - counts.sum()]
    counts[first] += 1
    return [int(count) for count in counts]


def _words(count: int) -> list[tuple[str, str]]:
    """Return ``(folder, word)`` for each utterance of a split. All other words together count as two commands."""
    *commands, others = apportion(count, [1] * len(COMMANDS) + [2])
    counts = commands + apportion(others, [1] * len(OTHER_WORDS))
    return [(word, word) for word, times in zip(COMMANDS + OTHER_WORDS, counts, strict=True) for _ in range(times)]


def _test_set_words(utterances: int) -> list[tuple[str, str]]:
    size = test_set_class_size(utterances)
    commands = [(word, word) for word in COMMANDS for _ in range(size)]
    return commands + [(UNKNOWN, OTHER_WORDS[i % len(OTHER_WORDS)]) for i in range(size)]


def _make_speakers(split: str, utterances: int, rng: np.random.Generator) -> dict[str, Voice]:
    variants = rng.permutation(_VARIANTS[split].split())
    speakers: dict[str, Voice] = {}
    for i in range(max(2, round(utterances / _UTTERANCES_PER_SPEAKER))):
        speakers[f"{rng.integers(1 << 32):08x}"] = Voice(
            accent=str(rng.choice(_ACCENTS)),
            variant=str(variants[i % len(variants)]),
            rate_wpm=int(rng.integers(140, 205)),
            pitch=int(rng.integers(30, 71)),
            pitch_range=int(rng.integers(25, 76)),
            volume=50,  # some variants distort if louder
        )
    return speakers


def _deal(
    split: str, words: list[tuple[str, str]], speakers: dict[str, Voice], rng: np.random.Generator
) -> list[Utterance]:
    """Assign the shuffled words to the speakers in turn. Rate and pitch vary between a speaker's utterances."""
    names = list(speakers)
    times: Counter[tuple[str, str]] = Counter()
    dealt = []
    for i, chosen in enumerate(rng.permutation(len(words))):
        folder, word = words[chosen]
        speaker = names[i % len(names)]
        voice = speakers[speaker]
        voice = replace(
            voice,
            rate_wpm=voice.rate_wpm + int(rng.integers(-12, 13)),
            pitch=voice.pitch + int(rng.integers(-6, 7)),
        )
        name = f"{speaker}_nohash_{times[folder, speaker]}.wav"
        times[folder, speaker] += 1
        dealt.append(Utterance(split, folder, word, speaker, voice, name))
    return dealt


def _running_speech(speakers: dict[str, Voice], rng: np.random.Generator) -> list[tuple[str, Voice]]:
    names = list(speakers)
    talkers = [names[i % len(names)] for i in range(_BABBLE_TALKERS)]
    return [(_RUNNING_SPEECH, replace(speakers[name], pitch=int(rng.integers(30, 71)))) for name in talkers]
