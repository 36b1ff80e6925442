"""Logistic regression on one variable with Firth's penalty, many data sets at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_STEPS = 200
_HALVINGS = 12
_LONGEST_STEP = 4.0
_TOLERANCE = 1e-10


def firth_logistic(
    x: npt.ArrayLike, successes: npt.ArrayLike, trials: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Intercept and slope of logit P(success) = intercept + slope·x, under the Jeffreys prior.

    Firth, "Bias reduction of maximum likelihood estimates" (Biometrika 80, 1993); Heinze and Schemper, "A
    solution to the problem of separation in logistic regression" (Statistics in Medicine 21, 2002): finite
    for separated data too, and without a strength to choose. Newton's method on grouped data.

    Args:
        x: [J] at least two different values.
        successes: [R, J] number of successes at each x, between 0 and `trials`.
        trials: [R, J] number of trials, at least two different x with trials in each row.

    Returns:
        Intercept [R] and slope [R].

    Raises:
        ValueError: shapes that don't fit, or a row with trials at one x only.
    """
    grid = np.asarray(x, dtype=np.float64)
    y, n = (np.atleast_2d(np.asarray(counts, dtype=np.float64)) for counts in (successes, trials))
    if grid.ndim != 1 or y.shape != n.shape or y.shape[1] != len(grid):
        raise ValueError(f"{grid.shape} values of x for counts of shapes {y.shape} and {n.shape}")
    if not ((y >= 0) & (y <= n)).all() or ((n > 0).sum(axis=1) < 2).any():
        raise ValueError("each row needs trials at two values of x, and no more successes than trials")
    centre, spread = float(grid.mean()), float(grid.std())
    if spread == 0.0:
        raise ValueError("x has one value only; a slope needs two")
    z = (grid - centre) / spread
    beta = np.zeros((len(y), 2))
    best = _penalised(z, y, n, beta)
    for _ in range(_STEPS):
        step = _newton_step(z, y, n, beta)
        longest = np.abs(step).max(axis=1, keepdims=True)
        step *= np.minimum(1.0, _LONGEST_STEP / np.maximum(longest, 1e-300))
        for _ in range(_HALVINGS):
            reached = _penalised(z, y, n, beta + step)
            worse = reached < best - 1e-12
            if not worse.any():
                break
            step[worse] *= 0.5
        step[reached < best - 1e-12] = 0.0
        beta = beta + step
        best = _penalised(z, y, n, beta)
        if np.abs(step).max() < _TOLERANCE:
            break
    slope = beta[:, 1] / spread
    return beta[:, 0] - slope * centre, slope


def _newton_step(z: FloatArray, y: FloatArray, n: FloatArray, beta: FloatArray) -> FloatArray:
    """[R, 2] inverse information times the modified score."""
    p = _probability(z, beta)
    weight = n * p * (1.0 - p)
    i00, i01, i11 = _information(z, weight)
    determinant = i00 * i11 - i01 * i01
    # Diagonal of the hat matrix, summed over the trials at each x.
    hat = weight * (i11[:, None] - 2.0 * z * i01[:, None] + z**2 * i00[:, None]) / determinant[:, None]
    residual = y - n * p + hat * (0.5 - p)
    u0, u1 = residual.sum(axis=1), residual @ z
    return np.stack([(i11 * u0 - i01 * u1) / determinant, (i00 * u1 - i01 * u0) / determinant], axis=1)


def _penalised(z: FloatArray, y: FloatArray, n: FloatArray, beta: FloatArray) -> FloatArray:
    """[R] log-likelihood plus half the log determinant of the information."""
    eta = beta[:, :1] + beta[:, 1:] * z
    p = _probability(z, beta)
    i00, i01, i11 = _information(z, n * p * (1.0 - p))
    with np.errstate(divide="ignore", invalid="ignore"):
        penalty = np.nan_to_num(0.5 * np.log(i00 * i11 - i01 * i01), nan=-np.inf)
    likelihood: FloatArray = (y * eta - n * np.logaddexp(0.0, eta)).sum(axis=1)
    return likelihood + penalty


def _probability(z: FloatArray, beta: FloatArray) -> FloatArray:
    eta = beta[:, :1] + beta[:, 1:] * z
    return np.asarray(np.exp(-np.logaddexp(0.0, -eta)))


def _information(z: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    return weight.sum(axis=1), weight @ z, weight @ z**2
