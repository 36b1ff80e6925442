import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import NormalIndPower, normal_sample_size_one_tail

from harness.stats import (
    detectable_paired,
    detectable_proportion,
    exact_power_proportion,
    paired_rate_spread,
    power_paired,
    rate_against_bar,
    sample_size_paired,
    sample_size_proportion,
    wald_bound,
)


def spread(p):
    return math.sqrt(p * (1 - p))


@pytest.mark.parametrize(("bar", "true"), [(0.95, 0.97), (0.95, 0.93), (0.5, 0.6), (0.95, 0.34), (0.9, 1.0)])
@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("power", [0.8, 0.95])
@pytest.mark.parametrize("two_sided", [False, True])
def test_sample_size_agrees_with_statsmodels(bar, true, alpha, power, two_sided):
    level = alpha / 2 if two_sided else alpha
    oracle = normal_sample_size_one_tail(true - bar, power, level, spread(bar), spread(true))
    ours = sample_size_proportion(bar, true, alpha=alpha, power=power, two_sided=two_sided)
    assert ours == max(1, math.ceil(float(oracle) - 1e-9))


@given(st.sampled_from([0.5, 0.9, 0.95]), st.integers(30, 5000), st.booleans())
def test_detectable_is_the_inverse_of_sample_size(bar, n, above):
    rate = detectable_proportion(bar, n, above=above)
    if rate is None:
        assert sample_size_proportion(bar, 1.0 if above else 0.0) > n
        return
    assert sample_size_proportion(bar, rate) <= n
    nearer = bar + (rate - bar) * 0.999
    assert sample_size_proportion(bar, nearer) >= n


@pytest.mark.parametrize(
    ("n", "bar", "true"), [(60, 0.95, 0.999), (631, 0.95, 0.97), (200, 0.9, 0.8), (5, 0.9, 1)]
)
def test_exact_power_is_that_of_the_test_itself(n, bar, true):
    want = "pass" if true >= bar else "fail"
    oracle = sum(
        float(scipy.stats.binom.pmf(k, n, true))
        for k in range(n + 1)
        if rate_against_bar(k, n, bar).verdict == want
    )
    assert exact_power_proportion(n, bar, true) == pytest.approx(oracle, abs=1e-9)


@pytest.mark.parametrize("effect", [0.01, -0.03, 0.1])
@pytest.mark.parametrize("two_sided", [False, True])
def test_paired_agrees_with_statsmodels(effect, two_sided):
    alternative = "two-sided" if two_sided else "larger"
    solver = NormalIndPower(ddof=0)
    n = sample_size_paired(0.2, effect, two_sided=two_sided)
    # ratio=0 makes statsmodels' two-sample z power the one-sample one
    theirs = solver.power(abs(effect) / 0.2, n, 0.05, ratio=0, alternative=alternative)
    assert power_paired(0.2, effect, n, two_sided=two_sided) == pytest.approx(float(theirs), abs=1e-6)
    assert power_paired(0.2, effect, n, two_sided=two_sided) >= 0.8
    assert power_paired(0.2, effect, n - 1, two_sided=two_sided) < 0.8
    assert detectable_paired(0.2, n, two_sided=two_sided) <= abs(effect)


def test_spread_of_a_paired_rate():
    rng = np.random.default_rng(0)
    difference = rng.choice([-1, 0, 1], p=[0.03, 0.9, 0.07], size=1_000_000)
    assert paired_rate_spread(0.1, 0.04) == pytest.approx(difference.std(), rel=0.01)


def test_wald_bound():
    divergence = scipy.stats.entropy([0.97, 0.03], [0.95, 0.05])
    assert wald_bound(0.95, 0.97) == pytest.approx(math.log(20) / float(divergence))
    assert wald_bound(0.95, 1.0) == pytest.approx(math.log(20) / math.log(1 / 0.95))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_size_proportion(0.95, 0.95), "differ"),
        (lambda: sample_size_proportion(1.0, 0.95), "bar"),
        (lambda: sample_size_proportion(0.9, 0.95, power=0.01), "power"),
        (lambda: sample_size_proportion(0.9, 0.95, alpha=0.0), "alpha"),
        (lambda: sample_size_paired(0.0, 0.1), "spread"),
        (lambda: sample_size_paired(0.1, 0.0), "effect"),
        (lambda: detectable_paired(0.1, 0), "n = 0"),
        (lambda: detectable_proportion(0.9, 0), "n is 0"),
        (lambda: paired_rate_spread(0.01, 0.04), "discordant"),
        (lambda: wald_bound(0.95, 0.95), "differ"),
    ],
)
def test_settings_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()
