"""A sample of `benchmarks/guard_figures.py`: planted runs are dated, and told from each other, as it says."""

from __future__ import annotations

from typing import Any

from benchmarks.guard_figures import EARLY, by_rollout, falls, halved_at, kind_of, old_guard

LIMITS = {"bar": 0.95, "low": 1.25}


def planted(strict: list[int], **more: Any) -> dict[str, Any]:
    starts = [4 * number for number in range(len(strict))]
    measured = [[4 * len(strict), strict[-1] / 64.0, 256, None]]
    return {"seed": 0, "lam": 2.0, "starts": starts, "strict": strict, "measured": measured} | more


SLOW = planted([48, *[62] * 30, *range(61, 1, -1)])
SUDDEN = planted([48, *[62] * 30, *[2] * 30])
KEPT = planted([48, *[62] * 60])


def test_slow_falls_are_announced_and_sudden_ones_cannot_be() -> None:
    speaks = falls(by_rollout)
    assert [kind_of(run, LIMITS["bar"]) for run in (SLOW, SUDDEN, KEPT)] == ["halved", "halved", "kept"]
    # Three rounds whose mean is below 31 of 64: 31, 30, 29 come from round 61 on.
    assert halved_at(SLOW) == 4 * 61
    assert halved_at(SUDDEN) in (4 * 30, 4 * 31)
    slow, sudden = speaks(SLOW, LIMITS), speaks(SUDDEN, LIMITS)
    assert slow is not None
    assert sudden is not None
    assert (halved_at(SLOW) or 0) - slow >= EARLY
    assert sudden >= 4 * 31
    assert speaks(KEPT, LIMITS) is None


def test_the_old_guard_speaks_before_any_step() -> None:
    assert old_guard(planted([62], lambda_star=1.05, lam=1.0), LIMITS) == 0
    assert old_guard(planted([62], lambda_star=None), LIMITS) is None
