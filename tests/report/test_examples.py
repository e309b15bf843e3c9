"""Which clips a page shows."""

from __future__ import annotations

import numpy as np

from earmark.tasks.report_section import MISTAKES
from earmark.tasks.single_label_section import choose


def scores(answers: list[int], confidence: list[float], classes: int) -> np.ndarray:
    rows = np.array([(1 - sure) / (classes - 1) for sure in confidence])[:, None] * np.ones(classes)
    rows[np.arange(len(answers)), answers] = confidence
    return rows


def test_the_surest_mistakes_and_the_least_sure_right_answers_come_first() -> None:
    answers, targets = [1, 1, 0, 0, 0, 0, 0], np.array([0, 0, 0, 0, 0, 0, 1])
    chosen = choose(scores(answers, [0.7, 0.9, 0.6, 0.99, 0.8, 0.95, 0.75], 2), targets)
    assert chosen.mistakes == [1, 6, 0]
    assert chosen.cells == {(0, 1): [1, 0], (1, 0): [6], (0, 0): [2, 4, 5]}
    assert chosen.rows() == [0, 1, 2, 4, 5, 6]


def test_there_is_a_bound_and_every_large_cell_of_mistakes_is_heard() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 200, 20_000)
    probabilities = rng.dirichlet(np.ones(200), 20_000)
    probabilities[:300, 7] += 1
    targets[:300] = 3
    chosen = choose(probabilities, targets)
    assert len(chosen.rows()) <= 240
    assert len(chosen.mistakes) == MISTAKES
    assert len(chosen.cells[3, 7]) >= 1
    assert all(
        targets[row] == i and probabilities[row].argmax() == j for (i, j), of in chosen.cells.items() for row in of
    )


def test_no_mistakes() -> None:
    assert choose(scores([0, 1], [0.9, 0.8], 2), np.array([0, 1])).mistakes == []
