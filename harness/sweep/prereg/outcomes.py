"""Which tests a plan and its predictions amount to, and whether results hit their windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.stats.onset import OnsetEstimate
from harness.sweep.analysis import SweepAnalysis, compare_onsets
from harness.sweep.plan import SweepArm, SweepPlan
from harness.sweep.prereg.lock_file import ClipPrediction, PreregTest, Window
from harness.sweep.results import SweepResult

Outcome = Literal["hit", "miss", "open", "not_run"]
_FACTORS = ("clip", "learning_rate", "steps", "staleness", "updates_per_rollout")


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


def make_tests(
    plan: SweepPlan, predictions: Sequence[ClipPrediction], ratio_factor: float
) -> tuple[PreregTest, ...]:
    """The tests of a plan. Its first arm is the fine grid; what another differs in says what it tests.

    The paper (arXiv 2605.08737) has three: the onset on a fine grid, with a longer budget, and at another
    clip strength predicted from the same p and b. An arm that changes what λ* doesn't depend on (learning
    rate) tests the rival explanation, that the onset is one of optimisation.

    Args:
        plan: the sweep.
        predictions: λ* at each of its clip strengths.
        ratio_factor: > 1.
    """
    first = plan.arms[0]
    tests = []
    for arm in plan.arms:
        prediction = next((one for one in predictions if one.clip == arm.clip), None)
        if prediction is None:
            continue
        changed = {name for name in _FACTORS if getattr(arm, name) != getattr(first, name)}
        if arm is first:
            tests += _fine_grid(arm, prediction)
        elif changed == {"steps"}:
            tests += _budget(arm, first, prediction)
        elif changed == {"clip"}:
            reference = next(one for one in predictions if one.clip == first.clip)
            tests += _clip(arm, first, prediction, reference, ratio_factor)
        elif changed and "clip" not in changed:
            tests.append(_rival(arm, first, changed, ratio_factor))
        else:
            tests.append(_onset(arm, prediction))
    return tuple(tests)


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


def _fine_grid(arm: SweepArm, prediction: ClipPrediction) -> list[PreregTest]:
    return [
        PreregTest(
            name="fine_grid",
            arm=arm.name,
            against=None,
            window=prediction.band,
            question=f"c = {arm.clip:g}: does the onset lie in the λ* band of the roles?",
        ),
        PreregTest(
            name="fine_grid_binding",
            arm=arm.name,
            against=None,
            window=prediction.binding_window,
            question=f"c = {arm.clip:g}: does it lie in the interval of the binding role's λ* "
            f"({prediction.binding})?",
        ),
    ]


def _budget(arm: SweepArm, first: SweepArm, prediction: ClipPrediction) -> list[PreregTest]:
    return [
        PreregTest(
            name="budget_extension",
            arm=arm.name,
            against=None,
            window=prediction.band,
            question=f"{arm.steps} instead of {first.steps} steps: does the onset lie in the λ* band?",
        ),
    ]


def _clip(
    arm: SweepArm,
    first: SweepArm,
    prediction: ClipPrediction,
    reference: ClipPrediction,
    ratio_factor: float,
) -> list[PreregTest]:
    ratio = _binding_value(prediction) - 1.0
    ratio /= _binding_value(reference) - 1.0
    return [
        PreregTest(
            name="small_clip",
            arm=arm.name,
            against=None,
            window=prediction.band,
            question=f"c = {arm.clip:g} from the same p and b: does the onset lie in the λ* band?",
        ),
        PreregTest(
            name="small_clip_shift",
            arm=arm.name,
            against=first.name,
            window=Window(low=ratio / ratio_factor, high=ratio * ratio_factor),
            question=f"from c = {first.clip:g} to c = {arm.clip:g}: does the onset's distance from 1 grow "
            f"{ratio:.2f}-fold, as that of λ* does, within a factor of {ratio_factor:g}?",
        ),
    ]


def _rival(arm: SweepArm, first: SweepArm, changed: set[str], ratio_factor: float) -> PreregTest:
    named = ", ".join(
        f"{name.replace('_', ' ')} {getattr(first, name)} → {getattr(arm, name)}" for name in sorted(changed)
    )
    return PreregTest(
        name="rival",
        arm=arm.name,
        against=first.name,
        window=Window(low=1.0 / ratio_factor, high=ratio_factor),
        question=f"{named}: does the onset stay, as λ* does, within a factor of {ratio_factor:g}?",
    )


def _onset(arm: SweepArm, prediction: ClipPrediction) -> PreregTest:
    return PreregTest(
        name="onset",
        arm=arm.name,
        against=None,
        window=prediction.band,
        question=f"{arm.name}: does the onset lie in the λ* band at c = {arm.clip:g}?",
    )


def _binding_value(prediction: ClipPrediction) -> float:
    value = next(role.lambda_star for role in prediction.roles if role.role == prediction.binding)
    assert value is not None
    return value
