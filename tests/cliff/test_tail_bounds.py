"""Bounds of a mean tail, and of λ* made of them: exact where they can be, in hard populations by drawing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import beta, binom

from harness.cliff import lambda_star
from harness.cliff.tail_bounds import (
    TailSums,
    effective_tasks,
    mean_at_least,
    mean_at_most,
    threshold_bounds,
)

UNIT = st.floats(0, 1, allow_subnormal=False)


@pytest.mark.parametrize("n", [1, 8, 64, 512])
@pytest.mark.parametrize("alpha", [0.025, 0.2])
def test_nothing_seen_is_the_bound_of_clopper_and_pearson(n, alpha):
    assert mean_at_most(np.zeros(n), alpha) == pytest.approx(beta.ppf(1 - alpha, 1, n), rel=1e-12)
    assert mean_at_least(np.zeros(n), alpha) == 0


@pytest.mark.parametrize("n", [8, 20, 64, 200])
@pytest.mark.parametrize("mean", [0.001, 0.01, 0.05, 0.3, 0.7])
def test_no_population_of_zeros_and_ones_is_missed_more_often_than_alpha(n, mean):
    """Enumerated: the widest spread that a variable in [0, 1] of this mean can have."""
    alpha, hits = 0.05, np.arange(n + 1)
    samples = (np.arange(n) < hits[:, None]).astype(float)
    chance = binom.pmf(hits, n, mean)
    assert chance[mean_at_most(samples, alpha) < mean].sum() <= alpha
    assert chance[mean_at_least(samples, alpha) > mean].sum() <= alpha


@given(arrays(np.float64, st.integers(1, 40), elements=UNIT), st.floats(0.001, 0.5))
def test_the_bounds_hold_the_sample_mean_and_are_in_order(values, alpha):
    low, high = float(mean_at_least(values, alpha)), float(mean_at_most(values, alpha))
    assert 0 <= low <= values.mean() * (1 + 1e-9)
    assert values.mean() <= high * (1 + 1e-9) + 1e-12
    assert high <= 1 + 1e-12


@given(arrays(np.float64, 12, elements=st.floats(1e-6, 1)), st.floats(1e-9, 1))
def test_the_lower_bound_knows_no_scale(values, factor):
    assert mean_at_least(values * factor, 0.025) == pytest.approx(
        factor * float(mean_at_least(values, 0.025)), rel=1e-9
    )


def test_many_looks_are_one_promise():
    """Looked at after every task, a heavy tail is called too large or too small at most as often as once."""
    rng, alpha, tasks = np.random.default_rng(0), 0.1, 60
    values = np.where(rng.random((400, tasks)) < 0.08, rng.random((400, tasks)), 0.001)
    mean = 0.08 * 0.5 + 0.92 * 0.001
    low = np.stack([mean_at_least(values[:, :n], alpha) for n in range(1, tasks + 1)])
    high = np.stack([mean_at_most(values[:, :n], alpha) for n in range(1, tasks + 1)])
    for wrong in (low > mean, high < mean):
        ever = wrong.any(axis=0).mean()
        assert ever <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 400)


def test_a_leading_axis_is_several_samples():
    rng = np.random.default_rng(1)
    values = rng.random((3, 5, 30))
    for bound in (mean_at_least, mean_at_most):
        whole = bound(values, 0.05)
        assert whole.shape == (3, 5)
        assert whole[1, 2] == pytest.approx(float(bound(values[1, 2], 0.05)), rel=1e-9)


@pytest.mark.parametrize(
    ("tails", "expected"),
    [([2.0] * 7, 7.0), ([1.0, 0.0, 0.0], 1.0), ([0.0, 0.0], 0.0), ([3.0, 1.0], 1.6), ([1e-200] * 4, 4.0)],
)
def test_effective_tasks(tails, expected):
    assert effective_tasks(tails) == pytest.approx(expected)


def test_bounds_close_in_on_the_formula():
    """Many tasks that are all alike: λ* of Theorem 4.1 between bounds that are close to it."""
    p, b, n = 1 - 1e-3, 0.8, 200_000
    count = np.full(n, 7.0)
    teacher, base = count * 1e-3, count * 0.2
    low, high = threshold_bounds(TailSums(count, (teacher, teacher), (base, base)), math.log(5.0), 0.025)
    star = lambda_star(p, b, 5.0)
    assert low < star < high
    assert high - low < 0.01


def test_tasks_of_different_lengths_count_by_their_decisions():
    """Half of the tasks have one decision and half have seven; the means are over decisions."""
    n = 100_000
    count = np.where(np.arange(n) % 2, 7.0, 1.0)
    tail = np.where(np.arange(n) % 2, 7 * 2e-3, 0.0)
    base = count * 0.2
    low, high = threshold_bounds(TailSums(count, (tail, tail), (base, base)), math.log(5.0), 0.025)
    star = lambda_star(1 - 7 * 2e-3 / 8, 0.8, 5.0)
    assert low < star < high
    assert high - low < 0.02


def test_what_is_known_between_bounds_widens_both_ends():
    count, ones = np.full(300, 4.0), np.ones(300)
    exact_low, exact_high = threshold_bounds(
        TailSums(count, (0.004 * ones, 0.004 * ones), (0.8 * ones, 0.8 * ones)), math.log(5.0), 0.025
    )
    low, high = threshold_bounds(
        TailSums(count, (0.002 * ones, 0.008 * ones), (0.7 * ones, 0.9 * ones)), math.log(5.0), 0.025
    )
    assert low < exact_low < exact_high < high


def test_few_tasks_bound_lambda_star_below_only():
    ones = np.ones(12)
    low, high = threshold_bounds(TailSums(ones, (1e-3 * ones,) * 2, (0.1 * ones,) * 2), math.log(5.0), 0.025)
    assert 1 < low < lambda_star(0.999, 0.9, 5.0)
    assert math.isinf(high)
