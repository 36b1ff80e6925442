"""The one reader of stored samples: what they say for the metrics of the table, by column."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from harness.errors import DataError, IncompleteError
from harness.metrics.columns import Columns, IntArray
from harness.metrics.ranking import has_one_grade
from harness.metrics.stopped import summarise_stopped
from harness.metrics.summary import summarise
from harness.metrics.table import METRICS, Labels, SampleMetric, TaskMetric, can_rank, contradiction
from harness.runs.directory import REWRITE_TASKS, SAMPLES, TASKS, bad_task_row, task_lines
from harness.runs.drawing import drawing_order
from harness.runs.loading import Run
from harness.runs.samples import Sample
from harness.stats import Estimate

Measure = Callable[[Sample], float | None]
"""A number that a sample says, None where it doesn't count."""


def read_task_rows(run: Run) -> Iterator[dict[str, Any]]:
    """The rows of a run's `tasks.jsonl` as plain dicts: they were validated when they were written.

    Raises:
        DataError: the file is absent, or a row can't be read or isn't what was written.
    """
    for number, row in task_lines(run.path, sealed=run.manifest.sealed):
        try:
            task = json.loads(row)
            if not (isinstance(task["task_id"], str) and isinstance(task.get("relevance", []), list)):
                raise ValueError("it isn't a task")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise bad_task_row(run.path, number, error) from error
        yield task


def read_labels(run: Run) -> Iterator[tuple[str, Labels]]:
    """Id and labels of each of a run's tasks.

    Raises:
        DataError: as `read_task_rows`.
    """
    return ((task["task_id"], task.get("relevance", [])) for task in read_task_rows(run))


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
    for task_id, relevance in read_labels(run) if labels is None else labels:
        if task_id in place:
            raise DataError(
                f"{run.path / TASKS} holds task {task_id!r} twice; remove {TASKS} and {REWRITE_TASKS}"
            )
        place[task_id] = len(place)
        rankable.append(can_rank(relevance))
        one_grade.append(has_one_grade(relevance))
        for of_task, values in of_tasks.values():
            values.append(_or_nan(of_task(relevance)))
    known = len(place)
    held = Held(run)
    withheld = array("b")
    for sample in run.iter_samples():
        row = place.get(sample.task_id) if known else place.setdefault(sample.task_id, len(place))
        if row is None:
            raise unknown_task(run.path, sample)
        if says := contradiction(sample, bool(known and rankable[row])):
            raise DataError(
                f"{run.path}: sample {sample.key!r} of task {sample.task_id!r} has {says}; "
                f"`harness rescore {run.path}` parses and scores it anew"
            )
        held.add(row, sample)
        withheld.append(sample.parse is None)
        for value, column in of_samples.values():
            column.append(_or_nan(value(sample)))
    can = np.array(rankable if known else [True] * len(place), dtype=np.bool_)
    columns = Columns(
        task_ids=tuple(place),
        can_rank=can,
        missing=held.missing(tuple(place)),
        task=np.asarray(held.task, dtype=np.int64),
        index=np.asarray(held.index, dtype=np.int64),
        values={name: np.asarray(column) for name, (_, column) in (of_samples | of_tasks).items()},
        one_grade=np.array(one_grade, dtype=np.bool_) if known else None,
        withheld=np.array(withheld, dtype=np.bool_) if any(withheld) else None,
    )
    for metric in (one for one in wanted if one.rankable_only):
        counts = can if isinstance(metric, TaskMetric) else can[columns.task]
        columns.values[metric.name][~counts] = math.nan
    return columns


def metrics_of_samples(run: Run, columns: Columns) -> dict[str, Estimate]:
    """Every metric of the table that a run's samples give.

    Args:
        run: which run.
        columns: of all of `METRICS`, read from it.
    """
    seed = run.manifest.sampling["seed"]
    if run.manifest.stopped is None:
        return summarise(columns)
    return summarise_stopped(columns, drawing_order(seed, columns.task_ids, run.manifest.grown))


