import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.stats import sign_flip
from harness.stats.permutation import _drawn_sums, _merge
from tests.examples import examples


def oracle(differences):
    """SciPy's exact sign-flip distribution."""
    result = scipy.stats.permutation_test(
        (differences,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    return float(result.pvalue)


@examples(40)
@given(st.lists(st.sampled_from([-140, -80, -35, 35, 42, 20, 140]), min_size=2, max_size=10))
def test_exact_agrees_with_scipy(differences):
    """SciPy gets integers, whose sums tie where ours, rounded to 1/140, only nearly do."""
    ours = sign_flip([one / 140 for one in differences], seed=0)
    assert ours.p_value == pytest.approx(oracle(np.array(differences)), abs=1e-9)
    assert ours.method == "sign-flip, exact"


def test_zero_differences_do_not_matter():
    values = [0.3, -0.1, 0.25, 0.4]
    assert sign_flip(values, seed=0) == sign_flip([*values, 0.0, 0.0, 0.0], seed=0)


def test_all_zero_differences_are_no_evidence():
    assert sign_flip([0.0] * 50, seed=0).p_value == 1.0


@pytest.mark.parametrize("distinct", [True, False])
def test_monte_carlo_agrees_with_the_normal_limit(distinct):
    """Standard error of a p-value from 20,000 draws is at most 0.0036; 5 of them, and 0.01 for the limit."""
    rng = np.random.default_rng(4)
    values = rng.normal(0.05, 1.0, 900) if distinct else rng.choice([-1.0, 0.0, 3 / 7, 1.0], 900)
    z = values.sum() / math.sqrt((values**2).sum())
    ours = sign_flip(values, seed=0, draws=20_000)
    assert ours.p_value == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), abs=0.028)


def test_monte_carlo_never_says_zero():
    result = sign_flip(np.full(400, 0.5), seed=0, draws=199)
    assert result.p_value == 1 / 200
    assert result.method == "sign-flip, 199 draws"


def test_merged_sizes_keep_the_variance():
    rng = np.random.default_rng(0)
    sizes, counts = np.unique(rng.lognormal(0, 2, 50_000), return_counts=True)
    short, merged = _merge(sizes, counts)
    assert len(short) <= 512
    assert merged.sum() == 50_000
    assert float(merged @ short**2) == pytest.approx(float(counts @ sizes**2), rel=1e-12)


def test_the_way_of_drawing_does_not_change_the_distribution():
    sizes, counts = np.arange(1.0, 601.0), np.ones(600, dtype=int)
    direct = _drawn_sums(sizes, counts, np.random.default_rng(1), 5000)
    binomial = _drawn_sums(sizes[:500], counts[:500], np.random.default_rng(2), 5000)
    for sums, scale in ((direct, sizes), (binomial, sizes[:500])):
        normalised = sums / math.sqrt(float(scale @ scale))
        assert scipy.stats.kstest(normalised, "norm").pvalue > 1e-6


@pytest.mark.parametrize("bad", [[math.nan], [math.inf], [[1.0]]])
def test_bad_differences_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        sign_flip(bad, seed=0)
