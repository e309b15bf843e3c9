"""Mistakes that are found before Transformers is imported, and none that the parser would not find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from earmark.cli.early import given_flags, known_flags
from earmark.cli.legacy import LEGACY_FLAGS
from earmark.cli.main import main
from earmark.cli.parsing import build_parser, look_first, train_classes
from earmark.errors import DataError, UsageError
from earmark.options import SearchOptions

RUN = ["--model_type", "tc_resnet", "--output_dir", "out"]


@pytest.mark.parametrize("also", [(), (SearchOptions,)])
def test_all_flags_of_the_parser_are_known_without_it(also: tuple[type, ...]) -> None:
    parser = build_parser(*train_classes(), *also)
    spelled = {word.lstrip("-").replace("-", "_") for action in parser._actions for word in action.option_strings}
    known = known_flags(also)
    assert {name for name in spelled if name not in known and name.removeprefix("no_") not in known} == set()
    # and nothing is taken for one that is none
    assert known - spelled == LEGACY_FLAGS - spelled | {"config"}


def test_which_flags_are_given() -> None:
    words = ["a", "--num-train-epochs", "3", "--lora=4", "--calibrate", "--seeds", "-1", "--", "--later"]
    assert given_flags([]) == {}
    assert given_flags(words) == {"num_train_epochs": "3", "lora": "4", "calibrate": None, "seeds": "-1"}


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["--bogus_flag"], UsageError, "unknown flag --bogus_flag"),
        ([*RUN, "--data_dri", "x"], UsageError, "unknown flag --data_dri; did you mean --data_dir?"),
        ([*RUN, "--data_dir", "gone"], DataError, "gone: no such folder"),
        ([*RUN, "--eval_file=gone.csv"], DataError, "gone.csv: no such file"),
        (RUN[:2], UsageError, "no output folder"),
        (RUN[2:], UsageError, "no model"),
        ([*RUN, "--model_name_or_path", "x"], UsageError, "contradict"),
        ([*RUN, "--config", "gone.yaml"], UsageError, "gone.yaml: cannot read"),
    ],
)
def test_what_is_seen_at_once(words: list[str], error: type[Exception], said: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said.replace("?", r"\?")):
        look_first(words)


def test_what_is_right_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    Path("settings.yaml").write_text("data_dir: data\noutput_dir: out\n")
    look_first(["--config", "settings.yaml", "--model_type", "tc_resnet", "--no_gradient_checkpointing"])
    look_first([*RUN, "--evaluation_strategy", "no", "--trials", "3"], SearchOptions)
    monkeypatch.setenv("WORLD_SIZE", "2")  # another machine may have it
    look_first([*RUN, "--data_dir", "gone"])


def test_nothing_heavy_is_imported_for_it(tmp_path: Path) -> None:
    for command in ("train", "search"):
        code = (
            f"import sys; from earmark.cli.main import main; code = main([{command!r}, '--data_dir', 'gone', "
            "'--model_type', 'tc_resnet', '--output_dir', 'out']); "
            "assert not {'torch', 'transformers', 'sklearn'} & set(sys.modules); sys.exit(code)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert done.stderr.strip() == "earmark: error: gone: no such folder"
    assert not list(tmp_path.iterdir())


def test_help_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    assert "earmark train" in capsys.readouterr().out
