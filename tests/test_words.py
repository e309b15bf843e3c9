from earmark.words import agreeing, counted, none_of


def test_one_is_not_several() -> None:
    assert [counted(number, "clip") for number in (0, 1, 2, 1200)] == ["0 clips", "1 clip", "2 clips", "1,200 clips"]
    assert [counted(number, "class") for number in (1, 2)] == ["1 class", "2 classes"]
    assert counted(1, "validation clip") == "1 validation clip"


def test_none_of_one_is_not_none_of_1() -> None:
    assert [f"{none_of(number, 'recording')} be read" for number in (1, 1200)] == [
        "the recording could not be read",
        "none of the 1,200 recordings could be read",
    ]


def test_verbs_and_pronouns_agree_with_a_number() -> None:
    assert [f"{number} {agreeing(number, 'are')}" for number in (0, 1, 2)] == ["0 are", "1 is", "2 are"]
    assert [agreeing(1, word) for word in ("have", "were", "them", "they")] == ["has", "was", "it", "it"]
