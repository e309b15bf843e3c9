"""Imports run one way, and the light modules stay light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from earmark.families.family_registry import FAMILIES
from earmark.formats.format_registry import readable_suffixes, writers

PACKAGE = Path(__file__).parents[1] / "src" / "earmark"
ROOMS = [
    {"errors", "label_lists", "text"},
    {"io"},
    {"extras", "faults", "heap", "http", "npu", "pages", "stats"},
    {"tasks"},
    {"formats"},
    {"threads"},
    {"distributed"},
    {"progress"},
    {"settings"},
    {"device"},
    {"clips"},
    {"audio"},
    {"store"},
    {"sources"},
    {"audit"},
    {"batch"},
    {"families"},
    {"models"},
    {"scoring"},
    {"runs"},
    {"profiling"},
    {"export"},
    {"report"},
    {"train", "evaluate", "predict"},
    {"synth", "bench", "doctor", "label", "serve"},
    {"quickstart"},
    {"api"},
    {"runtime"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
HEAVY = {"torch", "transformers", "accelerate", "datasets", "sklearn"}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "earmark" and len(parts) > 1 else None


def imports_of(path: Path) -> set[str]:
    tree = parsed(path)
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return named | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_imports_run_one_way() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if own in ("__init__", "__main__"):
            continue
        for module in imports_of(path):
            room = room_of(module)
            if room is None or room == own:
                continue
            assert LEVEL[room] < LEVEL[own], f"{path}: imports {module}"


def found_outside_families(pattern: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """Matches of a pattern in the package, but for the families, and the API, to which a "model" may be anything."""
    return [
        f"{path.relative_to(PACKAGE)}: {match[0]}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name not in ("families", "api")
        for match in re.finditer(pattern, path.read_text(encoding="utf-8"))
        if match[0] not in allowed
    ]


def test_only_families_ask_which_architecture_a_model_is() -> None:
    compares = r"""model_type\)? (==|!=|in|not in) [("'\[]|(_[A-Z_]+|[A-Z_]{4,})(\[|\.get\()[\w.]*model_type\b"""
    of_transformers = ("CONFIG_MAPPING[model_type",)
    assert not found_outside_families(compares, of_transformers), "this belongs into a family (earmark.families)"
    names = "|".join(sorted(name for family in FAMILIES for name in family.model_types))
    assert not found_outside_families(rf"""(==|!=|\bin) [(\[]?["']({names})["']"""), "this belongs into a family"


def test_only_families_look_for_parts_and_settings_of_an_architecture() -> None:
    looks = r"""(hasattr|getattr)\((\w+\.)*(model|body|base)(\.config)?, "[a-z]\w+"""
    of_earmark = ('getattr(self.model.config, "background_class',)
    assert not found_outside_families(looks, of_earmark), "this belongs into a family (earmark.families)"


def test_the_family_of_a_model_is_found_when_it_is_loaded() -> None:
    finding = {line.split(":")[0] for line in found_outside_families(r"\bfind_family\(")}
    loads = {f"models/{name}.py" for name in ("build_model", "plain_checkpoint", "transformers_model")}
    assert finding == loads, "take the family of the model that was loaded"


def test_only_formats_know_names_and_suffixes_of_formats() -> None:
    own_files = {".txt", ".json", ".csv"}  # suffixes of files that are no tables of clips, too
    facts = {*writers(), *readable_suffixes()} - own_files
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "formats"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in facts
    ]
    assert not found, "ask earmark.formats.format_registry"


def test_only_tasks_ask_which_task_it_is() -> None:
    name = r"(?:Task\.|tasks\.)?(?:SINGLE_LABEL|MULTI_LABEL|REGRESSION)(?:\.name)?"
    text = r"""["'](?:single_label|multi_label|regression)(?:_classification)?["']"""
    asks = re.compile(
        rf"(?:\bis|\bis not|==|!=|\bin \(?|===|!==) ?(?:{name}|{text})(?![\w.])|\b{name} ?(?:==|!=|is\b|:)"
        r"|isinstance\([^)]*(?:SingleLabel|MultiLabel|Regression)"
    )
    found = [
        f"{path.relative_to(PACKAGE)}: {match[0]}"
        for path in sorted(path for kind in ("py", "html", "js") for path in PACKAGE.rglob(f"*.{kind}"))
        if path.parent.name != "tasks"
        for match in asks.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found, "this belongs into a task (earmark.tasks)"


LIGHT = [
    "earmark",
    "earmark.cli.main",
    "earmark.device",
    "earmark.npu",
    "earmark.distributed.launched",
    "earmark.distributed.ranks",
    "earmark.io.locks",
    "earmark.progress",
    "earmark.text",
    "earmark.threads.variables",
    "earmark.threads.watch",
    "earmark.train.early_checks",
    "earmark.train.plan",
]
LIGHT += [
    f"earmark.{room}.{path.stem}"
    for room in ("formats", "settings", "clips", "audio", "store", "sources", "audit", "predict", "serve", "api")
    for path in sorted((PACKAGE / room).glob("[a-z]*.py"))
]
# all but what trains: the doctor answers where torch cannot be imported
LIGHT += ["earmark.faults", "earmark.cli.doctor_command"]
LIGHT += [f"earmark.doctor.{path.stem}" for path in sorted((PACKAGE / "doctor").glob("[a-z]*.py"))]
LIGHT += ["earmark.export.description", "earmark.export.load_export", "earmark.runtime", "earmark.scoring.inference"]
for name in ("earmark.doctor.selftest_worker", "earmark.predict.embed"):
    LIGHT.remove(name)


def test_light_modules_load_nothing_heavy() -> None:
    code = f"import sys, {', '.join(LIGHT)}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("pattern", "room"),
    [
        (r"\bos\.(replace|fsync)\(|\b(import|from) (fcntl|msvcrt)\b|\bFileLock\(", "io"),
        (r"while block := \w+\.read\(", "io"),
        (r"\bdist\.(get_rank|get_world_size|all_gather_object|broadcast_object_list)\(|PartialState\(", "distributed"),
        (r"""environ(\.get\(|\[)["'](LOCAL_RANK|RANK|WORLD_SIZE)["']""", "distributed"),
        (r"uvicorn\.(Config|Server)\b|\.bind\(", "http"),
        (r"difflib|more\" if len\(", "text.py"),
    ],
)
def test_what_a_shared_room_does_is_done_nowhere_else(pattern: str, room: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {match[0]}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] != room
        for match in re.finditer(pattern, path.read_text(encoding="utf-8"))
    ]
    assert not found, f"this belongs into earmark.{room.removesuffix('.py')}"


def test_the_page_lists_the_rooms_from_the_lowest_to_the_highest() -> None:
    page = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = [name.removesuffix("/").removesuffix(".py") for row in rows for name in re.findall(r"`([\w.]+/?)`", row)]
    assert sorted(listed) == sorted(LEVEL)
    levels = [LEVEL[room] for room in listed]
    assert levels == sorted(levels), "a room stands above one that it may import"


def test_a_name_tells_where_it_is() -> None:
    files = Counter(path.name for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    assert [name for name, count in files.items() if count > 1] == []
    trees = {path: parsed(path) for path in PACKAGE.rglob("*.py")}
    classes = Counter(
        node.name for tree in trees.values() for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )  # fmt: skip
    assert [name for name, count in classes.items() if count > 1] == []
    named = {
        name
        for tree in trees.values()
        for node in ast.walk(tree)
        for name in (getattr(node, "name", None), getattr(node, "arg", None), getattr(node, "id", None))
        if name and name.endswith("_of")
    }
    assert not named, "say what it is: `lock`, not `lock_of`"
