"""Exact tests of paired rates: the score against likelihoods, the level by enumeration."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats import PairedCounts, equivalent_rates, mcnemar, noninferior_rates, rate_difference
from harness.stats.paired_rates import _score, p_at_least, p_at_most
from tests.examples import examples

tables = st.builds(PairedCounts, *[st.integers(0, 60)] * 4).filter(lambda counts: counts.n > 0)
small = st.builds(PairedCounts, *[st.integers(0, 12)] * 4).filter(lambda counts: counts.n > 0)


def score(counts, difference):
    gain, loss = np.array([counts.candidate_only]), np.array([counts.baseline_only])
    return float(_score(counts.n, gain, loss, difference)[0])


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
def test_the_score_agrees_with_numerical_likelihood(counts, difference):
    assert score(counts, difference) == pytest.approx(slow_score(counts, difference), rel=1e-5, abs=1e-5)


def test_the_score_at_published_limits():
    """Bentur et al. 2009 in Fagerland et al. 2014: Tango's 95 % interval is −0.517 to −0.026."""
    counts = PairedCounts(1, 1, 7, 12)
    assert score(counts, -0.517) == pytest.approx(1.96, abs=0.01)
    assert score(counts, -0.026) == pytest.approx(-1.96, abs=0.01)


@given(tables)
def test_the_score_at_no_difference_is_mcnemars(counts):
    discordant = counts.candidate_only + counts.baseline_only
    oracle = (counts.candidate_only - counts.baseline_only) / math.sqrt(discordant) if discordant else 0.0
    assert score(counts, 0.0) == pytest.approx(oracle, abs=1e-9)


@pytest.mark.parametrize("n", [7, 30])
@pytest.mark.parametrize("difference", [-0.3, -0.02, 0.0, 0.05, 0.4])
def test_a_gain_more_and_a_loss_less_never_lower_the_score(n, difference):
    """What makes the edge of the null its worst case (Barnard's convexity)."""
    gain, loss = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    there = gain + loss <= n
    scores = np.where(there, _score(n, gain, loss, difference), np.nan)
    assert np.nanmin(np.diff(scores, axis=0)) >= -1e-9
    assert np.nanmax(np.diff(scores, axis=1)) <= 1e-9


@pytest.mark.parametrize(
    ("counts", "difference"), [((20, 3, 1, 6), -0.1), ((5, 0, 4, 1), 0.02), ((9, 2, 2, 0), 0.0)]
)
def test_the_p_value_is_the_worst_tail(counts, difference):
    """By adding up all tables at a thousand of the rates of losses that the data don't all but exclude."""
    counts = PairedCounts(*counts)
    n, c, reach = counts.n, counts.baseline_only, score(counts, difference) - 1e-9
    rows = [(gain, loss, n - gain - loss) for gain in range(n + 1) for loss in range(n + 1 - gain)]
    far = np.array([score(PairedCounts(m, gain, loss, 0), difference) >= reach for gain, loss, m in rows])
    low = max(0.0, -difference, scipy.stats.beta.ppf(5e-7, c, n - c + 1))
    high = min(0.5 * (1.0 - difference), scipy.stats.beta.ppf(1 - 5e-7, c + 1, n - c))
    worst = 0.0
    for loss in np.linspace(low, high, 1000):
        cells = np.maximum(0.0, [loss + difference, loss, 1.0 - 2.0 * loss - difference])
        worst = max(worst, float(scipy.stats.multinomial.pmf(rows, n, cells / cells.sum())[far].sum()))
    assert p_at_most(counts, difference) == pytest.approx(worst, abs=2e-4)


# Tango's approximation errs with up to .0726 in such cells.
CELLS = [(50, 0.02, 0.07), (100, 0.02, 0.03), (100, 0.0, 0.05), (20, 0.01, 0.11), (30, 0.1, 0.15)]


@pytest.mark.parametrize(("n", "margin", "loss"), CELLS)
def test_a_wrong_verdict_at_the_margin_comes_with_probability_alpha_at_most(n, margin, loss):
    gain = loss - margin
    wrong = np.zeros(2)
    for b in range(n + 1):
        for c in range(n + 1 - b):
            weight = scipy.stats.multinomial.pmf([b, c, n - b - c], n, [gain, loss, 1 - gain - loss])
            if weight > 1e-7:
                counts = PairedCounts(n - b - c, b, c, 0)
                p_values = (p_at_most(counts, -margin), p_at_least(counts, -margin))
                wrong += weight * (np.array(p_values) <= 0.05)
    assert (wrong <= 0.05).all()


@settings(max_examples=25)
@given(small, st.floats(-0.5, 0.5))
def test_the_verdict_says_on_which_side_of_the_margin_the_interval_lies(counts, margin):
    result = noninferior_rates(counts, margin)
    low, high = result.estimate.low, result.estimate.high
    assert -1.0 <= low <= result.estimate.estimate <= high <= 1.0
    sides = {"pass": low >= -margin, "fail": high <= -margin, "undecided": low <= -margin <= high}
    assert sides[result.verdict]
    bare = noninferior_rates(counts, margin, interval=False)
    assert (bare.verdict, bare.p_pass, bare.p_fail) == (result.verdict, result.p_pass, result.p_fail)
    assert (bare.estimate.low, bare.estimate.high) == (None, None)


@settings(max_examples=8)
@given(small)
def test_the_other_side_is_the_same_question_turned_round(counts):
    turned = PairedCounts(counts.both, counts.baseline_only, counts.candidate_only, counts.neither)
    one, other = rate_difference(counts), rate_difference(turned)
    assert (other.low, other.estimate, other.high) == pytest.approx(
        (-one.high, -one.estimate, -one.low), abs=2e-6
    )


@settings(max_examples=10)
@given(tables, st.floats(0.01, 0.3))
def test_parity_both_ways_is_harder_than_one_way(counts, margin):
    assert equivalent_rates(counts, margin).p_pass >= noninferior_rates(counts, margin, interval=False).p_pass


def test_many_pairs_agree_with_the_normal_approximation():
    counts = PairedCounts(95_500, 2_000, 2_500, 0)
    z = score(counts, -0.0035)
    assert p_at_most(counts, -0.0035) == pytest.approx(scipy.stats.norm.sf(z), rel=0.03)


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
    for test in (noninferior_rates, equivalent_rates):
        result = test(PairedCounts(0, 0, 0, 0), 0.1)
        assert (result.verdict, result.p_pass, result.p_fail) == ("undecided", 1.0, 1.0)


def test_what_no_difference_can_be_is_refuted_for_certain():
    counts = PairedCounts(3, 1, 1, 0)
    assert (p_at_most(counts, -1.0), p_at_most(counts, 1.0)) == (0.0, 1.0)
    assert (p_at_most(PairedCounts(0, 0, 4, 0), -1.0), p_at_least(counts, -1.0)) == (1.0, 1.0)


@pytest.mark.parametrize("margin", [math.nan, 1.5, -1.5])
def test_margins_are_checked(margin):
    for test in (noninferior_rates, equivalent_rates):
        with pytest.raises(ValueError, match="margin"):
            test(PairedCounts(1, 1, 1, 1), margin)
    with pytest.raises(ValueError, match="margin"):
        equivalent_rates(PairedCounts(1, 1, 1, 1), 0.0)
