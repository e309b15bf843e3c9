"""Read settings from YAML and JSON files, and write them as YAML. Imports neither torch nor Transformers."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from pathlib import Path

from earmark.errors import OutputError, UsageError, first_line
from earmark.io.atomic import writing
from earmark.settings.flags import Scope, Settings, declared_flags
from earmark.settings.kinds import kind_in_words

# Secrets (tokens), and settings of one call or process, such as the permission to overwrite a run: another run must not
# read them.
_NOT_SAVED = Scope.ONCE, Scope.SECRET

# Key in a run's file that lists the data settings that were given with their default value. If label_column_name was
# given, only that column is tried; otherwise, earmark also tries other usual names.
GIVEN = "given"


def resolved_config(*parts: Settings) -> dict[str, object]:
    """Return every setting of a training run after defaults, file and flags, as ``--config`` reads it back.

    Args:
        parts: settings objects.

    Returns:
        A flat dictionary of plain values (YAML and JSON), without tokens and settings of one call or process.
    """
    return {
        name: plain(getattr(part, name))
        for part in parts
        for name, one in declared_flags(type(part)).items()
        if not any(scope in one.scope for scope in _NOT_SAVED)
    }


def plain(value: object) -> object:
    """Return a value as YAML and JSON hold it: enums as their value, settings objects as mappings."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def save_config(settings: dict[str, object], path: Path) -> None:
    """Write settings as YAML, in the order given.

    Raises:
        OutputError: the file cannot be written.
    """
    import yaml  # imported here, because help pages and the doctor do not need it

    with writing(path) as stream:
        yaml.safe_dump(settings, stream, sort_keys=False, allow_unicode=True)


def saved_config(path: Path) -> dict[str, object]:
    """Return the settings that :func:`save_config` wrote, with their types.

    Raises:
        OutputError: the file cannot be read, or :func:`save_config` did not write it.
    """
    import yaml

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as exc:
        said = first_line(exc)
        raise OutputError(f"{path}: cannot be read as the settings of a run ({said}). Restore the file.") from exc
    if not isinstance(settings, dict):
        raise OutputError(f"{path}: does not hold the settings of a run. Train again, or restore the file.")
    return settings


def read_config_file(path: str | Path) -> dict[str, object]:
    """Read a flat YAML or JSON file of settings.

    Args:
        path: a ``.yaml``, ``.yml`` or ``.json`` file.

    Returns:
        Setting to value, in the order of the file. YAML scalars and lists of scalars come back as they were written
        (``"3e-5"``, ``"no"``), because the flag converts them to its type; null is ``None``. Values in nested mappings
        have types.

    Raises:
        UsageError: the file is missing, not YAML or JSON, or not a mapping; with the line, if there is one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".yaml", ".yml", ".json"):
        raise UsageError(f"{path}: not a configuration file. End its name in .yaml, .yml or .json.")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path}: not UTF-8 text ({exc.reason} at byte {exc.start}). Save it as UTF-8.") from exc
    except OSError as exc:
        raise UsageError(
            f"{path}: cannot read this configuration file ({exc.strerror}). Check the path and its permissions."
        ) from exc
    if suffix == ".json":
        return _parse_json(text, path)
    from earmark.settings.yaml_text import parse_yaml

    return parse_yaml(text, path)


def _parse_json(text: str, path: str | Path) -> dict[str, object]:
    def no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"{path}: {name} is given twice. Keep one of them.")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=no_duplicates)
    except json.JSONDecodeError as exc:
        raise UsageError(f"{path} line {exc.lineno}: not JSON ({exc.msg}). Fix the file.") from exc
    if not isinstance(value, dict):
        raise UsageError(f"{path}: expected an object of settings, {{...}}, found {kind_in_words(value)}")
    return value
