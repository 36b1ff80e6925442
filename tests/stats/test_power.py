import math

import pytest
import scipy.stats
from statsmodels.stats.power import normal_sample_size_one_tail

from harness.stats import exact_power_proportion, rate_against_bar, sample_size_proportion
from tests.stats.sequential_planning import wald_bound


def spread(p):
    return math.sqrt(p * (1 - p))


@pytest.mark.parametrize(("bar", "true"), [(0.95, 0.97), (0.95, 0.93), (0.5, 0.6), (0.95, 0.34), (0.9, 1.0)])
@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("power", [0.8, 0.95])
def test_sample_size_agrees_with_statsmodels(bar, true, alpha, power):
    oracle = normal_sample_size_one_tail(true - bar, power, alpha, spread(bar), spread(true))
    ours = sample_size_proportion(bar, true, alpha=alpha, power=power)
    assert ours == max(1, math.ceil(float(oracle) - 1e-9))


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
    ],
)
def test_settings_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()
