"""Tests of bounded means: their level by exact enumeration, and what any test and its interval must keep."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats import betting_growth, bounded_equivalence, mean_against_bar, mean_interval
from harness.stats.bounded import BoundedMean

ALPHA = 0.05

values = st.lists(
    st.sampled_from([0.0, 1 / 7, 3 / 7, 0.5, 0.9, 1.0]) | st.floats(0.0, 1.0), min_size=1, max_size=40
)
bars = st.floats(0.01, 0.99)


def ones(x):
    return np.ones(len(x))


def errors(outcomes, weights, bar, bounds=(0.0, 1.0)):
    """Probability of pass and of fail of `mean >= bar`, over outcomes [(totals, counts)] with weights."""
    units = [BoundedMean.of(total, count, bounds, None) for total, count in outcomes]
    return tuple(
        math.fsum(w for w, one in zip(weights, units, strict=True) if p_value(one, bar) <= ALPHA)
        for p_value in (BoundedMean.p_at_most, BoundedMean.p_at_least)
    )


# The t test passes these wrongly with probability .184, .137, .192, .118, .149 and .086.
CELLS = [(30, 0.9), (60, 0.9), (60, 0.95), (100, 0.95), (300, 0.98), (500, 0.95)]
ENDS = [(n, bar) for n in (20, 200) for bar in (0.02, 0.2, 0.5, 0.8, 0.995)]


@pytest.mark.parametrize(("n", "bar"), CELLS + ENDS)
def test_a_wrong_verdict_on_zeros_and_ones_comes_with_probability_alpha_at_most(n, bar):
    outcomes = [(np.repeat([0.0, 1.0], [n - k, k]), np.ones(n)) for k in range(n + 1)]
    weights = scipy.stats.binom.pmf(np.arange(n + 1), n, bar)
    passes, fails = errors(outcomes, weights, bar)  # at the bar itself both would be errors or next to one
    assert passes <= ALPHA
    assert fails <= ALPHA


@pytest.mark.parametrize("chance", [(0.9, 0.04, 0.06), (0.2, 0.7, 0.1), (0.0, 0.97, 0.03), (0.96, 0.0, 0.04)])
@pytest.mark.parametrize("n", [5, 30])
def test_a_wrong_verdict_on_graded_values_comes_with_probability_alpha_at_most(n, chance):
    grades = np.array([1.0, 3 / 7, 0.0])
    bar = float(grades @ chance)
    counts = [(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)]
    outcomes = [(np.repeat(grades, row), np.ones(n)) for row in counts]
    passes, fails = errors(outcomes, scipy.stats.multinomial.pmf(counts, n, chance), bar)
    assert passes <= ALPHA
    assert fails <= ALPHA


@pytest.mark.parametrize("loss", [0.02, 0.05, 0.3])
def test_a_wrong_parity_comes_with_probability_alpha_at_most(loss):
    """Paired differences of 0/1 values at exactly the margin."""
    n, margin = 60, 0.02
    chance = (loss - margin, 1 - 2 * loss + margin, loss)
    rows = [(gain, n - gain - lost, lost) for gain in range(n + 1) for lost in range(n + 1 - gain)]
    weights = scipy.stats.multinomial.pmf(rows, n, chance)
    likely = [(row, weight) for row, weight in zip(rows, weights, strict=True) if weight > 1e-12]
    outcomes = [(np.repeat([1.0, 0.0, -1.0], row), np.ones(n)) for row, _ in likely]
    passes, fails = errors(outcomes, [weight for _, weight in likely], -margin, (-1.0, 1.0))
    assert passes <= ALPHA
    assert fails <= ALPHA


@pytest.mark.parametrize("bar", [0.7, 0.9, 0.97])
@pytest.mark.parametrize("alike", [True, False])
def test_a_wrong_verdict_on_unequal_tasks_comes_with_probability_alpha_at_most(bar, alike):
    """Half of the tasks have one sample, the others three, which are wholly alike or independent."""
    tasks, large = 8, 3
    chances = [1 - bar, 0, 0, bar] if alike else scipy.stats.binom.pmf(np.arange(large + 1), large, bar)
    kinds = [(0, 1, 0.5 * (1 - bar)), (1, 1, 0.5 * bar)]
    kinds += [(k, large, 0.5 * p) for k, p in enumerate(chances) if p]
    rows = [np.bincount(row, minlength=len(kinds)) for row in _multisets(len(kinds), tasks)]
    outcomes = [tuple(np.repeat([kind[i] for kind in kinds], row) for i in (0, 1)) for row in rows]
    weights = scipy.stats.multinomial.pmf(rows, tasks, [kind[2] for kind in kinds])
    assert weights.sum() == pytest.approx(1.0)
    passes, fails = errors(outcomes, weights, bar)
    assert passes <= ALPHA
    assert fails <= ALPHA


def _multisets(kinds, size):
    return itertools.combinations_with_replacement(range(kinds), size)


@pytest.mark.parametrize("n", [1, 7, 64])
@pytest.mark.parametrize("bar", [0.05, 0.5, 0.95])
def test_the_capital_is_one_on_average_at_the_bar(n, bar):
    """The proof's only step, by enumeration: E[1/p] is at most 1, and 1 where nothing is cut off at p = 1."""
    capital = [
        math.exp(_log_capital(np.repeat([0.0, 1.0], [n - k, k]), bar)) * scipy.stats.binom.pmf(k, n, bar)
        for k in range(n + 1)
    ]
    assert math.fsum(capital) == pytest.approx(1.0, rel=1e-9)


