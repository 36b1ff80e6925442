import math

import numpy as np
import pytest
import scipy.stats

from harness.stats import bootstrap, bootstrap_ratio
from harness.stats.bootstrap import bca_limits, percentile_limits


def ratio_data(seed, tasks=60):
    """Several samples a task, values of a few sizes, some tasks without any: means of a skewed score."""
    rng = np.random.default_rng(seed)
    size = rng.integers(0, 4, tasks)
    values = [rng.choice([0.0, 1 / 7, 3 / 7, 1.0], m, p=[0.1, 0.1, 0.2, 0.6]) for m in size]
    return np.array([v.sum() for v in values]), size.astype(float)


def ratio(top, bottom, axis=-1):
    return top.sum(axis=axis) / bottom.sum(axis=axis)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_limits_agree_with_scipy_on_the_same_resamples(seed, confidence):
    top, bottom = ratio_data(seed)
    every = np.arange(len(top))
    jackknife = np.array([ratio(top[every != i], bottom[every != i]) for i in every])
    for method in ("percentile", "BCa"):
        theirs = scipy.stats.bootstrap(
            (top, bottom),
            ratio,
            paired=True,
            vectorized=True,
            n_resamples=999,
            confidence_level=confidence,
            method=method,
            rng=np.random.default_rng(seed),
        )
        same = theirs.bootstrap_distribution
        if method == "BCa":
            ours = bca_limits(same, float(ratio(top, bottom)), jackknife, confidence=confidence)
        else:
            ours = percentile_limits(same, confidence)
        expected = (theirs.confidence_interval.low, theirs.confidence_interval.high)
        assert ours == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_agrees_with_scipy_to_monte_carlo_error(method):
    """20,000 independent resamples each: a 2.5 % quantile has a standard error of 0.02 sd; 5 · √2 of them."""
    top, bottom = ratio_data(11)
    theirs = scipy.stats.bootstrap(
        (top, bottom),
        ratio,
        paired=True,
        n_resamples=20_000,
        method="BCa" if method == "bca" else "percentile",
        rng=np.random.default_rng(0),
    )
    ours = bootstrap_ratio(top, bottom, n=int(bottom.sum()), seed=0, draws=20_000, method=method)
    tolerance = 5 * math.sqrt(2) * 0.02 * theirs.standard_error
    expected = (theirs.confidence_interval.low, theirs.confidence_interval.high)
    assert (ours.low, ours.high) == pytest.approx(expected, abs=tolerance)
    assert ours.estimate == pytest.approx(float(ratio(top, bottom)), abs=1e-12)
    assert ours.n == bottom.sum()


def test_acceleration_over_distinct_rows_is_that_over_all_rows():
    top, bottom = np.tile(ratio_data(3, 20), 5)
    rows = bootstrap._distinct(top, bottom)
    assert len(rows.count) < len(top)
    every = np.arange(len(top))
    long = np.array([ratio(top[every != i], bottom[every != i]) for i in every])
    replicates = np.random.default_rng(0).normal(ratio(top, bottom), 0.02, 999)
    short = bca_limits(replicates, ratio(top, bottom), *bootstrap._jackknife(rows), confidence=0.95)
    assert short == pytest.approx(
        bca_limits(replicates, ratio(top, bottom), long, confidence=0.95), abs=1e-12
    )


def test_multinomial_and_direct_resampling_have_the_same_distribution():
    top, bottom = np.repeat(ratio_data(5, 40), 12, axis=1)
    rows = bootstrap._distinct(top, bottom)
    first = np.divide(*bootstrap._multinomial_sums(rows, np.random.default_rng(1), 20_000))
    second = np.divide(*bootstrap._direct_sums(rows, np.random.default_rng(2), 20_000))
    assert scipy.stats.ks_2samp(first, second).pvalue > 1e-6


