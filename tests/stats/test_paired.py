import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from harness.stats import (
    PairedCounts,
    compare_means,
    compare_outcomes,
    mcnemar,
    newcombe_paired,
    paired_differences,
)

tables = st.builds(PairedCounts, *[st.integers(0, 200)] * 4)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_agrees_with_statsmodels_and_scipy(gain, loss):
    theirs = statsmodels_mcnemar([[5, gain], [loss, 5]], exact=True).pvalue if gain + loss else 1.0
    assert mcnemar(gain, loss) == pytest.approx(float(theirs), abs=1e-9)
    if gain + loss:
        oracle = scipy.stats.binomtest(gain, gain + loss).pvalue
        assert mcnemar(gain, loss) == pytest.approx(oracle, abs=1e-9)


def test_mcnemar_published():
    """Bentur et al. 2009 as worked through by Fagerland et al. 2013: 0.0703."""
    assert mcnemar(1, 7) == pytest.approx(0.0703, abs=5e-5)


@pytest.mark.parametrize(
    ("table", "low", "high", "digits"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404, 4),  # Newcombe 1998, method 10
        ((54, 0, 0, 0), -0.0664, 0.0664, 4),  # the same
        ((1, 1, 7, 12), -0.507, -0.026, 3),  # Fagerland et al. 2014, square-and-add
    ],
)
def test_newcombe_published(table, low, high, digits):
    interval = newcombe_paired(PairedCounts(*table))
    assert (round(interval.low, digits), round(interval.high, digits)) == (low, high)


@given(tables.filter(lambda counts: counts.n))
def test_newcombe_turns_round_with_the_runs(counts):
    swapped = PairedCounts(counts.both, counts.baseline_only, counts.candidate_only, counts.neither)
    one, other = newcombe_paired(counts), newcombe_paired(swapped)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)
    assert -1.0 <= one.low <= one.estimate + 1e-12
    assert one.estimate - 1e-12 <= one.high <= 1.0


def test_identical_runs_are_not_known_to_be_equal():
    result = compare_outcomes(PairedCounts(both=190, candidate_only=0, baseline_only=0, neither=10))
    assert result.p_value == 1.0
    assert result.difference.low < 0.0 < result.difference.high


def test_outcomes_are_counted_from_the_candidates_side():
    baseline = np.array([True, True, False, False, False])
    candidate = np.array([True, False, True, True, False])
    counts = PairedCounts.from_outcomes(baseline, candidate)
    assert counts == PairedCounts(both=1, candidate_only=2, baseline_only=1, neither=1)
    result = compare_outcomes(counts)
    assert result.difference.estimate == pytest.approx(0.2)


def test_no_pairs():
    result = compare_outcomes(PairedCounts(0, 0, 0, 0))
    assert (result.p_value, result.difference.estimate) == (None, None)
    result = compare_means([math.nan, 1.0], [0.0, math.nan], seed=0)
    assert (result.p_value, result.difference.estimate, result.dropped) == (None, None, 2)


def test_counts_are_checked():
    with pytest.raises(ValueError, match="successes"):
        PairedCounts(1, -1, 0, 0)
    with pytest.raises(ValueError, match="boolean"):
        PairedCounts.from_outcomes(np.array([1, 0]), np.array([1, 1]))


def test_means_are_compared_on_common_tasks_only():
    baseline = np.array([0.5, math.nan, 0.2, 0.9, 0.4])
    candidate = np.array([0.6, 0.7, math.nan, 0.9, 0.8])
    differences, dropped = paired_differences(baseline, candidate)
    assert differences == pytest.approx([0.1, 0.0, 0.4])
    assert dropped == 2
    result = compare_means(baseline, candidate, seed=0)
    assert result.difference.n == 3
    assert result.difference.estimate == pytest.approx(0.5 / 3)
    assert result.p_value == pytest.approx(0.5)  # 2 nonzero differences: 2 of the 4 sign patterns reach it


def test_pairing_sees_what_an_unpaired_test_misses():
    rng = np.random.default_rng(0)
    difficulty = rng.random(200)
    baseline = difficulty
    candidate = np.clip(difficulty - 0.02 + rng.normal(0, 0.02, 200), 0, 1)
    assert scipy.stats.ttest_ind(baseline, candidate).pvalue > 0.3
    result = compare_means(baseline, candidate, seed=0)
    assert result.p_value == pytest.approx(1e-4)  # the least that 9,999 draws can give
    width = result.difference.high - result.difference.low
    assert width < 0.5 * 2.0 * 1.96 * math.sqrt(baseline.var() / 100)  # of two separate means


def test_comparison_is_decided_by_the_seed():
    rng = np.random.default_rng(1)
    first, second = rng.random(80), rng.random(80)
    assert compare_means(first, second, seed=1) == compare_means(first, second, seed=1)
    assert compare_means(first, second, seed=1) != compare_means(first, second, seed=2)


def test_values_are_checked():
    with pytest.raises(ValueError, match="shapes"):
        paired_differences([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="infinite"):
        paired_differences([math.inf], [1.0])
