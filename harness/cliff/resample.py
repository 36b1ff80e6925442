"""Studentized bootstrap by task, for statistics of class masses averaged over positions.

Tail masses are heavy-tailed: a few positions carry most of the mean, and mean and standard error grow
together. Percentile and BCa intervals then miss too often; the bootstrap of t (Efron and Tibshirani, An
Introduction to the Bootstrap, chapter 12) with a delete-one-task jackknife standard error held its level in
`benchmarks/cliff_oracles.py`. The upper end is equal-tailed. The lower one is the farther of the ends by t
and by |t|. By |t| on both sides would hold its level too, but where a single task carries most of a role's
tail it moves the upper end as far as the resamples without that task move the lower one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import BoolArray, FloatArray
from harness.cliff.masses import ClassMass, IntArray

MIN_TASKS = 8
"""With fewer tasks a bootstrap by task has too little to resample."""

METHOD = "bootstrap-t, jackknife se, by task"

_CHUNK = 4_000_000
_NO_SPREAD = 1e-12


@dataclass(frozen=True, slots=True)
class Means:
    """Mean class and tail mass of two models; arrays [..., G]."""

    mass: tuple[FloatArray, FloatArray]
    tail: tuple[FloatArray, FloatArray]

    def log_odds(self, model: int) -> FloatArray:
        """Log-odds of a model's mean class mass."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.mass[model]) - np.log(self.tail[model]))


Statistic = Callable[[Means], tuple[FloatArray, tuple[FloatArray, FloatArray]]]
"""Value [..., G] of a statistic and its slope in the log mean tail of either model."""


@dataclass(frozen=True, slots=True)
class TaskSums:
    """Sums over each task's positions: all that estimates and resampling need.

    Attributes:
        count: [T, G] number of positions of a group.
        mass: [T, G] summed class mass, for either model.
        tail: [T, G] summed tail mass, for either model.
    """

    count: FloatArray
    mass: tuple[FloatArray, FloatArray]
    tail: tuple[FloatArray, FloatArray]

    @classmethod
    def collect(
        cls, task: IntArray, group: IntArray, groups: int, first: ClassMass, second: ClassMass
    ) -> TaskSums:
        """Sum positions by task and group.

        Args:
            task: [N] task of each position, any numbers.
            group: [N] group of each position, 0 … groups − 1.
            groups: number of groups G.
            first: class mass under the first model.
            second: class mass under the second.
        """
        names, compact = np.unique(task, return_inverse=True)
        cell = compact.reshape(-1) * groups + group

        def total(weights: FloatArray | None) -> FloatArray:
            sums = np.bincount(cell, weights=weights, minlength=names.size * groups)
            return sums.reshape(names.size, groups).astype(np.float64)

        return cls(
            count=total(None),
            mass=(total(np.exp(first.log_mass)), total(np.exp(second.log_mass))),
            tail=(total(np.exp(first.log_tail)), total(np.exp(second.log_tail))),
        )

    def select(self, groups: BoolArray) -> TaskSums:
        """Only these groups; tasks that reach none of them stay."""
        return TaskSums(
            count=self.count[:, groups],
            mass=(self.mass[0][:, groups], self.mass[1][:, groups]),
            tail=(self.tail[0][:, groups], self.tail[1][:, groups]),
        )

    def means(self) -> Means:
        """[G] means over all positions of a group; NaN for a group without positions."""
        n = self.count.sum(axis=0)
        return _ratio([m.sum(axis=0) for m in self.mass], [t.sum(axis=0) for t in self.tail], n)

    def tasks(self) -> IntArray:
        """[G] number of tasks that reach a group."""
        return np.asarray((self.count > 0).sum(axis=0))

    def means_without_each(self) -> Means:
        """[T, G] means with one task left out."""
        n = self.count.sum(axis=0) - self.count
        mass = [np.maximum(m.sum(axis=0) - m, 0.0) for m in self.mass]
        tail = [np.maximum(t.sum(axis=0) - t, 0.0) for t in self.tail]
        return _ratio(mass, tail, n)


