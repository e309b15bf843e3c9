from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import soxr
import torch
from torch.utils.data import DataLoader

from earmark.batch.augment import AugmentedClips, describe, draw
from earmark.batch.dataset import TrainingClips, one_batch
from earmark.clips.clip import Clip, ClipTable
from earmark.settings.augmentation_flags import AugmentArguments, Augmentation
from earmark.sources.sounds import Sounds
from earmark.tasks.task import NO_LABEL
from tests.tiny import RATE_HZ, tone


class Held:
    """Float samples in memory, behind the protocol of the waveform store."""

    def __init__(self, waves: list[np.ndarray]) -> None:
        self.waves = waves
        self.num_samples = np.array([len(wave) for wave in waves])
        self.scales = np.ones(len(waves), dtype=np.float32)

    def read_batch(self, indices, starts, counts, width) -> np.ndarray:
        batch = np.zeros((len(indices), width), dtype=np.float32)
        for row, index, start, count in zip(batch, indices, starts, counts, strict=True):
            assert start >= 0
            assert start + count <= self.num_samples[index]
            row[:count] = self.waves[index][start : start + count]
        return batch

    def iterate(self, indices) -> Iterator[np.ndarray]:
        return (self.waves[i] for i in indices)


def sounds(waves: list[np.ndarray]) -> Sounds:
    table = ClipTable([Clip(source=f"{i}.wav") for i in range(len(waves))], "sounds")
    return Sounds(table, Held(waves), np.arange(len(waves)), [])


NOISE = [np.random.default_rng(i).standard_normal(n).astype(np.float32) for i, n in enumerate((500, 20_000))]
ROOMS = [np.exp(-np.arange(400) / 100).astype(np.float32)]
ALL = "speed,reverb,shift,noise,gain,mixup,spec"


def wanted(kinds: str, **settings: object) -> Augmentation:
    folders = {f"augment_{kind}": "x" for kind in ("noise", "reverb") if kind in kinds}
    made = AugmentArguments(augment=kinds, **{**folders, **settings}).augmentation()  # type: ignore[arg-type]
    assert made is not None
    return made


def clips(
    kinds: str, lengths: list[int], *, seed: int = 3, max_samples: int = 4000, **settings: object
) -> AugmentedClips:
    waves = [tone(300 + 100 * i, n / RATE_HZ, seed=i) for i, n in enumerate(lengths)]
    plain = TrainingClips(Held(waves), np.arange(len(waves)), min_samples=100, max_samples=max_samples, seed=3)
    return AugmentedClips(plain, wanted(kinds, **settings), RATE_HZ, sounds(NOISE), sounds(ROOMS))


