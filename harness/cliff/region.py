"""The extrapolated fixed point and the clip-safe region it leaves at λ*."""

from __future__ import annotations

from typing import overload

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import FloatArray, require, scalar_or_array
from harness.cliff.log_odds import log_odds, log_odds_gap, probability


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
