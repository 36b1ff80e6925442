"""What must hold before λ* can be expected to locate a collapse, each with its number.

All of them speak of the *binding* class, the role that holds most of the teacher's tail: it is where answers
are lost, so it is the one whose leaving the clip-safe region the theorem is about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.cliff.below_base import below_base, lost_below_base, tail_at
from harness.cliff.domain import require
from harness.cliff.log_odds import clip_headroom, log_odds_from_log_tail
from harness.cliff.resample import MIN_TASKS
from harness.cliff.results import CalibrationEstimate, CliffEstimate, LambdaStarEstimate, RoleEstimate
from harness.cliff.tail_bounds import unseen_tasks

PreconditionName = Literal[
    "teacher_above_base",
    "no_role_moves_out",
    "teacher_near_deterministic",
    "one_class_dominates",
    "parse_headroom",
    "enough_rollouts",
]
_NAMED = 3
"""Roles named where many do the same."""
_MOST_TASKS = 1_000_000
"""More than that is no advice."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a precondition counts as met.

    Attributes:
        least_teacher_mass: least p at the binding role.
        least_tail_share: least share of the teacher's tail mass held by it.
        least_headroom: least share of answers that the base gets wrong there.
        grid: spacing of λ the user cares about: no more tasks are asked for to tell a λ from a λ* that is
            estimated to lie within it.
        most_share_below_base: most share of the teacher's tail mass at roles where p ≤ b.
        least_effective_tasks: least number of tasks that carry the tail, of teacher and of base.
        most_lost_below_base: most share of answers that extrapolation may lose at roles where p ≤ b.
    """

    least_teacher_mass: float = 0.99
    least_tail_share: float = 0.5
    least_headroom: float = 0.05
    grid: float = 0.05
    most_share_below_base: float = 0.05
    least_effective_tasks: float = 20.0
    most_lost_below_base: float = 0.05

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            CliffDomainError: a share outside [0, 1], or a grid or number of tasks that isn't above 0.
        """
        shares = (
            self.least_teacher_mass,
            self.least_tail_share,
            self.least_headroom,
            self.most_share_below_base,
            self.most_lost_below_base,
        )
        require(all(0 <= x <= 1 for x in shares), "limits on masses and shares must lie in [0, 1]")
        require(math.isfinite(self.grid) and self.grid > 0, "the grid of λ must be finite and above 0")
        tasks = self.least_effective_tasks
        require(math.isfinite(tasks) and tasks > 0, "the least number of tasks must be finite and above 0")


@dataclass(frozen=True, slots=True)
class Precondition:
    """One precondition.

    Attributes:
        name: what it asks; `enough_rollouts` is about the data, `no_role_moves_out` about the run's λ as well
            as the checkpoints, the others about the checkpoints.
        met: whether it holds.
        value: its number, None where it couldn't be measured (then it isn't met).
        limit: what the number is compared with.
        detail: one sentence in plain words.
    """

    name: PreconditionName
    met: bool
    value: float | None
    limit: float
    detail: str


@dataclass(frozen=True, slots=True)
class MoreData:
    """How much is missing to a verdict, or to a side where the verdict is `on_cliff`.

    Attributes:
        tasks: about how many further tasks, 0 where the side is told; None where no number helps or none can
            be given.
        rollouts: the same in rollouts, at as many per task as now.
    """

    tasks: int | None
    rollouts: int | None


def check_preconditions(
    lam: float, estimate: CliffEstimate, measured: CalibrationEstimate, limits: Limits
) -> tuple[Precondition, ...]:
    """All preconditions of a verdict.

    Args:
        lam: the run's λ.
        estimate: all calibrations; the share of the tail is read from `role`.
        measured: the calibration that the verdict uses.
        limits: where they count as met.
    """
    asked = measured.dominant()
    return (
        _teacher_above_base(asked, measured.roles, limits.most_share_below_base),
        _moved_out(lam, measured.roles, estimate.n_rollouts, limits.most_lost_below_base),
        _near_deterministic(asked, limits.least_teacher_mass),
        _dominance(estimate.role.dominant(), limits.least_tail_share),
        _headroom(asked, limits.least_headroom),
        _carried(asked, limits.least_effective_tasks),
    )


def more_data(
    lam: float, verdict: str, estimate: CliffEstimate, binding: RoleEstimate | None, limits: Limits
) -> MoreData:
    """Tasks and rollouts missing to a verdict, or to a side.

    Args:
        lam: the run's λ.
        verdict: on it.
        estimate: all calibrations.
        binding: the role the verdict is about.
        limits: what it was checked against.
    """
    if verdict in ("left", "right"):
        return MoreData(0, 0)
    if verdict == "out_of_scope" or binding is None or not binding.n_tasks:
        return MoreData(None, None)
    if verdict == "undecided":
        carrying = binding.effective_tasks or 1.0
        needed = max(MIN_TASKS, binding.n_tasks * max(1.0, limits.least_effective_tasks / carrying))
    else:
        needed = _to_a_side(lam, estimate, binding, limits.grid)
    if not needed < _MOST_TASKS:
        return MoreData(None, None)
    # Not every task reaches the role.
    every = (needed - binding.n_tasks) * estimate.n_tasks / binding.n_tasks
    missing = max(1, math.ceil(every))
    return MoreData(missing, math.ceil(missing * estimate.n_rollouts / estimate.n_tasks))


