"""Measure resident memory with a data set of many clips: ``python benchmarks/memory.py [--clips 200000]``.

The script makes a table of one-second clips, which are parts of a few recordings, so that only the waveform store takes
much disk space. It builds the store, reads every clip once in random order as training batches, and prints how much
resident memory grew after the model was loaded.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import psutil
import soundfile

RATE_HZ = 16_000
CLIPS_A_RECORDING = 500


def main() -> None:
    """Build the store, read all clips and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200_000, help="one-second clips (32 kB of disk each)")
    parser.add_argument("--batch_size", type=int, default=128)
    arguments = parser.parse_args()

    from earmark.clips.clip import Clip, ClipTable
    from earmark.models.build_model import ModelSource, build_for_training
    from earmark.progress import Progress
    from earmark.store.store_build import open_or_build
    from earmark.store.usable import UsableClips
    from earmark.train.training_clips import training_clips

    audio = build_for_training(ModelSource(model_type="tc_resnet"), ["a", "b"], 1.0, 1.0)
    with_model = resident_mb()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = write_recordings(folder, -(-arguments.clips // CLIPS_A_RECORDING))
        clips = [
            Clip(f"{path} {second} s", "ab"[second % 2], path, offset_s=float(second), duration_s=1.0)
            for path in recordings
            for second in range(CLIPS_A_RECORDING)
        ][: arguments.clips]
        table = ClipTable(clips, "generated")
        with_table = resident_mb()
        with Progress("decoding", len(table)) as progress:
            store = open_or_build(table, RATE_HZ, root=folder / "store", num_workers=2, progress=progress.to)
        with_store = resident_mb()
        data = training_clips(audio, UsableClips(table, store))
        order = np.random.default_rng(0).permutation(len(data))
        highest = 0.0
        with Progress("reading", len(data)) as progress:
            for start in range(0, len(order), arguments.batch_size):
                batch = data.__getitems__(order[start : start + arguments.batch_size].tolist())
                progress.update(len(batch["labels"]))
                highest = max(highest, resident_mb())
    results = {
        "clips": len(table),
        "model_mb": round(with_model),
        "table_mb": round(with_table - with_model),
        "after_building_mb": round(with_store - with_model),
        "while_reading_mb": round(highest - with_model),
    }
    print(json.dumps(results))


def write_recordings(folder: Path, count: int) -> list[str]:
    """Write recordings of noise, 500 s each; all after the tenth are hard links, which the store decodes separately."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        path = folder / f"{i}.wav"
        if i < 10:
            noise = (3000 * rng.standard_normal(CLIPS_A_RECORDING * RATE_HZ)).clip(-32768, 32767).astype(np.int16)
            soundfile.write(path, noise, RATE_HZ)
        else:
            path.hardlink_to(folder / f"{i % 10}.wav")
        paths.append(str(path))
    return paths


def resident_mb() -> float:
    """Return the resident set size of this process, in MB."""
    return psutil.Process().memory_info().rss / 1e6


if __name__ == "__main__":
    main()
