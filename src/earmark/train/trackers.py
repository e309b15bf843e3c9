"""``--report_to``: give Transformers' trackers all settings, the final metrics and one run for each training run.

Transformers passes only Trainer's settings. They lack the settings of model and data, and ``bf16`` is off if earmark
casts the weights. Transformers leaves the runs of some trackers open, so that the next training in the process would
continue them, and ends the runs of others before the saved model is evaluated. If training fails, it ends no run.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from earmark.errors import EarmarkError, Stopped, UsageError, first_line
from earmark.runs.folder import RunFolder
from earmark.settings.config_files import saved_config

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)

_NAMES = {callback: name for name, callback in INTEGRATION_TO_CALLBACK.items()}


@dataclass(frozen=True)
class Event:
    """The arguments that Transformers passes to a callback.

    Attributes:
        states: training settings, state and control.
        parts: model and processing class, by name.
    """

    states: tuple[Any, Any, Any]
    parts: Mapping[str, Any]


class Tracker:
    """A tracker that wraps the callback of Transformers.

    Args:
        name: name in ``--report_to``.
        callback: Transformers' callback.
        settings: returns the settings of the run, to record in addition to Trainer's.
        is_stopped: returns whether a signal has stopped training, so that no final metrics will follow.
    """

    def __init__(
        self,
        name: str,
        callback: Any,
        settings: Callable[[], Mapping[str, Any]],
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self._callback = callback
        self._settings = settings
        self._is_stopped = is_stopped
        self._begun = False
        self._lost = False
        self._opens_run = False
        if name == "swanlab":
            callback._swanlab = _SwanLab(callback._swanlab)

    @property
    def callback(self) -> object:
        """Transformers' callback."""
        return self._callback

    def __getattr__(self, event: str) -> object:
        method = getattr(self._callback, event)
        return partial(self._call, event) if event.startswith("on_") else method

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start a run of the tracker.

        Raises:
            UsageError: the tracker cannot start, because of an account, an address or the version of its package.
        """
        before = _open_run(self.name)  # a run that a notebook has opened and will end itself
        try:
            self._callback.on_train_begin(self._with_settings(args), state, control, **kwargs)
        except EarmarkError:
            raise
        except Exception as exc:  # each tracker has its own error classes
            raise UsageError(
                f"--report_to {self.name}: {self.name} cannot start ({first_line(exc)}). Fix that, or leave "
                f"--report_to {self.name} out."
            ) from exc
        finally:
            opened = _open_run(self.name)
            self._opens_run = opened is not None and opened is not before
        self._begun = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """End a run that was stopped by a signal; :meth:`finish` ends a complete run after its final metrics."""
        if self._is_stopped() or not state.is_world_process_zero:  # only rank 0 logs final metrics
            self._end(args, state, control, **kwargs)

    def finish(self, event: Event, figures: Mapping[str, float]) -> None:
        """Log the final metrics, if any, and end the tracker's run.

        Args:
            event: arguments of the callback at the end of training.
            figures: metrics by name, with the prefix ``eval_`` or ``test_``.
        """
        if not self._begun:  # with --few_shot, which trains no steps
            self.on_train_begin(*event.states, **event.parts)
        if figures:
            self._call("on_log", *event.states, logs=dict(figures), **event.parts)
        self._end(*event.states, **event.parts)

    def abort(self, event: Event, error: BaseException) -> None:
        """End a run that is still open after an error; mark it as failed if training failed and the tracker can do so.

        Args:
            event: arguments of the callback at the end of training.
            error: the error that ended training.
        """
        if self.name in _RUNS and not isinstance(error, Stopped):
            self._begun = False
            self._close(first_line(error))
        else:
            self._end(*event.states, **event.parts)

    def _end(self, *states: object, **kwargs: object) -> None:
        if self._begun:
            self._begun = False
            self._call("on_train_end", *states, **kwargs)
            self._close()

    def _close(self, error: str = "") -> None:
        """End the tracker's run if this training run has opened it."""
        if self._opens_run and _open_run(self.name) is not None:
            self._guarded(partial(_RUNS[self.name].end, sys.modules[self.name], error))

    def _call(self, event: str, args: object, *rest: object, **kwargs: object) -> object:
        return self._guarded(partial(getattr(self._callback, event), self._with_settings(args), *rest, **kwargs))

    def _guarded(self, call: Callable[[], object]) -> object:
        """Call a tracker; after a failure, do not call it again, so that training continues."""
        if self._lost:
            return None
        try:
            return call()
        except EarmarkError:
            raise
        except Exception as exc:
            self._lost = True
            logger.warning(
                "--report_to %s: %s failed (%s), so it gets no further metrics; training continues",
                self.name,
                self.name,
                first_line(exc),
            )
            return None

    def _with_settings(self, args: Any) -> Any:
        """Return Trainer's settings, whose ``to_dict`` also has all settings of the run."""
        shown = copy.copy(args)
        shown.to_dict = lambda: {**args.to_dict(), **self._settings()}
        return shown


