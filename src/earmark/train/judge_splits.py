"""Fit temperature and thresholds on validation clips after training, and evaluate every split with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from earmark.clips.targets import table_targets
from earmark.runs.folder import RunFolder, write_json
from earmark.runs.judged import Judged, judge
from earmark.scoring.decide import fit_decision
from earmark.store.usable import UsableClips
from earmark.tasks.decision import Decision

if TYPE_CHECKING:
    from earmark.train.prepared_data import PreparedData
    from earmark.train.validation import SplitScorer

_Scored = TypeVar("_Scored")


def judge_splits(scorer: SplitScorer, prepared: PreparedData) -> dict[str, Judged]:
    """Score the validation and test clips, and fit a decision if the settings ask for it; all ranks have to call this.

    The fitted decision is in ``scorer.audio.decision`` and in the metrics; the logits of the model stay uncalibrated.
    """
    audio, settings, extra = scorer.audio, scorer.args, scorer.extra
    labels, task = audio.labels, audio.task
    evaluated = prepared.evaluated()
    if not settings.fits_anything:
        logits, scored_s = _timed(evaluated, lambda name, clips: scorer.score(clips, name))
        plain = Decision(task=task)
        judged = {name: judge(logits[name], evaluated[name].table, labels, extra, plain) for name in evaluated}
        return {
            name: replace(one, trained_on=prepared.trained_on(name), scored_s=scored_s[name])
            for name, one in judged.items()
        }
    scored, scored_s = _timed(evaluated, lambda name, clips: scorer.score_windows(clips, name))
    validation = evaluated["validation"].table
    targets = table_targets(validation, labels, task)
    fitted = fit_decision(scored["validation"], targets, labels, settings, split="validation", data=validation)
    decision = audio.decision = fitted.decision
    judged = {
        name: judge(windows.clips_logits(decision.temperature), evaluated[name].table, labels, extra, decision)
        for name, windows in scored.items()
    }
    for name, one in judged.items():
        how = fitted.metrics if name == "validation" else {"judged": "fitted on the validation clips", **one.decided}
        known = prepared.trained_on(name)
        judged[name] = replace(one, decided=how, trained_on=known, scored_s=scored_s[name])
    return judged


def _timed(
    splits: Mapping[str, UsableClips], score: Callable[[str, UsableClips], _Scored]
) -> tuple[dict[str, _Scored], dict[str, float]]:
    """Score every split; return the results and the durations in seconds."""
    results, seconds = {}, {}
    for name, clips in splits.items():
        began_s = time.perf_counter()
        results[name] = score(name, clips)
        seconds[name] = time.perf_counter() - began_s
    return results, seconds


def save_decision(folder: RunFolder, decision: Decision, labels: list[str]) -> None:
    """Write ``decision.json`` if something was fitted.

    Raises:
        OutputError: it cannot be written.
    """
    if decision.fitted:
        write_json(folder.decision, decision.to_dict(labels))
