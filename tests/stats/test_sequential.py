"""The one promise that matters: a wrong verdict at most alpha of the time, whatever the stopping rule."""

import functools
import itertools
import math
from collections import Counter
from math import comb

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.stats import SequentialTest, confidence_sequence, sample_size_proportion
from harness.stats.sequential import FRACTIONS
from tests.examples import examples
from tests.stats.sequential_planning import bernoulli_boundaries, operating_characteristics, wald_bound

unit = st.floats(0, 1)


def run(values, bar, **settings):
    test = SequentialTest(bar, **settings)
    for value in values:
        test.update(value)
    return test


@pytest.mark.parametrize("bar", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("distance", [0.0, 0.05])
def test_errors_over_every_sequence_of_three_values(bar, distance):
    """All 3⁸ sequences of a distribution on {0, ½, 1}, weighted: exact probability of ever being wrong."""
    alpha, length = 0.3, 8
    for sense, sign in (("at or below the bar", -1), ("at or above", 1)):
        mean = bar + sign * distance
        middle = min(mean, 1 - mean)
        weight = dict(zip((0.0, 0.5, 1.0), (1 - mean - middle / 2, middle, mean - middle / 2), strict=True))
        wrong = "pass" if sign < 0 else "fail"
        error = sum(
            math.prod(weight[x] for x in path)
            for path in itertools.product(weight, repeat=length)
            if run(path, bar, alpha=alpha).verdict == wrong
        )
        assert error <= alpha, sense


@pytest.mark.parametrize("bar", [0.5, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_errors_over_a_budget_of_thousands(bar, alpha):
    boundaries = bernoulli_boundaries(bar, 4000, alpha=alpha)
    for true in (0.5, 0.8, 0.9, 0.94, 0.95, 0.96, 0.99, 0.999):
        result = operating_characteristics(boundaries, true)
        if true <= bar:
            assert result.pass_probability <= alpha
        if true >= bar:
            assert result.fail_probability <= alpha


@pytest.mark.parametrize("true", [0.2, 0.7, 0.85])
def test_operating_characteristics_by_going_through_every_sequence(true):
    budget, bar, alpha = 13, 0.7, 0.25
    outcome, stopped = Counter(), Counter()
    for path in itertools.product((0.0, 1.0), repeat=budget):
        test = run(path, bar, alpha=alpha)
        probability = true ** sum(path) * (1 - true) ** (budget - sum(path))
        outcome[test.verdict] += probability
        stopped[test.decided_at or budget] += probability
    result = operating_characteristics(bernoulli_boundaries(bar, budget, alpha=alpha), true)
    assert result.pass_probability == pytest.approx(outcome["pass"], abs=1e-12)
    assert result.fail_probability == pytest.approx(outcome["fail"], abs=1e-12)
    assert result.mean_samples == pytest.approx(sum(n * p for n, p in stopped.items()), abs=1e-9)
    cumulative = np.cumsum([stopped[n] for n in range(budget + 1)])
    assert result.median_samples == int(np.argmax(cumulative >= 0.5))


@pytest.mark.parametrize("bar", [0.5, 0.75])
@pytest.mark.parametrize("successes", [7, 8, 9, 10])
def test_without_replacement_over_every_order(bar, successes):
    """A list of 14 with all its orders: the wrong verdict at most alpha, certainty at the end."""
    population, alpha = 14, 0.25
    outcome = Counter()
    for places in itertools.combinations(range(population), successes):
        values = np.zeros(population)
        values[list(places)] = 1.0
        outcome[run(values, bar, alpha=alpha, population=population).verdict] += 1
    orders = comb(population, successes)
    right, wrong = ("pass", "fail") if successes / population >= bar else ("fail", "pass")
    assert outcome[wrong] <= alpha * orders
    assert outcome[right] + outcome[wrong] == orders


@given(st.lists(st.booleans(), min_size=1, max_size=120), st.sampled_from([0.2, 0.5, 0.95]))
def test_evidence_is_the_mixture_likelihood_ratio(outcomes, bar):
    """On 0/1 data, against binomial likelihoods at each alternative of the grid."""
    values = [float(outcome) for outcome in outcomes]
    test = run(values, bar)
    successes, n = int(sum(values)), len(values)
    for evidence, alternatives in (
        (test.log_evidence_pass, bar + FRACTIONS * (1 - bar)),
        (test.log_evidence_fail, bar - FRACTIONS * bar),
    ):
        ratios = scipy.stats.binom.logpmf(successes, n, alternatives) - scipy.stats.binom.logpmf(
            successes, n, bar
        )
        oracle = scipy.special.logsumexp(ratios) - math.log(len(FRACTIONS))
        assert evidence == pytest.approx(float(oracle), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("true", [0.34, 0.9, 0.97, 0.995])
def test_boundaries_are_those_of_the_running_test(seed, true):
    values = (np.random.default_rng(seed).random(900) < true).astype(float)
    boundaries = bernoulli_boundaries(0.95, 900)
    successes = np.concatenate([[0], np.cumsum(values)]).astype(int)
    stop = np.flatnonzero((successes >= boundaries.pass_at) | (successes <= boundaries.fail_at))
    test = run(values, 0.95)
    assert test.decided_at == (int(stop[0]) if len(stop) else None)
    if len(stop):
        passed = successes[stop[0]] >= boundaries.pass_at[stop[0]]
        assert test.verdict == ("pass" if passed else "fail")


def test_sample_counts_promised_in_the_issue():
    fixed = sample_size_proportion(0.95, 0.97)
    assert fixed == 631
    boundaries = bernoulli_boundaries(0.95, 5000)
    median = {p: operating_characteristics(boundaries, p).median_samples for p in (0.34, 0.97, 0.995)}
    assert median[0.34] * 50 <= fixed
    assert median[0.995] * 4 <= fixed
    assert median[0.97] <= 1.3 * fixed


@pytest.mark.parametrize("true", [0.5, 0.9, 0.97, 0.99])
def test_mean_count_respects_walds_bound(true):
    """No valid test stops earlier on average (up to those it decides wrongly or not at all)."""
    result = operating_characteristics(bernoulli_boundaries(0.95, 6000), true)
    assert result.mean_samples >= 0.9 * wald_bound(0.95, true)


@given(st.lists(unit, min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_at_most_mirrors_at_least(values, bar):
    one = run(values, bar, sense="<=")
    other = run([1.0 - x for x in values], 1.0 - bar)
    assert one.verdict == other.verdict
    assert one.log_evidence_pass == pytest.approx(other.log_evidence_pass, abs=1e-6)


@examples(60)
@given(st.lists(unit, min_size=1, max_size=80), st.floats(0.05, 0.95), st.booleans())
def test_interval_and_verdict_agree(values, bar, finite):
    """At the observation that decides, betting refutes the bar exactly when the interval leaves it out."""
    population = 2 * len(values) + 20 if finite else None
    test = run(values, bar, alpha=0.1, population=population)
    seen = values if test.decided_at is None else values[: test.decided_at]
    interval = confidence_sequence(seen, 0.8, population=population)
    assert interval.n == len(seen)
    resolution = 2.0**-20
    # Where the estimate itself lies beyond a bar that was refuted, the interval is drawn out to it.
    if test.verdict == "pass":
        assert interval.low >= min(bar, interval.estimate) - resolution
    elif test.verdict == "fail":
        assert interval.high <= max(bar, interval.estimate) + resolution
    else:
        assert interval.low <= bar + resolution
        assert interval.high >= bar - resolution


@examples(100)
@given(st.lists(unit, min_size=1, max_size=60), st.integers(0, 20), st.booleans())
def test_the_estimate_lies_in_its_interval(values, left, finite):
    """Also in a sorted list, where the first half alone would leave out what the whole says."""
    for ordered in (values, sorted(values), sorted(values, reverse=True)):
        interval = confidence_sequence(ordered, 0.8, population=len(values) + left if finite else None)
        assert interval.low <= interval.estimate <= interval.high


def test_what_came_first_does_not_rule_out_what_all_says():
    """Bad answers first: what they refuted at the time isn't refuted by all of them."""
    values = [0.0] * 20 + [1.0] * 500
    interval = confidence_sequence(values, 0.9)
    early = confidence_sequence(values[:20], 0.9)
    assert interval.estimate == pytest.approx(500 / 520)
    assert early.high < 0.5
    assert 0.9 < interval.low < interval.estimate < interval.high


@pytest.mark.parametrize("population", [None, 6])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_intervals_cover_at_all_times_at_once(rate, population):
    """Exactly, over all paths of 12 flips, or orders of a list of 6: P(ever outside) is at most 1 − c."""
    ones = None if population is None else round(rate * population)
    mean = rate if population is None else ones / population
    length, outside = 12 if population is None else population, 0.0
    for path in itertools.product((0.0, 1.0), repeat=length):
        if population is None:
            chance = math.prod(rate if x else 1.0 - rate for x in path)
        else:
            chance = 1.0 / math.comb(population, ones) if sum(path) == ones else 0.0
        if chance and _ever_outside(path, mean, population):
            outside += chance
    assert outside <= 0.5 + 1e-12


def _ever_outside(path, mean, population):
    for n in range(1, len(path) + 1):
        interval = _interval(path[:n], population)
        if not interval.low - 1e-9 <= mean <= interval.high + 1e-9:
            return True
    return False


@functools.cache
def _interval(values, population):
    return confidence_sequence(values, 0.5, population=population)


def test_long_runs_are_the_same_in_blocks():
    values = (np.random.default_rng(0).random(9000) < 0.6).astype(float)
    interval = confidence_sequence(values)
    low = run(values, interval.low - 1e-4, alpha=0.025)
    inside = run(values, interval.low + 1e-4, alpha=0.025)
    assert low.log_evidence_pass >= -math.log(0.025)
    assert inside.log_evidence_pass < -math.log(0.025)


def test_seeing_the_whole_list_leaves_no_doubt():
    values = [1.0, 0.25, 0.5, 1.0]
    interval = confidence_sequence(values, population=4)
    assert (interval.low, interval.high) == (0.6875, 0.6875)
    partial = confidence_sequence(values, population=6)
    assert partial.low >= 2.75 / 6
    assert partial.high <= 4.75 / 6


@pytest.mark.parametrize(("bar", "size", "successes"), [(0.95, 100, 95), (0.9, 10, 9), (0.07, 100, 7)])
def test_a_list_exactly_at_the_bar_passes_at_its_end(bar, size, successes):
    values = np.repeat([0.0, 1.0], [size - successes, successes])
    values = np.random.default_rng(0).permutation(values)
    assert run(values, bar, alpha=1e-9, population=size).verdict == "pass"
    assert run(1.0 - values, 1 - bar, alpha=1e-9, sense="<=", population=size).verdict == "pass"
    values[np.argmax(values)] = 0.0
    assert run(values, bar, alpha=1e-9, population=size).verdict == "fail"


def test_verdict_stops_early_when_the_rest_cannot_matter():
    test = run([0.0] * 6, 0.95, alpha=1e-12, population=100)
    assert (test.verdict, test.decided_at) == ("fail", 6)


def test_knowing_the_list_never_costs_certainty():
    rng = np.random.default_rng(0)
    values = rng.permutation([1.0] * 291 + [0.0] * 9)
    finite, endless = run(values, 0.95, population=300), run(values, 0.95)
    assert finite.verdict == "pass"
    assert endless.decided_at is None or finite.decided_at <= endless.decided_at


def test_the_first_verdict_stands():
    test = run([0.0] * 30, 0.95)
    assert test.verdict == "fail"
    decided = test.decided_at
    for _ in range(5000):
        test.update(1.0)
    assert (test.verdict, test.decided_at, test.n) == ("fail", decided, 5030)


def test_bars_at_the_ends():
    assert SequentialTest(0.0).verdict == "pass"
    assert SequentialTest(1.0, sense="<=").verdict == "pass"
    assert run([1.0] * 500, 1.0).verdict == "undecided"
    assert run([1.0] * 10 + [0.0], 1.0).verdict == "fail"
    assert run([0.0] * 500, 0.0, sense="<=").verdict == "undecided"
    assert run([0.0] * 10 + [1.0], 0.0, sense="<=").verdict == "fail"


def test_nothing_observed():
    test = SequentialTest(0.95)
    assert (test.n, test.verdict, test.decided_at) == (0, "undecided", None)
    interval = confidence_sequence([])
    assert (interval.n, interval.estimate, interval.low, interval.high) == (0, None, None, None)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_observations_are_checked_and_leave_the_state_alone(value):
    test = run([1.0, 0.0], 0.5)
    before = (test.n, test.log_evidence_pass, test.log_evidence_fail)
    with pytest.raises(ValueError, match="outside"):
        test.update(value)
    assert (test.n, test.log_evidence_pass, test.log_evidence_fail) == before
    with pytest.raises(ValueError, match="lie in"):
        confidence_sequence([0.5, value])


def test_more_observations_than_the_population_are_refused():
    test = run([1.0, 1.0], 0.5, population=2)
    with pytest.raises(ValueError, match="all 2 entries"):
        test.update(1.0)
    with pytest.raises(ValueError, match="population"):
        confidence_sequence([1.0, 1.0], population=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bar": 1.5}, "bar"),
        ({"bar": math.nan}, "bar"),
        ({"bar": 0.5, "alpha": 0.0}, "alpha"),
        ({"bar": 0.5, "alpha": 0.5}, "alpha"),
        ({"bar": 0.5, "sense": ">"}, "sense"),
        ({"bar": 0.5, "population": 0}, "population"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        SequentialTest(**settings)
