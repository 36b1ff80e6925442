"""Falls are told against what was reached; the chance of a false one is enumerated."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest

from harness.stats.fall import LEVELS, FallTest
from harness.stats.sequential import FRACTIONS

ROUNDS, TASKS = 4, 3


def outcomes(mean: float, test: FallTest, chance: float = 1.0) -> Iterator[tuple[float, FallTest]]:
    """Every test after all rounds of 0/1 tasks, with its chance."""
    if test.rounds == ROUNDS:
        yield chance, test
        return
    for valid in range(TASKS + 1):
        one = FallTest(0.8, rounds=ROUNDS, alpha=0.4)
        one.restore(test.state())
        one.update([1.0] * valid + [0.0] * (TASKS - valid))
        here = math.comb(TASKS, valid) * mean**valid * (1.0 - mean) ** (TASKS - valid)
        yield from outcomes(mean, one, chance * here)


def at_level(level: float) -> FallTest:
    """A test that begins where a level counts as reached."""
    test = FallTest(0.8, rounds=ROUNDS, alpha=0.4)
    test.restore(test.state() | {"reached": level})
    return test


@pytest.mark.parametrize("level", [0.8, 0.4])
def test_at_the_level_itself_the_bet_is_fair_and_a_false_fall_rare(level: float) -> None:
    """The capital is 1 in expectation, to rounding; above the level it shrinks."""
    found = list(outcomes(level, at_level(level)))
    assert math.fsum(chance for chance, _ in found) == pytest.approx(1.0)
    # Higher levels may count as reached on the way, by chance; these few aside.
    fair = [(chance, test) for chance, test in found if test.reached == level]
    mean = math.fsum(chance * math.exp(test.log_evidence) for chance, test in fair)
    assert mean <= 1.0 + 1e-12
    if len(fair) == len(found):
        assert mean == pytest.approx(1.0, abs=1e-12)
    false = math.fsum(chance for chance, test in found if test.fallen)
    assert 0.0 < false <= 0.2
    above = outcomes(level + 0.15, at_level(level))
    assert math.fsum(chance * math.exp(test.log_evidence) for chance, test in above) < 1.0


def test_the_capital_is_the_sum_over_all_beginnings() -> None:
    rounds = [[1.0, 0.5], [0.0, 0.25], [0.5, 0.0]]
    test = FallTest(0.9, rounds=5)
    test.restore(test.state() | {"reached": 0.6})
    total = 2 / 5  # of beginnings to come
    for first in range(3):
        x = np.concatenate(rounds[first:])
        factors = 1.0 + np.outer(FRACTIONS, (1.0 - x) / (1.0 - 0.6) - 1.0)
        total += factors.prod(axis=1).mean() / 5
    for values in rounds:
        test.update(values)
    assert test.log_evidence == pytest.approx(math.log(total))


def test_a_fall_is_told_from_what_was_reached_and_a_low_start_is_none() -> None:
    rng = np.random.default_rng(0)

    def drawn(mean: float) -> list[float]:
        return (rng.binomial(8, mean, size=8) / 8).tolist()

    test = FallTest(0.95, rounds=100)
    for _ in range(3):
        assert not test.update(drawn(0.4))
    assert (test.reached or 0.0) <= 0.4
    for _ in range(40):
        assert not test.update(drawn(0.97))
    assert test.reached is not None
    assert 0.8 < test.reached <= 0.95
    needed = next(n for n in range(1, 10) if test.update(drawn(0.5)))
    assert needed <= 4
    assert test.update(drawn(1.0)), "it stays"


def test_levels_are_parts_of_the_bar_and_a_mean_of_one_is_none() -> None:
    test = FallTest(1.0, rounds=300)
    for _ in range(300):
        test.update([1.0] * 8)
    assert test.reached == pytest.approx((LEVELS - 1) / LEVELS)
    assert not test.fallen


def test_it_goes_on_from_its_state_as_text() -> None:
    rng = np.random.default_rng(1)
    rounds = [rng.uniform(0.9 - 0.1 * k, 1.0 - 0.1 * k, size=4).tolist() for k in range(6)]
    whole, stopped = FallTest(0.9, rounds=6), FallTest(0.9, rounds=6)
    for values in rounds:
        whole.update(values)
    for values in rounds[:3]:
        stopped.update(values)
    again = FallTest(0.9, rounds=6)
    again.restore(json.loads(json.dumps(stopped.state())))
    for values in rounds[3:]:
        again.update(values)
    assert again.state() == whole.state()


@pytest.mark.parametrize(
    ("bar", "rounds", "alpha"), [(0.0, 1, 0.05), (1.1, 1, 0.05), (0.9, 0, 0.05), (0.9, 1, 0.6)]
)
def test_settings_out_of_range_are_refused(bar: float, rounds: int, alpha: float) -> None:
    with pytest.raises(ValueError, match=r"must|at least"):
        FallTest(bar, rounds=rounds, alpha=alpha)


@pytest.mark.parametrize("values", [[], [1.5], [-0.1], [math.nan]])
def test_values_out_of_range_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        FallTest(0.9, rounds=3).update(values)
    done = FallTest(0.9, rounds=1)
    done.update([1.0])
    with pytest.raises(ValueError, match="have been seen"):
        done.update([1.0])
