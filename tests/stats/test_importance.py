"""A rate by importance weights: planted policies, coverage, and when none is given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.importance import LEAST_EFFECTIVE, WeightedRate, weighted_rate

TOKENS = 6


def looked(shift: float, answers: int, seed: int) -> WeightedRate:
    """Answers of `TOKENS` coins of .9, weighted to coins with the log-odds moved by `shift`; all must hit."""
    rng = np.random.default_rng(seed)
    p, q = 0.9, 1.0 / (1.0 + np.exp(-(np.log(9.0) + shift)))
    hits = rng.random((answers, TOKENS)) < p
    logs = np.where(hits, np.log(q / p), np.log((1.0 - q) / (1.0 - p))).sum(axis=1)
    return weighted_rate(range(answers), logs, hits.all(axis=1).tolist(), seed=seed)


def true(shift: float) -> float:
    return float((1.0 / (1.0 + np.exp(-(np.log(9.0) + shift)))) ** TOKENS)


@pytest.mark.parametrize("shift", [-0.8, 0.0, 0.7])
def test_intervals_cover_the_rate_of_the_other_policy(shift: float) -> None:
    found = [looked(shift, 400, seed) for seed in range(120)]
    told = [one.rate for one in found if not one.refused]
    assert len(told) > 100
    missed = sum(not (one.low or 0.0) <= true(shift) <= (one.high or 1.0) for one in told)
    assert missed <= 0.1 * len(told)
    assert np.mean([one.estimate for one in told]) == pytest.approx(true(shift), abs=0.01)


def test_unweighted_answers_all_count() -> None:
    found = looked(0.0, 200, 1)
    assert found.effective == pytest.approx(200.0)
    assert found.unseen == pytest.approx(0.0)


def test_too_few_effective_answers_give_no_number() -> None:
    found = looked(-4.0, 400, 0)
    assert found.effective < LEAST_EFFECTIVE
    assert (found.rate.estimate, found.rate.low, found.rate.high) == (None, None, None)
    assert "effective answer, and 100 are needed" in found.refused
    # The mean of a few weights says nothing of what wasn't drawn.
    assert found.unseen is None
    assert weighted_rate([0, 1], [0.0, 0.0], [True] * 2, seed=0).refused.startswith("2 effective answers, ")


def test_what_wasnt_drawn_counts_as_no_hit() -> None:
    """Half of the other policy's answers can't be drawn by this one: even weights, all count, and all hit."""
    found = weighted_rate(range(400), np.log(np.linspace(0.45, 0.55, 400)), [True] * 400, seed=0)
    assert found.effective > 390
    assert found.unseen == pytest.approx(0.5)
    assert found.rate.estimate == pytest.approx(0.5)


@given(st.lists(st.tuples(st.floats(-800, 800), st.booleans()), min_size=1, max_size=30))
def test_numbers_whatever_the_weights(answers: list[tuple[float, bool]]) -> None:
    logs, hits = zip(*answers, strict=True)
    found = weighted_rate(range(len(logs)), logs, hits, seed=0)
    assert 0.0 <= found.effective <= len(logs) + 1e-6
    assert found.unseen is None or 0.0 <= found.unseen <= 1.0


def test_answers_of_one_task_are_resampled_together() -> None:
    hits = [True] * 100 + [False] * 100
    apart = weighted_rate(range(200), np.zeros(200), hits, seed=0).rate
    together = weighted_rate([task // 50 for task in range(200)], np.zeros(200), hits, seed=0).rate
    assert apart.low is not None
    assert together.low is not None
    assert together.low < apart.low


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="one of each"):
        weighted_rate([0, 1], [0.0], [True, False], seed=0)
    with pytest.raises(ValueError, match="one of each"):
        weighted_rate([0], [float("nan")], [True], seed=0)
