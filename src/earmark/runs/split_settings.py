"""Read the settings that determine the splits of a run, and copy them into an export of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from earmark.runs.folder import RunFolder, run_folders
from earmark.settings.config_files import GIVEN, save_config, saved_config
from earmark.settings.data_flags import BACKGROUND_CUTS

# Settings that determine how clips are cut from noise. The noise recordings themselves are not among these settings,
# because the user of `earmark evaluate` names them.
CUT_SETTINGS = ("silence_percentage", "max_length_seconds", *BACKGROUND_CUTS)
_EXPORTED = ("seed", "validation_fraction", "on_bad_audio", GIVEN, *CUT_SETTINGS)


def read_split_settings(model: str | Path | None) -> dict[str, Any]:
    """Return the settings of the run that a model belongs to, or the settings copied into an export.

    Args:
        model: a run folder, one of its checkpoints, an export, or a name on the hub.

    Returns:
        Settings by name; may be empty.

    Raises:
        OutputError: the file is damaged.
    """
    paths = [path for folder in run_folders(model) for path in (folder.config, folder.split_settings)]
    found = next((path for path in paths if path.is_file()), None)
    return saved_config(found) if found else {}


def write_split_settings(model: str | Path | None, folder: Path) -> None:
    """Write the settings that `earmark evaluate` needs into an export, without file names.

    Raises:
        OutputError: the run's settings file is damaged, or the file cannot be written.
    """
    settings = read_split_settings(model)
    kept = {name: settings[name] for name in _EXPORTED if name in settings}
    if kept:
        save_config(kept, RunFolder(folder).split_settings)
