"""Statistics of class masses under every reading of their bounds, with intervals by task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.cliff.clip import ClipEstimate
from harness.cliff.domain import BoolArray, FloatArray, require
from harness.cliff.events import Events
from harness.cliff.masses import MassBounds
from harness.cliff.resample import METHOD, MIN_TASKS, Statistic, Studentized, TaskSums, studentize
from harness.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class Resampling:
    """Clip and resampling of all estimates: log c, two-sided level, number of resamples, seed."""

    log_c: float
    confidence: float
    resamples: int
    seed: int


def resampling(clip: ClipEstimate, confidence: float, resamples: int, seed: int) -> Resampling:
    """These settings.

    Raises:
        CliffDomainError: a clip whose lower bound is 1, or arguments out of range.
    """
    require(clip.effective > 1, "no ratio exceeds 1, so nothing is known of the clip: pass its strength")
    require(0 < confidence < 1, "confidence must lie inside (0, 1)")
    require(resamples >= 100, "at least 100 resamples are needed")
    return Resampling(float(np.log(clip.effective)), confidence, resamples, seed)


@dataclass(frozen=True, slots=True)
class Readings:
    """A statistic of every group, once per reading of the bounds; the first reading is the middle."""

    each: tuple[Studentized, ...]
    confidence: float

    @property
    def point(self) -> FloatArray:
        """[G] of the middle."""
        return self.each[0].point

    def identified(self) -> tuple[FloatArray, FloatArray]:
        """[G] least and largest of all readings."""
        points = np.stack([s.point for s in self.each])
        return points.min(axis=0), points.max(axis=0)

    def interval(self) -> tuple[FloatArray, FloatArray]:
        """[G] lowest and highest end of all readings."""
        ends = [s.interval(self.confidence) for s in self.each]
        return np.stack([e[0] for e in ends]).min(axis=0), np.stack([e[1] for e in ends]).max(axis=0)

    def interval_of_largest(self, members: BoolArray) -> tuple[float, float]:
        """Of the largest value among [G] members, likewise."""
        ends = [s.interval_of_largest(members, self.confidence) for s in self.each]
        return min(e[0] for e in ends), max(e[1] for e in ends)


def read(
    events: Events,
    first: MassBounds,
    second: MassBounds,
    statistics: tuple[Statistic, ...],
    settings: Resampling,
) -> tuple[TaskSums, tuple[Readings, ...]]:
    """Each statistic under each reading of the bounds, and the task sums of the middle one."""
    pairs = [(first.middle(), second.middle())]
    if not (first.is_exact and second.is_exact):
        pairs += [(first.high, second.low), (first.low, second.high)]
    sums = [TaskSums.collect(events.task, events.group, events.row_of.size, *pair) for pair in pairs]
    each = [_studentize_where_possible(s, statistics, settings) for s in sums]
    return sums[0], tuple(
        Readings(tuple(one[k] for one in each), settings.confidence) for k in range(len(statistics))
    )


def _studentize_where_possible(
    sums: TaskSums, statistics: tuple[Statistic, ...], settings: Resampling
) -> tuple[Studentized, ...]:
    """As `studentize`; a group at p or b in {0, 1} keeps its (infinite) value without spread."""
    means = sums.means()
    inside = np.logical_and.reduce([m > 0 for m in (*means.mass, *means.tail)])
    possible = inside & (sums.tasks() >= MIN_TASKS)
    with np.errstate(divide="ignore", invalid="ignore"):
        points = [s(means)[0] for s in statistics]
    full = tuple(Studentized.without_spread(point, settings.resamples) for point in points)
    if possible.any():
        rng = np.random.default_rng(settings.seed)
        parts = studentize(sums.select(possible), statistics, settings.resamples, rng)
        for whole, part in zip(full, parts, strict=True):
            whole.error[possible], whole.t[:, possible] = part.error, part.t
    return full


def estimate_of(
    readings: Readings,
    scale: Callable[[FloatArray], FloatArray],
    group: int,
    count: int,
    tasks: int,
) -> Estimate:
    """One group's value and interval, on the scale wanted.

    Args:
        readings: of all groups.
        scale: from that of the statistic, rising.
        group: which.
        count: its decisions.
        tasks: its tasks; fewer than `MIN_TASKS` have no interval.
    """
    low = high = None
    # An end beyond the range of floats is no end.
    with np.errstate(over="ignore"):
        if tasks >= MIN_TASKS:
            low, high = (finite(scale(end[group])) for end in readings.interval())
        return Estimate(count, finite(scale(readings.point[group])), low, high, METHOD)


def finite(x: float | FloatArray) -> float | None:
    """The number, None where it is NaN or infinite."""
    return float(x) if np.isfinite(x) else None
