"""What is estimated from mean masses: κ = 1/(λ* − 1), log-odds, the clip margin, each with its slopes."""

from __future__ import annotations

import numpy as np

from harness.cliff.domain import FloatArray
from harness.cliff.log_odds import clip_headroom, reciprocal_excess
from harness.cliff.resample import Means, Statistic


def kappa_against(log_c: float) -> Statistic:
    """κ of teacher (first model) against base (second)."""

    def statistic(means: Means) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
        z_p, z_b = means.log_odds(0), means.log_odds(1)
        headroom = clip_headroom(z_p, log_c)
        kappa = reciprocal_excess(z_p, z_b, log_c)
        by_z_p = _slope_in_teacher(kappa, headroom, log_c)
        return kappa, (-by_z_p / means.mass[0], 1.0 / (headroom * means.mass[1]))

    return statistic


def _slope_in_teacher(kappa: FloatArray, headroom: FloatArray, log_c: float) -> FloatArray:
    """Derivative of κ in the teacher's log-odds; NaN where κ is infinite."""
    with np.errstate(invalid="ignore"):
        return np.asarray((1.0 - kappa * np.expm1(log_c - headroom)) / headroom)


def kappa_half(log_c: float) -> Statistic:
    """κ of the first model against b = 1/2."""

    def statistic(means: Means) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
        z_p = means.log_odds(0)
        headroom = clip_headroom(z_p, log_c)
        kappa = reciprocal_excess(z_p, 0.0, log_c)
        by_z_p = _slope_in_teacher(kappa, headroom, log_c)
        return kappa, (-by_z_p / means.mass[0], np.zeros_like(kappa))

    return statistic


def log_odds_of_first(means: Means) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Log-odds of the first model."""
    return means.log_odds(0), (-1.0 / means.mass[0], np.zeros_like(means.mass[0]))


def tail_log_odds_of_first(means: Means) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Log-odds of the first model's tail."""
    value, (slope, none) = log_odds_of_first(means)
    return -value, (-slope, none)


def clip_margin(log_c: float) -> Statistic:
    """Log of (1 − q)·c/(1 − p), teacher first, student second."""

    def statistic(means: Means) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
        with np.errstate(divide="ignore"):
            value = np.log(means.tail[1]) - np.log(means.tail[0]) + log_c
        return value, (-np.ones_like(value), np.ones_like(value))

    return statistic
