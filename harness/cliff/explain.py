"""The verdict in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.cliff.clip import ClipEstimate
from harness.cliff.preconditions import Precondition, place
from harness.cliff.resample import MIN_TASKS
from harness.cliff.results import LambdaStarEstimate, RoleEstimate

_PREDICTED = {
    "left": "λ = {lam:g} lies below the interval of λ*: the run is predicted to keep its format.",
    "right": "λ = {lam:g} lies above the interval of λ*: the run is predicted to lose its format.",
    "on_cliff": "λ = {lam:g} lies inside the interval of λ*: which side the run is on can't be told.",
    "out_of_scope": "No verdict is given for λ = {lam:g}, because a precondition is not met.",
}
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
_SIDES = {"below": "left", "above": "right", "inside": "on_cliff"}
_NO_VALUE = {
    "teacher_deterministic": "At {roles} there is no λ*: the teacher's tail mass is 0 in floating point.",
    "base_degenerate": "At {roles} there is no λ*: the base's class mass is 0 or 1 in floating point.",
    "too_few_tasks": f"At {{roles}} there is no interval of λ*: fewer than {MIN_TASKS} tasks get there.",
    "not_reached": "No rollout reaches {roles}.",
}
# With no role where p > b these say the same again.
_FOLLOW_FROM_NO_BINDING = ("teacher_near_deterministic", "enough_rollouts")
_LESS_SURE = (
    "That is above the teacher's own tail: being inside the region bounds how sure the student has become, "
    "not how often it keeps the contract; its parse validity says that."
)
_DIGITS = 4


def explain(
    lam: float,
    verdict: str,
    observed: str | None,
    star: LambdaStarEstimate,
    binding: RoleEstimate | None,
    clip: ClipEstimate,
    preconditions: Sequence[Precondition],
    roles: Sequence[RoleEstimate],
) -> str:
    """One paragraph: the prediction, what it rests on, the observation, and whether the two disagree."""
    parts = [_PREDICTED[verdict].format(lam=lam)]
    unmet = [p for p in preconditions if not p.met]
    if binding is None:
        unmet = [p for p in unmet if p.name not in _FOLLOW_FROM_NO_BINDING]
    parts += [f"Not met: {p.detail}." for p in unmet]
    if binding is not None:
        parts.append(_threshold(verdict, star, binding, clip))
    if verdict == "out_of_scope":
        parts += _but_for_the_grid(lam, star, preconditions)
    parts += _without_value(roles)
    if observed is not None and binding is not None and binding.clip_margin is not None:
        margin = binding.clip_margin.estimate
        times = "far more than" if margin is None else f"{margin:.3g} times"
        parts.append(f"{_OBSERVED[observed]}: its tail mass there is {times} (1 − p)/c.")
        if margin is not None and margin > clip.effective:
            parts.append(_LESS_SURE)
    if observed is not None and (verdict, observed) in _DISAGREE:
        parts.append(f"Prediction and observation disagree: {_DISAGREE[verdict, observed]}.")
    return " ".join(parts)


def _but_for_the_grid(
    lam: float, star: LambdaStarEstimate, preconditions: Sequence[Precondition]
) -> list[str]:
    """What a coarser grid would have said, where the width of the interval is all that is in the way."""
    unmet = [p.name for p in preconditions if not p.met]
    if unmet != ["enough_rollouts"] or star.low is None or star.width is None:
        return []
    high = math.inf if star.high is None else star.high
    side = "below" if lam < star.low else "above" if lam > high else "inside"
    return [
        f"All else is met, and λ = {lam:g} lies {side} this interval: with a grid wider than "
        f"{star.width:.3g} the verdict would be {_SIDES[side]}."
    ]


def _without_value(roles: Sequence[RoleEstimate]) -> list[str]:
    """One sentence for each reason why roles have no λ*."""
    sentences = []
    for status, reason in _NO_VALUE.items():
        names = [place(role) for role in roles if role.lambda_star.status == status]
        if names:
            listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
            sentences.append(reason.format(roles=listed))
    return sentences


def _rounded_down(x: float) -> str:
    """A few digits that are never above the number itself: a λ read off here must be safe too."""
    step = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(x)))
    return f"{math.floor(x * step) / step:.{_DIGITS}g}"


def _threshold(verdict: str, star: LambdaStarEstimate, binding: RoleEstimate, clip: ClipEstimate) -> str:
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
    end = "has no upper end" if star.high is None else f"ends at {star.high:.4g}"
    text = f"{text}; its interval starts at {star.low:.4g} and {end}."
    return text if verdict == "out_of_scope" else f"{text} λ below {_rounded_down(star.low)} is called safe."
