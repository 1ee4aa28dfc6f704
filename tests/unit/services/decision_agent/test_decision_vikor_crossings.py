"""VIKOR's weight ranges against a fine scan with a Q of the test's own."""

import numpy as np
import pytest

from services.decision_agent.problem import Problem
from services.decision_agent.request_models import CriterionSpec
from services.decision_agent.sensitivity import weight_ranges
from services.decision_agent.vikor import Vikor

GRID = np.linspace(0.0, 1.0, 801)


def spread(figures):
    low, high = figures.min(axis=1, keepdims=True), figures.max(axis=1, keepdims=True)
    return np.divide(figures - low, high - low, out=np.zeros_like(figures), where=high - low > 1e-12)


def leads(matrix, weights, v):
    """For each row of weights, by how much each alternative's Q is above the least."""
    best, worst = matrix.max(axis=0), matrix.min(axis=0)
    regrets = weights[:, None, :] * ((best - matrix) / (best - worst))[None, :, :]
    q = v * spread(regrets.sum(axis=2)) + (1 - v) * spread(regrets.max(axis=2))
    return q - q.min(axis=1, keepdims=True)


def moved(weights, j, at):
    rest = np.delete(weights, j).sum()
    rows = np.outer(1 - at, weights / rest)
    rows[:, j] = at
    return rows


@pytest.mark.parametrize("v", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("count", "criteria"), [(2, 2), (3, 3), (12, 2), (12, 4), (40, 3)])
def test_ranges_agree_with_a_fine_scan(v, count, criteria):
    rng = np.random.default_rng([int(v * 10), count, criteria])
    inner = 0
    for trial in range(20):
        ranks = rng.permuted(np.tile(np.arange(count, dtype=float), (criteria, 1)), axis=1).T
        matrix = rng.random((count, criteria)) if trial % 2 else ranks
        weights = rng.dirichlet(np.ones(criteria))
        problem = Problem(
            tuple(str(i) for i in range(count)), tuple(CriterionSpec(name=f"c{j}") for j in range(criteria)), matrix
        )
        scorer = Vikor(problem, v)
        winner = int(np.argmax(scorer.merit(weights)))
        found = weight_ranges(scorer, weights, winner, problem.labels, problem.names, 1.0)
        for j, bounds in enumerate(found.values()):
            behind = leads(matrix, moved(weights, j, GRID), v)[:, winner]
            inside = np.abs(GRID - (bounds.lowest + bounds.highest) / 2) < (bounds.highest - bounds.lowest) / 2 - 1e-9
            assert behind[inside].max(initial=0.0) <= 1e-9
            edges = np.array([e for e in (bounds.lowest - 1e-7, bounds.highest + 1e-7) if 0 < e < 1])
            assert (leads(matrix, moved(weights, j, edges), v)[:, winner] > 0).all()
            inner += len(edges)
    assert inner > 5
