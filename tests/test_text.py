from earmark.text import (
    agreeing,
    and_more,
    counted,
    format_bytes,
    format_seconds,
    in_columns,
    markdown_table,
    none_could,
    with_article,
)


def test_one_is_not_several() -> None:
    assert [counted(number, "clip") for number in (0, 1, 2, 1200)] == ["0 clips", "1 clip", "2 clips", "1,200 clips"]
    assert [counted(number, "class") for number in (1, 2)] == ["1 class", "2 classes"]
    assert counted(1, "validation clip") == "1 validation clip"
    assert counted(2, "batch") == "2 batches"


def test_none_of_one_is_not_none_of_1() -> None:
    assert [f"{none_could(number)} be read" for number in (1, 1200)] == [
        "the recording could not be read",
        "none of the 1,200 recordings could be read",
    ]


def test_names_have_their_article() -> None:
    names = ("onnx", "ASTForAudioClassification", "int", "pt2", "Wav2Vec2Model", "unispeech")
    assert [with_article(name)[: -len(name)] for name in names] == ["an ", "an ", "an ", "a ", "a ", "a "]


def test_verbs_and_pronouns_agree_with_a_number() -> None:
    assert [f"{number} {agreeing(number, 'are')}" for number in (0, 1, 2)] == ["0 are", "1 is", "2 are"]
    assert [agreeing(1, word) for word in ("have", "were", "them", "they")] == ["has", "was", "it", "it"]


def test_names_beyond_the_first_are_counted() -> None:
    assert and_more(["a", "b"], 2) == "a, b"
    assert and_more(["a", "b", "c"], 2, "; ") == "a; b; and 1 more"
    assert and_more(list("ab") * 1000, 1) == "a and 1,999 more"


def test_seconds_and_bytes_in_words() -> None:
    assert [format_seconds(seconds) for seconds in (45.4, 185, 7800, float("inf"))] == [
        "45 s", "3:05", "2:10:00", "inf s",
    ]  # fmt: skip
    assert [format_bytes(count) for count in (512, 96e6, 1.2e12, 5e15)] == ["512 B", "96.0 MB", "1.2 TB", "5,000.0 TB"]


def test_cells_of_a_table_stand_below_each_other() -> None:
    rows = [("name", "clips"), ("a", "1,200")]
    assert in_columns(rows) == ["name  clips", "a     1,200"]
    assert in_columns([]) == []
    assert markdown_table(rows) == ["| name | clips |", "| ---- | ----- |", "| a    | 1,200 |"]
