"""Mean-field dynamics of one clipped Bernoulli policy: which side it ends on, and how long it takes.

The policy puts mass q on the class. Its behaviour policy is the teacher; the importance ratio of the tail,
(1 − q)/(1 − p), is clipped from below at 1/c with zero gradient beyond. With z = log(q / (1 − q)),

    dz/dt = q(1 − q)·[A_mode − A_tail·1{(1 − q)/(1 − p) ≥ 1/c}],   A = λ·log π_T − log π_S − (λ − 1)·log π_B.

Below λ* this settles at the fixed point q_λ. Above it the tail's restoring term is switched off on the way
and q never comes back. Time is in units of the mean-field flow, one learning-rate unit of policy gradient:
fit it to optimizer steps before reading it as a budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import BoolArray, FloatArray, require, scalar_or_array
from harness.cliff.log_odds import clip_headroom, log_mass
from tests.cliff.inverse import log_tail_mass

_MAX_STEPS = 20_000
_PANELS = 48
_GAUSS_NODES, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(12)
_NODES = ((np.arange(_PANELS)[:, None] + 0.5 * (_GAUSS_NODES + 1.0)) / _PANELS).ravel()
_WEIGHTS = np.tile(0.5 * _GAUSS_WEIGHTS / _PANELS, _PANELS)

# Dormand and Prince, "A family of embedded Runge-Kutta formulae", J. Comp. Appl. Math. 6 (1980), RK5(4)7M.
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


@dataclass(frozen=True, slots=True)
class DynamicsEnd:
    """Where a run of the dynamics stopped; all arrays of one shape.

    Attributes:
        log_odds: z at the end.
        time: mean-field time at the end: of the crossing where `crossed`, else when it settled or its time
            was up.
        crossed: whether the tail's restoring term was switched off, which is the right side of the cliff.
        settled: whether it came to rest on the left side.
    """

    log_odds: FloatArray
    time: FloatArray
    crossed: BoolArray
    settled: BoolArray


def drift(
    logit_q: npt.ArrayLike,
    lam: npt.ArrayLike,
    logit_p: npt.ArrayLike,
    logit_b: npt.ArrayLike,
    log_c: npt.ArrayLike,
) -> FloatArray:
    """dz/dt of the clipped Bernoulli policy at log-odds `logit_q`; broadcasts.

    Args:
        logit_q: the policy's log-odds.
        lam: extrapolation coefficient λ.
        logit_p: teacher's log-odds.
        logit_b: base's log-odds.
        log_c: log of the clip strength.
    """
    return _speed(*_arrays(logit_q, lam, logit_p, logit_b, log_c))


def simulate(
    lam: npt.ArrayLike,
    logit_p: npt.ArrayLike,
    logit_b: npt.ArrayLike,
    log_c: npt.ArrayLike,
    *,
    start: npt.ArrayLike | None = None,
    budget: float = np.inf,
    tolerance: float = 1e-10,
) -> DynamicsEnd:
    """Integrate the dynamics until the policy crosses, settles, or has used its budget.

    Args:
        lam: λ > 0.
        logit_p: teacher's log-odds, finite.
        logit_b: base's log-odds, finite.
        log_c: log of the clip strength, ≥ 0.
        start: log-odds to start from; the base's by default.
        budget: longest mean-field time.
        tolerance: relative and absolute error per step, in log-odds; ten times it counts as settled, so a
            fixed point that close to the clip edge reads as settled on either side of it.

    Returns:
        The end state; arguments broadcast against each other.

    Raises:
        CliffDomainError: arguments that aren't finite or out of range.
    """
    z, lam, zp, zb, lc = _arrays(logit_b if start is None else start, lam, logit_p, logit_b, log_c)
    _require_finite(z, lam, zp, zb)
    require((lam > 0) & (lc >= 0), "λ must be above 0 and the clip strength at least 1")
    shape, z = z.shape, z.ravel().copy()
    lam, zp, zb, lc = (x.ravel() for x in (lam, zp, zb, lc))
    time, step = np.zeros_like(z), np.full_like(z, 1e-3)
    crossed, settled = ~_tail_counts(z, zp, lc), np.zeros(z.shape, dtype=bool)
    active = ~crossed
    for _ in range(_MAX_STEPS):
        (i,) = np.nonzero(active)
        if not i.size:
            break
        h = np.minimum(step[i], budget - time[i])
        new, error = _dormand_prince(z[i], h, lam[i], zp[i], zb[i], lc[i])
        resolution = tolerance * (1.0 + np.abs(z[i]))
        over = ~_tail_counts(new, zp[i], lc[i])
        # A step that jumps the clip edge is halved until it is short: the drift jumps there, so the error
        # estimate means nothing, and the time of the crossing should be known.
        short = (h <= 1e-9 * (1.0 + time[i])) | (np.abs(new - z[i]) <= resolution)
        error = error / resolution
        accept = np.where(over, short, error <= 1.0)
        j = i[accept]
        z[j], time[j] = new[accept], time[j] + h[accept]
        factor = np.clip(0.9 * np.maximum(error, 1e-10) ** -0.2, 0.2, 5.0)
        step[i] = h * np.where(over, 0.5, factor)
        crossed[j] = over[accept]
        pull = _speed(z[j], lam[j], zp[j], zb[j], lc[j]) * _stretch(z[j])
        settled[j] = ~crossed[j] & (np.abs(pull) < 10.0 * tolerance * (1.0 + np.abs(z[j])))
        active[j] = ~crossed[j] & ~settled[j] & (time[j] < budget * (1.0 - 1e-12))
    else:
        raise ArithmeticError(f"the dynamics did not finish in {_MAX_STEPS} steps")
    return DynamicsEnd(
        log_odds=z.reshape(shape),
        time=time.reshape(shape),
        crossed=crossed.reshape(shape),
        settled=settled.reshape(shape),
    )


def bifurcation(
    logit_p: npt.ArrayLike, logit_b: npt.ArrayLike, log_c: npt.ArrayLike, *, tolerance: float = 1e-5
) -> FloatArray:
    """The λ at which the simulated dynamics change side, found by bisection without using λ*.

    Args:
        logit_p: teacher's log-odds, above `logit_b`.
        logit_b: base's log-odds.
        log_c: log of the clip strength, > 0.
        tolerance: width of the last bracket.

    Raises:
        CliffDomainError: p ≤ b, where no λ changes side, or c ≤ 1.
    """
    zp, zb, lc = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (logit_p, logit_b, log_c)))
    require((zp > zb) & (lc > 0), "p must be above b and c above 1, or no λ changes side")
    low, high = np.ones(zp.shape), np.full(zp.shape, 2.0)
    while not np.all(done := simulate(high, zp, zb, lc).crossed):
        low, high = np.where(done, low, high), np.where(done, high, 2.0 * high)
    while np.max(high - low) > tolerance:
        middle = 0.5 * (low + high)
        crossed = simulate(middle, zp, zb, lc).crossed
        low, high = np.where(crossed, low, middle), np.where(crossed, middle, high)
    return np.asarray(0.5 * (low + high))


def crossing_time(
    lam: npt.ArrayLike,
    logit_p: npt.ArrayLike,
    logit_b: npt.ArrayLike,
    log_c: npt.ArrayLike,
    *,
    start: npt.ArrayLike | None = None,
) -> float | FloatArray:
    """Mean-field time from the start to the edge of the clip-safe region, ∫ dz / (dz/dt).

    Args:
        lam: λ > 0.
        logit_p: teacher's log-odds, finite.
        logit_b: base's log-odds, finite.
        log_c: log of the clip strength, > 0.
        start: log-odds to start from; the base's by default, which is where a warm start begins.

    Returns:
        The time; +inf at λ ≤ λ* (or p ≤ b), where the edge is never reached; 0 from beyond the edge.

    Raises:
        CliffDomainError: arguments that aren't finite or out of range.
    """
    z0, lam, zp, zb, lc = _arrays(logit_b if start is None else start, lam, logit_p, logit_b, log_c)
    _require_finite(z0, lam, zp, zb)
    require((lam > 0) & (lc > 0), "λ must be above 0 and the clip strength above 1")
    headroom = clip_headroom(zp, lc)
    # How far the fixed point lies beyond the edge; it decides everything just above λ*.
    detuning = (lam - 1.0) * (zp - zb) - headroom
    return scalar_or_array(_time_to_edge(z0, zp + headroom, detuning))


def onset_for_budget(
    budget: npt.ArrayLike,
    logit_p: npt.ArrayLike,
    logit_b: npt.ArrayLike,
    log_c: npt.ArrayLike,
    *,
    start: npt.ArrayLike | None = None,
) -> float | FloatArray:
    """The λ whose crossing takes exactly `budget`: where a run of this length shows its onset, right of λ*.

    Args:
        budget: mean-field time, > 0, finite.
        logit_p: teacher's log-odds, above `logit_b`.
        logit_b: base's log-odds.
        log_c: log of the clip strength, > 0.
        start: log-odds to start from, inside the clip-safe region; the base's by default.

    Raises:
        CliffDomainError: arguments out of range.
    """
    z0, budget, zp, zb, lc = _arrays(logit_b if start is None else start, budget, logit_p, logit_b, log_c)
    require(np.isfinite(budget) & (budget > 0), "the budget must be finite and above 0")
    require((zp > zb) & (lc > 0), "p must be above b and c above 1, or nothing crosses")
    headroom = clip_headroom(zp, lc)
    edge = zp + headroom
    require(z0 < edge, "the start must lie inside the clip-safe region")
    low, high = np.full(z0.shape, -700.0), np.full(z0.shape, 700.0)
    for _ in range(80):
        middle = 0.5 * (low + high)
        slow = _time_to_edge(z0, edge, np.exp(middle)) > budget
        low, high = np.where(slow, middle, low), np.where(slow, high, middle)
    return scalar_or_array(1.0 + (headroom + np.exp(0.5 * (low + high))) / (zp - zb))


def _arrays(*values: npt.ArrayLike) -> tuple[FloatArray, ...]:
    return tuple(np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in values)))


def _require_finite(*values: FloatArray) -> None:
    for value in values:
        require(np.isfinite(value), "λ and the log-odds must be finite")


def _tail_counts(z: FloatArray, zp: FloatArray, lc: FloatArray) -> BoolArray:
    """Whether the tail's ratio is at or above 1/c, so that its gradient is not cut."""
    return np.asarray(log_tail_mass(z) - log_tail_mass(zp) >= -lc)


