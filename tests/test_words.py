from earmark.words import counted


def test_one_is_not_several() -> None:
    assert [counted(number, "clip") for number in (0, 1, 2, 1200)] == ["0 clips", "1 clip", "2 clips", "1,200 clips"]
    assert [counted(number, "class") for number in (1, 2)] == ["1 class", "2 classes"]
    assert counted(1, "validation clip") == "1 validation clip"
