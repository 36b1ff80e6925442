"""From a run's columns to every metric of the table, each with its interval."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.metrics.columns import Columns, FloatArray, IntArray
from harness.metrics.table import METRICS, Metric, TaskMetric
from harness.stats.bootstrap import bootstrap_ratio
from harness.stats.estimate import Estimate
from harness.stats.intervals import wilson_clustered

_UNIT = (0.0, 1.0)


def summarise(
    columns: Columns, *, seed: int, confidence: float = 0.95, draws: int = 2000
) -> dict[str, Estimate]:
    """Every metric of `METRICS`; names as in `metrics.json`.

    `failure_rate.…` and `parse_validity.strict` add up to 1. Metrics of rankings leave out the samples of
    tasks whose labels can't rank, rates of parsing keep them. Tasks without samples count nowhere; a task of
    which no sample counts is still one of those that were sampled. The order of samples and the numbering of
    tasks don't matter.

    Args:
        columns: of the whole run, with the values of every metric.
        seed: of the bootstrap.
        confidence: two-sided level of every interval, in (0, 1).
        draws: bootstrap resamples.
    """
    tasks = len(columns.task_ids)
    seen = np.bincount(columns.task, minlength=tasks) > 0

    def estimate(metric: Metric) -> Estimate:
        task = np.arange(tasks) if isinstance(metric, TaskMetric) else columns.task
        values = columns.values[metric.name]
        known = ~np.isnan(values)
        count = np.bincount(task[known], minlength=tasks)
        total = _sums(task[known], values[known], tasks)
        use = seen & columns.can_rank if metric.rankable_only else seen
        if metric.is_rate:
            return wilson_clustered(total[use].astype(np.int64), count[use], confidence)
        return bootstrap_ratio(
            total[use],
            count[use],
            n=int(count[use].sum()),
            seed=seed,
            confidence=confidence,
            draws=draws,
            bounds=_UNIT,
        )

    return {name: estimate(metric) for name, metric in METRICS.items()}


def _sums(task: IntArray, values: npt.NDArray[np.floating], tasks: int) -> FloatArray:
    """[T] sum of a task's values, added up in an order that depends on the values alone."""
    order = np.lexsort((values, task))
    return np.bincount(task[order], weights=values[order], minlength=tasks).astype(np.float64)
