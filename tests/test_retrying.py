"""When a failed request is sent again."""

import json
import math
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.retrying import RetryPolicy, retry_after_seconds

CASES = json.loads((Path(__file__).parent / "cases" / "retry_after.json").read_text())
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_how_long_a_service_asks_to_wait(case: dict) -> None:
    found = retry_after_seconds(case.get("headers", {}), case.get("body"), NOW)
    assert found == (None if case["seconds"] is None else pytest.approx(case["seconds"]))


@given(st.integers(1, 5000), st.none() | st.floats(0, 1e4), st.integers(0, 2**32))
def test_pauses_respect_the_service_and_the_cap(failures: int, asked: float | None, seed: int) -> None:
    policy = RetryPolicy(base=1.0, cap=60.0)
    pause = policy.pause(failures, asked, random.Random(seed))
    if asked is None:
        full = min(60.0, 2.0 ** min(failures - 1, 6))
        assert full / 2 <= pause <= full
    else:
        assert asked <= pause <= asked + 1.0


def test_pauses_differ_and_grow() -> None:
    rng = random.Random(0)
    policy = RetryPolicy()
    drawn = [[policy.pause(failures, None, rng) for _ in range(500)] for failures in (1, 2, 3, 4)]
    assert all(len(set(pauses)) == 500 for pauses in drawn)
    mean = [math.fsum(pauses) / 500 for pauses in drawn]
    assert mean == sorted(mean)
    assert mean[3] == pytest.approx(6.0, rel=0.1)
