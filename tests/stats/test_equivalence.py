"""Equivalence of means over seeds, by Student's t."""

import math

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.weightstats import ttost_paired

from harness.stats.equivalence import equivalent_means


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.02, 0.1])
def test_tost_agrees_with_statsmodels(seed, margin):
    rng = np.random.default_rng(seed)
    baseline, candidate = rng.random(8), rng.random(8) + 0.02
    oracle = ttost_paired(candidate, baseline, -margin, margin)
    result = equivalent_means(candidate - baseline, margin)
    assert result.p_pass == pytest.approx(float(oracle[0]), abs=1e-9)
    interval = scipy.stats.ttest_1samp(candidate - baseline, 0.0).confidence_interval(0.9)
    assert (result.estimate.low, result.estimate.high) == pytest.approx(
        (interval.low, interval.high), abs=1e-9
    )


def test_equal_seeds_are_no_proof():
    """Eight equal differences don't exclude 0.1 beside them; with T of them p = 0.9^T."""
    few, many = (equivalent_means(np.zeros(n), 0.1) for n in (8, 40))
    assert few.verdict == "undecided"
    assert few.p_pass == pytest.approx(0.9**8)
    assert many.verdict == "pass"


def test_a_clear_difference_fails():
    assert equivalent_means([0.3, 0.31, 0.29, 0.3], 0.1).verdict == "fail"


@pytest.mark.parametrize("differences", [[], [0.2]])
def test_too_little_is_undecided(differences):
    result = equivalent_means(differences, 0.1)
    assert result.verdict == "undecided"
    assert (result.p_pass, result.p_fail) == (1.0, 1.0)


def test_settings_are_checked():
    for margin in (0.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="margin"):
            equivalent_means([0.1, 0.2], margin)
    with pytest.raises(ValueError, match="finite"):
        equivalent_means([math.nan], 0.1)
