from __future__ import annotations

import pytest

from earmark.errors import UsageError
from earmark.settings.augmentation_flags import AugmentArguments, AugmentPreviewOptions


def test_off_unless_asked_for() -> None:
    assert AugmentArguments().augmentation() is None
    assert AugmentArguments(augment="none").augmentation() is None


def test_kinds_come_in_the_order_they_are_done_with_their_chances() -> None:
    wanted = AugmentArguments(augment="spec:1, gain, speed:.25", augment_probability=0.4).augmentation()
    assert wanted is not None
    assert list(wanted.chances.items()) == [("speed", 0.25), ("gain", 0.4), ("spec", 1.0)]
    assert wanted.gain_db == (-6.0, 6.0)
    assert "speed (p 0.25, 0.9 to 1.1 times), gain (p 0.4, -6 to +6 dB)" in wanted.in_words()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"augment": "noise"}, "Add --augment_noise FOLDER"),
        ({"augment": "reverb"}, "Add --augment_reverb FOLDER"),
        ({"augment": "gain,hum"}, "--augment gain,hum: expected some of speed"),
        ({"augment": "gain,gain"}, "--augment gain,gain: expected"),
        ({"augment": "gain:2"}, "a probability above 0, at most 1, for gain"),
        ({"augment": "gain:much"}, "a probability above 0, at most 1, for gain"),
        ({"augment": "gain", "augment_probability": 0.0}, "--augment_probability 0: expected above 0"),
        ({"augment": "gain", "augment_gain_db": "6,-6"}, "--augment_gain_db 6,-6: expected two numbers from -60 to 60"),
        ({"augment": "gain", "augment_gain_db": "6"}, "--augment_gain_db 6: expected two numbers from -60 to 60"),
        (
            {"augment": "gain", "augment_gain_db": "nan,inf"},
            "--augment_gain_db nan,inf: expected two numbers from -60 to 60",
        ),
        ({"augment": "speed", "augment_speed": "0,1"}, "two numbers from 0.25 to 4"),
        ({"augment": "mixup", "augment_mixup_alpha": 0.0}, "--augment_mixup_alpha 0: expected a number above 0"),
        ({"augment": "spec", "augment_spec_time": 0.9}, "--augment_spec_time 0.9: expected above 0, at most 0.5"),
        ({"augment": "shift", "augment_shift_seconds": float("nan")}, "--augment_shift_seconds nan: expected"),
        (
            {"augment": "gain", "augment_noise": "rain"},
            "--augment_noise has no effect without --augment noise",
        ),
        ({"augment_probability": 0.9}, "--augment_probability has no effect without --augment"),
        ({"augment_speed": "1,2"}, "--augment_speed has no effect without --augment speed"),
    ],
)
def test_what_cannot_be_meant_is_one_line(settings: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as error:
        AugmentArguments(**settings).augmentation()  # type: ignore[arg-type]
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_preview_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to show"):
        AugmentPreviewOptions(output_dir="x")
    with pytest.raises(UsageError, match="no output folder"):
        AugmentPreviewOptions(augment="gain")
