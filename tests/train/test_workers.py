"""Data-loader workers that start as new processes, as on macOS and Windows, import no more than they need."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

from earmark.batch.workers import begin_worker
from tests.train.small import build, make_trainer, mixed_lengths_s, usable, write_clips

BEGIN = """
import pickle, sys
with open(sys.argv[1], "rb") as stream:
    dataset, collate, begin = pickle.load(stream)
begin(0)
batch = collate(dataset.__getitems__([0, 1]))
print(len(batch["labels"]), "transformers" in sys.modules)
"""


def test_a_spawned_worker_does_without_transformers(tmp_path: Path) -> None:
    data = usable(write_clips(tmp_path / "clips", mixed_lengths_s(8)), store_dir=str(tmp_path / "store"))
    trainer = make_trainer(build(), data, tmp_path / "out", dataloader_num_workers=1, augment="gain")
    loader = trainer.get_train_dataloader()
    plain = getattr(loader, "base_dataloader", loader)
    assert plain.worker_init_fn is begin_worker
    (tmp_path / "worker").write_bytes(pickle.dumps((plain.dataset, plain.collate_fn, plain.worker_init_fn)))
    done = subprocess.run(
        [sys.executable, "-c", BEGIN, str(tmp_path / "worker")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "False"]
