"""Provenance of an output: model, settings and version, in a JSON file next to it.

``OUTPUT.earmark.json`` belongs to an output file; ``FOLDER/earmark.jsonl`` to a folder with one file per recording. A
resumed job compares them before scoring, so an output never mixes rows of two models or settings.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earmark import __version__
from earmark.io.atomic import writing
from earmark.io.hashes import short_sha256

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provenance:
    """Provenance of an output.

    Attributes:
        command: ``predict`` or ``embed``.
        model: name of the model as given by the user.
        model_sha256: result of :func:`earmark.models.fingerprint.model_sha256`.
        settings: settings that change the rows, by the name of their flag.
        version: version of earmark.
    """

    command: str
    model: str
    model_sha256: str
    settings: Mapping[str, Any]
    version: str

    @classmethod
    def of_now(cls, command: str, model: str, model_sha256: str, settings: Mapping[str, object]) -> Provenance:
        """Return the provenance of a job of this version. Settings are converted to JSON values."""
        return cls(command, model, model_sha256, json.loads(json.dumps(settings)), __version__)

    @classmethod
    def from_dict(cls, record: Any) -> Provenance | None:
        """Return the provenance written by :meth:`to_dict`; ``None`` for anything else."""
        try:
            model = record["model"]
            texts = (record["command"], model["name_or_path"], model["sha256"], record["earmark"])
            settings = dict(record["settings"])
        except (TypeError, KeyError, ValueError):
            return None
        command, name, sha256, version = map(str, texts)
        return cls(command, name, sha256, settings, version)

    def to_dict(self) -> dict[str, object]:
        """Return the JSON object of the provenance."""
        return {
            "command": self.command,
            "earmark": self.version,
            "model": {"name_or_path": self.model, "sha256": self.model_sha256},
            "settings": dict(self.settings),
        }

    @property
    def key(self) -> str:
        """Short text that differs if the rows of two jobs may differ."""
        what = json.dumps([self.command, self.model_sha256, self.settings, self.version], sort_keys=True)
        return short_sha256(what)

    def difference(self, earlier: Provenance | None) -> str | None:
        """Describe the difference from an earlier job; ``None`` if rows of both may be in one output."""
        if earlier is None:
            return "without a record of the model and the settings"
        if earlier.command != self.command:
            return f"by earmark {earlier.command}, not earmark {self.command}"
        if earlier.model_sha256 != self.model_sha256:
            if earlier.model == self.model:
                return (
                    f"with other weights or another configuration of {self.model} (SHA-256 {earlier.model_sha256[:8]}, "
                    f"now {self.model_sha256[:8]})"
                )
            return f"with the model {earlier.model}, not {self.model}"
        for name in dict.fromkeys([*self.settings, *earlier.settings]):
            before, now = earlier.settings.get(name), self.settings.get(name)
            if before != now:
                return f"with {_setting(name, before)}, not {_setting(name, now)}"
        return None

    def warn_of_version(self, earlier: Provenance, where: object) -> None:
        """Warn if an earlier version has written some of the rows."""
        if earlier.version != self.version:
            logger.warning(
                "%s was started by earmark %s and is continued by %s, so scores may differ slightly between its "
                "recordings. Start again with --overwrite if that matters",
                where,
                earlier.version,
                self.version,
            )


def _setting(name: str, value: object) -> str:
    if name == "decision":
        return f"a decision.json {value}" if value else "no decision.json"
    if value is None:
        return f"no --{name}"
    return f"--{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"


def sources_sha256(sources: Sequence[str]) -> str:
    """Return a hash of a set of recordings; their order does not matter."""
    paths = sorted(os.fsencode(os.path.abspath(source)) for source in sources)
    return hashlib.sha256(b"\0".join(paths)).hexdigest()


def file_state(source: str) -> list[int] | None:
    """Return the size of a recording in bytes and its modification time in ns; ``None`` without the file."""
    try:
        found = os.stat(source)
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns]


def has_changed(source: str, before: object) -> bool:
    """Return whether a recording has changed since :func:`file_state` returned ``before``."""
    return before is not None and file_state(source) not in (before, None)


def files_sha256(states: Mapping[str, object]) -> str:
    """Return a hash of the :func:`file_state` of recordings; their order does not matter.

    Args:
        states: path -> state.
    """
    rows = sorted((os.fsencode(os.path.abspath(source)).hex(), state) for source, state in states.items())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def record_path(output: Path) -> Path:
    """Return the path of an output file's record."""
    return Path(f"{output}.earmark.json")


def write_record(output: Path, provenance: Mapping[str, Any], finished: Sequence[Mapping[str, Any]]) -> None:
    """Write the record of a finished output file.

    Args:
        output: the file.
        provenance: its provenance.
        finished: ``path``, ``reason`` and, except in old versions, ``file`` (:func:`file_state`) of each recording.
    """
    sources = [entry["path"] for entry in finished]
    counts = {
        "recordings": len(sources),
        "unreadable": sum(entry["reason"] is not None for entry in finished),
        "recordings_sha256": sources_sha256(sources),
    }
    if all("file" in entry for entry in finished):
        counts["files_sha256"] = files_sha256({entry["path"]: entry["file"] for entry in finished})
    with writing(record_path(output)) as stream:
        json.dump({**provenance, **counts}, stream, indent=1)
        stream.write("\n")


def read_record(output: Path) -> dict[str, Any]:
    """Return the record of an output file; empty if there is none, or it is unreadable."""
    try:
        record = json.loads(record_path(output).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def read_json_lines(path: Path, *, to_first_damage: bool = False) -> list[dict[str, Any]]:
    """Return the objects in a file of JSON lines; empty without the file.

    Args:
        path: path of the file. A killed process may have left a truncated line.
        to_first_damage: whether to ignore everything after a damaged line, or only the line.
    """
    entries: list[dict[str, Any]] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return []
    for line in filter(None, lines):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            entries.append(entry)
        elif to_first_damage:
            break
    return entries