def _to_a_side(lam: float, estimate: CliffEstimate, binding: RoleEstimate, grid: float) -> float:
    """Tasks reaching the role at which λ would lie outside the bounds, were λ* where it is estimated."""
    star, tail = binding.lambda_star, binding.teacher_tail
    if star.value is None or not tail or lam <= 1 or abs(lam - star.value) < grid or _hidden(lam, star):
        return math.inf
    kappa, wanted = 1.0 / (star.value - 1.0), 1.0 / (lam - 1.0)
    # By chance: as 1/√tasks.
    end = binding.left_below if lam < star.value else binding.right_above
    reach = 0.0 if end is None or end <= 1 else (1.0 / (end - 1.0) - kappa) / (wanted - kappa)
    needed = binding.n_tasks * reach**2
    if lam < star.value:
        return needed if end is not None and end > 1 else math.inf
    if not estimate.clip.saturated:
        return math.inf
    # For tasks not yet seen, which must not carry more than the tail at which λ* would be λ: as 1/tasks.
    headroom = float(clip_headroom(log_odds_from_log_tail(math.log(tail)), np.log(estimate.clip.effective)))
    unseen = unseen_tasks(0.5 * (1.0 - estimate.confidence))
    return max(needed, unseen / (tail * math.expm1((kappa - wanted) * headroom)))


def _hidden(lam: float, star: LambdaStarEstimate) -> bool:
    """Whether λ lies where only a larger top-k could tell."""
    low, high = star.identified_low, star.identified_high
    return low is not None and low <= lam and (high is None or lam <= high)


def place(role: RoleEstimate) -> str:
    """A role, and its index where one is singled out, as text."""
    return f"`{role.role}`" if role.index is None else f"`{role.role}` number {role.index + 1}"


def _teacher_above_base(asked: RoleEstimate, roles: tuple[RoleEstimate, ...], limit: float) -> Precondition:
    name: PreconditionName = "teacher_above_base"
    known = asked.lambda_star
    if known.status in ("teacher_deterministic", "base_degenerate", "not_reached"):
        detail = f"{place(asked)}, which holds most of the teacher's tail, has no λ*"
        return Precondition(name, False, None, limit, detail)
    if known.value is None:
        detail = (
            f"at {place(asked)}, which holds most of the teacher's tail, the teacher's class mass isn't "
            "above the base's: extrapolation moves the student out of the contract there"
        )
        return Precondition(name, False, asked.teacher_tail_share, limit, detail)
    share = sum(one.teacher_tail_share for one in below_base(roles))
    gap = (asked.p.estimate or 0.0) - (asked.b.estimate or 0.0)
    detail = f"at {place(asked)} the teacher's class mass exceeds the base's by {gap:.3g}"
    if share > limit:
        detail = (
            f"roles at which it isn't above the base's hold {share:.0%} of the teacher's tail, at most "
            f"{limit:.0%} are asked: extrapolation moves the student out of the contract there"
        )
    return Precondition(name, share <= limit, share, limit, detail)


def _moved_out(lam: float, roles: tuple[RoleEstimate, ...], rollouts: int, limit: float) -> Precondition:
    name: PreconditionName = "no_role_moves_out"
    away = below_base(roles)
    if not away:
        return Precondition(
            name, True, 0.0, limit, "at every role the teacher's class mass exceeds the base's"
        )
    lost = lost_below_base(lam, roles, rollouts)
    worst = sorted(away, key=lambda one: -lost_below_base(lam, [one], rollouts))
    where = ", ".join(
        f"{place(one)} from {one.p.estimate or 0.0:.4g} to {_kept(lam, one)}" for one in worst[:_NAMED]
    )
    more = f" and {len(worst) - _NAMED} more roles" if len(worst) > _NAMED else ""
    detail = (
        f"where the teacher's class mass isn't above the base's, λ = {lam:g} takes it at {where}{more}: up "
        f"to {lost:.1%} of the answers, {limit:.0%} are allowed"
    )
    return Precondition(name, lost <= limit, lost, limit, detail)


def _kept(lam: float, role: RoleEstimate) -> str:
    tail = tail_at(max(lam, 1.0), role)
    return "an unknown one" if tail is None else f"{1.0 - tail:.4g}"


def _near_deterministic(asked: RoleEstimate, limit: float) -> Precondition:
    name: PreconditionName = "teacher_near_deterministic"
    p = asked.p.estimate
    if p is None:
        return Precondition(name, False, None, limit, f"nothing is known of the teacher at {place(asked)}")
    met = p >= limit
    detail = f"p = {p:.6g} at {place(asked)}, {'at least' if met else 'below'} {limit:g}"
    return Precondition(name, met, p, limit, detail)


def _dominance(dominant: RoleEstimate, limit: float) -> Precondition:
    share = dominant.teacher_tail_share
    detail = f"{place(dominant)} holds {share:.0%} of the teacher's tail mass, {limit:.0%} is asked"
    return Precondition("one_class_dominates", share >= limit, share, limit, detail)


def _headroom(asked: RoleEstimate, limit: float) -> Precondition:
    failure = asked.base_failure
    if failure is None:
        detail = f"nothing is known of the base at {place(asked)}"
        return Precondition("parse_headroom", False, None, limit, detail)
    detail = (
        f"the base fails at {place(asked)} in {failure:.3g} of the answers that get there, {limit:g} is asked"
    )
    return Precondition("parse_headroom", failure >= limit, failure, limit, detail)


def _carried(asked: RoleEstimate, limit: float) -> Precondition:
    carrying = asked.effective_tasks
    if carrying is None:
        return Precondition("enough_rollouts", False, None, limit, "no rollout reaches the contract's roles")
    met = carrying >= limit and asked.n_tasks >= MIN_TASKS
    detail = (
        f"the tail at {place(asked)} is carried by {carrying:.3g} tasks (effective number, of "
        f"{asked.n_tasks}), {limit:g} are asked"
    )
    return Precondition("enough_rollouts", met, carrying, limit, detail)
