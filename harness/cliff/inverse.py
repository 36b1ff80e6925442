"""λ*(p, b, c) solved for c and for p."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import FloatArray, require, scalar_or_array
from harness.cliff.log_odds import clip_headroom, log_odds, log_odds_gap, probability

_NEWTON_STEPS = 100


def clip_for(lam: npt.ArrayLike, p: npt.ArrayLike, b: npt.ArrayLike) -> float | FloatArray:
    """The clip strength at which λ* equals `lam`: c = 1 + p·(e^((λ − 1)·gap) − 1).

    Args:
        lam: λ ≥ 1, finite.
        p: teacher's class mass, in (b, 1).
        b: base's class mass, in (0, 1).

    Raises:
        CliffDomainError: an argument outside its range.
    """
    lam, p, b = (np.asarray(x, dtype=np.float64) for x in (lam, p, b))
    require(np.isfinite(lam) & (lam >= 1), "λ* is never below 1: λ must be finite and at least 1")
    require((b > 0) & (b < p) & (p < 1), "0 < b < p < 1 is needed: for p ≤ b every clip is safe")
    with np.errstate(over="ignore"):
        c = np.asarray(1.0 + p * np.expm1((lam - 1.0) * log_odds_gap(p, b)))
    require(np.isfinite(c), "λ is so large that no finite clip strength gives it")
    return scalar_or_array(c)


def teacher_mass_for(lam: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> float | FloatArray:
    """The teacher's class mass p at which λ* equals `lam`; b in (0, 1), c > 1."""
    b, c = np.asarray(b, np.float64), np.asarray(c, np.float64)
    require((b > 0) & (b < 1), "b must lie inside (0, 1)")
    require(np.isfinite(c) & (c > 1), "the clip strength c must be finite and above 1")
    return scalar_or_array(probability(teacher_log_odds_for(lam, log_odds(b), np.log(c))))


def teacher_log_odds_for(
    lam: npt.ArrayLike, logit_b: npt.ArrayLike, log_c: npt.ArrayLike
) -> float | FloatArray:
    """The teacher's log-odds at which λ* equals `lam`; unique, since λ* falls as p rises.

    Args:
        lam: λ > 1, finite.
        logit_b: base's log-odds, finite.
        log_c: log of the clip strength, finite, > 0.

    Raises:
        CliffDomainError: an argument outside its range.
    """
    lam, zb, lc = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (lam, logit_b, log_c)))
    require(np.isfinite(lam) & (lam > 1), "λ must be finite and above 1")
    require(np.isfinite(zb), "the log-odds of b must be finite")
    require(np.isfinite(lc) & (lc > 0), "the clip strength c must be finite and above 1")
    # (λ − 1)·gap − headroom is concave and increasing in the gap, so Newton from 0 climbs to the root.
    gap = np.zeros_like(lam)
    for _ in range(_NEWTON_STEPS):
        headroom = clip_headroom(zb + gap, lc)
        # −d headroom / d z = (c − 1)(1 − p) / (c − 1 + p) = 1 − exp(log c − headroom)
        slope = (lam - 1.0) - np.expm1(lc - headroom)
        step = (headroom - (lam - 1.0) * gap) / slope
        gap = gap + step
        if np.all(np.abs(step) <= 4e-16 * np.abs(gap)):
            break
    return scalar_or_array(zb + gap)
