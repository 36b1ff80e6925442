"""The test of rising failure rates against scikit-learn, scipy and exact enumeration."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from harness.stats.monotone import monotone_fit

counts_and_trials = st.lists(
    st.integers(1, 9).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))),
    min_size=1,
    max_size=8,
)


def oracle(failures, trials):
    """Rates and deviance from scikit-learn's isotonic regression and scipy's binomial probabilities."""
    failures, trials = np.asarray(failures), np.asarray(trials)
    share = failures / trials
    rates = IsotonicRegression(y_min=0, y_max=1).fit_transform(range(len(share)), share, sample_weight=trials)
    saturated, rising = (scipy.stats.binom.logpmf(failures, trials, at).sum() for at in (share, rates))
    return rates, 2 * (saturated - rising)


@given(counts_and_trials)
def test_rates_and_deviance_are_those_of_scikit_learn_and_scipy(rows):
    failures, trials = zip(*rows, strict=True)
    rates, deviance = oracle(failures, trials)
    fit = monotone_fit(failures, trials, draws=1)
    assert fit.rates == pytest.approx(rates, abs=1e-12)
    assert fit.deviance == pytest.approx(deviance, abs=1e-8)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=9))
def test_rates_that_never_fall_fit(failures):
    assert monotone_fit(sorted(failures), [8] * len(failures)).p_value == 1.0


@pytest.mark.parametrize("failures", [(3, 0, 0), (0, 3, 1), (1, 0, 2), (2, 3, 0), (3, 1, 2)])
def test_p_is_that_of_all_outcomes_weighed(failures):
    rates, deviance = oracle(failures, (3, 3, 3))
    exact = sum(
        scipy.stats.binom.pmf(outcome, 3, rates).prod()
        for outcome in itertools.product(range(4), repeat=3)
        if oracle(outcome, (3, 3, 3))[1] >= deviance - 1e-9
    )
    drawn = monotone_fit(failures, (3, 3, 3), draws=20_000).p_value
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_few_arms_whose_rates_never_fall_are_flagged_at_the_level_in_use():
    """Every outcome of four λ and three or four seeds, weighed: at most 5 in 100 at p ≤ 0.02."""
    from harness.sweep.onsets import MISFIT_LEVEL

    for seeds in (3, 4):
        outcomes = list(itertools.product(range(seeds + 1), repeat=4))
        flagged = [
            one for one in outcomes if monotone_fit(one, [seeds] * 4, draws=1000).p_value <= MISFIT_LEVEL
        ]
        for low, high in itertools.combinations_with_replacement(np.linspace(0.05, 0.95, 10), 2):
            for step in (1, 2, 3):
                rates = np.where(np.arange(4) < step, low, high)
                chance = sum(scipy.stats.binom.pmf(one, seeds, rates).prod() for one in flagged)
                assert chance <= 0.05


def test_the_same_seed_gives_the_same_p():
    first, second = (monotone_fit([2, 0, 3], [3, 3, 3], draws=300, seed=7) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("failures", "trials"), [([], []), ([1, 2], [3]), ([4], [3]), ([-1], [3]), ([0], [0]), ([[1]], [[2]])]
)
def test_counts_that_dont_fit_are_refused(failures, trials):
    with pytest.raises(ValueError, match="levels"):
        monotone_fit(failures, trials)
