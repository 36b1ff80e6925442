"""What rules are judged by: a run's metrics of samples, by task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.metrics.columns import Columns, TaskTable
from harness.metrics.table import sample_metric
from harness.runs import Run
from harness.runs.columns import Measure, incomplete, lost, read_columns


def whole_columns(
    run: Run,
    metrics: Iterable[str],
    also: Mapping[str, Measure] | None = None,
    *,
    allow_missing: bool = False,
) -> Columns:
    """Metrics of samples and further measures, of all samples of a run.

    Raises:
        DataError: a file of the run can't be read, or its files don't belong together.
        IncompleteError: samples are missing, unless that is allowed, or was when the run was made.
    """
    columns = read_columns(run, metrics, also=also)
    if not allow_missing and lost(run, columns).any():
        raise incomplete(run, columns)
    return columns


def tables_of(columns: Columns, metrics: Iterable[str]) -> dict[str, TaskTable]:
    """Metrics of samples, by task."""
    found = ((name, sample_metric(name)) for name in metrics)
    return {name: columns.by_task(metric) for name, metric in found if metric is not None}


def task_tables(run: Run, names: Sequence[str], *, allow_missing: bool = False) -> dict[str, TaskTable]:
    """Those of the metrics that are metrics of samples, by task.

    Raises:
        DataError: as `whole_columns`.
        IncompleteError: likewise.
    """
    metrics = [name for name in names if sample_metric(name) is not None]
    return tables_of(whole_columns(run, metrics, allow_missing=allow_missing), metrics) if metrics else {}
