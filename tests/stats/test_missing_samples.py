import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats import bootstrap_ratio, bounds_with_missing, rate_with_missing, wilson, wilson_clustered


def test_nothing_missing_gives_one_interval():
    bounds = rate_with_missing([1, 0, 1], [1, 1, 1], [0, 0, 0])
    assert bounds.worst == bounds.best == wilson(2, 3)
    means = bounds_with_missing([0.5, 1.5], [1, 2], [0, 0], seed=3)
    assert means.worst == means.best == bootstrap_ratio([0.5, 1.5], [1, 2], n=3, seed=3, bounds=(0, 1))


def test_whole_tasks_missing():
    bounds = rate_with_missing([1] * 90 + [0] * 10, [1] * 90 + [0] * 10, [0] * 90 + [1] * 10)
    assert bounds.missing == 10
    assert bounds.worst == wilson(90, 100)
    assert bounds.best == wilson(100, 100)


def test_some_samples_of_a_task_missing():
    bounds = rate_with_missing([2, 3], [2, 4], [2, 0])
    assert bounds.worst == wilson_clustered([2, 3], [4, 4])
    assert bounds.best == wilson_clustered([4, 3], [4, 4])


tasks = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(0, 1)).filter(lambda t: t[0] + t[1] > 0),
    min_size=2,
    max_size=30,
)


@given(tasks, st.data())
def test_whatever_the_missing_samples_were_the_truth_lies_between(rows, data):
    size, missing = [row[0] for row in rows], [row[1] for row in rows]
    total = [row[0] * row[2] for row in rows]
    filled = [t + data.draw(st.floats(0, m)) for t, m in zip(total, missing, strict=True)]
    bounds = bounds_with_missing(total, size, missing, seed=0, draws=50)
    truth = sum(filled) / (sum(size) + sum(missing))
    assert bounds.worst.estimate - 1e-12 <= truth <= bounds.best.estimate + 1e-12
    assert bounds.worst.n == bounds.best.n == sum(size) + sum(missing)


def test_everything_missing_says_nothing():
    bounds = rate_with_missing([0] * 20, [0] * 20, [1] * 20)
    assert (bounds.worst.estimate, bounds.best.estimate) == (0.0, 1.0)


def test_input_is_checked():
    with pytest.raises(ValueError, match="missing has shape"):
        rate_with_missing([1], [1], [0, 0])
    with pytest.raises(ValueError, match="every task"):
        rate_with_missing([1], [1], [-1])
    with pytest.raises(ValueError, match="shapes"):
        bounds_with_missing([1.0], [1], [0, 0], seed=0)
    with pytest.raises(ValueError, match="out of order"):
        bounds_with_missing([1.0], [1], [0], seed=0, bounds=(1.0, 0.0))
