"""Recordings and a run that the tests of the Python API share."""

from __future__ import annotations

from pathlib import Path

import pytest

import earmark
from tests.api.small import SMALL, Listening, hiss, mean_logit, slope
from tests.tiny import write_tones


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("data") / "recordings", per_class=6, seconds=0.2)


@pytest.fixture(scope="module")
def listening() -> Listening:
    return Listening()


@pytest.fixture(scope="module")
def run(recordings: Path, listening: Listening, tmp_path_factory: pytest.TempPathFactory) -> earmark.Run:
    """Trained with a callback, two metric functions and an augmentation function."""
    return earmark.train(
        recordings,
        model="tc_resnet",
        output_dir=tmp_path_factory.mktemp("runs") / "first",
        callbacks=[listening],
        metrics=[mean_logit, slope],
        augmentations=[hiss],
        metric_for_best_model="mean_logit",
        greater_is_better=False,
        report_to="tensorboard",
        logging_dir=recordings.parent / "events",
        **SMALL,
    )
