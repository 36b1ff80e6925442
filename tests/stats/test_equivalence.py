import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.weightstats import ttost_paired

from harness.stats import (
    PairedCounts,
    equivalent_means,
    equivalent_rates,
    mcnemar,
    mean_against_bar,
    noninferior_rates,
    tango,
)
from harness.stats.equivalence import _tango_z
from tests.examples import examples

tables = st.builds(PairedCounts, *[st.integers(0, 60)] * 4).filter(lambda counts: counts.n > 0)


def noninferior_means(differences, margin):
    """How a gate tests a mean against a baseline's."""
    return mean_against_bar(differences, np.ones(len(differences)), -margin, bounds=(-1.0, 1.0))


def slow_score(counts, difference):
    """Tango's statistic with the restricted likelihood maximised numerically."""
    gain, loss, n = counts.candidate_only, counts.baseline_only, counts.n
    rest = n - gain - loss
    low, high = max(0.0, -difference), (1.0 - difference) / 2.0

    def loss_function(q):
        cells = ((gain, q + difference), (loss, q), (rest, 1.0 - 2.0 * q - difference))
        return -sum(count * math.log(max(p, 1e-300)) for count, p in cells if count)

    grid = np.linspace(low, high, 2001)
    best = int(np.argmin([loss_function(q) for q in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, 2000)])
    q = scipy.optimize.minimize_scalar(
        loss_function, bounds=bounds, method="bounded", options={"xatol": 1e-13}
    ).x
    if best in (0, 2000) and loss_function(grid[best]) <= loss_function(q):
        q = grid[best]
    variance = n * (2.0 * q + difference * (1.0 - difference))
    return (gain - loss - n * difference) / math.sqrt(variance)


@examples(60)
@given(tables, st.floats(-0.6, 0.6).filter(lambda d: abs(d) > 0.01))
def test_tango_agrees_with_numerical_likelihood(counts, difference):
    oracle = slow_score(counts, difference)
    assert _tango_z(counts, difference) == pytest.approx(oracle, rel=1e-5, abs=1e-5)


def test_tango_published():
    """Bentur et al. 2009 in Fagerland et al. 2014: −0.517 to −0.026."""
    interval = tango(PairedCounts(1, 1, 7, 12))
    assert (round(interval.low, 3), round(interval.high, 3)) == (-0.517, -0.026)


@given(tables)
def test_tango_at_no_difference_is_mcnemars_score(counts):
    discordant = counts.candidate_only + counts.baseline_only
    oracle = (counts.candidate_only - counts.baseline_only) / math.sqrt(discordant) if discordant else 0.0
    assert _tango_z(counts, 0.0) == pytest.approx(oracle, abs=1e-9)


@given(tables, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_limits_are_where_the_test_stops_refuting(counts, confidence):
    interval = tango(counts, confidence)
    z = scipy.stats.norm.ppf((1 + confidence) / 2)
    assert -1.0 <= interval.low <= interval.estimate <= interval.high <= 1.0
    if interval.low > -1.0 + 1e-9:
        assert _tango_z(counts, interval.low) == pytest.approx(z, abs=1e-6)
    if interval.high < 1.0 - 1e-9:
        assert _tango_z(counts, interval.high) == pytest.approx(-z, abs=1e-6)


@given(tables, st.floats(0.01, 0.3))
def test_rates_verdict_is_the_intervals(counts, margin):
    result = noninferior_rates(counts, margin)
    assert (result.verdict == "pass") == (result.estimate.low >= -margin + 1e-9) or math.isclose(
        result.estimate.low, -margin, abs_tol=1e-8
    )
    both = equivalent_rates(counts, margin)
    assert both.p_pass >= result.p_pass


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.02, 0.1])
def test_tost_agrees_with_statsmodels(seed, margin):
    rng = np.random.default_rng(seed)
    baseline, candidate = rng.random(60), rng.random(60) + 0.02
    oracle = ttost_paired(candidate, baseline, -margin, margin)
    result = equivalent_means(candidate - baseline, margin)
    assert result.p_pass == pytest.approx(float(oracle[0]), abs=1e-9)
    lower = noninferior_means(candidate - baseline, margin)
    assert lower.p_pass == pytest.approx(float(oracle[1][1]), abs=1e-9)
    opposite = scipy.stats.ttest_1samp(candidate - baseline, -margin, alternative="less").pvalue
    assert lower.p_fail == pytest.approx(float(opposite), abs=1e-9)
    interval = scipy.stats.ttest_1samp(candidate - baseline, 0.0).confidence_interval(0.9)
    assert (lower.estimate.low, lower.estimate.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_identical_runs_are_on_par_only_with_enough_tasks():
    """Ten equal answers don't exclude a loss of 0.01; with T of them p = 0.99^T."""
    few, many = (noninferior_means(np.zeros(n), 0.01) for n in (10, 400))
    assert few.verdict == "undecided"
    assert few.p_pass == pytest.approx(0.99**10)
    assert many.verdict == "pass"
    assert many.estimate.low > -0.01
    assert equivalent_means(np.zeros(400), 0.01).verdict == "pass"


def test_no_significant_difference_is_not_parity():
    counts = PairedCounts(both=15, candidate_only=1, baseline_only=3, neither=1)
    assert mcnemar(1, 3) > 0.5
    assert noninferior_rates(counts, 0.05).verdict == "undecided"


@pytest.mark.parametrize("test", [noninferior_rates, equivalent_rates])
def test_a_clear_loss_fails_and_a_clear_gain_is_not_inferior(test):
    loss = PairedCounts(both=100, candidate_only=0, baseline_only=80, neither=20)
    assert test(loss, 0.05).verdict == "fail"
    gain = PairedCounts(both=100, candidate_only=80, baseline_only=0, neither=20)
    assert test(gain, 0.05).verdict == ("pass" if test is noninferior_rates else "fail")


def test_nothing_measured_is_undecided():
    for result in (
        noninferior_rates(PairedCounts(0, 0, 0, 0), 0.1),
        equivalent_rates(PairedCounts(0, 0, 0, 0), 0.1),
        noninferior_means([], 0.1),
        equivalent_means([0.2], 0.1),
    ):
        assert result.verdict == "undecided"
        assert (result.p_pass, result.p_fail) == (1.0, 1.0)


@pytest.mark.parametrize("margin", [-0.1, math.nan, 1.5])
def test_margins_are_checked(margin):
    with pytest.raises(ValueError, match="margin"):
        noninferior_rates(PairedCounts(1, 1, 1, 1), margin)
    if margin != 1.5:
        with pytest.raises(ValueError, match="margin"):
            equivalent_means([0.1, 0.2], margin)
    with pytest.raises(ValueError, match="margin"):
        equivalent_rates(PairedCounts(1, 1, 1, 1), 0.0)


def test_size_of_the_rate_test_at_the_margin():
    """Exact size over all tables of 60 pairs, at the edge of the null; asymptotic, so 0.05 plus a little."""
    n, margin = 60, 0.1
    for loss in (0.1, 0.15, 0.25):
        gain = loss - margin
        size = 0.0
        for b, c in itertools.product(range(n + 1), repeat=2):
            if b + c <= n and noninferior_rates(PairedCounts(n - b - c, b, c, 0), margin).verdict == "pass":
                size += scipy.stats.multinomial.pmf([b, c, n - b - c], n, [gain, loss, 1 - gain - loss])
        assert size < 0.065
