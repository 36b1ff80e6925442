"""What must hold before λ* can be expected to locate a collapse, each with its number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from harness.cliff.domain import require
from harness.cliff.results import CalibrationEstimate, CliffEstimate, RoleEstimate

PreconditionName = Literal[
    "teacher_above_base",
    "teacher_near_deterministic",
    "one_class_dominates",
    "parse_headroom",
    "enough_rollouts",
]


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a precondition counts as met.

    Attributes:
        least_teacher_mass: least p at the binding role.
        least_tail_share: least share of the teacher's tail mass held by one role.
        least_headroom: least share of outputs that the base gets wrong.
        grid: spacing of λ the user cares about; the interval of λ* must be narrower.
    """

    least_teacher_mass: float = 0.99
    least_tail_share: float = 0.5
    least_headroom: float = 0.05
    grid: float = 0.05

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            CliffDomainError: a limit outside [0, 1], or a grid that isn't above 0.
        """
        shares = (self.least_teacher_mass, self.least_tail_share, self.least_headroom)
        require(all(0 <= x <= 1 for x in shares), "limits on masses and shares must lie in [0, 1]")
        require(math.isfinite(self.grid) and self.grid > 0, "the grid of λ must be finite and above 0")


@dataclass(frozen=True, slots=True)
class Precondition:
    """One precondition.

    Attributes:
        name: what it asks.
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
    """How much is missing to an interval narrower than the grid.

    Attributes:
        tasks: further tasks needed, 0 where the interval is narrow enough; None where no number helps or
            none can be given.
        rollouts: the same in rollouts, at as many per task as now.
    """

    tasks: int | None
    rollouts: int | None


def check_preconditions(
    estimate: CliffEstimate,
    measured: CalibrationEstimate,
    limits: Limits,
    base_parse_validity: float | None = None,
) -> tuple[Precondition, ...]:
    """All preconditions of a verdict.

    Args:
        estimate: all calibrations; the base's parse headroom is read from `sequence`.
        measured: the calibration that the verdict uses.
        limits: where they count as met.
        base_parse_validity: the base's measured strict parse validity, which takes the place of its class
            mass over whole rollouts where it is given.

    Raises:
        CliffDomainError: a parse validity outside [0, 1].
    """
    binding = measured.binding
    return (
        _teacher_above_base(binding),
        _near_deterministic(binding, limits.least_teacher_mass),
        _dominance(estimate.role, binding, limits.least_tail_share),
        _headroom(estimate, limits.least_headroom, base_parse_validity),
        _precision(estimate, measured, limits.grid),
    )


def more_data(estimate: CliffEstimate, measured: CalibrationEstimate, grid: float) -> MoreData:
    """Tasks and rollouts missing to an interval narrower than `grid`, by 1/√tasks."""
    width, identified = measured.lambda_star.width, measured.lambda_star.identified_width
    if measured.binding is None or width is None or identified is None:
        return MoreData(None, None)
    if width < grid:
        return MoreData(0, 0)
    if identified >= grid:
        return MoreData(None, None)
    tasks = measured.binding.n_tasks
    needed = tasks * ((width - identified) / (grid - identified)) ** 2
    if not math.isfinite(needed):
        return MoreData(None, None)
    missing = max(1, math.floor(needed) + 1 - tasks)
    return MoreData(missing, math.ceil(missing * estimate.n_rollouts / estimate.n_tasks))


def place(role: RoleEstimate) -> str:
    """A role, and its index where one is singled out, as text."""
    return f"`{role.role}`" if role.index is None else f"`{role.role}` number {role.index + 1}"


def _teacher_above_base(binding: RoleEstimate | None) -> Precondition:
    if binding is None:
        detail = "no role with enough tasks has p above b, so no λ is known to leave the clip-safe region"
        return Precondition("teacher_above_base", False, None, 0.0, detail)
    gap = (binding.p.estimate or 0.0) - (binding.b.estimate or 0.0)
    detail = f"at {place(binding)} the teacher's class mass exceeds the base's by {gap:.3g}"
    return Precondition("teacher_above_base", True, gap, 0.0, detail)


def _near_deterministic(binding: RoleEstimate | None, limit: float) -> Precondition:
    if binding is None or binding.p.estimate is None:
        return Precondition("teacher_near_deterministic", False, None, limit, "there is no binding role")
    p = binding.p.estimate
    met = p >= limit
    detail = f"p = {p:.6g} at {place(binding)}, {'at least' if met else 'below'} {limit:g}"
    return Precondition("teacher_near_deterministic", met, p, limit, detail)


def _dominance(roles: CalibrationEstimate, binding: RoleEstimate | None, limit: float) -> Precondition:
    dominant = roles.dominant()
    share = dominant.teacher_tail_share
    met = share >= limit
    detail = f"`{dominant.role}` holds {share:.0%} of the teacher's tail mass, {limit:.0%} is asked"
    if binding is not None and binding.role not in (dominant.role, "sequence"):
        own = dominant.lambda_star.value
        known = "none" if own is None else f"{own:.4g}"
        detail += f"; it is not the binding role {place(binding)}, and its own λ* is {known}"
    return Precondition("one_class_dominates", met, share, limit, detail)


def _headroom(estimate: CliffEstimate, limit: float, validity: float | None) -> Precondition:
    if validity is not None:
        require(0 <= validity <= 1, "the base's parse validity must lie in [0, 1]")
    kept = validity if validity is not None else estimate.sequence.roles[0].b.estimate
    if kept is None:
        return Precondition("parse_headroom", False, None, limit, "the base's class mass was not measured")
    source = "its strict parse validity" if validity is not None else "its class mass over whole rollouts"
    met = 1 - kept >= limit
    detail = f"the base leaves {1 - kept:.3g} of headroom by {source}, {limit:g} is asked"
    return Precondition("parse_headroom", met, 1 - kept, limit, detail)


def _precision(estimate: CliffEstimate, measured: CalibrationEstimate, grid: float) -> Precondition:
    width = measured.lambda_star.width
    if measured.binding is None:
        return Precondition("enough_rollouts", False, None, grid, "there is no λ* to measure")
    if width is None:
        detail = "λ* has no interval with two ends; more tasks are needed"
        return Precondition("enough_rollouts", False, None, grid, detail)
    met = width < grid
    detail = f"the interval of λ* is {width:.3g} wide, less than {grid:g} is asked"
    more = more_data(estimate, measured, grid)
    if not met and more.tasks is not None:
        detail += f": {more.tasks} more tasks ({more.rollouts} rollouts) would do"
    elif not met:
        detail += ": no number of rollouts helps, raise the engine's top-k"
    return Precondition("enough_rollouts", met, width, grid, detail)
