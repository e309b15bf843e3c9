"""Check settings, output folder and clips before torch is imported, which takes seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from earmark.clips.clip import Splits
from earmark.models.checkpoint import local_folder
from earmark.runs.folder_lock import locked_folder
from earmark.scoring.extra_metrics import MetricFunction
from earmark.settings.train_settings import TrainSettings
from earmark.sources.load_clips import load_own_splits
from earmark.sources.source import HubAccess
from earmark.train.plan import look_at_folder, make_plan


def check_before_torch(
    settings: TrainSettings,
    *,
    has_several_runs: bool,
    loaded: Splits | None = None,
    metrics: Mapping[str, MetricFunction] | None = None,
) -> Splits | None:
    """Run the checks that need only settings, output folder and clips.

    Args:
        settings: all settings of the run.
        has_several_runs: whether the output folder is for several runs, each in its own folder.
        loaded: the clips, if they are loaded already.
        metrics: metric functions by name.

    Returns:
        The clips, so that training need not list them again; ``None`` if training has to load them, because they are
        on the hub or several ranks must load them together.

    Raises:
        EarmarkError: the model's folder does not exist, the output folder is in use or cannot take the run, or
            recordings cannot be loaded.
    """
    data, model, training = settings.data, settings.model, settings.training
    if training.world_size > 1:
        return loaded
    resumes = settings.run.resume or training.resume_from_checkpoint
    if model.model_name_or_path is not None and not resumes:
        local_folder(str(model.model_name_or_path))  # rejects a folder that does not exist
    with locked_folder(Path(str(training.output_dir))):
        if not (resumes or has_several_runs):
            make_plan(settings, look_at_folder(settings), metrics=metrics)
        if loaded is not None or (data.dataset_name is not None and not Path(data.dataset_name).is_dir()):
            return loaded
        return load_own_splits(data, seed=training.seed, hub=HubAccess.from_flags(model))
