"""What is logged and refused before a model is built."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from earmark.errors import DataError
from earmark.settings.data_flags import DataArguments
from earmark.train.prepared_data import prepare_data
from tests.tiny import RATE_HZ, tone, write_tones


def test_the_classes_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = DataArguments(data_dir=str(write_tones(tmp_path / "data", per_class=3)), store="off")
    with caplog.at_level("INFO"):
        data = prepare_data(options, RATE_HZ, seed=0)
    assert data.labels == ["high", "low"]
    assert "2 classes in 6 training clips: high 3, low 3; 4 validation clips" in caplog.messages


def test_the_classes_are_logged_before_they_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(2):
        (tmp_path / "birds" / str(i)).mkdir(parents=True)
        soundfile.write(tmp_path / "birds" / str(i) / "1.wav", tone(300, 0.1), RATE_HZ)
    with caplog.at_level("INFO"), pytest.raises(DataError, match="the only training clip has the label 'birds'"):
        prepare_data(
            DataArguments(data_dir=str(tmp_path), store="off", validation_fraction=0.5),
            RATE_HZ, seed=0,
        )  # fmt: skip
    assert "1 class in 1 training clip: birds 1; 1 validation clip" in caplog.messages
    assert any(
        "birds is the only folder and therefore the only class. If 0, 1 are the classes" in m for m in caplog.messages
    )
