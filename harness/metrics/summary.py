"""From a run's columns to every metric of the table, each with its interval."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from harness.metrics.columns import Columns, FloatArray, IntArray
from harness.metrics.table import KNOWN, Metric, TaskMetric, metrics_in
from harness.stats.bounded import mean_interval
from harness.stats.estimate import Estimate
from harness.stats.intervals import wilson
from harness.stats.threshold import rate_against_bar


def summarise(columns: Columns, *, confidence: float = 0.95) -> dict[str, Estimate]:
    """Every metric that the columns have; names as in `metrics.json`.

    Rates of single samples have Wilson's interval, whose coverage is right on average. Means, and rates of
    several samples a task, have that of `mean_interval`, each of whose ends misses with at most
    (1 − confidence) / 2; where labels leave a mean only values of 0 and 1, it is Clopper and Pearson's, for
    the same promise. A metric of tasks is known from their labels and has no interval.

    `failure_rate.…` and `parse_validity.strict` add up to 1. Metrics of rankings leave out the samples of
    tasks whose labels can't rank, rates of parsing keep them. Tasks without samples count nowhere. The order
    of samples and the numbering of tasks don't matter.

    Args:
        columns: of the whole run, with the values of every metric that it has.
        confidence: two-sided level of every interval, in (0, 1).
    """
    tasks = len(columns.task_ids)
    there = np.bincount(columns.task, minlength=tasks)
    most = int((there + columns.missing).max(initial=0))

    def estimate(metric: Metric) -> Estimate:
        use = (there > 0) & columns.used(metric)
        values = columns.values[metric.name]
        if isinstance(metric, TaskMetric):
            return known_from_labels(values[use])
        known = ~np.isnan(values)
        count = np.bincount(columns.task[known], minlength=tasks)[use]
        total = _sums(columns.task[known], values[known], tasks)[use]
        if most > 1 or not columns.is_rate(metric):
            return mean_interval(total, count, confidence=confidence, most=most)
        successes, n = round(float(total.sum())), int(count.sum())
        if metric.is_rate:
            return wilson(successes, n, confidence)
        return rate_against_bar(successes, n, 0.5, alpha=0.5 * (1.0 - confidence)).estimate

    return {metric.name: estimate(metric) for metric in metrics_in(columns.values)}


def known_from_labels(values: npt.NDArray[np.floating]) -> Estimate:
    """Mean over tasks of what their labels say."""
    values = values[~np.isnan(values)]
    mean = math.fsum(values) / len(values) if len(values) else None
    return Estimate(len(values), mean, None, None, KNOWN)


def _sums(task: IntArray, values: npt.NDArray[np.floating], tasks: int) -> FloatArray:
    """[T] sum of a task's values, added up in an order that depends on the values alone."""
    order = np.lexsort((values, task))
    return np.bincount(task[order], weights=values[order], minlength=tasks).astype(np.float64)
