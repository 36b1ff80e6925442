"""Whether results hit the windows that were locked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.stats.onset import OnsetEstimate
from harness.sweep.analysis import SweepAnalysis
from harness.sweep.onsets import LEAST_SEEDS, NEWEST, Doubt, Rules, compare_onsets
from harness.sweep.plan import SweepPlan
from harness.sweep.prereg.lock_file import PreregTest, Window
from harness.sweep.results import SweepResult

Outcome = Literal["hit", "miss", "open", "not_testable", "not_run"]


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """What became of one locked test.

    Attributes:
        test: as it was locked.
        measured: the onset or ratio, None where the runs give none.
        outcome: by the rules of the lock. `hit`: its whole interval lies in the window; `miss`: none of it
            does; `open`: part of it, or the grid leaves the onset open on a side where the window is too;
            `not_testable`: collapse isn't monotone in λ, so that there is no onset; `not_run`: fewer than
            three seeds have all the runs it takes (rules 1: none has).
        today: by the newest rules, which say the same where the lock was made under them.
    """

    test: PreregTest
    measured: OnsetEstimate | None
    outcome: Outcome
    today: Outcome


def judge(
    plan: SweepPlan,
    tests: Sequence[PreregTest],
    analysis: SweepAnalysis,
    results: Sequence[SweepResult],
    rules: Rules = NEWEST,
) -> tuple[TestOutcome, ...]:
    """Hold the measured onsets against the locked windows.

    Args:
        plan: the locked plan.
        tests: the locked tests.
        analysis: of the results, by the same rules.
        results: all finished runs.
        rules: those of the lock.
    """
    arms = {arm.arm: arm for arm in analysis.arms}
    outcomes = []
    for test in tests:
        measured = arms[test.arm].onset
        doubts = arms[test.arm].doubts
        if test.against is not None:
            measured = compare_onsets(plan, results, analysis.base_strict, test.against, test.arm, rules)
            doubts += arms[test.against].doubts
        today = _today(measured, test.window, doubts)
        outcome = _outcome(measured, test.window) if rules == 1 else today
        outcomes.append(TestOutcome(test, measured, outcome, today))
    return tuple(outcomes)


def _today(measured: OnsetEstimate | None, window: Window, doubts: Sequence[Doubt]) -> Outcome:
    """By the newest rules."""
    if any(doubt.code == "misfit" for doubt in doubts):
        return "not_testable"
    if doubts or measured is None or measured.seeds < LEAST_SEEDS:
        return "not_run"
    outcome = _outcome(measured, window)
    # No collapse within a grid can't confirm a window without an end: nothing could have refuted it.
    bounded = measured.low > 0.0 and measured.high is not None
    return outcome if bounded or outcome != "hit" else "open"


def _outcome(measured: OnsetEstimate | None, window: Window) -> Outcome:
    if measured is None:
        return "not_run"
    high, top = (math.inf if end is None else end for end in (measured.high, window.high))
    if window.low <= measured.low and high <= top:
        return "hit"
    return "miss" if high < window.low or measured.low > top else "open"