@dataclass(frozen=True, slots=True)
class Studentized:
    """A statistic per group with what its intervals are made of.

    Attributes:
        point: [G] value on all tasks.
        error: [G] jackknife standard error.
        t: [B, G] (resampled value − point) / resampled standard error.
    """

    point: FloatArray
    error: FloatArray
    t: FloatArray

    @classmethod
    def without_spread(cls, point: FloatArray, resamples: int) -> Studentized:
        """Values taken as known."""
        return cls(point=point, error=np.zeros(point.shape), t=np.zeros((resamples, *point.shape)))

    def interval(self, confidence: float) -> tuple[FloatArray, FloatArray]:
        """[G] lower and upper ends, each group on its own, equal-tailed; they hold the point."""
        upper = 0.5 * (1.0 + confidence)
        return self._ends(1.0 - upper, upper)

    def interval_of_largest(self, members: BoolArray, confidence: float) -> tuple[float, float]:
        """Ends of an interval for the largest value among some groups.

        The largest of several estimates is too large on average when groups are close. Every group whose
        interval reaches the highest lower end is a contender; the lower end allows for the errors of all
        contenders at once, at the same level for each (Beran, J. Amer. Statist. Assoc. 83, 1988), the upper
        end is the highest of their own upper ends. With one contender this is its own interval; with several
        it errs towards a larger value (a smaller λ*).

        Args:
            members: [G] which groups take part, at least one.
            confidence: two-sided level.
        """
        low, high = (end[members] for end in self.interval(confidence))
        contender = high >= low.max()
        t, point, error = (x[..., members][..., contender] for x in (self.t, self.point, self.error))
        together = Studentized(point=point, error=error, t=t)
        # As ranks, groups with a wild and with a calm t count alike; the wild would set the bar for all.
        ranks = np.argsort(np.argsort(t, axis=0), axis=0)
        level = float(np.quantile(ranks.max(axis=1), 0.5 * (1.0 + confidence))) / (len(t) - 1)
        return float(together._ends(0.0, level)[0].max()), float(high[contender].max())

    def _ends(self, low: float, high: float) -> tuple[FloatArray, FloatArray]:
        """[G] ends at these quantiles of t: the lower end at the high one, the upper end at the low one."""
        far = np.maximum(
            np.nanquantile(self.t, high, axis=0, method="higher"),
            # Where the two tails of t are alike, those of |t| say the same; where t leans downwards, a tail
            # that few tasks carry may be larger than was seen, and this end must not trust it.
            np.nanquantile(np.abs(self.t), max(0.0, 2.0 * high - 1.0), axis=0, method="higher"),
        )
        # Where resamples lean upwards altogether, the point itself is the end.
        near = np.minimum(np.nanquantile(self.t, low, axis=0, method="lower"), 0.0)
        return self.point - self._reach(far), self.point + self._reach(-near)

    def _reach(self, critical: FloatArray) -> FloatArray:
        still = self.error <= _NO_SPREAD * np.maximum(1.0, np.abs(self.point))
        with np.errstate(invalid="ignore"):
            unbounded = np.where(np.isinf(self.error), np.inf, critical * self.error)
        return np.where(still, 0.0, unbounded)


