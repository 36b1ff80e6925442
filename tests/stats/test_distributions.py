"""Against mpmath and exact sums, in the tails above all: a p-value of a verdict lies there."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.bounded import mean_against_bar
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

shapes = st.one_of(st.floats(0.05, 50.0), st.integers(1, 2000).map(float))
probabilities = st.floats(1e-9, 1 - 1e-9)


def beta_oracle(x, a, b):
    """I_x(a, b) from the series of DLMF 8.17.8, whose terms are all positive, below the mean."""
    with mpmath.workdps(40):
        x, a, b = mpmath.mpf(x), mpmath.mpf(a), mpmath.mpf(b)
        if x * (a + b) > a:
            return 1 - beta_oracle(1 - x, b, a)
        term = total = mpmath.mpf(1)
        n = 0
        while term > total * mpmath.eps:
            n += 1
            term *= (a + b + n - 1) / (a + n) * x
            total += term
        return x**a * (1 - x) ** b / (a * mpmath.beta(a, b)) * total


def t_oracle(t, df):
    """P(T ≤ t) for t ≤ 0: the integral of the density, in units of the density at t."""
    with mpmath.workdps(30):
        t, df = mpmath.mpf(t), mpmath.mpf(df)
        power = -(df + 1) / 2
        here = 1 + t * t / df
        beyond = mpmath.quad(
            lambda u: ((1 + (t - u) ** 2 / df) / here) ** power, [0, 0.1, 1, 10, 100, mpmath.inf]
        )
        scale = mpmath.gamma(-power) / (mpmath.gamma(df / 2) * mpmath.sqrt(df * mpmath.pi))
        return beyond * here**power * scale


@given(st.floats(0.001, 0.999), shapes, shapes)
@examples(60)
def test_beta_cdf(x, a, b):
    assert beta_cdf(x, a, b) == pytest.approx(float(beta_oracle(x, a, b)), rel=1e-9, abs=1e-300)


@given(probabilities, shapes, shapes)
@examples(60)
def test_beta_quantile_goes_round(p, a, b):
    x = beta_quantile(p, a, b)
    # As near as its neighbours allow: a quantile next to 1 has few digits left.
    below, above = (beta_oracle(y, a, b) for y in (np.nextafter(x, 0), np.nextafter(x, 1)))
    assert below - 1e-11 * p <= p <= above + 1e-11 * p


@pytest.mark.parametrize(("a", "b"), [(950_000, 50_001), (3e6, 1e7), (1.5, 1e7)])
@pytest.mark.parametrize("deviations", [-6.0, -2.0, -0.1])
def test_beta_at_the_counts_of_a_long_run(a, b, deviations):
    mean = a / (a + b)
    x = mean * max(1e-3, 1.0 + deviations * math.sqrt((1.0 - mean) / (a + 1.0)))
    exact = float(beta_oracle(x, a, b))
    assert beta_cdf(x, a, b) == pytest.approx(exact, rel=1e-7)
    assert beta_quantile(exact, a, b) == pytest.approx(x, rel=1e-9)


@pytest.mark.parametrize("df", [1, 2.5, 7, 50, 127, 999, 5000, 1e6])
@pytest.mark.parametrize("t", [-0.0, -0.3, -2.0, -7.0, -9.5, -15.0, -30.0])
def test_student_t_keeps_its_digits_in_the_tail(t, df):
    exact = float(t_oracle(t, df))
    assert student_t_cdf(t, df) == pytest.approx(exact, rel=1e-12)
    assert student_t_cdf(-t, df) == pytest.approx(1.0 - exact, rel=1e-15)


def test_a_mean_far_from_its_bar_has_a_p_value():
    """It printed 0.0, which no test with a finite sample may say."""
    decision = mean_against_bar(np.tile([0.4, 0.6, 0.5, 0.5], 250), np.ones(1000), 0.45)
    assert decision.verdict == "pass"
    assert 0.0 < decision.p_pass < 1e-20


@given(probabilities, st.floats(1.0, 1e4))
@examples(60)
def test_student_t_quantile_goes_round(p, df):
    quantile = student_t_quantile(p, df)
    tail = min(p, 1.0 - p)
    assert (quantile > 0.0) == (p > 0.5)
    assert float(t_oracle(-abs(quantile), df)) == pytest.approx(tail, rel=1e-11)


@given(st.integers(-1, 60), st.integers(1, 60), st.integers(0, 64))
def test_binomial_tails_are_the_sums_of_their_points(k, n, sixty_fourths):
    p = Fraction(sixty_fourths, 64)
    points = [math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)]
    assert binomial_cdf(k, n, float(p)) == pytest.approx(float(sum(points[: k + 1])), rel=1e-12)
    assert binomial_sf(k, n, float(p)) == pytest.approx(float(sum(points[k + 1 :])), rel=1e-12)


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
    assert (beta_cdf(0.0, 2, 3), beta_cdf(1.0, 2, 3)) == (0.0, 1.0)
    assert (student_t_cdf(-math.inf, 5), student_t_cdf(math.inf, 5)) == (0.0, 1.0)
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="probability"):
            normal_quantile(bad)
        with pytest.raises(ValueError, match="probability"):
            beta_quantile(bad, 1, 1)