def _stretch(z: FloatArray) -> FloatArray:
    """1/(q(1 − q)), the time a unit of advantage takes to move z by one."""
    return np.asarray(2.0 + 2.0 * np.cosh(z))


def _speed(z: FloatArray, lam: FloatArray, zp: FloatArray, zb: FloatArray, lc: FloatArray) -> FloatArray:
    log_q, log_r = log_mass(z), log_tail_mass(z)
    mode = lam * log_mass(zp) - log_q - (lam - 1.0) * log_mass(zb)
    tail = lam * log_tail_mass(zp) - log_r - (lam - 1.0) * log_tail_mass(zb)
    return np.asarray(np.exp(log_q + log_r) * (mode - np.where(_tail_counts(z, zp, lc), tail, 0.0)))


def _dormand_prince(
    z: FloatArray, h: FloatArray, lam: FloatArray, zp: FloatArray, zb: FloatArray, lc: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """One step of size h: the fifth-order value and the size of its error estimate."""
    slopes = [_speed(z, lam, zp, zb, lc)]
    new = z
    for row in _STAGES:
        new = z + h * sum(a * k for a, k in zip(row, slopes, strict=True))
        slopes.append(_speed(new, lam, zp, zb, lc))
    return new, np.abs(h * sum(e * k for e, k in zip(_ERROR, slopes, strict=True)))


def _time_to_edge(z0: FloatArray, edge: FloatArray, detuning: FloatArray) -> FloatArray:
    """∫ (2 + 2·cosh z)/(Z − z) dz from z0 to the edge, where Z = edge + detuning is the fixed point.

    With u = Z − z the integrand has a pole at u = 0 and an exponential elsewhere, so the range is cut at
    u = 1 and integrated in log u below and in u above. Closer than 1e-12 to the pole only the pole is left.
    """
    reach = detuning > 0
    u_edge = np.where(reach, detuning, 1.0)
    u_start = u_edge + np.maximum(edge - z0, 0.0)

    def stretch(u: FloatArray) -> FloatArray:
        return _stretch(edge[..., None] - np.maximum(u - u_edge[..., None], 0.0))

    far = _gauss(np.maximum(u_edge, 1.0), np.maximum(u_start, 1.0), lambda u: stretch(u) / u)
    floor = np.clip(u_edge, 1e-12, 1.0)
    top = np.clip(u_start, floor, 1.0)
    near = _gauss(np.log(floor), np.log(top), lambda v: stretch(np.exp(v)))
    pole = _stretch(edge) * np.log(floor / np.minimum(u_edge, floor))
    return np.where(z0 >= edge, 0.0, np.where(reach, far + near + pole, np.inf))


def _gauss(low: FloatArray, high: FloatArray, density: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Composite Gauss-Legendre integral, element by element."""
    width = (high - low)[..., None]
    return np.asarray((high - low) * (density(low[..., None] + width * _NODES) @ _WEIGHTS))
