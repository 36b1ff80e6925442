"""Whether results hit the windows that were locked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.stats.onset import OnsetEstimate
from harness.sweep.analysis import SweepAnalysis, compare_onsets
from harness.sweep.plan import SweepPlan
from harness.sweep.prereg.lock_file import PreregTest, Window
from harness.sweep.results import SweepResult

Outcome = Literal["hit", "miss", "open", "not_run"]


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """What became of one locked test.

    Attributes:
        test: as it was locked.
        measured: the onset or ratio, None where runs are missing.
        outcome: `hit`: its whole interval lies in the window; `miss`: none of it does; `open`: part of it;
            `not_run`: no seed has all the runs it takes.
    """

    test: PreregTest
    measured: OnsetEstimate | None
    outcome: Outcome


def judge(
    plan: SweepPlan,
    tests: Sequence[PreregTest],
    analysis: SweepAnalysis,
    results: Sequence[SweepResult],
) -> tuple[TestOutcome, ...]:
    """Hold the measured onsets against the locked windows.

    Args:
        plan: the locked plan.
        tests: the locked tests.
        analysis: of the results.
        results: all finished runs.
    """
    onsets = {arm.arm: arm.onset for arm in analysis.arms}
    outcomes = []
    for test in tests:
        measured = onsets[test.arm]
        if test.against is not None:
            measured = compare_onsets(plan, results, analysis.base_strict, test.against, test.arm)
        outcomes.append(TestOutcome(test, measured, _outcome(measured, test.window)))
    return tuple(outcomes)


def _outcome(measured: OnsetEstimate | None, window: Window) -> Outcome:
    if measured is None:
        return "not_run"
    high, top = (math.inf if end is None else end for end in (measured.high, window.high))
    if window.low <= measured.low and high <= top:
        return "hit"
    return "miss" if high < window.low or measured.low > top else "open"
