"""``earmark.search``: the command as a function."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import earmark
from earmark.errors import ModelError, UsageError
from tests.api.small import SMALL
from tests.tiny import write_tones

QUICK = {**SMALL, "num_train_epochs": 1, "model": "tc_resnet"}
SPACE = {"learning_rate": "1e-4:1e-2:log", "label_smoothing_factor": [0, 0.1]}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"), per_class=4, seconds=0.2)


def test_a_search_returns_its_trials_and_the_best_run(recordings: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    clips, output = earmark.load_clips(recordings), tmp_path / "s"
    found = earmark.search(clips, search_space=SPACE, output_dir=output, trials=1, **QUICK)
    assert [row["state"] for row in found.trials] == ["done"]
    more = earmark.search(clips, search_space=SPACE, output_dir=output, trials=2, **QUICK)  # continues
    saved = json.loads((output / "search.json").read_text())
    assert (more.trials, more.best_trial) == (saved["trials"], saved["best"])
    assert more.trials[0] == found.trials[0]
    best = next(row for row in more.trials if row["trial"] == more.best_trial)
    assert more.best_settings == best["values"]
    assert set(best["values"]) == set(SPACE)
    assert more.best.metrics["validation"]["accuracy"] == best["value"]
    assert f"<td>{best['trial']}</td>" in more._repr_html_()


def test_a_search_without_a_finished_trial_has_no_best() -> None:
    nothing = earmark.SearchResult(Path("s"), [], None)
    assert nothing.best_settings == {}
    with pytest.raises(ModelError, match=r"^s: no trial was finished\. See `trials` for the reasons\.$"):
        nothing.best  # noqa: B018


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search_space": {"learning_rat": "1:2"}}, "--search_space learning_rat: not a flag"),
        ({"search_space": SPACE, "trails": 2}, "unknown flag --trails"),
        ({"search_space": SPACE, "trials": 0}, "--trials 0: expected"),
        ({"search_space": SPACE, "num_processes": 2}, "use the command earmark search"),
        ({"search_space": SPACE, "seeds": [0, 1]}, "each trial of a search is one run"),
    ],
)
def test_mistakes_have_the_messages_of_the_command(
    settings: dict[str, object], message: str, recordings: Path, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(UsageError, match=message):
        earmark.search(recordings, output_dir=tmp_path / "s", **{**QUICK, **settings})
    assert not (tmp_path / "s").exists()
