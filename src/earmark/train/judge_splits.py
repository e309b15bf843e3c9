"""After training: fit how the kept model answers, on validation clips, and judge every split with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from earmark.clips.targets import targets_of
from earmark.runs.folder import RunFolder, write_json
from earmark.runs.judged import Judged, judge
from earmark.scoring.clip_windows import WindowsOfClips
from earmark.scoring.decide import fit_decision
from earmark.store.usable import UsableClips
from earmark.tasks.calibration import WindowLogits
from earmark.tasks.decision import Decision

if TYPE_CHECKING:
    from earmark.train.prepared_data import PreparedData
    from earmark.train.trainer import AudioTrainer

_Scored = TypeVar("_Scored")


def judge_splits(trainer: AudioTrainer, prepared: PreparedData) -> dict[str, Judged]:
    """Score the validation and test clips and fit what the settings ask for; all ranks have to call this.

    The model keeps its own logits: what was fitted is in ``trainer.audio.decision`` and in the figures.
    """
    settings, labels, task = trainer.args, trainer.audio.labels, trainer.audio.task
    extra = trainer.extra_metrics
    evaluated = prepared.evaluated()
    if not settings.fits_anything:
        logits, scored_s = _timed(evaluated, lambda name, clips: trainer.score(clips, name))
        plain = Decision(task=task)
        judged = {name: judge(logits[name], evaluated[name].table, labels, extra, plain) for name in evaluated}
        return {
            name: replace(one, trained_on=prepared.trained_on(name), scored_s=scored_s[name])
            for name, one in judged.items()
        }
    scored, scored_s = _timed(evaluated, lambda name, clips: score_windows(trainer, clips, name))
    validation = evaluated["validation"].table
    targets = targets_of(validation, labels, task)
    fitted = fit_decision(scored["validation"], targets, labels, settings, split="validation", data=validation)
    decision = trainer.audio.decision = fitted.decision
    judged = {
        name: judge(windows.clips_logits(decision.temperature), evaluated[name].table, labels, extra, decision)
        for name, windows in scored.items()
    }
    for name, one in judged.items():
        how = fitted.figures if name == "validation" else {"judged": "fitted on the validation clips", **one.decided}
        known = prepared.trained_on(name)
        judged[name] = replace(one, decided=how, trained_on=known, scored_s=scored_s[name])
    return judged


def _timed(
    splits: Mapping[str, UsableClips], score: Callable[[str, UsableClips], _Scored]
) -> tuple[dict[str, _Scored], dict[str, float]]:
    """Score every split; return the results, and the seconds that each took."""
    results, seconds = {}, {}
    for name, clips in splits.items():
        began_s = time.perf_counter()
        results[name] = score(name, clips)
        seconds[name] = time.perf_counter() - began_s
    return results, seconds


def score_windows(trainer: AudioTrainer, clips: UsableClips, name: str) -> WindowLogits:
    """Logits of every window of a split, on every rank."""
    windows = WindowsOfClips(clips.waveforms, trainer.audio.frontend.max_samples)
    # where none is cut, what was scored before can be used
    cut = clips if len(windows.num_samples) == len(windows.starts) else UsableClips(clips.table, windows)
    return WindowLogits(trainer.score(cut, name), windows.starts, trainer.audio.task)


def save_decision(folder: RunFolder, decision: Decision, labels: list[str]) -> None:
    """Write ``decision.json``, where something was fitted.

    Raises:
        OutputError: it cannot be written.
    """
    if decision.fitted:
        write_json(folder.decision, decision.to_dict(labels))