def _log_capital(x, bar):
    from harness.stats import bounded

    units = BoundedMean.of(x, ones(x), (0.0, 1.0), 1)
    return bounded._log_capital(units.total, units.count, units.tasks, units.units, bar)


def test_the_capital_is_the_mean_of_the_products():
    x, bar, n = [0.2, 1.0, 0.9, 0.9], 0.5, 4
    least = math.sqrt(6.0 * bar / ((1 - bar) * n))
    assert least > 1  # so few values: everything is staked
    product = math.prod(v / bar for v in x)
    assert mean_against_bar(x, ones(x), bar).p_pass == pytest.approx(1 / product)


@settings(max_examples=40)
@given(values, st.floats(0.6, 0.999))
def test_the_interval_lies_in_its_range_and_holds_the_estimate(x, confidence):
    result = mean_interval(x, ones(x), confidence=confidence)
    assert 0.0 <= result.low <= result.estimate <= result.high <= 1.0
    assert result.estimate == pytest.approx(np.mean(x), abs=1e-12)
    assert result.n == len(x)


@settings(max_examples=40)
@given(values, bars, bars)
def test_a_lower_bar_is_never_harder_to_pass(x, one, other):
    low, high = sorted((one, other))
    easier, harder = (mean_against_bar(x, ones(x), bar) for bar in (low, high))
    assert easier.p_pass <= harder.p_pass * (1 + 1e-9)
    assert easier.p_fail >= harder.p_fail * (1 - 1e-9)


@settings(max_examples=40)
@given(values, bars, st.floats(0.01, 0.4), st.sampled_from([">=", "<="]))
def test_the_verdict_says_on_which_side_of_the_bar_the_interval_lies(x, bar, alpha, sense):
    result = mean_against_bar(x, ones(x), bar, alpha=alpha, sense=sense)
    above, below = result.estimate.low >= bar, result.estimate.high <= bar
    passed, failed = (above, below) if sense == ">=" else (below, above)
    if result.verdict == "pass":
        assert passed
    if result.verdict == "fail":
        assert failed
    if result.verdict == "undecided":
        assert result.estimate.low <= bar <= result.estimate.high


@settings(max_examples=40)
@given(values, bars, st.randoms(use_true_random=False))
def test_the_order_of_tasks_does_not_matter(x, bar, random):
    shuffled = list(x)
    random.shuffle(shuffled)
    assert mean_against_bar(x, ones(x), bar) == mean_against_bar(shuffled, ones(x), bar)


@settings(max_examples=40)
@given(values, bars)
def test_counting_failures_instead_turns_everything_round(x, bar):
    mirrored = 1.0 - np.array(x)
    one = mean_against_bar(x, ones(x), bar)
    other = mean_against_bar(mirrored, ones(x), 1.0 - bar, sense="<=")
    assert other.p_pass == pytest.approx(one.p_pass, rel=1e-6, abs=1e-300)
    assert other.p_fail == pytest.approx(one.p_fail, rel=1e-6, abs=1e-300)
    assert other.estimate.low == pytest.approx(1.0 - one.estimate.high, abs=1e-8)
    assert other.estimate.high == pytest.approx(1.0 - one.estimate.low, abs=1e-8)


@settings(max_examples=40)
@given(values, bars, st.floats(-5.0, 5.0), st.floats(0.1, 10.0))
def test_the_unit_of_the_values_does_not_matter(x, bar, shift, width):
    plain = mean_against_bar(x, ones(x), bar)
    scaled = mean_against_bar(
        shift + width * np.array(x), ones(x), shift + width * bar, bounds=(shift, shift + width)
    )
    assert scaled.p_pass == pytest.approx(plain.p_pass, rel=1e-5, abs=1e-300)
    assert scaled.estimate.low == pytest.approx(shift + width * plain.estimate.low, abs=1e-6 * width)


@settings(max_examples=40)
@given(values, bars, st.integers(0, 20))
def test_tasks_without_a_value_say_nothing(x, bar, empty):
    total, count = [*x, *[0.0] * empty], [*[1] * len(x), *[0] * empty]
    assert mean_against_bar(total, count, bar) == mean_against_bar(x, ones(x), bar)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=30), bars)
def test_a_larger_possible_count_never_makes_it_surer(rows, bar):
    count = np.array([n for _, n in rows])
    total = np.array([min(k, n) for k, n in rows], dtype=float)
    tight, wide = (mean_interval(total, count, most=most) for most in (5, 50))
    assert wide.low <= tight.low + 1e-9
    assert wide.high >= tight.high - 1e-9
    assert wide.estimate == pytest.approx(total.sum() / count.sum())


