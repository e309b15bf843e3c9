"""Runs held against each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earmark.cli.main import main
from earmark.cli.report_command import COMMAND
from earmark.errors import DataError, OutputError, UsageError
from earmark.report.compare import compare_runs
from earmark.tasks import MULTI_LABEL
from earmark.tasks.multi_label_figures import compute_multi_label
from tests.report.some_runs import LABELS, noisy_labels, noisy_numbers, of_classes, of_labels, of_numbers


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    plain = of_classes(tmp_path / "plain", [i % 4 != 0 for i in range(40)])
    better = of_classes(tmp_path / "better", [i != 0 for i in range(40)], order=list(range(39, -1, -1)))
    same = of_classes(tmp_path / "same", [i % 4 != 1 for i in range(40)])
    return [str(folder) for folder in (plain, better, same)]


def run(words: list[str]) -> None:
    COMMAND.does(COMMAND.read(words)[0])


def test_runs_against_the_first(runs: list[str]) -> None:
    found = compare_runs(runs)
    better, same = found.pairs
    assert (better.only_first, better.only_second) == (0, 9)
    assert (same.only_first, same.only_second) == (10, 10)
    assert found.p == pytest.approx([2 * 2 * 0.5**9, 1.0])  # the smaller of two counts twice
    assert [run.figures["accuracy"].value for run in found.runs] == [0.75, 0.975, 0.75]
    text = found.summary()
    assert "better: better than plain (p 0.0078)" in text
    assert "same: no significant difference from plain on these clips (p 1)" in text
    assert "majority rate 0.5000" in text


def test_evaluations_of_unseen_clips_are_compared(tmp_path: Path) -> None:
    plain = of_classes(tmp_path / "plain", [i % 4 != 0 for i in range(40)], split="unseen")
    better = of_classes(tmp_path / "better", [i != 0 for i in range(40)], split="unseen")
    words = [str(plain), str(better)]
    assert COMMAND.read([*words, "--split", "unseen"])[0].split == "unseen"
    for split in ("unseen", None):  # without a flag, because neither has test or validation clips
        found = compare_runs(words, split)
        assert found.split == "unseen"
        assert found.pairs[0].only_second == 9


def test_runs_without_a_common_split_are_told_which_they_have(tmp_path: Path) -> None:
    right = [True] * 10
    first = of_classes(of_classes(tmp_path / "first", right, split="validation"), right, split="unseen")
    second = of_classes(tmp_path / "second", right)
    with pytest.raises(DataError) as refused:
        compare_runs([str(first), str(second)])
    assert str(refused.value) == (
        f"no split has predictions of all runs: {first} has validation and unseen clips; {second} has test "
        "clips. Evaluate each with the same --split, then compare these evaluations."
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no predictions_SPLIT\.csv in it\. Run `earmark evaluate`"):
        compare_runs([str(first), str(tmp_path / "empty")])


def test_an_interval_that_seems_to_contradict_p_is_explained(tmp_path: Path) -> None:
    plain = of_classes(tmp_path / "plain", [i >= 5 for i in range(40)])
    better = of_classes(tmp_path / "better", [True] * 40)
    found = compare_runs([str(plain), str(better)])
    assert found.pairs[0].p == 0.0625
    assert found.pairs[0].differences["accuracy"].is_certain
    (verdict,) = found.verdicts()
    assert verdict.startswith(
        "better: no significant difference from plain on these clips (p 0.062). The 95 % interval"
    )
    assert "of the difference in accuracy (+0.0" in verdict
    assert "excludes 0, but p decides. McNemar's exact test (p) and the bootstrap (interval)" in verdict
    assert verdict.endswith("near the limit of 0.05. Score more clips to be sure")
    assert "p is raised" not in verdict
    same = of_classes(tmp_path / "same", [i >= 5 for i in range(40)])
    verdict, _ = compare_runs([str(plain), str(better), str(same)]).verdicts()
    assert "near the limit of 0.05, and p is raised because 2 runs are compared. Score" in verdict
    sure = of_classes(tmp_path / "sure", [i >= 15 for i in range(40)])
    for one, other in ((sure, better), (plain, same)):  # p and interval agree
        (verdict,) = compare_runs([str(one), str(other)]).verdicts()
        assert "interval" not in verdict


def test_clips_of_one_recording_are_told_apart(tmp_path: Path) -> None:
    for name, answers in (("x", "ab"), ("y", "aa")):
        (tmp_path / name).mkdir()
        lines = [f"tape.wav,{label},{answer},0.9,1" for label, answer in zip("ab", answers, strict=True)]
        (tmp_path / name / "predictions_test.csv").write_text("\n".join(["path,label,predicted,score,correct", *lines]))
    assert compare_runs([str(tmp_path / "x"), str(tmp_path / "y")]).pairs[0].only_first == 1


def test_folds_are_compared_by_all_their_test_clips(tmp_path: Path) -> None:
    answers = {"plain": [i % 4 != 0 for i in range(40)], "better": [i != 0 for i in range(40)]}
    for name, right in answers.items():
        for fold in range(2):
            whole = of_classes(tmp_path / name / f"fold_{fold}", right, order=list(range(fold, 40, 2)))
            text = (whole / "predictions_test.csv").read_text()
            (whole / "predictions_test.csv").write_text(text.replace(f"{whole.parent}/", f"{tmp_path}/"))
    found = compare_runs([str(tmp_path / name) for name in answers])
    assert found.split == "test"
    assert [run.figures["accuracy"].value for run in found.runs] == [0.75, 0.975]
    assert (found.pairs[0].only_first, found.pairs[0].only_second) == (0, 9)
    with pytest.raises(DataError, match="several folds have the same validation clips"):
        compare_runs([str(tmp_path / name) for name in answers], "validation")
    (tmp_path / "better" / "fold_1" / "predictions_test.csv").unlink()
    with pytest.raises(DataError, match=r"fold_1/predictions_test\.csv: no such file"):
        compare_runs([str(tmp_path / name) for name in answers])


def test_what_is_no_run_is_named_with_what_to_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("seeds/seed_0", "seeds/seed_1", "runs/a", "cv/fold_0"):
        of_classes(tmp_path / name, [True] * 10)
    for folders, said in (
        (["seeds"], "seeds: not a run, but a folder of 2 runs of several seeds. Name the runs to compare: earmark"),
        (["cv", "seeds"], f"earmark report {tmp_path}/seeds/seed_0 {tmp_path}/seeds/seed_1"),
        (
            ["runs"],
            f"runs: not a run, but a folder of 1 run. Name the runs to compare: earmark report {tmp_path}/runs/a",
        ),
        (["nowhere", "cv"], f"nowhere: no such folder; {tmp_path} holds cv, runs, seeds. Fix the path."),
        (["run", "cv"], f"run: no such folder; did you mean {tmp_path}/runs?"),
        (["cv"], f"open {tmp_path}/cv/fold_*/report.html for its folds"),
        (["runs/a"], "open RUN/report.html for one run"),
        ([], "a comparison needs two runs"),
    ):
        assert main(["report", *(str(tmp_path / folder) for folder in folders)]) == 2
        assert said in capsys.readouterr().err


def test_clips_are_the_same_by_whatever_way_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data", target_is_directory=True)
    right = [i < 30 for i in range(40)]
    plain = of_classes(tmp_path / "data" / "plain", right)
    other = of_classes(tmp_path / "link" / "other", right, order=list(reversed(range(40))))
    found = compare_runs([str(plain), str(other)])
    assert [one.figures["accuracy"].value for one in found.runs] == [0.75, 0.75]
    assert found.pairs[0].only_first == found.pairs[0].only_second == 0


def test_folds_of_several_labels_are_compared_by_all_their_test_clips(tmp_path: Path) -> None:
    whole, folds = [], []
    for name, noise, seed in (("plain", 1.5, 1), ("good", 0.3, 2)):
        there, logits = noisy_labels(noise, seed)
        whole.append(of_labels(tmp_path / "whole" / name, there, logits))
        for fold in range(3):
            # a fold may know its labels in another order
            turned = slice(None, None, -1 if fold == 1 else 1)
            given = (there[:, turned], logits[:, turned], LABELS[turned])
            of_labels(tmp_path / name / f"fold_{fold}", *given, range(fold, 60, 3))
        folds.append(str(tmp_path / name))
    found, wanted = compare_runs(folds), compare_runs(whole)
    assert found.task is MULTI_LABEL
    of_folds, of_whole = (
        [{name: of.value for name, of in one.figures.items()} for one in each.runs] for each in (found, wanted)
    )
    assert of_folds[0] == pytest.approx(of_whole[0])
    assert of_folds[1] == pytest.approx(of_whole[1])
    assert found.pairs[0].p == wanted.pairs[0].p < 0.05
    with pytest.raises(DataError, match="several folds have the same validation clips"):
        compare_runs(folds, "validation")
    of_labels(tmp_path / "plain" / "fold_3", there, logits, ["a", "c"], [0])
    with pytest.raises(DataError, match=r"fold_3: its labels differ from .*fold_0 \(only one has 'b, with a comma'\)"):
        compare_runs(folds)


def test_folds_of_numbers_are_compared_by_all_their_test_clips(tmp_path: Path) -> None:
    folds, wanted = [], []
    for name, noise in (("plain", 3.0), ("good", 0.3)):
        numbers, answers = noisy_numbers(noise, 1)
        for fold in range(2):
            of_numbers(tmp_path / name / f"fold_{fold}", numbers, answers, range(fold, 60, 2))
        folds.append(str(tmp_path / name))
        wanted.append(np.abs(answers - numbers).mean())
    found = compare_runs(folds)
    assert len(found.clips) == 60
    assert [one.figures["mae"].value for one in found.runs] == pytest.approx(wanted, rel=1e-4)
    assert found.pairs[0].second_is_better


def test_runs_of_several_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (("plain", 1.5, 1), ("good", 0.3, 2))
    run([of_labels(tmp_path / name, *noisy_labels(noise, seed)) for name, noise, seed in given])
    text = capsys.readouterr().out
    assert "test: 60 clips, 2 labels, mean prevalence 0." in text
    assert "good: better than plain by the clips with all labels right (p 3e-08)" in text
    assert "; its mAP is higher (+0.1949, 95 % +0.0" in text
    there, logits = noisy_labels(0.3, 2)
    assert f"| good  | {compute_multi_label(logits, there, LABELS).mean_average_precision:.4f}" in text


def test_clips_may_stand_in_another_order(tmp_path: Path) -> None:
    runs = [of_labels(tmp_path / "plain", *noisy_labels(1.5, 1))]
    runs += [of_labels(tmp_path / "turned", *noisy_labels(1.5, 1), rows=range(59, -1, -1))]
    (pair,) = compare_runs(runs).pairs
    assert [of.value for of in pair.differences.values()] == [0, 0]
    numbers = [of_numbers(tmp_path / "numbers", *noisy_numbers(1, 1))]
    numbers += [of_numbers(tmp_path / "numbers_turned", *noisy_numbers(1, 1), rows=range(59, -1, -1))]
    assert compare_runs(numbers).pairs[0].p == 1


def test_probabilities_may_be_better_where_whole_clips_do_not_say_so(tmp_path: Path) -> None:
    there, logits = noisy_labels(1.5, 1)
    plain, ranked = logits - 20, np.where(there, 1.0, -1.0) - 20  # neither answers a label
    runs = [of_labels(tmp_path / "plain", there, plain), of_labels(tmp_path / "ranked", there, ranked)]
    (verdict,) = compare_runs(runs).verdicts()
    assert verdict.startswith("ranked: no significant difference from plain on clips with all labels right (p 1)")
    assert "; its mAP is higher (+0." in verdict


def test_runs_of_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (("plain", 1.0, 1), ("bad", 3.0, 2), ("like", 1.0, 3))
    run([of_numbers(tmp_path / name, *noisy_numbers(noise, seed)) for name, noise, seed in given])
    text = capsys.readouterr().out
    assert "bad: worse than plain" in text
    assert "like: no significant difference from plain on these clips" in text
    assert "Wilcoxon p" in text
    numbers, answers = noisy_numbers(3.0, 2)
    assert f"| bad   | {np.abs(answers - numbers).mean():.4g} " in text
    assert f"median {np.abs(numbers - np.median(numbers)).mean():.4g}\n" in text


def test_runs_of_other_tasks_labels_and_clips_are_one_line(tmp_path: Path) -> None:
    there, logits = noisy_labels(1, 1)
    labels = of_labels(tmp_path / "labels", there, logits)
    numbers = of_numbers(tmp_path / "numbers", *noisy_numbers(1, 1))
    with pytest.raises(DataError, match=r"numbers: predicts a number, but .*labels predicts several labels a clip"):
        compare_runs([labels, numbers])
    fewer = of_labels(tmp_path / "fewer", there[:50], logits[:50])
    with pytest.raises(DataError, match=r"its clips differ from .*labels \(50 and 60 clips, 50 in common\)"):
        compare_runs([labels, fewer])
    others = of_labels(tmp_path / "others", there, logits, ["a", "z"])
    with pytest.raises(DataError, match="its labels differ from"):
        compare_runs([labels, others])
    there = there.copy()
    there[7] = [True, False] if not there[7, 0] else [False, True]
    wrong = of_labels(tmp_path / "wrong", there, logits)
    with pytest.raises(DataError, match=r"wrong: 7\.wav is labelled '.*' here and '.*' in .*labels\. Evaluate both"):
        compare_runs([labels, wrong])


def test_what_cannot_be_compared_is_one_line(runs: list[str], tmp_path: Path) -> None:
    fewer = of_classes(tmp_path / "fewer", [True] * 39)
    with pytest.raises(DataError, match=r"its clips differ from .*plain \(39 and 40 clips, 39 in common\)"):
        compare_runs([runs[0], str(fewer)])
    text = (Path(runs[1]) / "predictions_test.csv").read_text()
    relabelled = tmp_path / "relabelled"
    relabelled.mkdir()
    (relabelled / "predictions_test.csv").write_text(text.replace("3.wav,b", "3.wav,c"))
    with pytest.raises(DataError, match=r"3\.wav is labelled 'c' here and 'b' in"):
        compare_runs([runs[0], str(relabelled)])
    (relabelled / "predictions_test.csv").write_text("path,label\nx,y\n")
    with pytest.raises(DataError, match="damaged"):
        compare_runs([runs[0], str(relabelled)])
    with pytest.raises(DataError, match=r"plain: has predictions for test clips, but not for validation clips\. Eval"):
        compare_runs(runs, "validation")
    with pytest.raises(UsageError, match="named twice"):
        compare_runs([runs[0], runs[0] + "/"])
    with pytest.raises(UsageError, match="a comparison needs two runs"):
        compare_runs([runs[0]])
    with pytest.raises(UsageError, match=r"End its name in \.html"):
        COMMAND.read([*runs, "--output", "x.pdf"])


def test_a_page_is_not_replaced_unasked(runs: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        run([*runs, "--output", str(tmp_path / "x.html")])
    assert (tmp_path / "x.html").read_text() == "mine"


def test_intervals_are_those_of_one_run(runs: list[str]) -> None:
    found = compare_runs(runs[:2])
    within = found.runs[0].figures["accuracy"].interval
    assert within is not None
    assert within.low < 0.75 < within.high
    assert np.isfinite(found.runs[0].of_labels["f1"]).all()
