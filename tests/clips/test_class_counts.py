"""The line about the classes."""

from __future__ import annotations

from earmark.clips.class_counts import describe_classes
from earmark.clips.clip import Clip, ClipTable, Label


def table(*labels: Label | None) -> ClipTable:
    return ClipTable([Clip(f"{i}.wav", label) for i, label in enumerate(labels)], "data")


def test_few_classes() -> None:
    tables = {"training": table("b", "a", "b"), "validation": table("a")}
    assert describe_classes(tables) == "2 classes in 3 training clips: a 1, b 2; 1 validation clip"


def test_many_classes() -> None:
    labels = [f"c{i:02d}" for i in range(30)] * 2 + ["c29", "c00", "c00"]
    named = ", ".join(f"c{i:02d} 2" for i in range(1, 10))
    assert describe_classes({"training": table(*labels)}) == (
        f"30 classes in 63 training clips: c00 4, {named}, ... and 20 more (2 to 3 clips)"
    )


def test_other_labels() -> None:
    assert describe_classes({"training": table(("a", "b"), ("a",), ())}) == (
        "2 classes in 3 training clips: a 2, b 1, 1 without a label"
    )
    assert describe_classes({"test": table(1.5, 3.0)}) == "2 test clips with numbers from 1.5 to 3"
    assert describe_classes({"test": table(None)}) == "1 test clip without labels"