def each_clip(batch: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """What a batch says of each clip, whatever else is in it."""
    found = []
    partner_at = dict(zip(batch["partners"].tolist(), batch["partner_samples"], strict=True))
    lengths = batch.get("num_samples", torch.full((len(batch["rows"]),), batch["samples"].shape[1])).tolist()
    for i, row in enumerate(batch["rows"].tolist()):
        for samples in (batch["samples"][i], partner_at.get(i, torch.zeros(0))):
            assert not samples[lengths[i] :].any()
        one = {"row": torch.tensor(row), "samples": batch["samples"][i, : lengths[i]]}
        one |= {name: batch[name][i] for name in ("labels", "partner_labels", "own_weights", "hidden")}
        found.append(one | ({"partner": partner_at[i][: lengths[i]]} if i in partner_at else {}))
    return found


def assert_same(ours: list[dict[str, torch.Tensor]], theirs: list[dict[str, torch.Tensor]]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)


def test_a_clip_is_changed_alike_in_any_batch_and_by_any_number_of_workers() -> None:
    rows = list(range(12))
    data = clips(ALL, [4000] * 12)
    data.set_epoch(2)
    whole = each_clip(data.__getitems__(rows))
    alone = [one for row in rows for one in each_clip(clips_at_2(row))]
    assert_same(whole, alone)
    for workers in (1, 2):
        loader = DataLoader(data, batch_size=5, num_workers=workers, collate_fn=one_batch)
        assert_same(whole, [one for batch in loader for one in each_clip(batch)])


def clips_at_2(row: int) -> dict[str, torch.Tensor]:
    data = clips(ALL, [4000] * 12)  # as after a stop: nothing has been drawn before
    data.set_epoch(2)
    return data.__getitems__([row])


def test_other_seeds_epochs_and_clips_give_other_changes() -> None:
    settings = wanted(ALL)
    draws = [draw(settings, seed, 100, 2, 1) for seed in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len({one.place for one in draws}) == 4
    assert draw(settings, (0, 0, 0), 100, 2, 1).place == draws[0].place
    data = clips("gain:1", [4000])
    epochs = []
    for epoch in range(3):
        data.set_epoch(epoch)
        epochs.append(float(data.__getitems__([0])["samples"].square().mean()))
    assert len(set(epochs)) == 3


def test_what_one_kind_does_does_not_hang_on_the_others() -> None:
    everything, some = wanted(ALL.replace(",", ":1,") + ":1"), wanted("noise:1,mixup:1")
    for row in range(20):
        one, other = (draw(settings, (0, 0, row), 100, 2, 1) for settings in (everything, some))
        assert (one.noise, one.place, one.snr_db, one.partner) == (
            other.noise,
            other.place,
            other.snr_db,
            other.partner,
        )
        assert one.own_weight == other.own_weight
        assert other.speed == 1.0
        assert other.hidden[:, 1].max() == 0


def test_chances_and_ranges_are_those_asked_for() -> None:
    settings = wanted("noise:0.3,speed,mixup:0.2", augment_snr_db="0,30", augment_speed="0.8,1.2")
    draws = [draw(settings, (0, 0, row), 50, 4, 0) for row in range(4000)]
    noisy = [one for one in draws if one.noise is not None]
    assert len(noisy) / 4000 == pytest.approx(0.3, abs=0.03)
    assert sum(one.speed != 1 for one in draws) / 4000 == pytest.approx(0.5, abs=0.03)
    assert sum(one.partner is not None for one in draws) / 4000 == pytest.approx(0.2, abs=0.03)
    assert np.quantile([one.snr_db for one in noisy], [0, 0.5, 1]) == pytest.approx([0, 15, 30], abs=1.5)
    assert {one.noise for one in noisy} == {0, 1, 2, 3}
    assert {one.partner for one in draws if one.partner is not None} == set(range(50))
    assert min(one.own_weight for one in draws) >= 0.5
    fast = [one.speed for one in draws if one.speed != 1]
    assert np.quantile(fast, [0, 0.5, 1]) == pytest.approx([0.8, 1.0, 1.2], abs=0.02)


@pytest.mark.parametrize("length", [400, 4000])
def test_the_noise_in_a_batch_has_the_ratio_drawn_for_it_also_where_it_is_shorter(length: int) -> None:
    data = clips("noise:1", [length] * 30)
    plain = replace_settings(data, "gain:1", augment_gain_db="0,0")
    noisy, clean = (one.__getitems__(range(30))["samples"].double() for one in (data, plain))
    measured = 10 * (clean.square().mean(1) / (noisy - clean).square().mean(1)).log10()
    drawn = [data.draw(row) for row in range(30)]
    assert {one.noise for one in drawn} == {0, 1}
    np.testing.assert_allclose(measured, [one.snr_db for one in drawn], atol=0.01)


def replace_settings(data: AugmentedClips, kinds: str, **settings: object) -> AugmentedClips:
    return AugmentedClips(data, wanted(kinds, **settings), RATE_HZ, data.noise, data.rooms)


def test_gain_and_shift_do_what_was_drawn() -> None:
    plain = clips("gain:1", [4000] * 8, augment_gain_db="0,0").__getitems__(range(8))["samples"]
    data = clips("gain:1,shift:1", [4000] * 8, augment_gain_db="-12,-3", augment_shift_seconds=0.01)
    changed = data.__getitems__(range(8))["samples"]
    for row in range(8):
        one = data.draw(row)
        by = data.shift_samples(one, row)
        assert 0 < abs(by) <= 160
        assert -12 <= one.gain_db <= -3
        moved = torch.roll(plain[row], by) * 10 ** (one.gain_db / 20)
        inner = slice(160, -160)
        torch.testing.assert_close(changed[row][inner], moved[inner], rtol=1e-5, atol=1e-6)
    long_shift = clips("shift:1", [4000], augment_shift_seconds=100.0)
    assert max(abs(long_shift.shift_samples(replace(long_shift.draw(0), shift=s), 0)) for s in (-1.0, 1.0)) == 1000


def test_clips_keep_their_lengths_and_padding() -> None:
    kinds = "reverb:1,shift:1,noise:1,gain:1,mixup:1,spec:1"
    data = clips(kinds, [4000, 900, 50], max_samples=2000)
    for epoch in range(5):
        data.set_epoch(epoch)
        batch = data.__getitems__([0, 1, 2])
        assert batch["samples"].shape == (3, 2000)
        assert batch["samples"].dtype == torch.float32
        assert batch["num_samples"].tolist() == data.lengths.tolist() == [2000, 900, 100]
        assert not batch["samples"][1, 900:].any()
        assert not batch["partner_samples"][2, 100:].any()  # a longer clip is cut to the one it is mixed into
        assert batch["samples"].isfinite().all()


def whole(batch: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """The clips of a batch without their padding."""
    width = batch["samples"].shape[1]
    lengths = batch.get("num_samples", torch.full((len(batch["rows"]),), width)).tolist()
    return [samples[:length].numpy() for samples, length in zip(batch["samples"], lengths, strict=True)]


@pytest.mark.parametrize("speed", ["0.7,0.8", "1.2,1.4", "0.8,1.3"])
def test_a_clip_that_is_played_at_another_speed_has_another_length_and_all_of_its_sound(speed: str) -> None:
    lengths = [900, 2200, 3001]
    data = clips("speed:1", lengths, max_samples=5000, augment_speed=speed)
    for epoch in range(10):
        data.set_epoch(epoch)
        for row, heard in enumerate(whole(data.__getitems__([0, 1, 2]))):
            factor = data.draw(row).speed
            assert len(heard) == pytest.approx(lengths[row] / factor, abs=0.51)
            assert len(heard) <= data.lengths[row]
            expected = soxr.resample(data.waveforms.waves[row], factor, 1.0, quality="MQ")  # type: ignore[attr-defined]
            np.testing.assert_array_equal(heard, expected[: len(heard)])


def test_the_longest_a_clip_can_be_is_known_before_it_is_drawn() -> None:
    lengths = [900, 2200, 3001, 10_000]
    for kinds, speed, most in (
        ("speed:1", "0.8,1.2", [1125, 2750, 3751, 4000]),
        ("speed:1", "1.25,1.5", [720, 1760, 2401, 4000]),
        ("speed:0.5", "1.25,1.5", [900, 2200, 3001, 4000]),
        ("gain:1", "0.9,1.1", [900, 2200, 3001, 4000]),
    ):
        settings = {"augment_speed": speed} if "speed" in kinds else {}
        assert clips(kinds, lengths, **settings).lengths.tolist() == most


def test_speed_leaves_no_more_out_than_the_model_cannot_take() -> None:
    data = clips("speed:1", [4000, 2600], max_samples=3000, augment_speed="0.5,1.25")
    places = set()
    for epoch in range(12):
        data.set_epoch(epoch)
        for row, heard in enumerate(whole(data.__getitems__([0, 1]))):
            factor, wave = data.draw(row).speed, data.waveforms.waves[row]  # type: ignore[attr-defined]
            taken = min(len(wave), int(np.ceil(3000 * factor)))
            assert len(heard) == min(3000, round(taken / factor))
            assert np.abs(heard).reshape(-1)[: len(heard) // 100 * 100].reshape(-1, 100).max(axis=1).min() > 0.1
            start = int(data.starts(np.array([row]), np.array([taken]))[0])
            played = soxr.resample(wave[start : start + taken], factor, 1.0, quality="MQ")
            np.testing.assert_array_equal(heard[: len(played)], played[:3000])
            places.add(start)
    assert len(places) > 10  # a stretch of random place, another one in each epoch


def test_a_batch_has_a_length_of_its_bucket_whatever_the_speeds() -> None:
    data = clips("speed:1,mixup:1", [600, 900, 1500, 2900] * 4, augment_speed="0.8,1.25")
    data.edges = np.array([800, 1200, 1900, 3700])
    for epoch in range(4):
        data.set_epoch(epoch)
        for rows in ([0, 4], [1, 5, 9], [2, 6], list(range(16))):
            batch = data.__getitems__(rows)
            longest = max(map(len, whole(batch)))
            width = batch["samples"].shape[1]
            assert width in data.edges
            assert longest <= width <= data.edges[np.searchsorted(data.edges, data.lengths[rows].max())]


def test_what_only_fills_a_batch_up_counts_for_nothing_mixed_or_not() -> None:
    batch = clips("mixup:1", [4000] * 4).__getitems__([1, 4 + 2])
    assert batch["labels"].tolist() == [1, NO_LABEL]
    assert batch["partner_labels"][1] == NO_LABEL
    assert batch["partner_labels"][0] == clips("mixup:1", [4000] * 4).draw(1).partner


def test_a_clip_that_comes_again_in_an_epoch_is_changed_another_way() -> None:
    data, rows = clips("gain:1,mixup:1", [4000] * 4), [1, 2 * 4 + 1, 4 * 4 + 1]
    batch = data.__getitems__([*rows, 2 * 4 + 3])
    assert batch["rows"].tolist() == [1, 1, 1, 3]
    assert batch["labels"].tolist() == [1, 1, 1, 3]
    loudness = batch["samples"].abs().amax(dim=1)[:3].tolist()
    assert len(set(loudness)) == 3
    assert data.draw(1, 0).gain_db == data.draw(1).gain_db
    torch.testing.assert_close(data.__getitems__([rows[1]])["samples"], batch["samples"][1:2])
    assert batch["partner_labels"][:3].tolist() == [data.draw(1, times).partner for times in range(3)]


def test_silence_gets_no_noise_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    waves = [np.zeros(1000, dtype=np.float32)] * 3
    plain = TrainingClips(Held(waves), np.arange(3), min_samples=100, max_samples=1000)
    data = AugmentedClips(plain, wanted("noise:1"), RATE_HZ, sounds(NOISE))
    with caplog.at_level("WARNING", logger="earmark"):
        batch = data.__getitems__([0, 1, 2])
        data.__getitems__([0, 1, 2])
    assert not batch["samples"].any()
    assert caplog.text.count("digital silence") == 1


def test_the_log_line_says_what_is_done_and_what_it_costs() -> None:
    line = describe(clips(ALL, [4000] * 3))
    assert "noise (p 0.5, 5 to 20 dB SNR)" in line
    assert "noise from 2 recordings (1 shorter than a clip, repeated)" in line
    assert "ms per clip" in line
