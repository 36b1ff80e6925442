"""The closed form: the clip-safety threshold λ*(p, b, c) with its edge cases told apart, and the fixed point.

Where the tail 1 − p matters, hand over log tail masses: a float p keeps the digits of its tail only to about
1e-16 / (1 − p), relative.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import overload

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import CLIP_RANGE, BoolArray, CliffDomainError, FloatArray, require, scalar_or_array
from harness.cliff.log_odds import (
    clip_headroom,
    log_odds,
    log_odds_from_log_tail,
    log_odds_gap,
    log_odds_gap_from_log_tails,
    probability,
)


class ThresholdStatus(StrEnum):
    """What λ* is at one (p, b, c)."""

    FINITE = "finite"
    UNBOUNDED = "unbounded"
    TEACHER_DETERMINISTIC = "teacher_deterministic"
    BASE_DEGENERATE = "base_degenerate"
    NOT_A_PROBABILITY = "not_a_probability"
    CLIP_OUT_OF_RANGE = "clip_out_of_range"


_NO_VALUE = {
    ThresholdStatus.TEACHER_DETERMINISTIC: "p is 1 in floating point; pass its log tail mass instead",
    ThresholdStatus.BASE_DEGENERATE: "b is 0 or 1 in floating point, where λ* has no value",
    ThresholdStatus.NOT_A_PROBABILITY: "p and b must be probabilities in [0, 1]",
    ThresholdStatus.CLIP_OUT_OF_RANGE: CLIP_RANGE,
}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """λ* entry by entry, with the reason where an entry has no finite value.

    Attributes:
        value: λ*, ≥ 1; +inf where the status is `unbounded` (p ≤ b), NaN where there is no value.
        status: `ThresholdStatus` values, same shape.
    """

    value: FloatArray
    status: npt.NDArray[np.str_]


def thresholds(p: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> Thresholds:
    """λ* for arrays of any broadcastable shape, with a status per entry instead of an error.

    Args:
        p: teacher's class mass.
        b: base's class mass.
        c: clip strength.
    """
    p, b, c = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (p, b, c)))
    with np.errstate(all="ignore"):
        # log((c − 1 + p)/p): the second form only where the first would overflow.
        headroom = np.where((c - 1.0) / p < 1e15, np.log1p((c - 1.0) / p), np.log(c - 1.0 + p) - np.log(p))
        gap = log_odds_gap(p, b)
    is_probability = (p >= 0) & (p <= 1) & (b >= 0) & (b <= 1)
    return _thresholds(gap, headroom, c, is_probability, base_edge=(b == 0) | (b == 1), teacher_edge=p == 1)


def thresholds_from_log_tails(
    log_tail_p: npt.ArrayLike, log_tail_b: npt.ArrayLike, log_c: npt.ArrayLike
) -> Thresholds:
    """As `thresholds`, from the logs of the tail masses 1 − p and 1 − b.

    Args:
        log_tail_p: log(1 − p) ≤ 0; −inf is p = 1.
        log_tail_b: log(1 − b) ≤ 0.
        log_c: log of the clip strength.
    """
    tp, tb, lc = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.float64) for x in (log_tail_p, log_tail_b, log_c))
    )
    with np.errstate(all="ignore"):
        headroom, c = clip_headroom(log_odds_from_log_tail(tp), lc), np.exp(lc)
    gap = log_odds_gap_from_log_tails(tp, tb)
    is_log = (tp <= 0) & (tb <= 0)
    edge = np.isneginf(tb) | (tb == 0)
    return _thresholds(gap, headroom, c, is_log, base_edge=edge, teacher_edge=np.isneginf(tp))


@overload
def lambda_star(p: float, b: float, c: float) -> float: ...
@overload
def lambda_star(p: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> float | FloatArray: ...
def lambda_star(p: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> float | FloatArray:
    """Clip-safety threshold λ*: above it the extrapolated fixed point leaves the clip-safe region.

    Accurate to about 1e-15 for the floats as given; whether a float p still carries the tail you measured
    is another matter (see the module text): at p = 1 − 1e-12 its tail has four digits left.

    Args:
        p: teacher's mass on the equivalence class, in [0, 1).
        b: base's mass on it, in (0, 1).
        c: importance-sampling clip strength, finite, ≥ 1; c = 1 gives λ* = 1.

    Returns:
        λ* ≥ 1, a float for scalars, an array of the broadcast shape otherwise. +inf where p ≤ b: there
        extrapolation moves away from the mode and no λ leaves the region, which is no safety: it moves out of
        the contract.

    Raises:
        CliffDomainError: a `ValueError`; any entry with p = 1, b in {0, 1}, c < 1 or not finite, NaN, or no
            probability. `thresholds` gives a status per entry instead.

    Source: Li et al., arXiv 2605.08737, Theorem 4.1. The base-neutral marker is b = 1/2.
    """
    found = thresholds(p, b, c)
    missing = np.isnan(found.value)
    if missing.any():
        first = tuple(int(i) for i in np.argwhere(missing)[0])
        reason = _NO_VALUE[ThresholdStatus(str(found.status[first]))]
        where = f" (entry {first}, {int(missing.sum())} of {missing.size})" if first else ""
        raise CliffDomainError(f"λ* has no value{where}: {reason}")
    return scalar_or_array(found.value)


@overload
def fixed_point(lam: float, p: float, b: float) -> float: ...
@overload
def fixed_point(lam: npt.ArrayLike, p: npt.ArrayLike, b: npt.ArrayLike) -> float | FloatArray: ...
def fixed_point(lam: npt.ArrayLike, p: npt.ArrayLike, b: npt.ArrayLike) -> float | FloatArray:
    """Class mass q_λ at which the advantage λ·log π_T − log π_S − (λ − 1)·log π_B is level.

    Args:
        lam: extrapolation coefficient λ, finite, > 0; 1 gives p.
        p: teacher's class mass, in (0, 1).
        b: base's class mass, in (0, 1).

    Returns:
        q_λ with logit q_λ = λ·logit p − (λ − 1)·logit b; it rounds to 1 where the tail is below 1e-16.

    Raises:
        CliffDomainError: λ ≤ 0, or p or b not inside (0, 1).

    Source: Yang et al., arXiv 2602.12125 (objective); Li et al., arXiv 2605.08737 (fixed point).
    """
    lam, p, b = (np.asarray(x, dtype=np.float64) for x in (lam, p, b))
    require(np.isfinite(lam) & (lam > 0), "λ must be finite and above 0")
    require((p > 0) & (p < 1), "p must lie inside (0, 1)")
    require((b > 0) & (b < 1), "b must lie inside (0, 1)")
    return scalar_or_array(probability(log_odds(p) + (lam - 1.0) * log_odds_gap(p, b)))


def _thresholds(
    gap: FloatArray,
    headroom: FloatArray,
    c: FloatArray,
    is_probability: BoolArray,
    base_edge: BoolArray,
    teacher_edge: BoolArray,
) -> Thresholds:
    clip_ok = np.isfinite(c) & (c >= 1)
    status = np.select(
        [~is_probability, ~clip_ok, base_edge, teacher_edge, gap <= 0],
        [
            ThresholdStatus.NOT_A_PROBABILITY.value,
            ThresholdStatus.CLIP_OUT_OF_RANGE.value,
            ThresholdStatus.BASE_DEGENERATE.value,
            ThresholdStatus.TEACHER_DETERMINISTIC.value,
            ThresholdStatus.UNBOUNDED.value,
        ],
        default=ThresholdStatus.FINITE.value,
    )
    finite, unbounded = status == ThresholdStatus.FINITE, status == ThresholdStatus.UNBOUNDED
    excess = np.divide(headroom, gap, out=np.full(gap.shape, np.nan), where=finite)
    return Thresholds(value=np.where(unbounded, np.inf, 1.0 + excess), status=status)
