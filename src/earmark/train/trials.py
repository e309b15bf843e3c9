"""Store the trials of a search with Optuna: the next one, how each ended, and the best one.

Only the main process has them. A trial is named after its run folder. An interrupted trial is stored as failed without
a reason, and starts again under the same name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earmark.errors import OutputError, first_line
from earmark.extras import require
from earmark.train.checkpoints import checkpoint_step, checkpoints_in, why_incomplete
from earmark.train.search_space import Dimension

logger = logging.getLogger(__name__)

STORAGE = "search.db"
_STUDY = "earmark"
# The median of fewer trials, or of the first evaluation, says little. Optuna's defaults are 5 and 0.
_TRIALS_BEFORE_PRUNING, _STEPS_BEFORE_PRUNING = 4, 1
_STATES = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}
_CANNOT_WRITE = ("disk is full", "disk I/O error", "readonly database", "unable to open")  # in errors of SQLite
_MOST_BREAKS = 3  # a trial that is interrupted this often at the same step has failed


@dataclass(frozen=True)
class TrialJob:
    """A trial to train.

    Attributes:
        name: name of its run folder.
        values: values of the searched settings, by name.
    """

    name: str
    values: dict[str, Any]


class Trials:
    """The trials of one output folder.

    Args:
        output: the folder.
        space: the searched settings.
        maximize: whether a higher metric is better.
        seed: random seed. The values of a trial depend only on this seed, the number of the trial and the earlier
            trials, so a resumed search tries the same values as one that was never stopped.
        prune: whether bad trials are ended early.

    Raises:
        OutputError: the storage is damaged, or cannot be written.
        MissingExtraError: Optuna is not installed.
    """

    def __init__(self, output: Path, space: Sequence[Dimension], *, maximize: bool, seed: int, prune: bool) -> None:
        self.optuna = require("optuna")
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        self.output = output
        self.seed = seed
        self._distributions = {one.name: self._distribution(one) for one in space}
        pruners = self.optuna.pruners
        pruner = pruners.MedianPruner(_TRIALS_BEFORE_PRUNING, _STEPS_BEFORE_PRUNING) if prune else pruners.NopPruner()
        self._current: Any = None
        with self._translated():
            self._storage = self.optuna.storages.RDBStorage(f"sqlite:///{(output / STORAGE).resolve()}")
            self.study = self.optuna.create_study(
                storage=self._storage,
                study_name=_STUDY,
                direction="maximize" if maximize else "minimize",
                pruner=pruner,
                load_if_exists=True,
            )

    def close(self) -> None:
        """Close the storage."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def next(self, most: int) -> TrialJob | None:
        """Return the trial to train now: an interrupted one, or a new one; ``None`` if there are ``most`` trials."""
        with self._translated():
            while True:
                self._enqueue_interrupted()
                waiting = self.study.get_trials(deepcopy=False, states=[self.optuna.trial.TrialState.WAITING])
                number = len(self.latest())
                if not waiting and number >= most:
                    return None
                # each trial has its own sampler, because in a resumed search one sampler would repeat its first values
                self.study.sampler = self.optuna.samplers.TPESampler(seed=(self.seed * 1_000_003 + number) % 2**32)
                trial = self._current = self.study.ask(self._distributions)
                name = trial.user_attrs.get("run", f"trial_{number}")
                trial.set_user_attr("run", name)
                for step, value in trial.user_attrs.get("reported", []):
                    trial.report(value, step)
                if trial.user_attrs.get("breaks", 0) < _MOST_BREAKS:
                    return TrialJob(name, dict(trial.params))
                self.failed(f"interrupted {_MOST_BREAKS} times at the same step")

    def _enqueue_interrupted(self) -> None:
        states = self.optuna.trial.TrialState
        for trial in self.study.get_trials(states=[states.RUNNING]):
            self.study.tell(trial.number, state=states.FAIL)
        for name, trial in self.latest().items():
            if trial.state != states.FAIL or "why" in trial.user_attrs:
                continue
            there = max(
                [0, *(checkpoint_step(path) for path in checkpoints_in(self.output / name) if not why_incomplete(path))]
            )
            same_place = trial.user_attrs.get("steps", 0) == there
            attributes = {
                "run": name,
                "steps": there,
                "breaks": trial.user_attrs.get("breaks", 0) + 1 if same_place else 0,
                "reported": list(trial.intermediate_values.items()),
            }
            self.study.enqueue_trial(trial.params, user_attrs=attributes)

    def report(self, step: int, value: float) -> bool:
        """Report a metric of the running trial; return whether to end it."""
        with self._translated():
            if step not in self.study.get_trials(deepcopy=False)[self._current.number].intermediate_values:
                self._current.report(value, step)
            return bool(self._current.should_prune())

    def finished(self, value: float) -> None:
        """Record the metric of the running trial."""
        self._tell(values=value)

    def pruned(self) -> None:
        """Record that the running trial was ended early."""
        self._tell(state=self.optuna.trial.TrialState.PRUNED)

    def failed(self, why: str, *, trained: bool = True) -> None:
        """Record that the running trial failed, before or after it began to train."""
        with self._translated():
            self._current.set_user_attr("why", why)
            self._current.set_user_attr("trained", trained)
        self._tell(state=self.optuna.trial.TrialState.FAIL)

    def _tell(self, **how: object) -> None:
        with self._translated():
            self.study.tell(self._current, **how)

    def latest(self) -> dict[str, Any]:
        """Return the newest trial of each name; the names are in the order in which they first occurred."""
        trials = self.study.get_trials(deepcopy=False)
        return {trial.user_attrs["run"]: trial for trial in trials if "run" in trial.user_attrs}

    def num_futile(self) -> int:
        """Return how many trials failed before they trained, or 0 if any trial has trained."""
        ended = [trial for trial in self.latest().values() if not _is_interrupted(trial)]
        futile = [trial for trial in ended if not trial.user_attrs.get("trained", True)]
        return len(futile) if len(futile) == len(ended) else 0

    def best(self) -> str | None:
        """Return the name of the best finished trial, or the first of several equal ones."""
        done = {name: trial.value for name, trial in self.latest().items() if trial.state.name == "COMPLETE"}
        if not done:
            return None
        pick = max if self.study.direction.name == "MAXIMIZE" else min
        return pick(done, key=lambda name: done[name])

    def rows(self) -> list[dict[str, Any]]:
        """Return the facts about each trial, as plain values."""
        return [
            {
                "trial": name,
                "state": "interrupted" if _is_interrupted(trial) else _STATES[trial.state.name],
                "value": trial.value if trial.state.name == "COMPLETE" else None,
                "values": dict(trial.params),
                "course": {str(step): value for step, value in sorted(trial.intermediate_values.items())},
                "why": trial.user_attrs.get("why"),
            }
            for name, trial in self.latest().items()
        ]

    def _distribution(self, one: Dimension) -> object:
        kinds = self.optuna.distributions
        if one.choices:
            return kinds.CategoricalDistribution(one.choices)
        kind = kinds.IntDistribution if isinstance(one.low, int) else kinds.FloatDistribution
        return kind(one.low, one.high, log=one.log)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate the errors of Optuna and SQLAlchemy about a file that is damaged or cannot be written."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, self.optuna.exceptions.OptunaError) as exc:
            # SQLite's error is the cause; Optuna's message for any failed commit is that its data may be too long
            cause = exc.__cause__ if isinstance(exc.__cause__, SQLAlchemyError) else exc
            said, place = first_line(cause), self.output / STORAGE
            if any(words in said for words in _CANNOT_WRITE):
                raise OutputError(
                    f"{place}: cannot be written ({said}). Fix the cause, then run the same command again."
                ) from exc
            raise OutputError(
                f"{place}: cannot be used as the trials of a search ({said}). Start again with --overwrite_output_dir."
            ) from exc


def _is_interrupted(trial: Any) -> bool:
    return trial.state.name in ("RUNNING", "WAITING") or (trial.state.name == "FAIL" and "why" not in trial.user_attrs)
