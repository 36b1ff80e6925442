import math

import pytest
import scipy.special
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

shapes = st.one_of(st.floats(0.05, 50.0), st.integers(1, 10**7).map(float))
probabilities = st.floats(1e-9, 1 - 1e-9)


@given(st.floats(0, 1), shapes, shapes)
def test_beta_cdf(x, a, b):
    assert beta_cdf(x, a, b) == pytest.approx(float(scipy.special.betainc(a, b, x)), abs=1e-9)


@given(probabilities, shapes, shapes)
def test_beta_quantile(p, a, b):
    assert beta_quantile(p, a, b) == pytest.approx(float(scipy.special.betaincinv(a, b, p)), abs=1e-9)


@given(probabilities, st.floats(1.0, 1e6))
def test_student_t(p, df):
    quantile = student_t_quantile(p, df)
    assert quantile == pytest.approx(float(scipy.stats.t.ppf(p, df)), rel=1e-9, abs=1e-9)
    assert student_t_cdf(quantile, df) == pytest.approx(p, abs=1e-10)


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
    assert beta_quantile(0.0, 2, 3) == 0.0
    assert beta_quantile(1.0, 2, 3) == 1.0
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="probability"):
            normal_quantile(bad)
        with pytest.raises(ValueError, match="probability"):
            beta_quantile(bad, 1, 1)
