"""The largest level at which a falling rate is at least a bar: coverage of planted curves, and the ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.falling import LargestLevel, falling_curve

LEVELS = (1.0, 1.2, 1.5, 2.0, 3.0, 4.0)


def drawn(rates: list[float], tasks: int, seed: int, bar: float = 0.95) -> LargestLevel:
    rng = np.random.default_rng(seed)
    hits = [(rng.random(tasks) < rate).astype(int).tolist() for rate in rates]
    return falling_curve(LEVELS[: len(rates)], hits, [[1] * tasks] * len(rates)).largest(bar)


def test_limits_cover_planted_curves() -> None:
    """The level up to which the true curve is at least the bar lies within the limits, together, in 95 %."""
    rates = [0.999, 0.99, 0.96, 0.90, 0.5, 0.05]  # at least .95 up to 1.5, below it from 2 on
    missed = 0
    for seed in range(300):
        found = drawn(rates, 300, seed)
        missed += (found.low is not None and found.low > 1.5) or (found.high is not None and found.high < 2.0)
    assert missed <= 300 * 0.05


def test_a_clear_fall_is_located() -> None:
    found = drawn([1.0, 1.0, 1.0, 0.2, 0.0, 0.0], 500, 0)
    assert (found.low, found.high) == (1.5, 2.0)
    assert found.estimate is not None
    assert 1.5 < found.estimate < 1.6


def test_no_fall_and_nothing_but_fall_are_said() -> None:
    kept = drawn([1.0] * 6, 500, 0)
    assert (kept.estimate, kept.low, kept.high) == (None, 4.0, None)
    assert "up to the last level, 4" in kept.reason
    lost = drawn([0.5] * 6, 500, 0)
    assert (lost.estimate, lost.low, lost.high) == (None, None, 1.0)
    assert "below 0.95 already at 1" in lost.reason


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.floats(0.05, 0.95))
def test_limits_are_in_order(hits: list[int], bar: float) -> None:
    rows = [[1] * hit + [0] * (40 - hit) for hit in hits]
    found = falling_curve(LEVELS[: len(hits)], rows, [[1] * 40] * len(hits)).largest(bar)
    if found.low is not None and found.high is not None:
        assert found.low < found.high
    if found.estimate is not None:
        assert LEVELS[0] <= found.estimate <= LEVELS[len(hits) - 1]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="must ascend"):
        falling_curve([2.0, 1.0], [[1], [1]], [[1], [1]])
    with pytest.raises(ValueError, match="bar"):
        falling_curve([1.0], [[1]], [[1]]).largest(1.0)


def test_curve_limits_hold_together_and_hold_the_fit() -> None:
    """All levels of a planted curve lie within their limits at once, in 95 %."""
    rates = [0.999, 0.99, 0.96, 0.90, 0.5, 0.05]
    missed = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        hits = [(rng.random(200) < rate).astype(int).tolist() for rate in rates]
        found = falling_curve(LEVELS, hits, [[1] * 200] * len(rates), others=2)
        missed += bool((found.low > rates).any() or (found.high < rates).any())
        for values in (found.fit, found.low, found.high):
            assert (np.diff(values) <= 0.0).all() or found.rising
        assert ((found.low <= found.fit) & (found.fit <= found.high)).all() or found.rising
    assert missed <= 200 * 0.05


def test_a_rise_is_said_and_leaves_each_level_its_own_limits() -> None:
    found = falling_curve([1.0, 2.0], [[0] * 190 + [1] * 10, [1] * 200], [[1] * 200] * 2)
    assert found.rising
    assert found.high[0] < found.low[1]
