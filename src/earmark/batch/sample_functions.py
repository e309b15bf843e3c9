"""Call augmentation functions of the user, with random numbers that depend only on seed, epoch and row."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from earmark.errors import InputTypeError, UsageError, as_list, first_line
from earmark.text import with_article

_RATES = ("sampling_rate", "sample_rate", "sampling_rate_hz", "sr")
_RNG = "rng"
_OF_FUNCTIONS = 0xF0C  # makes these draws independent of the built-in augmentation


@dataclass(frozen=True)
class SampleFunction:
    """A function that changes the samples of a clip, with its other parameters.

    Attributes:
        name: name in the log, in error messages and in the comparison of a resumed run with its checkpoint.
        function: takes float32 (T,) and returns (T,).
        rate_name: name of its parameter for the sampling rate in hertz; ``None`` without one.
        takes_rng: whether it has a parameter ``rng`` for a NumPy generator.
    """

    name: str
    function: Callable[..., Any]
    rate_name: str | None
    takes_rng: bool

    @classmethod
    def of(cls, function: Callable[..., object]) -> SampleFunction:
        """Inspect the parameters of a function.

        Raises:
            InputTypeError: the object cannot be called.
            UsageError: it has a parameter for which earmark has no value.
        """
        if not callable(function):
            raise InputTypeError(
                f"augmentations: {function!r} is {with_article(type(function).__name__)}. Pass functions."
            )
        name = getattr(function, "__name__", type(function).__name__)
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError) as exc:
            raise UsageError(
                f"augmentation {name}: its parameters cannot be inspected. Wrap it in a function of your own."
            ) from exc
        _check_parameters(name, parameters)
        names = [one.name for one in parameters[1:]]
        return cls(name, function, next((one for one in names if one in _RATES), None), _RNG in names)

    def __call__(self, samples: np.ndarray, sampling_rate_hz: int, seed: tuple[int, ...]) -> np.ndarray:
        """Return changed samples, float32 (T,).

        Args:
            samples: float32 (T,).
            sampling_rate_hz: rate of the samples.
            seed: seed of the random numbers. For a function without ``rng``, it seeds the global generators of Python,
                NumPy and torch, which are restored afterwards.

        Raises:
            UsageError: the function fails, or returns anything other than T finite numbers.
        """
        arguments: dict[str, Any] = {self.rate_name: sampling_rate_hz} if self.rate_name else {}
        try:
            if self.takes_rng:
                changed = self.function(samples, **arguments, rng=np.random.default_rng(seed))
            else:
                with _seeded_globals(seed):
                    changed = self.function(samples, **arguments)
            result = np.asarray(changed, dtype=np.float32)
        except Exception as exc:  # the caller's function can raise anything
            raise UsageError(
                f"augmentation {self.name}: the function failed ({type(exc).__name__}: {first_line(exc)}). Fix the "
                "function."
            ) from exc
        if result.shape != samples.shape:
            raise UsageError(
                f"augmentation {self.name}: returned samples of shape {result.shape} for a clip of shape "
                f"{samples.shape}. Return as many samples as it is given."
            )
        if not np.isfinite(result).all():
            raise UsageError(f"augmentation {self.name}: returned NaN or infinity. Return finite samples.")
        return result


def sample_functions(functions: Iterable[Callable[..., object]]) -> tuple[SampleFunction, ...]:
    """Inspect augmentation functions and return them ready to call.

    Raises:
        EarmarkError: see :meth:`SampleFunction.of`.
    """
    return tuple(SampleFunction.of(function) for function in as_list("augmentations", functions))


def function_seed(seed: tuple[int, ...], number: int) -> tuple[int, ...]:
    """Return the seed of the ``number``-th function for a clip.

    Args:
        seed: seed of the run, epoch, row of the clip; then how often it was drawn before in this epoch, if it was.
        number: position of the function in the list.
    """
    return (*seed[:3], _OF_FUNCTIONS, number, *seed[3:])


def _check_parameters(name: str, parameters: Sequence[inspect.Parameter]) -> None:
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    if not parameters or parameters[0].kind not in positional:
        raise UsageError(
            f"augmentation {name}: it takes no samples. Make the samples, float32 (T,), its first parameter."
        )
    for one in parameters[1:]:
        is_variable = one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        if one.default is one.empty and not is_variable and one.name not in (*_RATES, _RNG):
            raise UsageError(
                f"augmentation {name}: earmark has no value for the parameter {one.name}. Use "
                f"{_RATES[0]} for the rate in hertz and {_RNG} for a NumPy generator, or give it a default."
            )


@contextmanager
def _seeded_globals(seed: tuple[int, ...]) -> Iterator[None]:
    """Seed the global random generators, and restore them at the end."""
    (number,) = np.random.SeedSequence(seed).generate_state(1).tolist()
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(number)
    np.random.seed(number)
    torch.default_generator.manual_seed(number)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