def lost(run: Run, columns: Columns) -> IntArray:
    """[T] how many samples of each task aren't there that should be: a complete run may do without some.

    Args:
        run: a stored run.
        columns: of it.
    """
    return lost_of(run, columns.task_ids, columns.missing)


def lost_of(run: Run, task_ids: Sequence[str], missing: IntArray) -> IntArray:
    """The same, from the [T] ids of its tasks and how many samples of each are missing."""
    if not run.manifest.was_complete:
        return missing
    known = Counter(one.task_id for one in run.manifest.missing)
    left: IntArray = missing - np.array([known[task_id] for task_id in task_ids], dtype=np.int64)
    return np.maximum(left, 0)


def incomplete(run: Run, columns: Columns) -> IncompleteError:
    """The error that says how far a run is, and what it lacks where it was complete once; `columns` of it."""
    return lacking(run, columns.task_ids, columns.missing)


def lacking(run: Run, task_ids: Sequence[str], missing: IntArray) -> IncompleteError:
    """The same, from the [T] ids of its tasks and how many samples of each are missing."""
    gone = ""
    if run.manifest.was_complete and (places := np.flatnonzero(lost_of(run, task_ids, missing))).size:
        named = ", ".join(repr(task_ids[place]) for place in places[:3])
        gone = f" (lost since: of {named}{', …' if places.size > 3 else ''})"
    planned = run.manifest.planned
    again = "" if run.manifest.stopped is None else ", or call the live gate that stopped it again"
    return IncompleteError(
        f"{run.path} has {planned - int(missing.sum())} of {planned} samples{gone}; finish it with the same "
        f"`harness eval`{again}"
    )


def unknown_task(path: Path, sample: Sample) -> DataError:
    """The error that says that a sample's task isn't there."""
    return DataError(
        f"{path}: sample {sample.key!r} answers task {sample.task_id!r}, which {TASKS} doesn't hold; "
        "the run's files don't belong together"
    )


class Held:
    """Which samples a run holds; a few numbers a sample.

    Args:
        run: whose.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._key = array("q")
        self.task = array("l")
        """Place of each sample's task."""
        self.index = array("l")
        """Number of each sample among those of its task."""

    def add(self, task: int, sample: Sample) -> None:
        """One more; `task` is the place of its task."""
        self.task.append(task)
        self.index.append(sample.sample_index)
        self._key.append(hash(sample.key))

    def missing(self, task_ids: Sequence[str]) -> IntArray:
        """[T] how many samples of each task aren't there.

        Args:
            task_ids: [T] of the run, in the order of places.

        Raises:
            DataError: one is there twice, or none of those planned; the message names it.
        """
        task, index = (np.asarray(one, dtype=np.int64) for one in (self.task, self.index))
        wanted = self._run.manifest.samples_per_task
        for order in (np.lexsort((index, task)), np.argsort(self._key, kind="stable")):
            same = np.diff(np.asarray(self._key)[order]) == 0
            same |= (np.diff(task[order]) == 0) & (np.diff(index[order]) == 0)
            if same.any():
                self._refuse(int(order[int(same.argmax()) + 1]), "twice; delete one of its lines")
        beyond = (index < 0) | (index >= wanted)
        if beyond.any():
            said = f"and was to draw numbers 0 to {wanted - 1}; its files don't belong together"
            self._refuse(int(beyond.argmax()), said)
        left: IntArray = wanted - np.bincount(task, minlength=len(task_ids)).astype(np.int64)
        return left

    def _refuse(self, row: int, said: str) -> NoReturn:
        for place, sample in enumerate(self._run.iter_samples()):
            if place == row:
                which = f"{sample.key!r} (number {sample.sample_index} of task {sample.task_id!r})"
                raise DataError(f"{self._run.path / SAMPLES} holds sample {which} {said}")
        raise DataError(f"{self._run.path / SAMPLES} was changed while it was read; run the command again")


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
