"""Names that mark folders, tables and columns as part of a split."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

SPLIT_NAMES = ("train", "validation", "test")
SHOWN_NAMES = {"train": "training", "validation": "validation", "test": "test"}  # names in messages
SPLIT_FLAGS = {"train": "--train_split_name", "validation": "--eval_split_name", "test": "--test_split_name"}
NO_SPLIT = "none"  # value of --train_split_name and the flags of the other splits: the data does not have this split

_ALIASES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "eval"),
    "test": ("test", "testing"),
}
# names for parts of the data that do not always mean the same split
_UNCLEAR_WORDS = "evaluation development holdout heldout unlabeled unlabelled unsup unsupervised nolabel nolabels"
_UNCLEAR = frozenset(_UNCLEAR_WORDS.split())
_IN_CHINESE = {
    "训练": "train",
    "训练集": "train",
    "验证": "validation",
    "验证集": "validation",
    "测试": "test",
    "测试集": "test",
}
# words that do not describe the content of a folder: train_data, audio_train and test-set-2 are splits
_FILLER_WORDS = (
    "data dataset datasets set sets split splits part parts audio audios wav wavs flac mp3 ogg file files clip clips "
    "recording recordings sound sounds sample samples raw all full input inputs"
)
_FILLERS = frozenset(_FILLER_WORDS.split())
_WORDS_OF_TABLES = (
    "label labels labelled labeled metadata meta list lists manifest index annotation annotations table csv info "
    "target targets ground truth groundtruth"
)
_TABLE_WORDS = frozenset(_WORDS_OF_TABLES.split())
_FOLD = re.compile(r"(?:fold|cv|split|part)[ _-]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class SplitNames:
    """The names of the splits in the data, if they differ from the usual ones.

    Attributes:
        train: name of the training split; ``none`` if the data has no training split, so that a folder called ``train``
            is a class.
        validation: name of the validation split, or ``none``.
        test: name of the test split, or ``none``.
    """

    train: str = "train"
    validation: str = "validation"
    test: str = "test"

    def of(self, split: str) -> tuple[str, ...]:
        """Return the names to look for: the given one, else the usual ones that are not given for another split."""
        given: str = getattr(self, split)
        if given == NO_SPLIT:
            return ()
        if given != split:
            return (given,)
        others = {getattr(self, other).casefold() for other in SPLIT_NAMES if other != split}
        return tuple(name for name in _ALIASES[split] if name not in others)

    def exactly(self, name: str) -> str | None:
        """Return the split with this name in any letter case; ``None`` if there is none."""
        folded = unicodedata.normalize("NFC", name).casefold()
        return next((s for s in SPLIT_NAMES if folded in (one.casefold() for one in self.of(s))), None)

    def like(self, name: str, extra: Iterable[str] = ()) -> str | None:
        """Return the split in a name that also has filler words, like ``train_data`` or ``TestSet2``.

        Args:
            name: name of a folder, or of a file without its suffix.
            extra: additional filler words.
        """
        exact = self.exactly(name)
        if exact is not None:
            return exact
        meaningless = _FILLERS | set(extra)
        words = _words(name)
        found = {split for word in words if (split := self._usual(word)) is not None}
        known = all(word.isdigit() or word in meaningless or self._usual(word) for word in words)
        return found.pop() if len(found) == 1 and known else None

    def mentions_split(self, name: str) -> bool:
        """Return whether any word of a name is a split, like ``test-clean``."""
        return any(self._usual(word) for word in _words(name))

    def of_table(self, path: PurePath) -> str | None:
        """Return the split in the name of a table: ``eval.csv``, ``train_labels.csv``."""
        return self.like(path.stem, _TABLE_WORDS)

    def of_path(self, parts: Sequence[str]) -> str | None:
        """Return the split whose folder a relative path starts with, ignoring folders such as ``audio``."""
        for part in parts[:-1]:
            split = self.like(part)
            if split is not None or not is_container_name(part):
                return split
        return None

    def _usual(self, word: str) -> str | None:
        """Return the split that a word stands for, unless that split was given another name."""
        for ending in ("", "set", "data"):
            stem = word.removesuffix(ending) if ending else word
            for split, aliases in _ALIASES.items():
                if getattr(self, split) == split and stem in aliases:
                    return split
        chinese = _IN_CHINESE.get(word)
        return chinese if chinese is not None and getattr(self, chinese) == chinese else None


def is_unclear_name(name: str) -> bool:
    """Return whether a folder's name means some part of the data, but not which: ``evaluation``, ``unlabelled``."""
    words = _words(name)
    return any(word in _UNCLEAR for word in words) and all(
        word in _UNCLEAR or word in _FILLERS or word.isdigit() for word in words
    )


def is_fold_name(name: str) -> bool:
    """Return whether a folder has the name of a fold: ``fold1``, ``cv-2``."""
    return _FOLD.fullmatch(name) is not None


def is_container_name(name: str) -> bool:
    """Return whether a folder's name does not describe its recordings: ``data``, ``audio``, ``wav_files``."""
    words = _words(name)
    return bool(words) and all(word in _FILLERS for word in words)


def is_table_name(path: PurePath) -> bool:
    """Return whether a file has the name of a table of labels or of a split, with any suffix."""
    words = _words(path.stem)
    return any(word in _TABLE_WORDS for word in words) or SplitNames().of_table(path) is not None


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case: ``train``, ``data`` and ``2`` for ``TrainData_2``."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", name))
    return [word.casefold() for word in re.findall(r"[^\W\d_]+|\d+", parted)]