def studentize(
    sums: TaskSums, statistics: tuple[Statistic, ...], resamples: int, rng: np.random.Generator
) -> tuple[Studentized, ...]:
    """Resample tasks and studentize each statistic; all on the same resamples.

    Args:
        sums: groups with a positive mean tail under both models and at least `MIN_TASKS` tasks each.
        statistics: what to studentize.
        resamples: number of bootstrap resamples.
        rng: source of the resamples.
    """
    means = sums.means()
    columns = _columns(sums, means)
    tasks = sums.count.shape[0]
    chunk = max(1, _CHUNK // tasks)
    point = [s(means)[0] for s in statistics]
    t: list[list[FloatArray]] = [[] for _ in statistics]
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        weights = _weights(tasks, size, rng)
        for k, block in enumerate(_resampled_t(weights, columns, means, statistics, point)):
            t[k].append(block)
    left_out = sums.means_without_each()
    return tuple(
        Studentized(
            point=point[k], error=_jackknife_error(s(left_out)[0], sums.count > 0), t=np.concatenate(t[k])
        )
        for k, s in enumerate(statistics)
    )


def _weights(tasks: int, size: int, rng: np.random.Generator) -> FloatArray:
    """[size, T] how often each task is drawn; several times faster than `Generator.multinomial`."""
    drawn = rng.integers(tasks, size=(size, tasks)) + tasks * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * tasks).reshape(size, tasks).astype(np.float64)


def _columns(sums: TaskSums, means: Means) -> FloatArray:
    """[T, 11, G] per-task columns whose weighted sums give means and standard errors of a resample.

    Residuals are of tails relative to the mean tail, so that nothing under- or overflows.
    """
    n = sums.count
    r0, r1 = (sums.tail[k] / means.tail[k] - n for k in (0, 1))
    return np.stack(
        [n, sums.mass[0], sums.mass[1], r0, r1, r0 * r0, r1 * r1, r0 * r1, r0 * n, r1 * n, n * n], axis=1
    )


def _resampled_t(
    weights: FloatArray,
    columns: FloatArray,
    means: Means,
    statistics: tuple[Statistic, ...],
    point: list[FloatArray],
) -> list[FloatArray]:
    tasks, kinds, groups = columns.shape
    sums = (weights @ columns.reshape(tasks, kinds * groups)).reshape(-1, kinds, groups)
    n, m0, m1, r0, r1, r00, r11, r01, r0n, r1n, nn = (sums[:, k] for k in range(kinds))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        d0, d1 = r0 / n, r1 / n
        resampled = Means(
            mass=(m0 / n, m1 / n),
            tail=(np.maximum(means.tail[0] * (1 + d0), 0.0), np.maximum(means.tail[1] * (1 + d1), 0.0)),
        )
        # Sums over tasks of products of residuals about the resampled means.
        v00 = r00 - 2 * d0 * r0n + d0 * d0 * nn
        v11 = r11 - 2 * d1 * r1n + d1 * d1 * nn
        v01 = r01 - d0 * r1n - d1 * r0n + d0 * d1 * nn
        blocks = []
        for statistic, centre in zip(statistics, point, strict=True):
            value, (slope0, slope1) = statistic(resampled)
            g0, g1 = slope0 / (1 + d0), slope1 / (1 + d1)
            variance = g0 * g0 * v00 + g1 * g1 * v11 + 2 * g0 * g1 * v01
            error = np.sqrt(np.maximum(variance, 0.0)) / n
            t = (value - centre) / error
            t = np.where((error == 0) & (value == centre), 0.0, t)
            # No value although the group was drawn: its tail vanished. That is far out, not missing.
            blocks.append(np.where(np.isnan(t) & (n > 0), np.inf, t))
    return blocks


def _jackknife_error(left_out: FloatArray, reached: BoolArray) -> FloatArray:
    """[G] standard error from values with one task left out; only tasks that reach a group count."""
    m = reached.sum(axis=0)
    with np.errstate(invalid="ignore"):
        centre = np.where(reached, left_out, 0.0).sum(axis=0) / m
        squares = np.where(reached, (left_out - centre) ** 2, 0.0).sum(axis=0)
    error = np.sqrt((m - 1) / m * squares)
    # Without a value as soon as one task is left out: nothing bounds the error.
    return np.where(np.isnan(error), np.inf, error)


def _ratio(mass: list[FloatArray], tail: list[FloatArray], count: npt.NDArray[np.float64]) -> Means:
    with np.errstate(divide="ignore", invalid="ignore"):
        return Means(mass=(mass[0] / count, mass[1] / count), tail=(tail[0] / count, tail[1] / count))