@pytest.mark.parametrize("n", [5, 60, 400])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_equal_values_leave_room_for_what_was_not_seen(n, value):
    result = mean_interval(np.full(n, value), np.ones(n))
    unseen = 1.0 - 0.025 ** (1.0 / n)  # no test can exclude a share of other values below that
    assert result.low <= value - unseen * value + 1e-9
    assert result.high >= value + unseen * (1.0 - value) - 1e-9


def test_one_value_says_something_and_none_nothing():
    one = mean_interval([0.8], [1])
    assert 0.0 < one.low < 0.8 * 0.025 + 1e-9
    assert 1.0 - 0.2 * 0.025 - 1e-9 < one.high < 1.0
    for result in (mean_interval([], []), mean_interval([0.0], [0])):
        assert (result.n, result.estimate, result.low, result.high) == (0, None, None, None)
    assert mean_against_bar([], [], 0.5).verdict == "undecided"
    assert bounded_equivalence([], 0.1).verdict == "undecided"


def test_a_requirement_that_always_holds_passes():
    assert mean_against_bar([0.0, 0.0], [1, 1], 0.0).verdict == "pass"
    assert mean_against_bar([1.0, 1.0], [1, 1], 1.0, sense="<=").verdict == "pass"
    assert mean_against_bar([1.0, 0.9], [1, 1], 1.0).verdict == "fail"
    assert mean_against_bar([1.0, 1.0], [1, 1], 1.0).verdict == "undecided"


def test_capital_in_hindsight_grows_with_the_tasks():
    x = [0.9, 0.2, 1.0, 0.8]
    once = betting_growth(x, ones(x), 0.5)
    assert once > 0.0
    assert betting_growth(x * 25, np.ones(100), 0.5) == pytest.approx(25 * once)
    # No stake in hindsight does worse than those that were fixed beforehand.
    assert math.exp(-25 * once) <= mean_against_bar(x * 25, np.ones(100), 0.5).p_pass
    assert betting_growth([0.5, 0.5], [1, 1], 0.5) == betting_growth([], [], 0.5) == 0.0


def test_limits_cost_nothing_but_time():
    x = [0.9, 0.2, 1.0, 0.8]
    with_them, without = (mean_against_bar(x, ones(x), 0.5, interval=want) for want in (True, False))
    assert (with_them.p_pass, with_them.p_fail) == (without.p_pass, without.p_fail)
    assert (without.estimate.low, without.estimate.high) == (None, None)


def test_equivalence_needs_both_sides():
    tied = np.zeros(2000)
    assert bounded_equivalence(tied, 0.01).verdict == "pass"
    assert bounded_equivalence(np.zeros(20), 0.01).verdict == "undecided"
    assert bounded_equivalence(np.full(200, -0.3), 0.1).verdict == "fail"
    up, down = (bounded_equivalence(sign * np.tile([0.02, 0.0], 200), 0.05) for sign in (1, -1))
    assert up.p_pass == pytest.approx(down.p_pass, rel=1e-6)


@pytest.mark.parametrize(
    ("top", "bottom", "settings", "says"),
    [
        ([1.1], [1], {}, "can't all lie"),
        ([-0.1], [1], {}, "can't all lie"),
        ([math.nan], [1], {}, "finite"),
        ([1.0], [1, 1], {}, "shape"),
        ([1.0], [-1], {}, "negative"),
        ([2.0], [3], {"most": 2}, "more than 2"),
        ([0.5], [1], {"bounds": (1.0, 1.0)}, "bounds"),
        ([0.5], [1], {"alpha": 0.5}, "alpha"),
    ],
)
def test_what_cannot_be_tested_is_refused(top, bottom, settings, says):
    with pytest.raises(ValueError, match=says):
        mean_against_bar(top, bottom, 0.5, **settings)


@pytest.mark.parametrize("margin", [0.0, -0.1, math.nan])
def test_a_margin_that_tolerates_nothing_is_refused(margin):
    with pytest.raises(ValueError, match="margin"):
        bounded_equivalence([0.1, 0.2], margin)


def test_all_small_samples_of_few_grades_keep_the_level_of_the_interval():
    """Every sequence of six values of four grades: each end misses at most 2.5 %, for many distributions."""
    grades = np.array([0.0, 0.4, 0.9, 1.0])
    rows = list(itertools.combinations_with_replacement(range(4), 6))
    counts = np.array([[row.count(g) for g in range(4)] for row in rows])
    intervals = [mean_interval(np.repeat(grades, row), np.ones(6)) for row in counts]
    rng = np.random.default_rng(0)
    for chance in rng.dirichlet(np.full(4, 0.5), size=200):
        truth = float(grades @ chance)
        weight = scipy.stats.multinomial.pmf(counts, 6, chance / chance.sum())
        assert weight[[e.low > truth + 1e-9 for e in intervals]].sum() <= 0.025 + 1e-9
        assert weight[[e.high < truth - 1e-9 for e in intervals]].sum() <= 0.025 + 1e-9
