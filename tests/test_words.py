from earmark.words import counted, none_of


def test_one_is_not_several() -> None:
    assert [counted(number, "clip") for number in (0, 1, 2, 1200)] == ["0 clips", "1 clip", "2 clips", "1,200 clips"]
    assert [counted(number, "class") for number in (1, 2)] == ["1 class", "2 classes"]
    assert counted(1, "validation clip") == "1 validation clip"


def test_none_of_one_is_not_none_of_1() -> None:
    assert [f"{none_of(number, 'recording')} be read" for number in (1, 1200)] == [
        "the recording could not be read",
        "none of the 1,200 recordings could be read",
    ]
