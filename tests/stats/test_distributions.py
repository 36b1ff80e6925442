import math

import mpmath
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.distributions import (
    beta_cdf,
    beta_quantile,
    binomial_cdf,
    binomial_sf,
    normal_cdf,
    normal_quantile,
    student_t_cdf,
    student_t_quantile,
)
from tests.examples import examples

probabilities = st.floats(1e-9, 1 - 1e-9)


def exact_beta_cdf(x, a, b):
    with mpmath.workdps(40):
        return mpmath.betainc(a, b, 0, mpmath.mpf(x), regularized=True)


def exact_t_tail(t, df):
    """P(T ≤ t), t < 0."""
    with mpmath.workdps(40):
        return exact_beta_cdf(df / (df + mpmath.mpf(t) ** 2), mpmath.mpf(df) / 2, mpmath.mpf(1) / 2) / 2


@given(st.floats(0, 1), st.floats(0.05, 500.0), st.floats(0.05, 500.0))
@examples(60)
def test_beta_cdf(x, a, b):
    assert beta_cdf(x, a, b) == pytest.approx(float(exact_beta_cdf(x, a, b)), rel=1e-9, abs=1e-300)


@given(probabilities, st.floats(0.05, 500.0), st.floats(0.05, 500.0))
@examples(60)
def test_beta_quantile(p, a, b):
    assert float(exact_beta_cdf(beta_quantile(p, a, b), a, b)) == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("n", [10**5, 10**7])
def test_beta_quantile_of_large_counts(n):
    """The end of an interval after as many samples as anyone draws."""
    found = beta_quantile(0.025, 0.97 * n, 0.03 * n + 1)
    assert float(beta_cdf(found, 0.97 * n, 0.03 * n + 1)) == pytest.approx(0.025, abs=1e-9)
    assert abs(found - 0.97) < 3 * math.sqrt(0.97 * 0.03 / n)


@given(probabilities, st.floats(1.0, 1e6))
def test_student_t(p, df):
    quantile = student_t_quantile(p, df)
    assert quantile == pytest.approx(float(scipy.stats.t.ppf(p, df)), rel=1e-9, abs=1e-9)
    assert student_t_cdf(quantile, df) == pytest.approx(p, abs=1e-10)


@given(st.floats(-20, -1), st.integers(5, 5000))
@examples(60)
def test_student_t_far_out(t, df):
    """No p-value is 0: what is that unlikely keeps its digits."""
    assert student_t_cdf(t, df) == pytest.approx(float(exact_t_tail(t, df)), rel=1e-9)


@given(st.integers(0, 2000), st.integers(0, 2000), st.floats(0, 1))
def test_binomial_tails(k, n, p):
    assert binomial_cdf(k, n, p) == pytest.approx(float(scipy.stats.binom.cdf(k, n, p)), abs=1e-11)
    assert binomial_sf(k, n, p) == pytest.approx(float(scipy.stats.binom.sf(k, n, p)), abs=1e-11)


@given(st.floats(-37, 8))
def test_normal(z):
    assert normal_cdf(z) == pytest.approx(float(scipy.stats.norm.cdf(z)), rel=1e-9)


@given(st.floats(1e-300, 1 - 1e-12))
def test_normal_quantile(p):
    assert normal_quantile(p) == pytest.approx(float(scipy.stats.norm.ppf(p)), rel=1e-9, abs=1e-12)


def test_ends_and_refusals():
    assert normal_quantile(0.0) == -math.inf
    assert normal_quantile(1.0) == math.inf
    assert student_t_cdf(-math.inf, 5) == 0.0
    assert student_t_cdf(math.inf, 5) == 1.0
    assert beta_quantile(0.0, 2, 3) == 0.0
    assert beta_quantile(1.0, 2, 3) == 1.0
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="probability"):
            normal_quantile(bad)
        with pytest.raises(ValueError, match="probability"):
            beta_quantile(bad, 1, 1)
