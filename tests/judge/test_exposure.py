"""The exposure statistics, held against scikit-learn, scipy and regression on ranks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from harness.judge.exposure import (
    detectable_difference,
    position_bias,
    rank_correlation,
    self_agreement,
)
from tests.examples import examples

DRAWS = 50
grades = st.integers(1, 5)


@given(st.lists(st.tuples(grades, grades), min_size=1, max_size=60))
@examples(60)
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Both orders of each pair: repeats have no first and second."""
    x, y = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    ours = self_agreement(x, y, np.arange(len(x)), seed=0, draws=DRAWS)
    assert ours.n == len(pairs)
    if len({*x, *y}) == 1:
        assert ours.estimate is None
        return
    both = [np.concatenate(sides).astype(int) for sides in ((x, y), (y, x))]
    theirs = cohen_kappa_score(*both, labels=[1, 2, 3, 4, 5], weights="quadratic")
    assert ours.estimate == pytest.approx(theirs, abs=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=80),
)
@examples(60)
def test_rank_correlation_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    """Few distinct values, so many ties."""
    x, y = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    ours = rank_correlation(x, y, np.arange(len(x)), seed=0, draws=DRAWS).estimate
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_partial_rank_correlation_is_that_of_residuals() -> None:
    rng = np.random.default_rng(0)
    given_ = rng.normal(size=300)
    x, y = given_ + rng.normal(size=300), given_ + rng.normal(size=300)
    ours = rank_correlation(x, y, np.arange(300), given=given_, seed=0, draws=DRAWS).estimate
    ranks = [stats.rankdata(values) for values in (x, y, given_)]
    design = np.stack([np.ones(300), ranks[2]], axis=1)
    residuals = [r - design @ np.linalg.lstsq(design, r, rcond=None)[0] for r in ranks[:2]]
    assert ours == pytest.approx(stats.pearsonr(*residuals).statistic, abs=1e-10)
    assert abs(ours) < 0.2 < stats.spearmanr(x, y).statistic


def test_intervals_have_about_their_coverage() -> None:
    """200 samples of a bivariate normal with known ρ_S = 6/π · asin(ρ/2); 95 % intervals, 100 tasks each."""
    rng = np.random.default_rng(1)
    truth = 6 / math.pi * math.asin(0.5 / 2)
    hits = 0
    for seed in range(200):
        x = rng.normal(size=100)
        y = 0.5 * x + math.sqrt(0.75) * rng.normal(size=100)
        found = rank_correlation(x, y, np.arange(100), seed=seed, draws=200)
        hits += found.low <= truth <= found.high
    assert 178 <= hits <= 199


def test_samples_of_one_task_widen_the_interval() -> None:
    """Ten copies of 40 values, each with its own task: no news, so no narrower interval."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    once = rank_correlation(x, y, np.arange(40), seed=0, draws=400)
    copied = rank_correlation(np.tile(x, 10), np.tile(y, 10), np.tile(np.arange(40), 10), seed=0, draws=400)
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.15)


def test_perfect_agreement_has_no_interval_rather_than_a_width_of_zero() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    found = self_agreement(x, x, np.arange(4), seed=0, draws=DRAWS)
    assert (found.estimate, found.low, found.high) == (1.0, None, None)


def test_unrelated_scores_agree_by_chance_only() -> None:
    """Random grades have κ = 0; 95 % intervals, of which 100 are drawn."""
    rng = np.random.default_rng(3)
    hits = 0
    for seed in range(100):
        x, y = rng.integers(1, 6, size=(2, 200)).astype(float)
        found = self_agreement(x, y, np.arange(200), seed=seed, draws=200)
        hits += found.low <= 0.0 <= found.high
    assert hits >= 86


def test_position_bias_by_hand() -> None:
    """Of four pairs two differ for the early one, one for the late one, one not at all: 2 of 3."""
    found = position_bias(
        np.array([5.0, 4.0, 2.0, 3.0]), np.array([4.0, 3.0, 4.0, 3.0]), np.array([7, 8, 9, 9])
    )
    assert found.n == 3
    assert found.estimate == pytest.approx(2 / 3)


def test_nothing_measured_is_not_zero() -> None:
    none = np.array([], dtype=float)
    tasks = np.array([], dtype=np.int64)
    for found in (
        self_agreement(none, none, tasks, seed=0),
        rank_correlation(none, none, tasks, seed=0),
        position_bias(none, none, tasks),
        detectable_difference(none, tasks),
    ):
        assert (found.n, found.estimate, found.low, found.high) == (0, None, None, None)


def test_detectable_difference_is_detected_with_its_power() -> None:
    """Simulated: two runs of 100 tasks that differ by it; a z-test tells about 80 % of them apart."""
    rng = np.random.default_rng(4)
    tasks, per_task = 100, 3

    def run(mean: float) -> tuple[float, float]:
        task = rng.normal(mean, 0.1, size=(tasks, 1)) + rng.normal(0, 0.2, size=(tasks, per_task))
        totals = task.sum(axis=1)
        return task.mean(), float(totals.std(ddof=1) / math.sqrt(tasks) / per_task)

    sample = rng.normal(0.5, 0.1, size=(tasks, 1)) + rng.normal(0, 0.2, size=(tasks, per_task))
    difference = detectable_difference(sample.sum(axis=1), np.full(tasks, per_task)).estimate
    told = 0
    for _ in range(1000):
        (a, se_a), (b, se_b) = run(0.5), run(0.5 + difference)
        told += abs(b - a) > 1.959964 * math.hypot(se_a, se_b)
    assert 720 <= told <= 880


def test_results_dont_depend_on_the_order_of_samples() -> None:
    rng = np.random.default_rng(5)
    x, y, task = rng.normal(size=60), rng.normal(size=60), np.repeat(np.arange(20), 3)
    shuffled = rng.permutation(60)
    one = rank_correlation(x, y, task, seed=0, draws=DRAWS)
    other = rank_correlation(x[shuffled], y[shuffled], task[shuffled], seed=0, draws=DRAWS)
    assert one.estimate == pytest.approx(other.estimate, abs=1e-12)
    assert (one.low, one.high) == (pytest.approx(other.low), pytest.approx(other.high))
