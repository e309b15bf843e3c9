"""The wheel holds every file of the package. ``scripts/test-wheel`` installs it in an empty environment and uses it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import earmark

ROOT = Path(__file__).parents[1]


def test_every_file_of_the_package_is_in_the_wheel(tmp_path: Path) -> None:
    source = tmp_path / "source"  # building leaves files in the source folder
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run([*command, "-w", tmp_path / "wheels", source], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    [wheel] = (tmp_path / "wheels").glob("earmark-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("earmark/")}
    package = source / "src" / "earmark"
    files = {f"earmark/{path.relative_to(package).as_posix()}" for path in package.rglob("*") if path.is_file()}
    assert packed == files
    assert "earmark/py.typed" in packed  # else type checkers ignore the annotations
    assert f"-{earmark.__version__}-" in wheel.name


def test_the_changelog_begins_with_this_version() -> None:
    headings = [
        line for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines() if line.startswith("## ")
    ]
    assert headings[0].split()[1] == earmark.__version__
