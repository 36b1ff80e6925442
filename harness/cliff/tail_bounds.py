"""Bounds of λ* that hold for any population of tasks, at any number of them, and at any number of looks.

A sample that has missed the few tasks which carry a tail shows a small mean with a small spread, so intervals
made of that spread (`harness.cliff.resample`) are too sure exactly when they are wrong, and asking for narrow
ones selects those. A verdict rests on bounds that don't trust the spread: with x a task's share of tail at a
role, in [0, 1], and μ its mean,

    most:   ∏ (1 − x) / (1 − μ)      least:   mean over bets θ of ∏ (1 − θ + θ·x/μ)

are products of positive factors of mean 1 over tasks drawn independently, so that each exceeds 1/α at any
time with probability at most α (Ville's inequality). A μ at which it does is refused. They are two cases of
betting against a mean (Waudby-Smith and Ramdas, J. R. Stat. Soc. B 86, 2024). The first costs log(1/α)/tasks
whatever was seen: that share of all tasks may be unseen yet, with any tail. λ* depends on logs of tails,
which makes it bearable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import FloatArray
from harness.cliff.log_odds import (
    log_odds_from_log_tail,
    reciprocal_excess,
    threshold_from_reciprocal_excess,
)

# More of them, or a finer choice, cost more than they win.
_BETS = (0.03, 0.08, 0.2, 0.5)
# The base's tail is the larger of the two and costs less to bound.
_TEACHERS_SHARE = 0.9
_WIDEST = 60.0
"""In logs; a mean bounded no nearer than that from below is not bounded."""
_HALVINGS = 55


@dataclass(frozen=True, slots=True)
class TailSums:
    """Tails summed over each task's decisions at one role, or at several on a leading axis.

    Attributes:
        count: [..., T] decisions of each task, 0 where it doesn't reach the role.
        teacher: [..., T] least and most summed tail of the teacher; the same array where it is known exactly.
        base: [..., T] likewise of the base.
    """

    count: FloatArray
    teacher: tuple[FloatArray, FloatArray]
    base: tuple[FloatArray, FloatArray]


def threshold_bounds(sums: TailSums, log_c: float, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Bounds of λ* at the mean tails of the population the tasks were drawn from.

    Args:
        sums: of tasks drawn independently.
        log_c: log of the clip strength, > 0.
        alpha: probability, for each of the two, that it is ever wrong, in (0, 1).

    Returns:
        [...] a λ below the first lies below λ* and one above the second lies above, each wrong with
        probability at most α, also when tasks are added and looked at again. +inf is no bound above. The
        number of decisions a task has on average is taken as known.
    """
    widest = sums.count.max(axis=-1)
    scale = widest / sums.count.mean(axis=-1)
    teachers, bases = _TEACHERS_SHARE * alpha, (1.0 - _TEACHERS_SHARE) * alpha

    def share(tails: FloatArray) -> FloatArray:
        return np.asarray(np.clip(tails / widest[..., None], 0.0, 1.0))

    def kappa(teacher: FloatArray, base: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            z_p, z_b = (
                log_odds_from_log_tail(np.log(np.minimum(mean * scale, 1.0))) for mean in (teacher, base)
            )
            return reciprocal_excess(z_p, z_b, log_c)

    most = kappa(mean_at_least(share(sums.teacher[0]), teachers), mean_at_most(share(sums.base[1]), bases))
    least = kappa(mean_at_most(share(sums.teacher[1]), teachers), mean_at_least(share(sums.base[0]), bases))
    return threshold_from_reciprocal_excess(most), threshold_from_reciprocal_excess(least)


def unseen_tasks(alpha: float) -> float:
    """How many of any number of tasks the bound above λ* allows to carry a tail of 1 unseen, at this α."""
    return -math.log(_TEACHERS_SHARE * alpha)


def mean_at_most(values: npt.ArrayLike, alpha: float) -> FloatArray:
    """Upper bound of the mean of a variable in [0, 1], wrong with probability at most α.

    Args:
        values: [..., n] drawn independently.
        alpha: in (0, 1).

    Returns:
        [...] 1 − α^(1/n) times the geometric mean of 1 − x; for n zeros that of Clopper and Pearson.
    """
    x = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(np.log1p(-x).mean(axis=-1) + math.log(alpha) / x.shape[-1]))


def mean_at_least(values: npt.ArrayLike, alpha: float) -> FloatArray:
    """Lower bound of the mean of a variable ≥ 0, wrong with probability at most α, whatever its scale.

    Args:
        values: [..., n] drawn independently.
        alpha: in (0, 1).

    Returns:
        [...] the bound; 0 where all values are, or so few that carry the mean that they bound nothing.
    """
    x = np.asarray(values, dtype=np.float64)
    largest = x.max(axis=-1)
    some = largest > 0
    x = np.where(some[..., None], x / np.where(some, largest, 1.0)[..., None], 1.0)
    needed = math.log(len(_BETS) / alpha)

    def refused(log_mean: FloatArray) -> FloatArray:
        excess = x / np.exp(log_mean)[..., None] - 1.0
        wealth = [np.log1p(bet * excess).sum(axis=-1) for bet in _BETS]
        return np.asarray(np.logaddexp.reduce(wealth) >= needed)

    high = np.log(x.mean(axis=-1))
    low = high - _WIDEST
    bounded = some & refused(low)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        out = refused(middle)
        low, high = np.where(out, middle, low), np.where(out, high, middle)
    return np.asarray(np.where(bounded, largest * np.exp(low), 0.0))


def effective_tasks(tails: npt.ArrayLike) -> FloatArray:
    """Number of tasks that carry a tail, (Σx)²/Σx² (Kish): the number of tasks where all have the same.

    Args:
        tails: [..., T] summed tail of each task, ≥ 0.

    Returns:
        [...] in [1, T]; 0 where all tails are.
    """
    x = np.asarray(tails, dtype=np.float64)
    largest = x.max(axis=-1, keepdims=True)
    relative = x / np.where(largest > 0, largest, 1.0)
    squares = (relative**2).sum(axis=-1)
    return np.asarray(relative.sum(axis=-1) ** 2 / np.where(squares > 0, squares, 1.0))
