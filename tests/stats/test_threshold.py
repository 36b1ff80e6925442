import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from harness.stats import rate_against_bar

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, st.floats(0.01, 0.99), st.sampled_from([0.01, 0.05, 0.1]))
def test_rate_agrees_with_scipy(count, bar, alpha):
    k, n = count
    result = rate_against_bar(k, n, bar, alpha=alpha)
    greater = scipy.stats.binomtest(k, n, bar, alternative="greater").pvalue
    less = scipy.stats.binomtest(k, n, bar, alternative="less").pvalue
    assert (result.p_pass, result.p_fail) == pytest.approx((greater, less), abs=1e-9)
    limits = (result.estimate.low, result.estimate.high)
    interval = scipy.stats.binomtest(k, n).proportion_ci(1 - 2 * alpha, "exact")
    assert limits == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert limits == pytest.approx(proportion_confint(k, n, 2 * alpha, "beta"), abs=1e-9)
    assert 0.0 <= result.estimate.low <= result.estimate.estimate <= result.estimate.high <= 1.0


@pytest.mark.parametrize("k", [0, 1, 3, 500_000_000, 949_999_999, 10**9 - 1, 10**9])
def test_limits_at_a_billion_observations(k):
    n = 10**9
    ours = rate_against_bar(k, n, 0.5, alpha=0.025).estimate
    low = scipy.stats.beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = scipy.stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-9)


@given(counts, st.floats(0.01, 0.99))
def test_at_most_mirrors_at_least(count, bar):
    k, n = count
    one, other = rate_against_bar(k, n, bar, sense="<="), rate_against_bar(n - k, n, 1 - bar)
    assert one.verdict == other.verdict
    assert (one.p_pass, one.p_fail) == pytest.approx((other.p_pass, other.p_fail), abs=1e-9)
    limits = (1 - other.estimate.high, 1 - other.estimate.low)
    assert (one.estimate.low, one.estimate.high) == pytest.approx(limits, abs=1e-12)


@pytest.mark.parametrize("n", [20, 256, 631])
@pytest.mark.parametrize("bar", [0.5, 0.95, 0.99])
def test_neither_error_exceeds_alpha_even_at_the_bar(n, bar):
    pmf = scipy.stats.binom.pmf(np.arange(n + 1), n, bar)
    verdicts = [rate_against_bar(k, n, bar).verdict for k in range(n + 1)]
    for wrong in ("pass", "fail"):
        assert sum(p for p, verdict in zip(pmf, verdicts, strict=True) if verdict == wrong) <= 0.05


def test_requirements_that_hold_by_definition():
    assert rate_against_bar(0, 5, 0.0).verdict == "pass"
    assert rate_against_bar(5, 5, 1.0, sense="<=").verdict == "pass"
    assert rate_against_bar(4, 5, 1.0).verdict == "fail"
    assert rate_against_bar(5, 5, 1.0).verdict == "undecided"
    assert rate_against_bar(1, 5, 0.0, sense="<=").verdict == "fail"


def test_nothing_measured_is_undecided():
    result = rate_against_bar(0, 0, 0.5)
    assert result.verdict == "undecided"
    assert (result.p_pass, result.p_fail) == (1.0, 1.0)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="bar"):
        rate_against_bar(1, 2, 95)
    with pytest.raises(ValueError, match="alpha"):
        rate_against_bar(1, 2, 0.5, alpha=0.5)
    for bad in (0.95, True, "1", None):
        with pytest.raises(ValueError, match="integer"):
            rate_against_bar(bad, 2, 0.5)
    with pytest.raises(ValueError, match="0 ≤ successes ≤ n"):
        rate_against_bar(3, 2, 0.5)
