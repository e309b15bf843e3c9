"""Encoders that take one length are cut to the clip."""

from __future__ import annotations

import pytest
import torch

from earmark.errors import ModelError
from earmark.models.build_model import ModelSource, build_for_training
from tests.tiny import RATE_HZ, overrides

LABELS = ["high", "low", "other"]


@pytest.mark.parametrize(("model_type", "positions"), [("whisper", 50), ("audio-spectrogram-transformer", None)])
def test_fixed_length_encoders_are_cut_to_the_clip_and_keep_their_positions(
    model_type: str, positions: int | None
) -> None:
    torch.manual_seed(0)
    source = ModelSource(model_type=model_type, config_overrides=overrides(model_type))
    whole = build_for_training(source, LABELS, 2.56 if positions is None else 3.0, longest_s=3.0)
    torch.manual_seed(0)
    cut = build_for_training(source, LABELS, 1.0, longest_s=3.0)
    assert cut.frontend.max_samples == RATE_HZ
    if positions is not None:
        table, full = (m.model.encoder.embed_positions.weight for m in (cut, whole))
        assert table.shape[0] == positions
        assert torch.equal(table, full[:positions])
    else:
        table, full = (m.model.base_model.embeddings.position_embeddings for m in (cut, whole))
        assert table.shape[1] < full.shape[1]
        columns, all_columns = (table.shape[1] - 2) // 2, (full.shape[1] - 2) // 2
        assert torch.equal(table[:, 2 : 2 + columns], full[:, 2 : 2 + columns])
        assert torch.equal(table[:, 2 + columns :], full[:, 2 + all_columns : 2 + all_columns + columns])


def test_a_clip_longer_than_the_position_table_is_refused() -> None:
    with pytest.raises(ModelError, match="positions for 3 s"):
        build_for_training(ModelSource(model_type="whisper", config_overrides=overrides("whisper")), LABELS, 4.0, 1.0)
