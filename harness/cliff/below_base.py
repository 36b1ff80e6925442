"""Roles at which the teacher keeps the contract no more surely than the base: λ > 1 leads out of it there.

No λ takes the fixed point beyond the clip edge at such a role, λ* is +∞, and that is no safety: q_λ falls as
λ grows. p = .657, b = .993: q_λ = .55 at λ = 1.1, .025 at 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from harness.cliff.results import RoleEstimate
from harness.cliff.switch import fixed_point_log_tail

_LARGEST: Final = 1e6
_HALVINGS: Final = 60


def below_base(roles: Sequence[RoleEstimate]) -> list[RoleEstimate]:
    """Those roles: p ≤ b, or a base without any tail."""
    return [
        one
        for one in roles
        if one.lambda_star.status == "unbounded" or (one.base_tail == 0.0 and (one.teacher_tail or 0.0) > 0.0)
    ]


def tail_at(lam: float, role: RoleEstimate) -> float | None:
    """The coin's tail 1 − q_λ at such a role; None where its masses aren't known.

    Args:
        lam: λ ≥ 1.
        role: one of `below_base`.
    """
    teacher, base = role.teacher_tail, role.base_tail
    if teacher is None or base is None:
        return None
    if lam == 1.0 or teacher >= 1.0:
        return teacher
    if base == 0.0:
        return 1.0
    return math.exp(float(fixed_point_log_tail(lam, math.log(teacher), math.log(base))))


def lost_below_base(lam: float, roles: Sequence[RoleEstimate], rollouts: int) -> float:
    """Share of answers, at most, that extrapolation loses there beyond what the teacher loses itself.

    Args:
        lam: the run's λ; up to 1 nothing is extrapolated and nothing lost.
        roles: of one calibration.
        rollouts: how many the roles' decisions come from.

    Returns:
        The sum over these roles of decisions an answer times (1 − q_λ) − (1 − p), at most 1.
    """
    if lam <= 1.0:
        return 0.0
    lost = 0.0
    for one in below_base(roles):
        tail = tail_at(lam, one)
        if tail is not None and one.teacher_tail is not None:
            lost += one.n_positions / rollouts * (tail - one.teacher_tail)
    return min(1.0, max(0.0, lost))


def largest_kept_lambda(limit: float, roles: Sequence[RoleEstimate], rollouts: int) -> float | None:
    """The λ ≥ 1 up to which no more than `limit` of the answers is lost there; None where no λ loses more.

    Args:
        limit: share of answers, in [0, 1].
        roles: as for `lost_below_base`.
        rollouts: likewise.
    """
    if lost_below_base(_LARGEST, roles, rollouts) <= limit:
        return None
    low, high = 0.0, math.log(_LARGEST)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if lost_below_base(math.exp(middle), roles, rollouts) <= limit:
            low = middle
        else:
            high = middle
    return math.exp(low)
