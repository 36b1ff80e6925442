"""What an estimation of λ* hands on: small frozen dataclasses, free of NaN and infinity, as JSON needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.cliff.clip import ClipEstimate
from harness.stats.estimate import Estimate

Calibration = Literal["role", "position", "sequence"]
LambdaStarStatus = Literal[
    "finite", "unbounded", "teacher_deterministic", "base_degenerate", "too_few_tasks", "not_reached"
]


@dataclass(frozen=True, slots=True)
class LambdaStarEstimate:
    """λ* with its interval.

    Attributes:
        status: `finite`; `unbounded` where p ≤ b, so that no λ leaves the clip-safe region; else why there is
            no value (p = 1 or b in {0, 1} in floating point, too few tasks, no position of the role).
        value: point estimate, None unless the status is `finite`, or `too_few_tasks` with p > b.
        low: lower end of the interval, ≥ 1; None without an interval.
        high: upper end, None without an interval and, where `low` is given, when nothing bounds λ* above.
        identified_low: what the point estimate is at least, whatever lies in the part of the distribution
            that a top-k engine didn't show; equals `value` for exact masses. None where there is no value.
        identified_high: what it is at most; None where nothing bounds it.
    """

    status: LambdaStarStatus
    value: float | None
    low: float | None
    high: float | None
    identified_low: float | None
    identified_high: float | None


@dataclass(frozen=True, slots=True)
class RoleEstimate:
    """What was measured at one role.

    Attributes:
        role: its name, or `sequence`.
        index: the worst index of this role under the `position` calibration, else None.
        n_positions: positions behind the estimates.
        n_tasks: tasks they come from.
        p: teacher's class mass.
        b: base's class mass.
        teacher_tail: 1 − p, with the digits that `p` has lost.
        base_tail: 1 − b, likewise.
        teacher_tail_share: the role's share of the teacher's tail mass over all roles, in [0, 1].
        base_tail_share: its share of the base's.
        lambda_star: λ* at the measured b.
        lambda_star_half: λ* at b = 1/2, the base-neutral marker.
        student_tail: 1 − q of the student, None without a student.
        clip_margin: (1 − q) / ((1 − p)/c) of the student: from 1 up it is in the clip-safe region. None
            without a student.
        effective_tasks: number of tasks that carry the tail (Kish), the smaller one of teacher and base; None
            where no task reaches the role, and in results of earlier versions, as in the next three.
        base_failure: share of the answers that reach the role in which the base leaves the class there.
        left_below: a λ below it lies below λ*, and `harness.cliff.tail_bounds` says how surely; None without
            λ* or with too few tasks.
        right_above: a λ above it lies above λ*; None where nothing bounds λ* above.
    """

    role: str
    index: int | None
    n_positions: int
    n_tasks: int
    p: Estimate
    b: Estimate
    teacher_tail: float | None
    base_tail: float | None
    teacher_tail_share: float
    base_tail_share: float
    lambda_star: LambdaStarEstimate
    lambda_star_half: LambdaStarEstimate
    student_tail: float | None
    clip_margin: Estimate | None
    effective_tasks: float | None = None
    base_failure: float | None = None
    left_below: float | None = None
    right_above: float | None = None


@dataclass(frozen=True, slots=True)
class CalibrationEstimate:
    """λ* under one way of calibrating positions to a contract.

    Attributes:
        calibration: `role`: mean class mass of a role. `position`: the worst index of a role. `sequence`: the
            whole contract as one Bernoulli event.
        roles: one entry per role that the contract has, in its order; one entry `sequence` likewise.
        binding: the entry that holds the largest share of the teacher's tail: the class in which answers are
            lost. None where it has no λ*. (In results of earlier versions the entry with the smallest λ*.)
        lambda_star: the smallest λ*; its interval allows for the choice of the smallest.
        first: the entry with the smallest λ* among those with p > b: the first to leave the clip-safe region
            as λ grows, whether or not answers are lost there. None where there is none.
    """

    calibration: Calibration
    roles: tuple[RoleEstimate, ...]
    binding: RoleEstimate | None
    lambda_star: LambdaStarEstimate
    first: RoleEstimate | None = None

    def dominant(self) -> RoleEstimate:
        """The role that holds the largest share of the teacher's tail mass."""
        return max(self.roles, key=lambda role: role.teacher_tail_share)


@dataclass(frozen=True, slots=True)
class CliffEstimate:
    """λ* under all calibrations, from one set of positions.

    Attributes:
        role: the default calibration.
        position: the worst role-and-index.
        sequence: the whole contract.
        clip: what is known of c.
        exact: whether class masses were exact, and not bounds from top-k logprobs.
        n_tasks: tasks.
        n_rollouts: rollouts with at least one structural position.
        n_positions: structural positions.
        confidence: level of all intervals.
        resamples: bootstrap resamples.
        seed: seed of the resampling.
        method: how intervals were made.
    """

    role: CalibrationEstimate
    position: CalibrationEstimate
    sequence: CalibrationEstimate
    clip: ClipEstimate
    exact: bool
    n_tasks: int
    n_rollouts: int
    n_positions: int
    confidence: float
    resamples: int
    seed: int
    method: str

    def under(self, calibration: Calibration) -> CalibrationEstimate:
        """The estimate under a named calibration."""
        return {"role": self.role, "position": self.position, "sequence": self.sequence}[calibration]
