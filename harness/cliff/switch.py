"""The clip edge of a run's own ratio, and the λ at which the extrapolated fixed point passes it: λ*_m.

A token whose ratio π_S/π_m lies below 1/c gets no gradient. With m the class mass of the policy that the
ratio is taken to, the tail is cut off below (1 − m)/c, and the fixed point reaches that edge at

    λ*_m = (logit(1 − (1 − m)/c) − logit b) / (logit p − logit b)
         = 1 + (headroom(m) + logit m − logit p) / gap,          see `harness.cliff.log_odds`.

m = p is λ* of Li et al., arXiv 2605.08737. m = b, rollouts fixed at the base, gives headroom(b)/gap, mostly
below 1: every λ ≥ 1 is beyond that edge. Where the ratio is taken to the student itself the edge follows it,
and nothing switches.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import FloatArray, require
from harness.cliff.log_odds import (
    clip_headroom,
    log_odds_from_log_tail,
    log_odds_gap_from_log_tails,
    log_tail,
)

Policy = Literal["teacher", "base", "student", "other"]
"""Whose class mass an edge has; `other` is a policy that isn't measured."""
RatioTo = Literal["teacher", "base", "student", "none"]
"""What a user says of a run's ratio; with `none` its clip leaves small ratios their gradient."""
Ratio = Literal["student/behaviour", "student/base", "student/teacher"]
ClipSides = Literal["two", "upper"]
RatioGradient = Literal["detached", "differentiated", "truncated"]
Staleness = Literal["fresh", "fixed"]


class SwitchStatus(StrEnum):
    """What λ*_m is at one (p, b, m, c)."""

    FINITE = "finite"
    """At least 1: below it the fixed point is inside the edge, above it beyond."""
    ALWAYS_RIGHT = "always_right"
    """Between 0 and 1: the fixed point of every λ ≥ 1, the teacher itself, is beyond."""
    EDGE_BELOW_BASE = "edge_below_base"
    """At most 0: the base is beyond already."""
    NEVER = "never"
    """p ≤ b, the teacher inside: no λ ≥ 1 comes near the edge; each moves out of the contract."""
    RETURNS = "returns"
    """p ≤ b, the teacher beyond: inside only above the value, on the way out of the contract."""
    TEACHER_DETERMINISTIC = "teacher_deterministic"
    BASE_DEGENERATE = "base_degenerate"
    BEHAVIOUR_DEGENERATE = "behaviour_degenerate"
    NOT_A_PROBABILITY = "not_a_probability"
    CLIP_OUT_OF_RANGE = "clip_out_of_range"


@dataclass(frozen=True, slots=True)
class Switches:
    """λ*_m entry by entry.

    Attributes:
        value: λ*_m, of any sign; +inf where the status is `never`, NaN where there is no value.
        status: `SwitchStatus` values, same shape.
        log_edge: log of (1 − m)/c, the tail mass below which the clip cuts.
    """

    value: FloatArray
    status: npt.NDArray[np.str_]
    log_edge: FloatArray


def switches_from_log_tails(
    log_tail_p: npt.ArrayLike, log_tail_b: npt.ArrayLike, log_tail_m: npt.ArrayLike, log_c: npt.ArrayLike
) -> Switches:
    """λ*_m for arrays of any broadcastable shape, from the logs of the tail masses.

    Args:
        log_tail_p: log(1 − p) ≤ 0 of the teacher.
        log_tail_b: log(1 − b) ≤ 0 of the base.
        log_tail_m: log(1 − m) ≤ 0 of the policy that the ratio is taken to.
        log_c: log of the clip strength, finite, ≥ 0.

    Returns:
        m = p gives λ* of `thresholds_from_log_tails` bit for bit where p > b.
    """
    tp, tb, tm, lc = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.float64) for x in (log_tail_p, log_tail_b, log_tail_m, log_c))
    )
    gap = log_odds_gap_from_log_tails(tp, tb)
    with np.errstate(all="ignore"):
        above = log_odds_gap_from_log_tails(tm, tp) + clip_headroom(log_odds_from_log_tail(tm), lc)
        value = np.where((gap == 0) & (above < 0), np.inf, 1.0 + above / gap)
    checks = (
        (~((tp <= 0) & (tb <= 0) & (tm <= 0)), SwitchStatus.NOT_A_PROBABILITY),
        (~(np.isfinite(lc) & (lc >= 0)), SwitchStatus.CLIP_OUT_OF_RANGE),
        (np.isneginf(tb) | (tb == 0), SwitchStatus.BASE_DEGENERATE),
        (np.isneginf(tp), SwitchStatus.TEACHER_DETERMINISTIC),
        (np.isneginf(tm) | (tm == 0), SwitchStatus.BEHAVIOUR_DEGENERATE),
    )
    kinds = (
        ((gap <= 0) & (above >= 0), SwitchStatus.NEVER),
        (gap <= 0, SwitchStatus.RETURNS),
        (value >= 1, SwitchStatus.FINITE),
        (value > 0, SwitchStatus.ALWAYS_RIGHT),
    )
    rows = (*checks, *kinds)
    status = np.select(
        [row for row, _ in rows], [kind.value for _, kind in rows], default=SwitchStatus.EDGE_BELOW_BASE.value
    )
    without = np.logical_or.reduce([row for row, _ in checks])
    value = np.where(without, np.nan, np.where(status == SwitchStatus.NEVER, np.inf, value))
    return Switches(value=value, status=status, log_edge=tm - lc)


