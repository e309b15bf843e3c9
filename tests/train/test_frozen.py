"""What a frozen part makes of the clips is computed once, and training on it is training on the clips."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from earmark.families.frontend_settings import with_settings
from earmark.families.wav2vec2 import Wav2Vec2, WavLM
from earmark.models import packed
from earmark.models.build_model import AudioModel, ModelSource, load_trained
from earmark.models.freeze import find_body
from earmark.models.packed import can_pack
from earmark.scoring.table import score_table
from earmark.store.usable import UsableClips
from earmark.train.frozen import frozen_clips, stage_to_keep
from earmark.train.training_clips import fill_buckets, training_clips
from tests.families.tiny_models import KINDS_BY_FAMILY
from tests.train.small import CPU, build, make_trainer, mixed_lengths_s, train_on_kept, usable, write_clips

MODEL_TYPES = (*Wav2Vec2.model_types, *WavLM.model_types)


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> dict[str, UsableClips]:
    """10 clips of one length."""
    return usable(write_clips(tmp_path_factory.mktemp("even"), [0.3] * 10))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, UsableClips]:
    """22 clips of many lengths."""
    return usable(write_clips(tmp_path_factory.mktemp("mixed"), mixed_lengths_s(22)))


def weights(audio: AudioModel) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in audio.model.state_dict().items()}


def count_calls_of_body(audio: AudioModel) -> list[str]:
    """A list that gets the name of each module of the body, each time it is called."""
    called: list[str] = []
    for name, module in find_body(audio.model, audio.family).named_modules():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    return called


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "earmark.train.frozen"]


@pytest.mark.parametrize("kind", KINDS_BY_FAMILY)
def test_total_flos_are_those_that_transformers_estimates(
    kind: str, even: dict[str, UsableClips], tmp_path: Path
) -> None:
    trainer = make_trainer(build(kind, length_s=0.3), even, tmp_path, max_steps=2, include_num_input_tokens_seen="all")
    train_on_kept(trainer, None)
    batch = torch.utils.data.default_collate(list(np.zeros((4, 4800), dtype=np.float32)))
    values = trainer.audio.frontend.inputs(batch)[trainer.model.main_input_name]
    assert trainer.state.total_flos == 2 * transformers.Trainer.floating_point_ops(
        trainer, {trainer.model.main_input_name: values}
    )
    assert trainer.state.num_input_tokens_seen == 2 * values.numel() > 0


def test_total_flos_count_a_kept_encoder_and_no_kept_body(even: dict[str, UsableClips], tmp_path: Path) -> None:
    counted = {}
    for part, root in (("none", None), ("feature_encoder", tmp_path / "a"), ("encoder", tmp_path / "b")):
        trainer = make_trainer(build("wav2vec2", part, length_s=0.3), even, tmp_path / part, max_steps=2)
        train_on_kept(trainer, root)
        counted[part] = trainer.state.total_flos
    assert counted["feature_encoder"] == pytest.approx(counted["none"], rel=0.1)
    assert counted["encoder"] == 0


# features


@pytest.mark.parametrize(
    ("kind", "lengths"),
    [
        ("wav2vec2", "even"),
        *(pytest.param(one.id, "mixed", marks=one.marks) for one in KINDS_BY_FAMILY if one.id in MODEL_TYPES),
    ],
)
def test_training_on_kept_features_is_training_on_the_clips(
    kind: str, lengths: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    clips = request.getfixturevalue(lengths)
    losses, learned = [], []
    for root in (None, tmp_path / "store"):
        audio = build(kind, "feature_encoder")
        called = count_calls_of_body(audio)
        trainer = make_trainer(audio, clips, tmp_path / "out")
        losses.append(train_on_kept(trainer, root))
        learned.append(weights(audio))
        convolved = sum(name == "feature_extractor.conv_layers.0.conv" for name in called)
        if root is None:
            assert convolved == len(losses[0])  # once a step
            assert trainer.clock.frozen_s == 0
        else:
            assert convolved <= 1 + len(clips["train"].table)  # once for the width, then once a clip or batch
            assert trainer.train_dataset.stage == "features"
            assert trainer.clock.frozen_s > 0
            assert (trainer.train_dataset.edges is not None) == (lengths == "mixed")
    assert len(losses[0]) == 2 * -(-len(clips["train"].table) // 4)
    assert losses[0][0] != pytest.approx(losses[0][-1], abs=1e-4)  # something was learned
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-5)
    for name, value in learned[0].items():
        torch.testing.assert_close(learned[1][name], value, rtol=0, atol=1e-5, msg=name)


def test_layer_norm_encoders_as_well(mixed: dict[str, UsableClips], tmp_path: Path) -> None:
    large = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    losses = [
        train_on_kept(make_trainer(build("wav2vec2", "feature_encoder", **large), mixed, tmp_path / "out"), root)
        for root in (None, tmp_path / "store")
    ]
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-5)


def test_without_an_attention_mask_features_of_mixed_lengths_are_not_kept(
    even: dict[str, UsableClips], mixed: dict[str, UsableClips], caplog: pytest.LogCaptureFixture
) -> None:
    audio = build("wav2vec2", "feature_encoder")
    # as --attention_mask False: padding counts as sound
    audio.frontend.extractor = with_settings(audio.frontend.extractor, return_attention_mask=False)
    assert stage_to_keep(audio, training_clips(audio, even["train"]), 3, small_only=False) == "features"
    with caplog.at_level(logging.INFO):
        assert stage_to_keep(audio, training_clips(audio, mixed["train"]), 3, small_only=False) is None
    assert len(messages(caplog)) == 1
    assert "--attention_mask False" in messages(caplog)[0]


@pytest.mark.parametrize(("epochs", "kept"), [(1, None), (1.5, "features")])
def test_features_are_kept_for_more_than_one_pass(
    epochs: float, kept: str | None, even: dict[str, UsableClips]
) -> None:
    audio = build("wav2vec2", "feature_encoder")
    assert stage_to_keep(audio, training_clips(audio, even["train"]), epochs, small_only=False) == kept
    assert stage_to_keep(audio, training_clips(audio, even["train"]), epochs, small_only=True) is None
    whole = build("wav2vec2", "encoder")
    assert stage_to_keep(whole, training_clips(whole, even["train"]), epochs, small_only=True) == "embeddings"
    learning = build("wav2vec2", "none")
    assert stage_to_keep(learning, training_clips(learning, even["train"]), epochs, small_only=False) is None


def test_features_in_worker_processes(mixed: dict[str, UsableClips], tmp_path: Path) -> None:
    losses = [
        train_on_kept(
            make_trainer(build("wav2vec2", "feature_encoder"), mixed, tmp_path / "out", dataloader_num_workers=workers),
            tmp_path / "store",
        )
        for workers in (0, 2)
    ]
    assert losses[0] == losses[1]


# the linear probe


@pytest.mark.parametrize("kind", KINDS_BY_FAMILY)
def test_a_probe_answers_as_the_saved_model(kind: str, mixed: dict[str, UsableClips], tmp_path: Path) -> None:
    audio = build(kind, "encoder")
    before = weights(audio)
    trainer = make_trainer(audio, mixed, tmp_path / "out", learning_rate=1e-2)
    train_on_kept(trainer, tmp_path / "store")
    assert trainer.scorer.probes
    changed = {name for name, value in weights(audio).items() if not torch.equal(value, before[name])}
    assert changed
    assert not any(name in changed for name, _ in audio.model.named_buffers())  # batch norms saw no clip
    in_body = {id(parameter) for parameter in find_body(audio.model, audio.family).parameters()}
    assert not any(id(parameter) in in_body for name, parameter in audio.model.named_parameters() if name in changed)
    audio.save(tmp_path / "saved")
    saved = load_trained(ModelSource(name_or_path=str(tmp_path / "saved")))
    for clips in mixed.values():
        logits = score_table(saved.model, saved.frontend, clips.waveforms, batch_size=1, device=CPU)
        np.testing.assert_allclose(trainer.scorer.score(clips), logits, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS_BY_FAMILY)
def test_the_head_learns_on_the_embeddings_that_will_be_scored(
    kind: str, mixed: dict[str, UsableClips], tmp_path: Path
) -> None:
    audio = build(kind, "encoder")
    with torch.no_grad():
        for parameter in audio.model.parameters():  # so that clips differ
            if parameter.ndim > 1 and kind != "tc_resnet":
                parameter.mul_(3)
    train_clips = training_clips(audio, mixed["train"])
    fill_buckets(train_clips, audio, 0.3)
    assert (train_clips.edges is not None) == (not audio.frontend.pads_itself)
    scored = score_table(audio.model, audio.frontend, mixed["train"].waveforms, batch_size=1, device=CPU)
    with frozen_clips(audio, train_clips, "embeddings", root=tmp_path, device=CPU, batch_size=4) as (kept, _):
        batch = kept.__getitems__(range(len(kept)))
        audio.model.eval()
        with torch.inference_mode():
            logits = audio.model(embeddings=batch["embeddings"]).logits.numpy()
    np.testing.assert_array_equal(batch["labels"].numpy(), train_clips.labels)
    clips_differ_by = scored.std(axis=0).max()
    assert clips_differ_by > 1e-4
    np.testing.assert_allclose(logits, scored, atol=min(1e-5, clips_differ_by / 100))


@pytest.mark.skipif(not can_pack(CPU), reason="nothing to pack for on this processor")
def test_weights_are_packed_once_for_all_clips(
    even: dict[str, UsableClips], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio, shapes = build("wav2vec2", "feature_encoder"), []
    pack = packed._pack_linear

    def counted(weight: torch.Tensor) -> object:
        shapes.append(weight.shape)
        return pack(weight)

    monkeypatch.setattr(packed, "_pack_linear", counted)
    clips = training_clips(audio, even["train"])
    with frozen_clips(audio, clips, "features", root=tmp_path, device=CPU, batch_size=2):
        assert len(shapes) == len(audio.model.wav2vec2.feature_extractor.conv_layers) - 1  # the first has a group norm


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper", "tc_resnet"])
def test_embeddings_are_computed_once(kind: str, mixed: dict[str, UsableClips], tmp_path: Path) -> None:
    calls = []
    for epochs in (1, 3):
        audio = build(kind, "encoder")
        called = count_calls_of_body(audio)
        trainer = make_trainer(audio, mixed, tmp_path / "out", num_train_epochs=epochs, eval_strategy="epoch")
        losses = train_on_kept(trainer, tmp_path / "store")
        assert len(losses) == epochs * 6
        assert sum("eval_accuracy" in entry for entry in trainer.state.log_history) == epochs
        calls.append(len(called))
    assert calls[0] > 0
    assert calls[1] == calls[0]


def test_windows_of_long_validation_clips_are_scored_by_the_whole_model(tmp_path: Path) -> None:
    clips = usable(write_clips(tmp_path / "clips", [0.3] * 8, validation_s=[0.3, 1.0, 0.5, 0.7]))
    audio = build("wav2vec2", "encoder", length_s=0.4)
    trainer = make_trainer(audio, clips, tmp_path / "out", learning_rate=1e-2)
    train_on_kept(trainer, tmp_path / "store")
    assert trainer.scorer.probes
    whole = score_table(audio.model, audio.frontend, clips["validation"].waveforms, batch_size=1, device=CPU)
    np.testing.assert_allclose(trainer.scorer.score(clips["validation"]), whole, atol=1e-5)


# both


@pytest.mark.parametrize("what", ["feature_encoder", "encoder"])
def test_clips_that_are_cut_at_random_are_computed_anew(
    what: str, mixed: dict[str, UsableClips], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio = build("wav2vec2", what, length_s=0.4)
    trainer = make_trainer(audio, mixed, tmp_path / "out")
    before = trainer.train_dataset
    with caplog.at_level(logging.INFO):
        train_on_kept(trainer, tmp_path / "store")
    assert messages(caplog) == [
        "the frozen part is computed in every epoch, because clips longer than 0.4 s are cropped at random places"
    ]
    assert trainer.train_dataset is before
    assert not trainer.scorer.probes
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("what", ["feature_encoder", "encoder"])
def test_bfloat16(what: str, mixed: dict[str, UsableClips], tmp_path: Path) -> None:
    losses = []
    for root in (None, tmp_path / "store"):
        audio = build("wav2vec2", what)
        trainer = make_trainer(audio, mixed, tmp_path / "out", bf16=True)
        assert audio.model.forward.training_dtype == torch.bfloat16
        with ExitStack() as stack:
            if root is not None:
                trainer.keep_frozen(stack, root, small_only=False)
                batch = trainer.train_dataset.__getitems__([0, 1])
                values = batch["features" if what == "feature_encoder" else "embeddings"]
                assert values.dtype == torch.bfloat16
                file = next(root.glob("frozen-*/*.bin"))
                assert file.stat().st_size == 2 * 8 * trainer.train_dataset.num_frames.sum() or what == "encoder"
            trainer.train()
        assert all(parameter.dtype == torch.float32 for parameter in audio.model.parameters())
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    if what == "feature_encoder":
        np.testing.assert_allclose(losses[1], losses[0], atol=2e-3)
    assert np.isfinite(losses[1]).all()


@pytest.mark.parametrize("kind", ["tc_resnet", "wav2vec2"])
def test_a_frozen_body_stays_in_evaluation_mode_where_clips_are_cut_at_random(kind: str, tmp_path: Path) -> None:
    clips = usable(write_clips(tmp_path / "clips", [0.9] * 4))
    audio = build(kind, "encoder", length_s=0.5)
    before = {name: values.clone() for name, values in find_body(audio.model, audio.family).state_dict().items()}
    modes = set()
    find_body(audio.model, audio.family).register_forward_hook(lambda body, *_: modes.add(body.training))
    layer = next(module for name, module in audio.model.named_modules() if "norm" in name)
    layer.register_forward_hook(lambda module, *_: modes.add(module.training))
    make_trainer(audio, clips, tmp_path / "out", max_steps=2).train()
    assert modes == {False}
    for name, values in find_body(audio.model, audio.family).state_dict().items():
        torch.testing.assert_close(values, before[name], msg=name)
