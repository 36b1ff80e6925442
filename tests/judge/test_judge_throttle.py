"""How many requests at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judge.throttle import Throttle


def window(throttle: Throttle, refused: float) -> None:
    """As many outcomes as the limit, so large a share of them refused, spread evenly."""
    size, owed = throttle.limit, 0.0
    for _ in range(size):
        owed += refused
        if owed >= 1.0 - 1e-9:
            owed -= 1.0
            throttle.refused(0.0, None)
        else:
            throttle.succeeded(0.0)


def test_doubles_until_the_first_refusal_and_then_grows_by_steps() -> None:
    throttle = Throttle(most=1000, start=4)
    limits = []
    for _ in range(4):
        limits.append(throttle.limit)
        window(throttle, 0.0)
    assert limits == [4, 8, 16, 32]
    throttle.refused(0.0, None)
    before = throttle.limit
    for _ in range(5):
        window(throttle, 0.0)
    assert before < throttle.limit < 2 * before


def test_refusals_shrink_it_in_proportion() -> None:
    """A window in which all is refused costs more than one in which a tenth is."""

    def after(share: float) -> int:
        throttle = Throttle(most=1000, start=100)
        throttle.refused(0.0, None)
        for _ in range(3):
            window(throttle, share)
        return throttle.limit

    assert after(1.0) < after(0.5) < after(0.1)
    assert after(1.0) < 40


@given(st.lists(st.booleans(), max_size=500), st.integers(1, 64))
def test_stays_between_one_and_the_most(outcomes: list[bool], most: int) -> None:
    throttle = Throttle(most=most)
    for fine in outcomes:
        throttle.succeeded(0.0) if fine else throttle.refused(0.0, None)
        assert 1 <= throttle.limit <= most


def test_total_refusal_leaves_two_at_most_and_success_brings_it_back() -> None:
    throttle = Throttle(most=64, start=64)
    for _ in range(200):
        throttle.refused(0.0, None)
    assert throttle.limit <= 2
    for _ in range(3000):
        throttle.succeeded(0.0)
    assert throttle.limit == 64


def test_one_refusal_delays_nobody_else_but_three_in_a_row_do() -> None:
    throttle = Throttle(most=8)
    throttle.refused(10.0, 5.0)
    throttle.refused(10.0, 5.0)
    assert throttle.seconds_to_wait(10.0) == 0.0
    throttle.succeeded(11.0)
    throttle.refused(12.0, 5.0)
    throttle.refused(12.0, 7.0)
    assert throttle.seconds_to_wait(12.0) == 0.0
    throttle.refused(12.0, 5.0)
    assert throttle.seconds_to_wait(12.0) == pytest.approx(5.0)
    assert throttle.seconds_to_wait(16.0) == pytest.approx(1.0)
    assert throttle.seconds_to_wait(18.0) == 0.0
