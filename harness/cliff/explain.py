"""The verdict in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from harness.cliff.below_base import below_base, lost_below_base
from harness.cliff.clip import ClipEstimate
from harness.cliff.preconditions import MoreData, Precondition, place
from harness.cliff.resample import MIN_TASKS
from harness.cliff.results import Calibration, CalibrationEstimate, CliffEstimate, RoleEstimate
from harness.cliff.switch import ASSUMED
from harness.cliff.token_level import FixedPoints, RoleFixedPoint

_PREDICTED = {
    "left": "λ = {lam:g} lies below the bounds of λ*: taken for a coin, the fixed point is predicted inside "
    "the clip edge.",
    "right": "λ = {lam:g} lies above the bounds of λ*: taken for a coin, the fixed point is predicted beyond "
    "the clip edge.",
    "on_cliff": "λ = {lam:g} lies between the bounds of λ*: on which side of the clip edge the extrapolated "
    "fixed point is can't be told.",
    "undecided": "No side is told for λ = {lam:g}: it lies between the bounds of λ*, and there are too few "
    "rollouts.",
    "out_of_scope": "No verdict is given for λ = {lam:g}: what λ* asks of the checkpoints is not met.",
}
NOT_CONFIRMED = "none of this project's five locked sweeps found its onset at λ*"
"""docs/cliff-measured.md; what a verdict must not be taken for."""
_ASSUMED = (
    "λ* is about one class of tokens taken for a coin, and a clip whose ratio is taken to the teacher. Its "
    f"interval is sampling error alone; {NOT_CONFIRMED}."
)
_OBSERVED = {
    "left": "The student itself is still inside λ*'s edge",
    "right": "The student itself is beyond λ*'s edge already",
    "on_cliff": "The student itself sits at λ*'s edge, within its uncertainty",
}
_DISAGREE = {
    ("left", "right"): "an unstable optimiser (a high learning rate), more training than the mean field "
    "allows for, or a clip smaller than stated would explain it",
    ("right", "left"): "a short run shows its onset to the right of λ*, and with one update per rollout "
    "the clip never binds; longer training may still collapse",
}
_NO_VALUE = {
    "teacher_deterministic": "At {roles} there is no λ*: the teacher's tail mass is 0 in floating point.",
    "base_degenerate": "At {roles} there is no λ*: the base's class mass is 0 or 1 in floating point.",
    "too_few_tasks": f"At {{roles}} there is no interval of λ*: fewer than {MIN_TASKS} tasks get there.",
    "not_reached": "No rollout reaches {roles}.",
}
_LESS_SURE = (
    "That is above the teacher's own tail: being inside bounds how sure the student has become, "
    "not how often it keeps the contract; its parse validity says that."
)
_DIGITS = 4


def explain(
    lam: float,
    sides: tuple[str, str | None],
    bounds: tuple[float | None, float | None],
    estimate: CliffEstimate,
    calibration: Calibration,
    preconditions: Sequence[Precondition],
    more: MoreData,
    fixed: FixedPoints | None = None,
) -> str:
    """One paragraph: the prediction, what it rests on, the observation, and whether the two disagree.

    Args:
        lam: the run's λ.
        sides: predicted and observed.
        bounds: what the prediction rests on.
        estimate: λ* under all calibrations.
        calibration: the one of the verdict.
        preconditions: all of them.
        more: tasks that are missing.
        fixed: the fixed point by role.
    """
    verdict, observed = sides
    measured, clip = estimate.under(calibration), estimate.clip
    binding, roles = measured.binding, measured.roles
    parts = [_PREDICTED[verdict].format(lam=lam)]
    if verdict in ("undecided", "out_of_scope"):
        parts += [f"Not met: {p.detail}." for p in preconditions if not p.met]
    if binding is not None:
        parts.append(_threshold(binding, clip))
        parts += _bounds(lam, verdict, bounds, binding.lambda_star.high if clip.saturated else None)
    parts += _further(verdict, more)
    if verdict != "out_of_scope":
        parts += _elsewhere(lam, measured, estimate.n_rollouts)
    parts += _without_value(roles)
    parts.append(_ASSUMED)
    if fixed is not None:
        parts += _of_the_run(fixed, None if binding is None else fixed.at(binding.role))
        parts += _token_by_token(fixed)
    if observed is not None and binding is not None and binding.clip_margin is not None:
        margin = binding.clip_margin.estimate
        times = "far more than" if margin is None else f"{margin:.3g} times"
        parts.append(f"{_OBSERVED[observed]}: its tail mass there is {times} (1 − p)/c.")
        if margin is not None and margin > clip.effective:
            parts.append(_LESS_SURE)
    if observed is not None and (verdict, observed) in _DISAGREE:
        parts.append(f"Prediction and observation disagree: {_DISAGREE[verdict, observed]}.")
    return " ".join(parts)


def _bounds(
    lam: float, verdict: str, bounds: tuple[float | None, float | None], end: float | None
) -> list[str]:
    low, high = bounds
    if low is None:
        return []
    upper = "no λ is called right" if high is None else f"above {_rounded(high, math.ceil)} right"
    sentences = [f"λ below {_rounded(low, math.floor)} is called left, {upper}."]
    if verdict in ("on_cliff", "undecided") and end is not None and lam > end:
        sentences.append(
            "λ lies above the sampling interval of λ* but not above its bounds: tasks not yet seen may carry "
            "so much of the teacher's tail that right can't be told."
        )
    return sentences


def _further(verdict: str, more: MoreData) -> list[str]:
    if verdict not in ("undecided", "on_cliff") or not more.tasks:
        return []
    aim = "give a verdict" if verdict == "undecided" else "tell the side, if λ* is where it is estimated"
    return [f"About {more.tasks} more tasks ({more.rollouts} rollouts) would {aim}."]


def _elsewhere(lam: float, measured: CalibrationEstimate, rollouts: int) -> list[str]:
    """What goes on at the other roles, where fewer answers are lost."""
    others = [one for one in measured.roles if one != measured.binding]
    sentences = []
    passed = [one for one in others if one.lambda_star.value is not None and one.lambda_star.value < lam]
    if passed:
        share = sum(one.teacher_tail_share for one in passed)
        sentences.append(
            f"λ* is smaller than λ at {_listed(passed)}, with {_percent(share)} of the teacher's tail: there "
            "the coin's fixed point lies beyond the edge."
        )
    away = below_base(others)
    if away:
        share = sum(one.teacher_tail_share for one in away)
        sentences.append(
            f"At {_listed(away)}, with {_percent(share)} of the teacher's tail, the teacher keeps the "
            "contract no more surely than the base: any λ above 1 moves the student out of it there, this "
            f"one in up to {lost_below_base(lam, others, rollouts):.1%} of the answers."
        )
    return sentences


def _of_the_run(fixed: FixedPoints, binding: RoleFixedPoint | None) -> list[str]:
    """The edge of the run's own ratio, and λ*_m where that isn't λ*."""
    ratio = fixed.ratio
    if ratio == ASSUMED:
        return [f"The run's ratio is {fixed.ratio_source}."] if fixed.ratio_source else []
    sentences = [f"Of the run ({fixed.ratio_source}): {ratio.words}."]
    if ratio.edge == "base" and binding is not None:
        told = _SWITCHES.get(binding.switch_status)
        if told is not None:
            sentences.append(f"There {told.format(value=binding.switch, lam=fixed.lam)}.")
    return sentences


_SWITCHES = {
    "finite": "λ*_m, which takes the place of λ* in such a loop, is {value:.4g}",
    "always_right": "λ*_m, which takes the place of λ*, is {value:.3g}: the coin is beyond at every λ ≥ 1",
    "edge_below_base": "the base itself lies beyond the edge, and the coin at every λ ≥ 1",
}


def _token_by_token(fixed: FixedPoints) -> list[str]:
    """How far the coin is from the fixed point it stands for, and whether that passes the edge."""
    if not fixed.lambdas:
        return [f"The fixed point token by token: {fixed.missing}."]
    times = [one.times for one in fixed.roles if one.times is not None]
    text = f"Token by token the tail of the fixed point at λ = {fixed.lam:g}"
    if fixed.plausible:
        text += f", extrapolated only where plausible ({fixed.plausible:g}) as the coin is not,"
    if times:
        text += f" is {min(times):.2g} to {max(times):.2g} times the coin's"
    edged = [one for one in fixed.roles if one.edge is not None]
    if not edged:
        return [f"{text}."]
    beyond = [one for one in edged if one.beyond]
    never = [one for one in edged if one.reached_at is None]
    where = f"at {_named(beyond)}" if beyond else "at no role"
    text += f"{',' if times else ''} and shown to lie beyond the edge {where}"
    if never:
        whose = "any" if len(never) == len(edged) else _named(never)
        text += f"; it doesn't get there at {whose} with any λ looked at, up to {fixed.lambdas[-1]:g}"
    return [f"{text}."]


def _named(roles: Sequence[RoleFixedPoint]) -> str:
    return _and([f"`{one.role}`" for one in roles])


def _percent(share: float) -> str:
    return "less than 1%" if share < 0.01 else f"{share:.0%}"


def _without_value(roles: Sequence[RoleEstimate]) -> list[str]:
    """One sentence for each reason why roles have no λ*; p ≤ b has its own."""
    sentences = []
    for status, reason in _NO_VALUE.items():
        without = [role for role in roles if role.lambda_star.status == status]
        if without:
            sentences.append(reason.format(roles=_listed(without)))
    return sentences


def _listed(roles: Sequence[RoleEstimate]) -> str:
    return _and([place(role) for role in roles])


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _rounded(x: float, towards: Callable[[float], int]) -> str:
    """A few digits, on the side of the number given: a λ read off here must be called so too."""
    step = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(x)))
    return f"{towards(x * step) / step:.{_DIGITS}g}"


def _threshold(binding: RoleEstimate, clip: ClipEstimate) -> str:
    star = binding.lambda_star
    if star.value is None:
        return f"λ* has no finite value at {place(binding)}."
    strength = f"c = {clip.effective:g}"
    if not clip.saturated:
        strength = f"c ≥ {clip.effective:g}, which is a lower bound only"
    text = (
        f"λ* = {star.value:.4g} at {place(binding)}, where p = {binding.p.estimate:.6g} and "
        f"b = {binding.b.estimate:.4g}, with {strength}"
    )
    if star.low is None:
        return f"{text}; there is no interval."
    open_above = star.high is None or not clip.saturated
    end = "has no upper end" if open_above else f"ends at {star.high:.4g}"
    return f"{text}; its sampling interval starts at {star.low:.4g} and {end}."