def fixed_point_log_tail(
    lam: npt.ArrayLike, log_tail_p: npt.ArrayLike, log_tail_b: npt.ArrayLike
) -> FloatArray:
    """Log of the coin's tail 1 − q_λ; broadcasts.

    Args:
        lam: λ, finite.
        log_tail_p: log(1 − p) of the teacher, finite, < 0.
        log_tail_b: log(1 − b) of the base, likewise.

    Raises:
        CliffDomainError: an argument outside its range.
    """
    lam, tp, tb = (np.asarray(x, dtype=np.float64) for x in (lam, log_tail_p, log_tail_b))
    require(np.isfinite(lam), "λ must be finite")
    require(np.isfinite(tp) & (tp < 0) & np.isfinite(tb) & (tb < 0), "p and b must lie inside (0, 1)")
    return log_tail(log_odds_from_log_tail(tp) + (lam - 1.0) * log_odds_gap_from_log_tails(tp, tb))


@dataclass(frozen=True, slots=True)
class RunRatio:
    """The importance ratio of a run, as far as an edge depends on it.

    Attributes:
        to: the policy that the ratio is taken to.
        drawn: the policy that the rollouts are drawn from.
        cuts: whether a token whose ratio lies below 1/c gets no gradient: a clip on two sides, of a weight.
    """

    to: Policy = "teacher"
    drawn: Policy = "teacher"
    cuts: bool = True

    @property
    def edge(self) -> Policy | None:
        """Whose class mass m sets the edge (1 − m)/c; None where there is no edge to pass."""
        return self.to if self.cuts and self.to != "student" else None

    @property
    def rests_at_the_target(self) -> bool:
        """Whether the loop's fixed point is π_λ: its ratio must undo who drew the rollouts."""
        return self.to == self.drawn

    @property
    def words(self) -> str:
        """What the loop's clip does to the tail, one clause."""
        if not self.cuts:
            return "its clip leaves the tail its gradient, so there is no edge and no switch"
        if self.to == "student":
            return (
                "its rollouts are the student's own and so is the ratio's other policy: the edge follows the "
                "student, and nothing switches"
            )
        near = "" if self.rests_at_the_target else ", but it doesn't rest at π_λ, since another policy draws"
        return f"its ratio is taken to the {_NAMES[self.to]}: the edge is (1 − {_MASSES[self.to]})/c{near}"


_NAMES: Final[dict[Policy, str]] = {
    "teacher": "teacher",
    "base": "base",
    "student": "student",
    "other": "policy that drew the rollouts, which isn't measured here",
}
_MASSES: Final[dict[Policy, str]] = {"teacher": "p", "base": "b", "student": "q", "other": "m"}

ASSUMED: Final = RunRatio()
"""What λ* assumes: the teacher draws the rollouts, and the ratio is taken to it."""


def given_ratio(ratio_to: RatioTo) -> RunRatio:
    """The ratio of a run of which no more is said than whom it is taken to."""
    to: Policy = "student" if ratio_to == "none" else ratio_to
    return RunRatio(to, to, ratio_to != "none")


def run_ratio(
    ratio: Ratio,
    staleness: Staleness,
    clip_sides: ClipSides = "two",
    ratio_gradient: RatioGradient = "detached",
    fixed_from: Policy = "base",
) -> RunRatio:
    """The ratio of a run of `harness train opd`.

    Args:
        ratio: see `OPDConfig`, as the next three.
        staleness: `fresh` rollouts are the student's, at most a round old.
        clip_sides: with `upper` nothing is cut below.
        ratio_gradient: only `detached` cuts what is below.
        fixed_from: who drew fixed rollouts.
    """
    drawn: Policy = "student" if staleness == "fresh" else fixed_from
    to: dict[Ratio, Policy] = {
        "student/behaviour": drawn,
        "student/base": "base",
        "student/teacher": "teacher",
    }
    return RunRatio(to[ratio], drawn, clip_sides == "two" and ratio_gradient == "detached")
