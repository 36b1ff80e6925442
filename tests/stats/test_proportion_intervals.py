import math
import re

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from harness.stats import rate_by_task, wilson

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 0.9999])


@given(counts, levels)
def test_wilson_agrees_with_statsmodels_and_scipy(count, confidence):
    k, n = count
    ours = wilson(k, n, confidence)
    assert (ours.low, ours.high) == pytest.approx(
        proportion_confint(k, n, 1 - confidence, "wilson"), abs=1e-9
    )
    theirs = scipy.stats.binomtest(k, n).proportion_ci(confidence, "wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert ours.estimate == k / n


@given(counts)
def test_the_interval_stays_in_range_and_holds_the_estimate(count):
    interval = wilson(*count)
    assert 0.0 <= interval.low <= interval.estimate <= interval.high <= 1.0


@given(counts)
def test_failures_mirror_successes(count):
    k, n = count
    straight, mirrored = wilson(k, n), wilson(n - k, n)
    assert (straight.low, straight.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-12)


def test_nothing_measured():
    interval = wilson(0, 0)
    assert (interval.n, interval.estimate, interval.low, interval.high) == (0, None, None, None)
    assert rate_by_task([], []) == wilson(0, 0)
    assert rate_by_task([0, 0], [0, 0]) == wilson(0, 0)


@pytest.mark.parametrize("bad", [(1.0, 2), (1, 2.5), (True, 2), ("1", 2), (None, 2), (math.nan, 2)])
def test_what_is_no_count_is_refused(bad):
    with pytest.raises(ValueError, match="must be an integer"):
        wilson(*bad)


@pytest.mark.parametrize("bad", [(3, 2), (-1, 2), (-2, -1)])
def test_counts_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=re.escape("0 ≤ successes ≤ n")):
        wilson(*bad)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, -0.5, math.nan])
def test_confidence_out_of_range_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, confidence)


def test_numpy_integers_are_counts():
    assert wilson(np.int64(3), np.int32(5)) == wilson(3, 5)


clustered = st.lists(
    st.integers(1, 6).flatmap(lambda m: st.tuples(st.integers(0, m), st.just(m))), min_size=2, max_size=60
)


@given(st.lists(st.booleans(), min_size=1, max_size=200), levels)
def test_one_sample_a_task_is_wilson_exactly(outcomes, confidence):
    successes = [int(outcome) for outcome in outcomes]
    one = [1] * len(outcomes)
    assert rate_by_task(successes, one, confidence) == wilson(sum(successes), len(one), confidence)


@given(clustered)
def test_copies_of_a_sample_count_once(tasks):
    """Every task all success or all failure: no narrower than one sample a task."""
    outcome = [int(2 * x > m) for x, m in tasks]
    size = [4] * len(outcome)
    copies = rate_by_task([4 * x for x in outcome], size)
    single = wilson(sum(outcome), len(outcome))
    assert copies.high - copies.low >= (single.high - single.low) * (1 - 1e-9)


@given(clustered, st.randoms(use_true_random=False))
def test_the_order_of_tasks_does_not_matter(tasks, random):
    shuffled = list(tasks)
    random.shuffle(shuffled)
    assert rate_by_task(*map(list, zip(*tasks, strict=True))) == rate_by_task(
        *map(list, zip(*shuffled, strict=True))
    )


def test_one_task_says_next_to_nothing():
    interval = rate_by_task([50], [50])
    assert interval.low < 0.025
    assert interval.high == 1.0


def test_alike_samples_of_unequal_tasks_keep_the_level():
    """Tasks of 1 and of 6 samples that all say the same: each end misses at most 2.5 %, by enumeration."""
    tasks, rate = 10, 0.9
    missed = np.zeros(2)
    for large in range(tasks + 1):
        size = np.repeat([6, 1], [large, tasks - large])
        for hit_large in range(large + 1):
            for hit_small in range(tasks - large + 1):
                weight = math.prod(
                    scipy.stats.binom.pmf(k, n, p)
                    for k, n, p in (
                        (large, tasks, 0.5),
                        (hit_large, large, rate),
                        (hit_small, tasks - large, rate),
                    )
                )
                hits = size * np.concatenate(
                    [np.arange(large) < hit_large, np.arange(tasks - large) < hit_small]
                )
                interval = rate_by_task(hits, size, most=6)
                missed += weight * np.array([interval.low > rate, interval.high < rate])
    assert (missed <= 0.025).all()


@pytest.mark.parametrize(
    ("successes", "samples", "message"),
    [([1], [1, 1], "shapes"), ([2], [1], "every task"), ([-1], [1], "every task"), ([0.5], [1], "integers")],
)
def test_clustered_counts_are_checked(successes, samples, message):
    with pytest.raises(ValueError, match=message):
        rate_by_task(successes, samples)
