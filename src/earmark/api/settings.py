"""Turn keyword arguments into checked settings, with the checks and error messages of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from earmark.settings.evaluation_flags import EvaluateOptions, InspectOptions
from earmark.settings.flags import declared_flags
from earmark.settings.given_values import make_settings, read_values
from earmark.settings.search_flags import SearchOptions
from earmark.settings.train_settings import check_sources, from_keywords

if TYPE_CHECKING:
    from earmark.settings.train_settings import TrainSettings


def train_settings(values: Mapping[str, object]) -> TrainSettings:
    """Return the settings of a training run.

    Args:
        values: values of flags of ``earmark train``, by name.

    Raises:
        UsageError: a name is unknown, a value has the wrong type, or settings contradict each other.
        DataError: a folder or manifest does not exist.
    """
    settings = from_keywords(values)
    check_sources(settings.data)
    return settings


def search_settings(values: Mapping[str, object]) -> tuple[SearchOptions, TrainSettings]:
    """Return the settings of a search and of its trials; see :func:`train_settings`."""
    own = {name: value for name, value in values.items() if name in declared_flags(SearchOptions)}
    options = make_settings(SearchOptions, read_values(own, declared_flags(SearchOptions)))
    return options, train_settings({name: value for name, value in values.items() if name not in own})


def evaluate_settings(values: Mapping[str, object]) -> EvaluateOptions:
    """Return the settings of an evaluation; see :func:`train_settings`."""
    return make_settings(EvaluateOptions, read_values(values, declared_flags(EvaluateOptions)))


def inspect_settings(values: Mapping[str, object]) -> InspectOptions:
    """Return the settings of an inspection; see :func:`train_settings`."""
    return make_settings(InspectOptions, read_values(values, declared_flags(InspectOptions)))
