"""Metrics of a run that was ended by what its samples said.

A run that ends when its numbers look good (or bad) enough isn't a sample of a size fixed beforehand: its
estimates lean to the side on which it ended, and intervals for fixed sizes don't cover. A confidence sequence
holds at any time, so also at the one at which drawing stopped (Howard, Ramdas, McAuliffe & Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49, 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.metrics.columns import Columns, IntArray
from harness.metrics.summary import known_from_labels
from harness.metrics.table import Metric, TaskMetric, metrics_in
from harness.stats.estimate import Estimate
from harness.stats.sequential import confidence_sequence

STOPPED = "stopped early"
"""Stands in the method of every estimate that is biased by when drawing ended."""
STOPPED_EARLY = f"{STOPPED} by the gate: estimates are biased to its side, intervals are confidence sequences"
"""What stands beside the numbers of such a run."""


def summarise_stopped(
    columns: Columns, order: Sequence[str], confidence: float = 0.95
) -> dict[str, Estimate]:
    """Every metric of the columns over the tasks drawn first, up to the first one that isn't there in full.

    Args:
        columns: of the whole run.
        order: ids of all its tasks in the random order in which they were drawn.
        confidence: with which an interval covers at all times at once, in (0, 1).
    """
    place = {task_id: row for row, task_id in enumerate(columns.task_ids)}
    rows = np.array([place[task_id] for task_id in order], dtype=np.int64)
    gaps = np.flatnonzero(columns.missing[rows] > 0)
    drawn = rows[: gaps[0]] if len(gaps) else rows
    found = metrics_in(columns.values)
    return {metric.name: _estimate(columns, metric, drawn, confidence) for metric in found}


def without_interval(estimate: Estimate) -> Estimate:
    """An estimate of a stopped run that has no interval which allows for the stopping."""
    return replace(estimate, low=None, high=None, method=f"{estimate.method}, {STOPPED}: no interval")


def _estimate(columns: Columns, metric: Metric, drawn: IntArray, confidence: float) -> Estimate:
    tasks, values = len(columns.task_ids), columns.values[metric.name].astype(np.float64)
    if isinstance(metric, TaskMetric):
        return known_from_labels(values[drawn])
    task = columns.task
    known = ~np.isnan(values)
    count = np.bincount(task[known], minlength=tasks)
    total = np.bincount(task[known], weights=values[known], minlength=tasks)
    used = drawn[count[drawn] > 0]
    if not len(used):
        return Estimate(0, None, None, None, STOPPED)
    n = int(count[used].sum())
    value = float(total[used].sum()) / n
    if (count[used] != count[used][0]).any():
        # Several samples a task of which some don't count: a ratio, not a mean of what tasks say.
        return Estimate(n, value, None, None, f"{STOPPED}: no interval for a ratio")
    interval = confidence_sequence(np.clip(total[used] / count[used], 0.0, 1.0), confidence)
    return replace(interval, n=n, estimate=value, method=f"{interval.method}, {STOPPED}")
