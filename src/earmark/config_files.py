"""Settings in files: YAML and JSON in, YAML out. Imports neither torch nor Transformers."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import yaml

from earmark.config import DataArguments, ModelArguments, RunArguments
from earmark.errors import OutputError, UsageError, first_line
from earmark.files import writing

# Tokens are secrets; the others belong to one process or give leave once, and must not reach another run.
_NOT_SAVED = {
    "token",
    "hub_token",
    "local_rank",
    "use_cpu",  # said by "device", which may be auto: another machine may have an accelerator
    "num_processes",
    "overwrite_output_dir",
    "resume",
    "resume_from_checkpoint",
    "disable_tqdm",
    "parallelism_config",
}


def resolved_config(data: DataArguments, model: ModelArguments, run: RunArguments, training: Any) -> dict[str, Any]:
    """Every setting of a training run after defaults, file and flags, as ``--config`` reads it back.

    Args:
        data: data settings.
        model: model settings.
        run: run settings.
        training: an ``EarmarkTrainingArguments``; anything with Transformers' ``to_dict``.

    Returns:
        A flat dictionary of plain values (YAML and JSON), without tokens and what belongs to one process.
    """
    settings: dict[str, Any] = {}
    for part in (data, model, run):
        settings.update(dataclasses.asdict(part))
    settings.update(training.to_dict())
    kept = {name: value for name, value in settings.items() if name not in _NOT_SAVED}
    return dict(json.loads(json.dumps(kept, default=str)))


def save_config(settings: dict[str, Any], path: Path) -> None:
    """Write settings as YAML, in the order given.

    Raises:
        OutputError: the file cannot be written.
    """
    with writing(path) as stream:
        yaml.safe_dump(settings, stream, sort_keys=False, allow_unicode=True)


def saved_config(path: Path) -> dict[str, Any]:
    """Settings that :func:`save_config` wrote, with the types they had.

    Raises:
        OutputError: the file cannot be read, or is not one of these.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise OutputError(f"{path}: cannot be read as the settings of a run ({first_line(exc)})") from exc
    if not isinstance(settings, dict):
        raise OutputError(f"{path}: does not hold the settings of a run")
    return settings


def read_config_file(path: str | Path) -> dict[str, Any]:
    """Read a flat YAML or JSON file of settings.

    Args:
        path: a ``.yaml``, ``.yml`` or ``.json`` file.

    Returns:
        Setting to value, in the order of the file. YAML scalars come back as they were written (``"3e-5"``,
        ``"no"``), for the flag's own type to read; ``None`` for null; lists of these; nested mappings typed.

    Raises:
        UsageError: the file is missing, not YAML or JSON, or not a mapping; with the line where there is one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".yaml", ".yml", ".json"):
        raise UsageError(f"{path}: a configuration file ends in .yaml, .yml or .json")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path}: not UTF-8 text ({exc.reason} at byte {exc.start})") from exc
    except OSError as exc:
        raise UsageError(f"{path}: cannot read this configuration file ({exc.strerror})") from exc
    return _parse_json(text, path) if suffix == ".json" else _parse_yaml(text, path)


def _parse_json(text: str, path: str | Path) -> dict[str, Any]:
    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"{path}: {name} is given twice")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=no_duplicates)
    except json.JSONDecodeError as exc:
        raise UsageError(f"{path} line {exc.lineno}: not JSON ({exc.msg})") from exc
    if not isinstance(value, dict):
        raise UsageError(f"{path}: expected an object of settings, {{...}}, found {_kind(value)}")
    return value


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: ``no`` is a word and ``3e-5`` a number (YAML 1.1 has both otherwise)."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key given twice; PyYAML would keep the last one."""
        keys = [key.value for key, _ in node.value]
        for (key, _), name in zip(node.value, keys, strict=True):
            if keys.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{name} is given twice", key.start_mark)
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def _parse_yaml(text: str, path: str | Path) -> dict[str, Any]:
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise UsageError(f"{path}: the file holds no settings")
        if not isinstance(root, yaml.MappingNode):
            found = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            raise UsageError(f"{path}: expected lines of `setting: value`, found {found}")
        return _yaml_settings(loader, root, path)
    except yaml.MarkedYAMLError as exc:
        line = f" line {exc.problem_mark.line + 1}" if exc.problem_mark else ""
        hint = "; indent with spaces" if "'\\t'" in str(exc.problem) else ""
        raise UsageError(f"{path}{line}: not YAML ({exc.problem}{hint})") from exc
    except yaml.YAMLError as exc:
        raise UsageError(f"{path}: not YAML ({str(exc).splitlines()[0]})") from exc


def _yaml_settings(loader: _Loader, root: yaml.MappingNode, path: str | Path) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key_node, value_node in root.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise UsageError(f"{path} line {line}: expected the name of a setting")
        if key_node.value in settings:
            raise UsageError(f"{path} line {line}: {key_node.value} is given twice")
        settings[key_node.value] = _yaml_value(loader, value_node)
    return settings


def _yaml_value(loader: _Loader, node: yaml.Node) -> Any:
    """A scalar as written, so that ``model_revision: 1.10`` does not become 1.1; mappings typed."""
    if isinstance(node, yaml.SequenceNode):
        return [_yaml_value(loader, item) for item in node.value]
    if isinstance(node, yaml.ScalarNode) and node.tag != "tag:yaml.org,2002:null":
        return node.value
    return loader.construct_object(node, deep=True)


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else "a single value"
