"""Fit a temperature and thresholds on labelled recordings, and save them with the model (``earmark calibrate``)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from earmark.clips.targets import table_targets
from earmark.errors import UsageError
from earmark.evaluate.evaluate_model import check_labels, for_task, on_device
from earmark.evaluate.held_out import check_given_files, find_held_out
from earmark.export.description import is_export
from earmark.models.build_model import load_trained
from earmark.models.checkpoint import folder_to_write
from earmark.models.model_source import model_source
from earmark.runs.folder import RunFolder, prepare_folder, write_json
from earmark.scoring.clip_windows import WindowsOfClips
from earmark.scoring.decide import Fitted, check_can_fit, check_task_can_fit, fit_decision, summary_line
from earmark.scoring.table import score_table_with
from earmark.settings.evaluation_flags import CalibrateOptions
from earmark.store.scan import write_bad_audio
from earmark.store.usable import keep_usable
from earmark.tasks.calibration import WindowLogits
from earmark.tasks.decision import Decision
from earmark.text import counted

logger = logging.getLogger(__name__)


@dataclass
class CalibrateOutcome:
    """Result of a calibration.

    Attributes:
        path: path of ``decision.json``.
        decision: fitted temperature and thresholds.
        figures: metrics of the decision, measured by cross-fitting.
        summary: text to print.
    """

    path: Path
    decision: Decision
    figures: dict[str, Any]
    summary: str


def calibrate(options: CalibrateOptions) -> CalibrateOutcome:
    """Fit temperature and thresholds on a split and write ``decision.json`` into the model's folder.

    This replaces everything that an earlier call fitted.

    Raises:
        EarmarkError: the model, the data or the device cannot be used, or a class has too few clips.
    """
    folder = RunFolder(_folder(options))
    check_given_files(options)
    audio = load_trained(model_source(options), decided=False)
    options = for_task(options, audio)
    if not audio.task.has_classes:
        raise UsageError(
            f"{folder.path}: predicts {audio.task.in_words}, which has no probability to calibrate and no threshold. "
            "Use a classifier."
        )
    check_task_can_fit(options, audio.task)
    held_out = find_held_out(options)
    check_can_fit(options, audio.labels, table := held_out.table)
    check_labels(table, audio.labels)
    scorer, _ = on_device(audio, options.device)
    usable, bad = keep_usable({options.split: table}, scorer.sampling_rate_hz, options)
    bad += [("unknown", clip) for clip in held_out.bad]
    if bad:
        write_bad_audio(folder.bad_audio, bad, keep=True)  # keeps the rows that training wrote
    clips = usable[options.split]
    trained_on = held_out.trained_on(clips)
    windows = WindowsOfClips(clips.waveforms, scorer.max_samples)
    logits = score_table_with(scorer, windows, batch_size=options.per_device_eval_batch_size, what="scoring")
    fitted = fit_decision(
        WindowLogits(logits, windows.starts, audio.task),
        table_targets(clips.table, audio.labels, audio.task),
        audio.labels,
        options,
        split=options.split,
        data=clips.table,
    )
    if trained_on is not None:
        how = {**fitted.decision.fitted, "clips_trained_on": int(trained_on.sum())}
        fitted = replace(fitted, decision=replace(fitted.decision, fitted=how))
    if folder.decision.exists():
        logger.info("%s: replaced", folder.decision)
    write_json(folder.decision, fitted.decision.to_dict(audio.labels))
    summary = _summary(folder, fitted, audio.labels, len(clips.table), trained_on)
    return CalibrateOutcome(folder.decision, fitted.decision, fitted.metrics, summary)


def _folder(options: CalibrateOptions) -> Path:
    """Return the model's folder, where ``decision.json`` goes."""
    folder = folder_to_write(str(options.model_name_or_path), "calibrate writes into a run folder")
    if is_export(folder):
        raise UsageError(f"{folder}: the temperature of an export is fixed. Calibrate the run, then export it again.")
    prepare_folder(folder)
    return folder


def _summary(
    folder: RunFolder, fitted: Fitted, labels: list[str], num_clips: int, trained_on: np.ndarray | None
) -> str:
    line = summary_line(fitted.decision, fitted.metrics) or "temperature 1 and no threshold, so nothing changes"
    lines = [f"fitted on {counted(num_clips, 'clip')}: {line}", *fitted.decision.in_words(labels)]
    if trained_on is not None and trained_on.any():
        lines.append(
            f"warning: the training split of this run has {int(trained_on.sum()):,} of the "
            f"{counted(num_clips, 'clip')} (equal samples). A model is more confident on its training clips, so the "
            "temperature is too low and the thresholds are wrong for new clips. Calibrate on other clips."
        )
    return "\n".join([*lines, f"decision     {folder.decision}"])
