"""Full disks: told of before, or noticed while the store is written."""

from __future__ import annotations

import resource
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from earmark.clips.clip import Clip, ClipTable
from earmark.errors import OutputError
from earmark.store import store_build, store_disk, store_writer
from earmark.store.store_build import open_or_build
from earmark.store.store_disk import estimate_bytes
from tests.store.held import Held, wav_bytes
from tests.tiny import RATE_HZ


def test_no_room_is_told_before_anything_is_decoded(tmp_path, root, monkeypatch):
    monkeypatch.setattr(store_build, "read_clip_and_content", lambda clip, rate_hz: pytest.fail("decoded"))
    path = tmp_path / "hour.flac"
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16") as out:
        for _ in range(60):
            out.write(np.zeros(8000 * 60, np.int16))
    table = ClipTable([Clip(source="hour.flac", path=str(path))] * 100_000, "x")  # 276 TB
    with pytest.raises(OutputError) as caught:
        open_or_build(table, 192_000, root=root, dtype="float32")
    said = str(caught.value)
    assert said.startswith(f"{root}: the decoded recordings need about 276.5 TB more, ")
    for part in ("must stay free", "--store_dir", "--max_length_seconds does not help", "--store off"):
        assert part in said
    assert not list(root.glob("*.building"))


def test_a_write_that_the_system_refuses(recordings, root):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # files end here, as they do on a full disk
    try:
        with pytest.raises(OutputError, match=r"no room for the decoded recordings \(File too large\)\. .*--store_dir"):
            open_or_build(recordings, RATE_HZ, root=root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(root.glob("*.building"))
    assert len(open_or_build(recordings, RATE_HZ, root=root)) == 500


def test_a_disk_that_fills_up_meanwhile(recordings, root, monkeypatch):
    monkeypatch.setattr(store_writer, "_FLUSH_BYTES", 20_000)
    free = iter([10**11] * 4)

    def usage(folder):
        return SimpleNamespace(total=10**12, free=next(free, 999_999_999))

    monkeypatch.setattr(store_disk.shutil, "disk_usage", usage)
    with pytest.raises(OutputError, match=r"no room .*only 1,000\.0 MB are left free.*--store off"):
        open_or_build(recordings, RATE_HZ, root=root)
    assert not list(root.glob("*.building"))


def test_the_estimate(tmp_path):
    rng = np.random.default_rng(0)
    clips = []
    for i in range(300):
        path = tmp_path / f"{i}.flac"
        soundfile.write(path, np.zeros(int(rng.uniform(4000, 12_000)), np.float32), 8000)
        clips.append(Clip(source=path.name, path=str(path)))
    assert estimate_bytes(clips, 16_000, 2) == pytest.approx(300 * 1.0 * 32_000, rel=0.1)
    cuts = [replace(clip, offset_s=0.1, duration_s=0.2) for clip in clips]
    assert estimate_bytes(cuts, 16_000, 4) == pytest.approx(300 * 0.2 * 64_000, rel=0.01)
    held = [Clip(source="x", read_bytes=Held(wav_bytes(np.zeros(16_000))))] * 3
    missing = [Clip(source="gone", path=str(tmp_path / "gone.wav"))] * 3
    assert estimate_bytes(held, 16_000, 2) == 96_000
    assert estimate_bytes(held + missing, 16_000, 2) == 96_000
    assert estimate_bytes([], 16_000, 2) == 0
