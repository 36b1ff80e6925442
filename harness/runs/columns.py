"""The one reader of stored samples: what they say for the metrics of the table, by column."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import DataError, IncompleteError
from harness.metrics.columns import Columns, IntArray
from harness.metrics.ranking import has_one_grade
from harness.metrics.table import METRICS, Labels, SampleMetric, TaskMetric, can_rank, contradiction
from harness.runs.directory import TASKS
from harness.runs.loading import Run
from harness.runs.samples import Sample

Measure = Callable[[Sample], float | None]
"""A number that a sample says, None where it doesn't count."""


def read_task_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a run's `tasks.jsonl` as plain dicts: they were validated when they were written.

    Raises:
        DataError: the file is absent or a row can't be read.
    """
    try:
        with (path / TASKS).open("rb") as rows:
            for row in rows:
                task = json.loads(row)
                if not (isinstance(task["task_id"], str) and isinstance(task["relevance"], list)):
                    raise ValueError("a row isn't a task")
                yield task
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path / TASKS} can't be read: {str(error).splitlines()[0]}") from error


def read_labels(path: Path) -> Iterator[tuple[str, Labels]]:
    """Id and labels of each of a run's tasks.

    Raises:
        DataError: as `read_task_rows`.
    """
    return ((task["task_id"], task["relevance"]) for task in read_task_rows(path))


def read_columns(
    run: Run,
    metrics: Iterable[str],
    labels: Iterable[tuple[str, Labels]] | None = None,
    also: Mapping[str, Measure] | None = None,
) -> Columns:
    """Read what all samples of a run say, in one pass; memory grows by a few numbers a sample.

    Args:
        run: a stored run.
        metrics: names in `METRICS` to read.
        labels: id and labels of its tasks; None reads them from the run. Without any, the tasks are those
            that samples answer, and all count as rankable.
        also: further measures of a sample, by the name of their column.

    Raises:
        DataError: a file of the run can't be read, or its files don't belong together.
    """
    wanted = [METRICS[name] for name in metrics]
    of_tasks = {one.name: (one.value, array("d")) for one in wanted if isinstance(one, TaskMetric)}
    of_samples: dict[str, tuple[Measure, array[float]]] = {
        # A rate is 0, 1 or missing: half the memory holds that as well.
        one.name: (one.value, array("f" if one.is_rate else "d"))
        for one in wanted
        if isinstance(one, SampleMetric)
    }
    of_samples |= {name: (value, array("d")) for name, value in (also or {}).items()}
    place: dict[str, int] = {}
    rankable, one_grade = array("b"), array("b")
    for task_id, relevance in read_labels(run.path) if labels is None else labels:
        place[task_id] = len(place)
        rankable.append(can_rank(relevance))
        one_grade.append(has_one_grade(relevance))
        for of_task, values in of_tasks.values():
            values.append(_or_nan(of_task(relevance)))
    known = len(place)
    task, index = array("l"), array("l")
    for sample in run.iter_samples():
        row = place.get(sample.task_id) if known else place.setdefault(sample.task_id, len(place))
        if row is None:
            raise unknown_task(run.path, sample)
        if says := contradiction(sample, bool(known and rankable[row])):
            raise DataError(
                f"{run.path}: sample {sample.key!r} of task {sample.task_id!r} has {says}; "
                f"`harness rescore {run.path}` parses and scores it anew"
            )
        task.append(row)
        index.append(sample.sample_index)
        for value, column in of_samples.values():
            column.append(_or_nan(value(sample)))
    can = np.array(rankable if known else [True] * len(place), dtype=np.bool_)
    columns = Columns(
        task_ids=tuple(place),
        can_rank=can,
        missing=np.full(len(place), run.manifest.samples_per_task, dtype=np.int64),
        task=np.asarray(task, dtype=np.int64),
        index=np.asarray(index, dtype=np.int64),
        values={name: np.asarray(column) for name, (_, column) in (of_samples | of_tasks).items()},
        one_grade=np.array(one_grade, dtype=np.bool_) if known else None,
    )
    for metric in (one for one in wanted if one.rankable_only):
        counts = can if isinstance(metric, TaskMetric) else can[columns.task]
        columns.values[metric.name][~counts] = math.nan
    return replace(columns, missing=columns.missing - _samples_of_each_task(run, columns))


def incomplete(run: Run, samples: int) -> IncompleteError:
    """The error that says how far a run is."""
    return IncompleteError(
        f"{run.path} has {samples} of {run.manifest.planned} samples; finish it with the same "
        "`harness eval`, or gate by worst and best case with `allow_incomplete=True`"
    )


def unknown_task(path: Path, sample: Sample) -> DataError:
    """The error that says that a sample's task isn't there."""
    return DataError(
        f"{path}: sample {sample.key!r} answers task {sample.task_id!r}, which {TASKS} doesn't hold; "
        "the run's files don't belong together"
    )


def _samples_of_each_task(run: Run, columns: Columns) -> IntArray:
    """[T] how many there are, once it is known that none is there twice and none too many."""
    order = np.lexsort((columns.index, columns.task))
    twice = (np.diff(columns.task[order]) == 0) & (np.diff(columns.index[order]) == 0)
    if twice.any():
        row = order[int(twice.argmax())]
        raise DataError(
            f"{run.path} holds sample {columns.index[row]} of task {columns.task_ids[columns.task[row]]!r} "
            "twice; its files don't belong together"
        )
    seen = np.bincount(columns.task, minlength=len(columns.task_ids)).astype(np.int64)
    if (seen > columns.missing).any():
        raise DataError(
            f"{run.path} holds {seen.max()} samples of task {columns.task_ids[int(seen.argmax())]!r} and "
            f"should hold {run.manifest.samples_per_task}; its files don't belong together"
        )
    return seen


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
