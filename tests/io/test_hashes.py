"""Hashes of files: of what is in them, wherever they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from earmark.io.hashes import file_sha256, files_sha256, short_sha256


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # longer than a block
    (tmp_path / "a").write_bytes(content)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "missing")


def test_files_differ_by_name_and_content_and_not_by_folder(tmp_path: Path) -> None:
    def written(folder: str, **contents: str) -> str:
        (tmp_path / folder).mkdir()
        for name, content in contents.items():
            (tmp_path / folder / name).write_text(content)
        return files_sha256([tmp_path / folder / name for name in contents])

    first = written("first", a="12", b="3")
    assert written("copy", a="12", b="3") == first
    others = [written("moved", a="1", b="23"), written("renamed", a="12", c="3"), written("fewer", a="12")]
    assert len({first, *others}) == 4


def test_a_file_name_that_is_not_utf_8_has_a_hash() -> None:
    assert len(short_sha256("h\udce9")) == 12
    assert short_sha256("h\udce9") != short_sha256("h")
