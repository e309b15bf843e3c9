"""What ``preprocessor_config.json`` says of a frontend; :mod:`earmark.families.features` is the same as tensor code.

Settings are read as JSON, and saved under the class of Transformers that computes the same, so that a saved model is
plain Transformers. A family says which frontend its models have (:attr:`earmark.families.family.Family.frontend`). This
module loads no torch.
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
_FOLLOWING = ("mel_filters", "window")  # in old files, though they follow from the settings


class Extractor(Protocol):
    """What a model's preprocessor has: :class:`FrontendSettings`, or a feature extractor of Transformers."""

    @property
    def sampling_rate(self) -> int:
        """Rate of the samples it takes, in hertz."""
        ...

    def save_pretrained(self, save_directory: str | Path) -> object:
        """Write ``preprocessor_config.json`` into a folder."""
        ...


@dataclass(frozen=True)
class FrontendSettings:
    """Settings of a frontend, by their names in ``preprocessor_config.json``.

    Attributes:
        sampling_rate: rate of the samples, in hertz.
        feature_size: width of a feature; carried along where the frontend does not need it.
        padding_side: where clips are padded; tensor code knows ``"right"`` only.
        padding_value: what padding is filled with.
        return_attention_mask: whether models get a mask of the samples that are padding.
        others: everything else in the file, saved again as it is.
    """

    extractor_type: ClassVar[str]  # the class of Transformers that computes the same

    sampling_rate: int = 16_000
    feature_size: int = 1
    padding_side: str = "right"
    padding_value: float = 0.0
    return_attention_mask: bool = False
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def levels_out(self) -> bool:
        """Whether a clip gives the same features however loud it is."""
        return False

    def features(self) -> Features:
        """Return the tensor code."""
        raise NotImplementedError

    def derived(self) -> dict[str, object]:
        """Return what Transformers saves beside the settings, though it follows from them."""
        return {}

    @classmethod
    def setting_names(cls) -> set[str]:
        """Return the names of the settings."""
        return {one.name for one in fields(cls)} - {"others"}

    @classmethod
    def from_json(cls: type[S], values: Mapping[str, Any]) -> S:
        """Read the settings of a file.

        Raises:
            ValueError: a setting has a value that it cannot have.
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
        """Write ``preprocessor_config.json`` into a folder. Trainer calls this by its name in Transformers."""
        text = json.dumps(self.to_json(), indent=2, sort_keys=True) + "\n"
        (Path(save_directory) / "preprocessor_config.json").write_text(text, encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class WaveformSettings(FrontendSettings):
    """Samples as they are, or each clip brought to zero mean and unit variance.

    Attributes:
        do_normalize: whether clips are brought to zero mean and unit variance.
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
        fits, kind = isinstance(value, int) and not isinstance(value, bool) and value > 0, "a whole number from 1 up"
    elif isinstance(default, float):
        fits, kind = isinstance(value, (int, float)), "a number"
    else:
        fits, kind = isinstance(value, str), "text"
    if not fits:
        raise ValueError(f"{name} is {value!r}, not {kind}")
    return type(default)(value)