def test_merging_rows_keeps_the_estimate_and_the_spread():
    """Heavy-tailed values, all different: the variance of the residuals is what the interval's width is."""
    rng = np.random.default_rng(0)
    bottom = rng.integers(1, 6, 300_000).astype(float)
    top = rng.lognormal(0.0, 2.0, 300_000) * bottom
    rows = bootstrap._distinct(top, bottom)
    merged = bootstrap._merge(rows, bootstrap.MAX_DISTINCT_ROWS)
    assert len(merged.count) <= bootstrap.MAX_DISTINCT_ROWS
    assert merged.count.sum() == 300_000
    estimate = bootstrap._ratio(rows)
    assert bootstrap._ratio(merged) == pytest.approx(estimate, rel=1e-12)
    full, short = (float(r.count @ (r.numerator - estimate * r.denominator) ** 2) for r in (rows, merged))
    assert math.sqrt(short / full) == pytest.approx(1.0, abs=1e-3)


def test_a_million_tasks_agree_with_the_normal_limit():
    """Width against ratio linearisation; 2,000 draws give a width to about 3 %."""
    rng = np.random.default_rng(0)
    values = rng.random(1_000_000)
    interval = bootstrap_ratio(values, np.ones(1_000_000), n=1_000_000, seed=0)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 1000, rel=0.12)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_same_seed_same_interval_whatever_the_order(method):
    top, bottom = ratio_data(8)
    order = np.random.default_rng(0).permutation(len(top))
    first = bootstrap_ratio(top, bottom, n=9, seed=3, method=method)
    assert first == bootstrap_ratio(top[order], bottom[order], n=9, seed=3, method=method)
    assert first != bootstrap_ratio(top, bottom, n=9, seed=4, method=method)


def test_nothing_to_divide_by():
    for top, bottom in (([], []), ([0.0, 0.0], [0, 0])):
        interval = bootstrap_ratio(top, bottom, n=0, seed=0)
        assert (interval.estimate, interval.low, interval.high) == (None, None, None)


def test_one_task_has_no_interval():
    interval = bootstrap_ratio([3.0, 0.0, 0.0], [4, 0, 0], n=4, seed=0)
    assert (interval.estimate, interval.low, interval.high) == (0.75, None, None)
    assert "one task" in interval.method


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_data_at_a_bound_are_as_sure_as_clopper_pearson(value):
    n = 40
    interval = bootstrap_ratio(np.full(n, value), np.ones(n), n=n, seed=0, bounds=(0.0, 1.0))
    exact = scipy.stats.binomtest(round(value * n), n).proportion_ci(0.95, "exact")
    assert (interval.low, interval.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert "all tasks equal" in interval.method


def test_constant_data_inside_the_bounds_stay_open_on_both_sides():
    interval = bootstrap_ratio([0.6, 0.3, 0.9], [2, 1, 3], n=6, seed=0, bounds=(0.0, 1.0))
    share = 1 - 0.025 ** (1 / 3)
    assert (interval.low, interval.high) == pytest.approx((0.3 * (1 - share), 0.3 + share * 0.7))


def test_constant_data_without_bounds_have_no_interval():
    interval = bootstrap_ratio([5.0, 5.0], [1, 1], n=2, seed=0)
    assert (interval.estimate, interval.low, interval.high) == (5.0, None, None)


def test_resamples_without_a_denominator_are_left_out():
    interval = bootstrap_ratio([1.0, 0.0, *[0.0] * 8], [1, 1, *[0] * 8], n=2, seed=0)
    assert (interval.low, interval.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("top", "bottom", "settings", "message"),
    [
        ([1.0], [1, 2], {}, "shapes"),
        ([math.nan], [1], {}, "not finite"),
        ([1.0], [math.inf], {}, "not finite"),
        ([1.0], [-1], {}, "negative"),
        ([1.0], [1], {"draws": 0}, "draws"),
        ([1.0], [1], {"method": "basic"}, "basic"),
        ([1.0], [1], {"confidence": 1.0}, "confidence"),
    ],
)
def test_bad_input_is_refused(top, bottom, settings, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_ratio(top, bottom, n=1, seed=0, **settings)
