"""Exact error rates of one-sided tests: all outcomes of a few kinds of tasks, each with its probability."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, stdtr, xlogy

from harness.stats import PairedCounts
from harness.stats.bounded import BoundedMean
from harness.stats.paired_rates import p_at_least, p_at_most

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_LEAST = 1e-6
"""Outcomes less likely than this share of the likeliest are left out, and counted as errors together."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """What a task can be like.

    Attributes:
        total: [K] sum of its values.
        count: [K] their number.
        chance: [K] probability.
        bounds: least and largest value.
    """

    total: FloatArray
    count: FloatArray
    chance: FloatArray
    bounds: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def single(
        cls, values: Sequence[float], chance: Sequence[float], bounds: tuple[float, float] = (0.0, 1.0)
    ) -> Kinds:
        """Tasks with one value each."""
        return cls(np.array(values), np.ones(len(values)), np.array(chance), bounds)

    @property
    def mean(self) -> float:
        """The true mean."""
        return float(self.total @ self.chance / (self.count @ self.chance))


def outcomes(kinds: Kinds, tasks: int) -> tuple[IntArray, FloatArray, float]:
    """Rows [R, K] of how often each kind comes up, their probabilities, and that of the rows left out.

    Kind by kind, each within the range that matters.
    """
    use = np.flatnonzero(kinds.chance > 0.0)
    spread = 7.0 * np.sqrt(tasks * kinds.chance * (1.0 - kinds.chance)) + 8.0
    centre = tasks * kinds.chance
    ranges = [
        range(max(0, math.floor(centre[k] - spread[k])), min(tasks, math.ceil(centre[k] + spread[k])) + 1)
        for k in use[1:]
    ]
    rest = np.array(list(itertools.product(*ranges)), dtype=np.int64).reshape(-1, len(use) - 1)
    first = tasks - rest.sum(axis=1)
    rest, first = rest[first >= 0], first[first >= 0]
    rows = np.zeros((len(first), len(kinds.chance)), dtype=np.int64)
    rows[:, use[1:]], rows[:, use[0]] = rest, first
    log = gammaln(tasks + 1) - gammaln(rows + 1).sum(axis=1) + xlogy(rows, kinds.chance).sum(axis=1)
    weights = np.exp(log)
    keep = weights > _LEAST * weights.max()
    return rows[keep], weights[keep], max(0.0, 1.0 - float(weights[keep].sum()))


def betting(kinds: Kinds, rows: IntArray, bar: float, most: int) -> tuple[FloatArray, FloatArray]:
    """p-values of "at most the bar" and of "at least the bar" by the product's test, for each row."""
    low, high = kinds.bounds
    total = (kinds.total - low * kinds.count) / (high - low) / most
    found = []
    for row in rows:
        seen = row > 0
        units = BoundedMean(
            total[seen], kinds.count[seen] / most, row[seen], int(row.sum()), kinds.bounds[0], kinds.bounds[1]
        )
        found.append((units.p_at_most(bar), units.p_at_least(bar)))
    both = np.array(found)
    return both[:, 0], both[:, 1]


def student(kinds: Kinds, rows: IntArray, bar: float) -> tuple[FloatArray, FloatArray]:
    """The same by the t test that was used before: ratio of totals, tasks as clusters."""
    tasks = rows.sum(axis=1)
    top, bottom = rows @ kinds.total, rows @ kinds.count
    mean = top / bottom
    residual = kinds.total[None, :] - mean[:, None] * kinds.count[None, :]
    root = np.sqrt((rows * residual**2).sum(axis=1)) / bottom * np.sqrt(tasks / (tasks - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (mean - bar) / root
    room = np.where(mean > bar, mean - kinds.bounds[0], kinds.bounds[1] - mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        unseen = np.clip(1.0 - np.abs(mean - bar) / room, 0.0, 1.0) ** tasks
    equal = root <= 1e-12
    above = np.where(equal, np.where(mean > bar, unseen, 1.0), stdtr(tasks - 1, -t))
    below = np.where(equal, np.where(mean < bar, unseen, 1.0), stdtr(tasks - 1, t))
    return above, below


Tested = Callable[[IntArray], tuple[FloatArray, FloatArray]]


def errors(kinds: Kinds, tasks: int, test: Tested, alpha: float) -> tuple[float, float]:
    """Probability that a test at alpha refutes "at most", and that it refutes "at least", the truth."""
    rows, weights, left_out = outcomes(kinds, tasks)
    above, below = test(rows)
    return (
        float(weights[above <= alpha].sum()) + left_out,
        float(weights[below <= alpha].sum()) + left_out,
    )


def paired_rates(kinds: Kinds, tasks: int, difference: float, alpha: float) -> tuple[float, float]:
    """The same for the exact test of paired rates; kinds are a gain, a tie and a loss.

    For each number of gains the test refutes "at most" up to some number of losses, and "at least" from
    some number on: found by bisection.
    """
    rows, weights, left_out = outcomes(kinds, tasks)
    wrong = np.full(2, left_out)
    for gain in np.unique(rows[:, 0]):
        losses = rows[rows[:, 0] == gain, 2]
        share = weights[rows[:, 0] == gain]

        def table(loss: int, gain: int = int(gain)) -> PairedCounts:
            return PairedCounts(tasks - gain - loss, gain, loss, 0)

        low, high = int(losses.min()), int(losses.max()) + 1
        first = _first(low, high, lambda loss, table=table: p_at_most(table(loss), difference) > alpha)
        wrong[0] += float(share[losses < first].sum())
        first = _first(low, high, lambda loss, table=table: p_at_least(table(loss), difference) <= alpha)
        wrong[1] += float(share[losses >= first].sum())
    return float(wrong[0]), float(wrong[1])


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
