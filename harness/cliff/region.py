"""The extrapolated fixed point and the clip-safe region it leaves at λ*."""

from __future__ import annotations

from typing import overload

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import CLIP_RANGE, BoolArray, FloatArray, require, scalar_or_array
from harness.cliff.log_odds import clip_headroom, log_odds, log_odds_gap, probability


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
        q_λ with logit q_λ = λ·logit p − (λ − 1)·logit b; it rounds to 1 where the tail is below 1e-16, so
        take `fixed_point_log_odds` there.

    Raises:
        CliffDomainError: λ ≤ 0, or p or b not inside (0, 1).

    Source: Yang et al., arXiv 2602.12125 (objective); Li et al., arXiv 2605.08737 (fixed point).
    """
    lam, p, b = (np.asarray(x, dtype=np.float64) for x in (lam, p, b))
    require(np.isfinite(lam) & (lam > 0), "λ must be finite and above 0")
    require((p > 0) & (p < 1), "p must lie inside (0, 1)")
    require((b > 0) & (b < 1), "b must lie inside (0, 1)")
    return scalar_or_array(probability(log_odds(p) + (lam - 1.0) * log_odds_gap(p, b)))


def fixed_point_log_odds(
    lam: npt.ArrayLike, logit_p: npt.ArrayLike, logit_b: npt.ArrayLike
) -> float | FloatArray:
    """Log-odds of the fixed point, z_p + (λ − 1)·(z_p − z_b).

    Args:
        lam: extrapolation coefficient λ, finite, > 0.
        logit_p: teacher's log-odds, finite.
        logit_b: base's log-odds, finite.

    Raises:
        CliffDomainError: λ ≤ 0 or log-odds that aren't finite.
    """
    lam, zp, zb = (np.asarray(x, dtype=np.float64) for x in (lam, logit_p, logit_b))
    require(np.isfinite(lam) & (lam > 0), "λ must be finite and above 0")
    require(np.isfinite(zp) & np.isfinite(zb), "the log-odds of p and b must be finite")
    return scalar_or_array(zp + (lam - 1.0) * (zp - zb))


def clip_boundary_log_odds(logit_p: npt.ArrayLike, log_c: npt.ArrayLike) -> float | FloatArray:
    """Log-odds at the edge of the clip-safe region, where the tail mass is (1 − p)/c.

    Args:
        logit_p: teacher's log-odds, finite.
        log_c: log of the clip strength, finite, ≥ 0.

    Raises:
        CliffDomainError: an argument outside its range.
    """
    zp, lc = np.asarray(logit_p, np.float64), np.asarray(log_c, np.float64)
    require(np.isfinite(zp), "the log-odds of p must be finite")
    require(np.isfinite(lc) & (lc >= 0), CLIP_RANGE)
    return scalar_or_array(zp + clip_headroom(zp, lc))


def clip_safe(log_tail_q: npt.ArrayLike, log_tail_p: npt.ArrayLike, log_c: npt.ArrayLike) -> BoolArray:
    """Whether a policy lies in the clip-safe region, 1 − q ≥ (1 − p)/c.

    Args:
        log_tail_q: log tail mass of the policy, ≤ 0.
        log_tail_p: log tail mass of the teacher, ≤ 0.
        log_c: log of the clip strength, ≥ 0.

    Raises:
        CliffDomainError: an argument that is NaN or outside its range.
    """
    tq, tp, lc = (np.asarray(x, dtype=np.float64) for x in (log_tail_q, log_tail_p, log_c))
    require((tq <= 0) & (tp <= 0), "log tail masses must be at most 0")
    require(lc >= 0, CLIP_RANGE)
    return np.asarray(tq >= tp - lc)