class _SwanLab:
    """Wraps the package swanlab: ``get_run`` returns ``None`` without a run, for which version 0.10 raises an error."""

    def __init__(self, package: Any) -> None:
        self._package = package

    def __getattr__(self, name: str) -> object:
        return getattr(self._package, name)

    def get_run(self) -> object:
        """Return the open run, or ``None``."""
        return _swanlab_run(self._package)


def _swanlab_run(package: Any) -> Any:
    try:
        return package.get_run()
    except RuntimeError:
        return None


@dataclass(frozen=True)
class _Runs:
    """Functions that find and end the run of a tracker.

    Attributes:
        find: returns the open run of the package, or ``None``.
        end: ends the run, given the package and the error that ended training, ``""`` for none.
    """

    find: Callable[[Any], Any]
    end: Callable[[Any, str], Any]


# trackers whose runs Transformers leaves open, or that can mark runs as failed
_RUNS: Mapping[str, _Runs] = {
    "mlflow": _Runs(
        lambda mlflow: mlflow.active_run(), lambda mlflow, error: mlflow.end_run("FAILED" if error else "FINISHED")
    ),
    "swanlab": _Runs(
        _swanlab_run,
        lambda swanlab, error: swanlab.finish("crashed", error=error) if error else swanlab.finish(),
    ),
    "wandb": _Runs(lambda wandb: wandb.run, lambda wandb, error: wandb.finish(exit_code=1 if error else None)),
}


def _open_run(name: str) -> object:
    return _RUNS[name].find(sys.modules[name]) if name in _RUNS and name in sys.modules else None


@contextmanager
def ended_trackers(trackers: Sequence[Tracker], event: Callable[[], Event]) -> Iterator[None]:
    """End the runs of trackers that are still open when an error or Ctrl-C ends training.

    Args:
        trackers: trackers of the trainer.
        event: returns the arguments of the callback at the end of training.
    """
    try:
        yield
    except BaseException as exc:
        for tracker in trackers:
            tracker.abort(event(), exc)
        raise


def take_over_trackers(
    callbacks: list[object], run_dir: Path, precision: str, is_stopped: Callable[[], bool]
) -> list[Tracker]:
    """Replace the callback of each tracker by a :class:`Tracker`, and return the trackers.

    Args:
        callbacks: callbacks of a new trainer; changed in place.
        run_dir: the run folder.
        precision: training precision.
        is_stopped: returns whether a signal has stopped training.
    """
    settings = partial(_settings, RunFolder(run_dir), precision)
    for at, callback in enumerate(callbacks):
        if type(callback) in _NAMES:
            name = _NAMES[type(callback)]
            callbacks[at] = Tracker(name, callback, settings, is_stopped)
    return [callback for callback in callbacks if isinstance(callback, Tracker)]


def _settings(folder: RunFolder, precision: str) -> dict[str, object]:
    """Return the saved settings of the run, with the training precision."""
    saved = saved_config(folder.config) if folder.config.is_file() else {}
    return {**saved, "precision": precision, "bf16": precision == "bf16", "fp16": precision == "fp16"}
