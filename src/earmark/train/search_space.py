"""What a search may change: from ``--search_space`` to ranges and choices, typed as the flags they stand for."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from earmark.errors import UsageError
from earmark.words import nearest_name

_FORMS = "NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A|B|C"
# Floats in the settings that are counted in whole numbers where both ends are written so.
_COUNTS = {"num_train_epochs", "warmup_steps"}
# What is judged, on what, and where, and what is written beside it: with another of these, figures of two trials say
# nothing about each other, or the same.
_FIXED = re.compile(
    r"report|task|label_separator|calibrate|target_precision|reject_.*|project|trackio_.*|label_names|local_rank|debug|"
    r"prediction_loss_only|include_.*|batch_eval_metrics|skip_memory_metrics|use_cpu|per_device_eval_batch_size|"
    r"ignore_data_skip|restore_.*|enable_jit_checkpoint|dataset_.*|"
    r".*_(dir|file|name|split_name|column_name|column|name_or_path|revision)|folds?|validation_fraction|"
    r"max_(train|eval)_samples|on_bad_audio|silence_percentage|store|metric.*|greater_is_better|seeds?|data_seed|"
    r"device|num_processes|resume.*|overwrite_.*|do_.*|eval_.*|save_.*|load_best.*|logging_.*|report_to|push_.*|hub_.*|"
    r".*token|cache_dir|config_.*|trust_remote_code|allow_pickle|preprocessing_.*|dataloader_.*|log_.*|disable_tqdm"
)
_SEARCHED = {"config_overrides"}  # although its name is like theirs


@dataclass(frozen=True)
class Dimension:
    """One setting that differs from trial to trial: a range, or choices.

    Attributes:
        name: of the setting.
        low: lower end, itself among the values; an int where all values are whole.
        high: upper end, as ``low``.
        log: whether the logarithm is drawn evenly.
        choices: the values; empty for a range.
    """

    name: str
    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def extremes(self) -> tuple[Any, ...]:
        """Values that settle whether all of them are allowed."""
        return self.choices or (self.low, self.high)


def parse_space(words: Iterable[str], classes: Sequence[type]) -> list[Dimension]:
    """Dimensions of ``learning_rate=1e-5:1e-3:log,num_train_epochs=2:6,freeze=none|encoder``.

    Args:
        words: such texts; all of them count.
        classes: dataclasses whose fields may be named.

    Raises:
        UsageError: nothing to search, text of another form, an unknown setting, or values that it cannot have.
    """
    hints = {name: hint for one in classes for name, hint in _field_hints(one).items()}
    found: dict[str, Dimension] = {}
    for text in (part for word in words for part in _parts(word)):
        name, equals, values = (part.strip() for part in text.partition("="))
        name = name.lstrip("-").replace("-", "_")
        if not name or not equals or not values:
            raise UsageError(f"--search_space {text}: expected {_FORMS}")
        if name not in hints:
            near = nearest_name(name, hints)
            hint = f"; did you mean {near}?" if near else ""
            raise UsageError(f"--search_space {name}: no flag of `earmark train` is called so{hint}")
        if name in found:
            raise UsageError(f"--search_space {name}: given twice")
        if _FIXED.fullmatch(name) and name not in _SEARCHED:
            raise UsageError(f"--search_space {name}: trials are only comparable where it is the same; leave it out")
        found[name] = _dimension(name, values, hints[name])
    if not found:
        raise UsageError(f"what to search? add --search_space {_FORMS}, with commas between")
    return list(found.values())


def _parts(word: str) -> list[str]:
    """``a=1:2,b=x|y,z`` to ``a=1:2`` and ``b=x|y,z``: what names no setting belongs to the choices before it."""
    parts: list[str] = []
    for text in word.split(","):
        if parts and text.strip() and "=" not in text:
            parts[-1] += f",{text}"
        else:
            parts.append(text.strip())
    return parts


def _field_hints(one: type) -> dict[str, Any]:
    hints = get_type_hints(one)
    return {field.name: hints[field.name] for field in dataclasses.fields(one) if field.init}


def _dimension(name: str, values: str, hint: Any) -> Dimension:
    if "|" in values or ":" not in values:
        texts = [text.strip() for text in values.split("|")]
        choices = tuple(_typed(name, text, hint) for text in texts)
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise UsageError(f"--search_space {name}={values}: two or more different choices, {_FORMS}")
        return Dimension(name, choices=choices)
    ends = [text.strip() for text in values.split(":")]
    log = len(ends) == 3 and ends[2] == "log"
    if len(ends) != 2 and not log:
        raise UsageError(f"--search_space {name}={values}: expected {_FORMS}")
    kinds = {hint, *get_args(hint)}
    if bool in kinds or not kinds & {int, float}:
        raise UsageError(f"--search_space {name}={values}: takes no numbers; give its choices, {name}=A|B")
    low, high = (_typed(name, text, hint) for text in ends[:2])
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"--search_space {name}={values}: expected two numbers, the lower one first")
    if log and low <= 0:
        raise UsageError(f"--search_space {name}={values}: a range on a log scale begins above 0")
    if name in _COUNTS and low.is_integer() and high.is_integer() and not any("." in text for text in ends):
        low, high = int(low), int(high)
    return Dimension(name, low, high, log)


def _typed(name: str, text: str, hint: Any) -> Any:
    """A value as the flag's own type reads it."""
    kinds = {hint, *get_args(hint)}
    if type(None) in kinds and str not in kinds and text.lower() == "none":
        return None
    literal = next((kind for kind in kinds if get_origin(kind) is Literal), None)
    try:
        if literal is not None and text not in get_args(literal):
            raise ValueError(f"one of {', '.join(get_args(literal))}")
        if bool in kinds:
            if text.lower() not in ("true", "false"):
                raise ValueError("true or false")
            return text.lower() == "true"
        for kind in (float, int):
            if kind in kinds:
                return kind(text)
    except ValueError as exc:
        expected = "a whole number" if kinds & {int} and float not in kinds else "a number"
        expected = str(exc) if literal is not None or bool in kinds else expected
        raise UsageError(f"--search_space {name}: {text} is not what it takes; expected {expected}") from exc
    return text


def with_values(parts: Sequence[Any], values: Mapping[str, Any]) -> list[Any]:
    """Settings objects with some of their values changed, and checked as they check themselves.

    Args:
        parts: dataclass instances.
        values: by field name.

    Raises:
        UsageError: a value that one of them refuses.
    """
    changed = []
    for part in parts:
        own = {name: value for name, value in values.items() if name in {f.name for f in dataclasses.fields(part)}}
        try:
            changed.append(dataclasses.replace(part, **own) if own else part)
        except (ValueError, TypeError) as exc:
            raise UsageError(f"--search_space: {exc}") from exc
    return changed
