"""Read and write the settings of a frontend, ``preprocessor_config.json``, without importing torch.

:mod:`earmark.families.features` computes the frontend. The file names the class of Transformers that computes the same
features, so that plain Transformers can load a saved model. :attr:`earmark.families.family.Family.frontend` names the
class of settings for a family.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

if TYPE_CHECKING:
    from earmark.families.features import Features

S = TypeVar("S", bound="FrontendSettings")
_FOLLOWING = ("mel_filters", "window")  # old files contain these values, which follow from the settings


class Extractor(Protocol):
    """The preprocessor of a model: :class:`FrontendSettings`, or a feature extractor of Transformers."""

    @property
    def sampling_rate(self) -> int:
        """Sampling rate of the input, in hertz."""
        ...

    def save_pretrained(self, save_directory: str | Path) -> object:
        """Write ``preprocessor_config.json`` into a folder."""
        ...


@dataclass(frozen=True)
class FrontendSettings:
    """Settings of a frontend, by their names in ``preprocessor_config.json``.

    Attributes:
        sampling_rate: rate of the samples, in hertz.
        feature_size: width of a feature. Frontends that do not need it store it unchanged.
        padding_side: side on which clips are padded; tensor code supports only ``"right"``.
        padding_value: value of the padding.
        return_attention_mask: whether models get a mask of the padded samples.
        others: all other values of the file, which are saved unchanged.
    """

    extractor_type: ClassVar[str]  # the class of Transformers that computes the same features

    sampling_rate: int = 16_000
    feature_size: int = 1
    padding_side: str = "right"
    padding_value: float = 0.0
    return_attention_mask: bool = False
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def levels_out(self) -> bool:
        """Whether the features of a clip do not depend on its level."""
        return False

    def features(self) -> Features:
        """Return the tensor code."""
        raise NotImplementedError

    def derived(self) -> dict[str, object]:
        """Return values that follow from the settings, which Transformers also saves."""
        return {}

    @classmethod
    def setting_names(cls) -> set[str]:
        """Return the names of the settings."""
        return {one.name for one in fields(cls)} - {"others"}

    @classmethod
    def from_json(cls: type[S], values: Mapping[str, Any]) -> S:
        """Read the settings of a file.

        Raises:
            ValueError: a setting has an invalid value.
        """
        names = cls.setting_names()
        known = {name: _checked(name, values[name], getattr(cls, name)) for name in names & values.keys()}
        dropped = {*names, *cls().derived(), *_FOLLOWING}
        return cls(**known, others={name: value for name, value in values.items() if name not in dropped})

    def to_json(self) -> dict[str, object]:
        """Return the values of the file."""
        own = {name: getattr(self, name) for name in self.setting_names()}
        return {"feature_extractor_type": self.extractor_type, **self.others, **own, **self.derived()}

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write ``preprocessor_config.json`` into a folder. Trainer calls this method."""
        text = json.dumps(self.to_json(), indent=2, sort_keys=True) + "\n"
        (Path(save_directory) / "preprocessor_config.json").write_text(text, encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class WaveformSettings(FrontendSettings):
    """Unchanged samples, or clips normalized to zero mean and unit variance.

    Attributes:
        do_normalize: whether clips are normalized.
    """

    extractor_type = "Wav2Vec2FeatureExtractor"

    do_normalize: bool = True

    @property
    def levels_out(self) -> bool:
        """See the base class."""
        return self.do_normalize

    def features(self) -> Features:
        """See the base class."""
        from earmark.families.features import WaveformFeatures

        return WaveformFeatures(self)


def with_settings(extractor: Any, **changes: Any) -> Any:
    """Return an extractor (:class:`Extractor`) with some settings changed."""
    if isinstance(extractor, FrontendSettings):
        return replace(extractor, **changes)
    return type(extractor).from_dict({**extractor.to_dict(), **changes})


def _checked(name: str, value: Any, default: Any) -> Any:
    """Return the value of a setting in the type of its default."""
    if isinstance(default, bool):
        fits, kind = value is None or isinstance(value, (bool, int)), "true or false"
    elif isinstance(default, int):
        fits, kind = isinstance(value, int) and not isinstance(value, bool) and value > 0, "a positive whole number"
    elif isinstance(default, float):
        fits, kind = isinstance(value, (int, float)), "a number"
    else:
        fits, kind = isinstance(value, str), "text"
    if not fits:
        raise ValueError(f"{name} is {value!r}, not {kind}")
    return type(default)(value)
