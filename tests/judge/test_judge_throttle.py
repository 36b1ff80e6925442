"""How many requests at once, and when to try again."""

import json
import math
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judge.retry_after import retry_after_seconds
from harness.judge.throttle import RetryPolicy, Throttle

CASES = json.loads((Path(__file__).parents[1] / "cases" / "retry_after.json").read_text())
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_how_long_a_service_asks_to_wait(case: dict) -> None:
    found = retry_after_seconds(case.get("headers", {}), case.get("body"), NOW)
    assert found == (None if case["seconds"] is None else pytest.approx(case["seconds"]))


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


@given(st.integers(1, 30), st.none() | st.floats(0, 1e4), st.integers(0, 2**32))
def test_pauses_respect_the_service_and_the_cap(attempt: int, asked: float | None, seed: int) -> None:
    policy = RetryPolicy(base=1.0, cap=60.0)
    pause = policy.pause(attempt, asked, random.Random(seed))
    if asked is None:
        assert 0.0 <= pause <= min(60.0, 2.0 ** (attempt - 1))
    else:
        assert asked <= pause <= asked + 1.0


def test_pauses_differ_and_grow() -> None:
    rng = random.Random(0)
    policy = RetryPolicy()
    mean = [math.fsum(policy.pause(attempt, None, rng) for _ in range(500)) / 500 for attempt in (1, 2, 3, 4)]
    assert mean == sorted(mean)
    assert mean[3] == pytest.approx(4.0, rel=0.2)
