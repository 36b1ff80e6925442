"""The verdict in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from harness.cliff.clip import ClipEstimate
from harness.cliff.preconditions import MoreData, Precondition, below_base, place
from harness.cliff.resample import MIN_TASKS
from harness.cliff.results import CalibrationEstimate, RoleEstimate

_PREDICTED = {
    "left": "λ = {lam:g} lies below the bounds of λ*: the extrapolated fixed point is predicted inside the "
    "clip edge.",
    "right": "λ = {lam:g} lies above the bounds of λ*: the extrapolated fixed point is predicted beyond the "
    "clip edge.",
    "on_cliff": "λ = {lam:g} lies between the bounds of λ*: on which side of the clip edge the extrapolated "
    "fixed point is can't be told.",
    "undecided": "No side is told for λ = {lam:g}: it lies between the bounds of λ*, and there are too few "
    "rollouts.",
    "out_of_scope": "No verdict is given for λ = {lam:g}: what λ* asks of the checkpoints is not met.",
}
NOT_CONFIRMED = "no locked test has confirmed that a fixed point beyond the clip edge predicts collapse"
"""docs/cliff-measured.md; what a verdict must not be taken for."""
_ASSUMED = (
    "λ* takes the role for a coin (positions alike, the tails of teacher and base of one shape) and belongs "
    f"to a loop whose ratio is taken to the teacher; {NOT_CONFIRMED}."
)
_OBSERVED = {
    "left": "The student itself is still inside the clip-safe region",
    "right": "The student itself has left the clip-safe region already",
    "on_cliff": "The student itself sits at the edge of the clip-safe region, within its uncertainty",
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
    "That is above the teacher's own tail: being inside the region bounds how sure the student has become, "
    "not how often it keeps the contract; its parse validity says that."
)
_DIGITS = 4


def explain(
    lam: float,
    verdict: str,
    observed: str | None,
    bounds: tuple[float | None, float | None],
    measured: CalibrationEstimate,
    clip: ClipEstimate,
    preconditions: Sequence[Precondition],
    more: MoreData,
) -> str:
    """One paragraph: the prediction, what it rests on, the observation, and whether the two disagree."""
    binding, roles = measured.binding, measured.roles
    parts = [_PREDICTED[verdict].format(lam=lam)]
    if verdict in ("undecided", "out_of_scope"):
        parts += [f"Not met: {p.detail}." for p in preconditions if not p.met]
    if binding is not None:
        parts.append(_threshold(binding, clip))
        parts += _bounds(lam, verdict, bounds, binding.lambda_star.high if clip.saturated else None)
    parts += _further(verdict, more)
    if verdict != "out_of_scope":
        parts += _elsewhere(lam, measured)
    parts += _without_value(roles)
    parts.append(_ASSUMED)
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


def _elsewhere(lam: float, measured: CalibrationEstimate) -> list[str]:
    """What goes on at the other roles, where fewer answers are lost."""
    others = [one for one in measured.roles if one != measured.binding]
    sentences = []
    passed = [one for one in others if one.lambda_star.value is not None and one.lambda_star.value < lam]
    if passed:
        share = sum(one.teacher_tail_share for one in passed)
        sentences.append(
            f"λ* is smaller than λ at {_listed(passed)}, with {_percent(share)} of the teacher's tail: there "
            "the fixed point is predicted beyond the edge."
        )
    away = below_base(tuple(others))
    if away:
        share = sum(one.teacher_tail_share for one in away)
        sentences.append(
            f"At {_listed(away)}, with {_percent(share)} of the teacher's tail, the teacher keeps the "
            "contract no more surely than the base: any λ above 1 moves the student out of it there."
        )
    return sentences


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
    names = [place(role) for role in roles]
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
