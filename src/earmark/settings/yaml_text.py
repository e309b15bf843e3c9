"""Read YAML files of settings, with scalars as they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from earmark.errors import UsageError


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: ``no`` is a word and ``3e-5`` a number, unlike in YAML 1.1."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
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


def parse_yaml(text: str, path: str | Path) -> dict[str, object]:
    """Return the settings of a YAML file; see :func:`earmark.settings.config_files.read_config_file`.

    Raises:
        UsageError: the file is not YAML, or does not hold lines of settings.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise UsageError(f"{path}: the file holds no settings. Write lines of `setting: value`.")
        if not isinstance(root, yaml.MappingNode):
            found = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            raise UsageError(f"{path}: found {found}. Write lines of `setting: value`.")
        return _yaml_settings(loader, root, path)
    except yaml.MarkedYAMLError as exc:
        line = f" line {exc.problem_mark.line + 1}" if exc.problem_mark else ""
        hint = "Indent with spaces." if "'\\t'" in str(exc.problem) else "Fix the file."
        raise UsageError(f"{path}{line}: not YAML ({exc.problem}). {hint}") from exc
    except yaml.YAMLError as exc:
        raise UsageError(f"{path}: not YAML ({str(exc).splitlines()[0]}). Fix the file.") from exc


def _yaml_settings(loader: _Loader, root: yaml.MappingNode, path: str | Path) -> dict[str, object]:
    settings: dict[str, Any] = {}
    for key_node, value_node in root.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise UsageError(f"{path} line {line}: no setting name. Write lines of `setting: value`.")
        if key_node.value in settings:
            raise UsageError(f"{path} line {line}: {key_node.value} is given twice. Keep one of them.")
        settings[key_node.value] = _yaml_value(loader, value_node)
    return settings


def _yaml_value(loader: _Loader, node: yaml.Node) -> object:
    """Return a scalar as written, so that ``model_revision: 1.10`` does not become 1.1.

    Values inside a mapping get their YAML types.
    """
    if isinstance(node, yaml.SequenceNode):
        return [_yaml_value(loader, item) for item in node.value]
    if isinstance(node, yaml.ScalarNode) and node.tag != "tag:yaml.org,2002:null":
        return node.value
    return loader.construct_object(node, deep=True)
