"""Say which of two runs is better, by p, and explain an interval that seems to contradict p."""

from __future__ import annotations

from collections.abc import Callable

from earmark.stats.paired import Estimate, Paired
from earmark.stats.uncertainty import Units
from earmark.tasks import Task
from earmark.text import counted

_LIMIT = 0.05  # a difference with a smaller p is significant


def p_text(p: float) -> str:
    """Return a p value as text."""
    return f"{p:.2g}"


def p_title(task: Task, units: Units) -> str:
    """Return the heading of the p-values in a table: the name of the test and ``p``."""
    return "Sign-flip p" if units.are_groups else f"{task.paired_test[0]} p"


def verdict(
    name: str,
    first: str,
    pair: Paired,
    p: float,
    *,
    task: Task,
    units: Units,
    num_pairs: int,
    cells: Callable[[Estimate], tuple[str, str]],
) -> str:
    """Return a sentence that says whether a run is better than the first run.

    Args:
        name: name of the run.
        first: name of the first run.
        pair: comparison of the run with the first run.
        p: p value, corrected if there are several pairs.
        task: task of the runs.
        units: units of the test and the interval.
        num_pairs: number of runs that are compared with the first run.
        cells: returns a difference and its interval as text.
    """
    chance = f"p {p_text(p)} over {units.in_words}" if units.are_groups else f"p {p_text(p)}"
    if p < _LIMIT:
        by = f" by the {task.tested_clips}" if task.tested_clips else ""
        text = f"{name}: {'better' if pair.second_is_better else 'worse'} than {first}{by} ({chance})"
    else:
        text = f"{name}: no significant difference from {first} on {task.tested_clips or 'these clips'} ({chance})"
    if not task.tested_clips:
        return text + _disagreement(pair, p, task, units, num_pairs, cells)
    # With several labels, the test is about whole clips; the ranking by probability may differ, so report it, too.
    figure, ranked = next(iter(pair.differences.items()))
    if not ranked.is_certain:
        return text
    value, within = cells(ranked)
    title = task.curves[figure]
    return f"{text}; its {title} is {'higher' if ranked.value > 0 else 'lower'} ({value}, 95 % {within})"


def _disagreement(
    pair: Paired, p: float, task: Task, units: Units, num_pairs: int, cells: Callable[[Estimate], tuple[str, str]]
) -> str:
    """Return sentences that explain an interval which seems to contradict p; usually empty."""
    figure, difference = next(iter(pair.differences.items()))
    if difference.interval is None or difference.is_certain == (p < _LIMIT):
        return ""
    what = task.curves[figure]
    test = "the sign-flip test" if units.are_groups else task.paired_test[1]
    raised = f", and p is raised because {counted(num_pairs, 'run')} are compared" if num_pairs > 1 else ""
    return (
        f". The 95 % interval of the difference in {what} ({cells(difference)[1]}) "
        f"{'excludes' if difference.is_certain else 'includes'} 0, but p decides. {test[0].upper()}{test[1:]} (p) and "
        f"the bootstrap (interval) are different methods, which can disagree about a difference near the limit of "
        f"{_LIMIT:g}{raised}. Score more {'groups' if units.are_groups else 'clips'} to be sure"
    )
