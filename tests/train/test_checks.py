from __future__ import annotations

from pathlib import Path

import pytest

from earmark.errors import UsageError
from earmark.models.tc_resnet import TCResNetConfig, TCResNetForAudioClassification
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.checks import check_flags_of_model


def test_gradient_checkpointing_that_the_model_does_not_support(tmp_path: Path) -> None:
    model = TCResNetForAudioClassification(TCResNetConfig(stem_channels=8, channels=[8, 8]))
    check_flags_of_model(EarmarkTrainingArguments(str(tmp_path), use_cpu=True), model)
    with pytest.raises(UsageError, match="--gradient_checkpointing: tc_resnet does not support it"):
        check_flags_of_model(EarmarkTrainingArguments(str(tmp_path), use_cpu=True, gradient_checkpointing=True), model)
