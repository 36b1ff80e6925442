"""The verdict in plain words."""

from __future__ import annotations

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
_NO_VALUE = {
    "teacher_deterministic": "the teacher's tail mass is 0 in floating point",
    "base_degenerate": "the base's class mass is 0 or 1 in floating point",
    "too_few_tasks": f"fewer than {MIN_TASKS} tasks reach it",
    "not_reached": "no rollout reaches it",
}


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
    parts += [f"Not met: {p.detail}." for p in preconditions if not p.met]
    parts.append(_threshold(verdict, star, binding, clip))
    parts += [
        f"At {place(role)} there is no λ*: {_NO_VALUE[role.lambda_star.status]}."
        for role in roles
        if role.lambda_star.status in _NO_VALUE
    ]
    if observed is not None and binding is not None and binding.clip_margin is not None:
        margin = binding.clip_margin.estimate
        parts.append(f"{_OBSERVED[observed]}: its tail mass there is {margin:.3g} times (1 − p)/c.")
    if observed is not None and (verdict, observed) in _DISAGREE:
        parts.append(f"Prediction and observation disagree: {_DISAGREE[verdict, observed]}.")
    return " ".join(parts)


def _threshold(
    verdict: str, star: LambdaStarEstimate, binding: RoleEstimate | None, clip: ClipEstimate
) -> str:
    if binding is None or star.value is None:
        return (
            "λ* has no finite value: no role with enough tasks has the teacher's class mass above the base's."
        )
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
    return text if verdict == "out_of_scope" else f"{text} λ up to {star.low:.4g} is called safe."
