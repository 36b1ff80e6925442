"""The one reader of stored samples: what they say for the metrics of the table, by column."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from harness.errors import DataError, IncompleteError
from harness.metrics.columns import BoolArray, Columns, IntArray
from harness.metrics.match import match_names
from harness.metrics.ranking import has_one_grade
from harness.metrics.stopped import summarise_stopped
from harness.metrics.summary import summarise
from harness.metrics.table import (
    LENIENT_SCORES,
    SCORES,
    Labels,
    SampleMetric,
    TaskMetric,
    can_rank,
    contradiction,
    metric_named,
    metrics_of,
)
from harness.runs.directory import REWRITE_TASKS, SAMPLES, TASKS, bad_task_row, task_lines
from harness.runs.drawing import drawing_order
from harness.runs.loading import Run
from harness.runs.samples import Sample
from harness.stats import Estimate

Measure = Callable[[Sample], float | None]
"""A number that a sample says, None where it doesn't count."""


class Asked(NamedTuple):
    """What of a task decides which metrics it has.

    Attributes:
        task_id: its id.
        relevance: labels of its candidates, none where it has none.
        scores: names of the scores of its answers that not every task has.
    """

    task_id: str
    relevance: Labels
    scores: tuple[str, ...] = ()


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


def read_asked(run: Run) -> Iterator[Asked]:
    """What each of a run's tasks asks.

    Raises:
        DataError: as `read_task_rows`.
    """
    for task in read_task_rows(run):
        scores = match_names(task["expected"]) if "expected" in task else ()
        yield Asked(task["task_id"], task.get("relevance", []), scores)


def read_columns(
    run: Run,
    metrics: Iterable[str] | None = None,
    asked: Iterable[Asked] | None = None,
    also: Mapping[str, Measure] | None = None,
) -> Columns:
    """Read what all samples of a run say, in one pass; memory grows by a few numbers a sample.

    Args:
        run: a stored run.
        metrics: names of those to read; None for all that its tasks have.
        asked: what its tasks ask; None reads it from the run. Without any, the tasks are those that samples
            answer, and all count as rankable.
        also: further measures of a sample, by the name of their column.

    Raises:
        DataError: a file of the run can't be read, or its files don't belong together.
    """
    tasks = _Tasks(run, read_asked(run) if asked is None else asked)
    names = metrics_of(ranks=tasks.ranks, scores=tasks.scores) if metrics is None else list(metrics)
    found = [metric for name in names if (metric := metric_named(name)) is not None]
    of_samples: dict[str, tuple[Measure, array[float]]] = {
        # A rate is 0, 1 or missing: half the memory holds that as well.
        one.name: (one.value, array("f" if one.is_rate else "d"))
        for one in found
        if isinstance(one, SampleMetric)
    }
    of_samples |= {name: (value, array("d")) for name, value in (also or {}).items()}
    rescued = any(name in LENIENT_SCORES for name in names)
    place, known = tasks.place, len(tasks.place)
    held = Held(run)
    withheld = array("b")
    having: dict[str, set[int]] = {one.score: set() for one in found if one.score is not None and not known}
    for sample in run.iter_samples():
        row = place.get(sample.task_id) if known else place.setdefault(sample.task_id, len(place))
        if row is None:
            raise unknown_task(run.path, sample)
        rankable = bool(known and tasks.rankable[row])
        if says := contradiction(sample, rankable):
            raise DataError(
                f"{run.path}: sample {sample.key!r} of task {sample.task_id!r} has {says}; "
                f"`harness rescore {run.path}` parses and scores it anew"
            )
        held.add(row, sample)
        withheld.append(sample.parse is None)
        for name, rows in having.items():
            if name in sample.scores:
                rows.add(row)
        scored = scored_leniently(sample, tasks.relevance[row]) if rescued and rankable else sample
        for value, column in of_samples.values():
            column.append(_or_nan(value(scored)))
    can = np.array(tasks.rankable if known else [True] * len(place), dtype=np.bool_)
    of_tasks = {
        one.name: np.array([_or_nan(one.value(labels)) for labels in tasks.relevance], dtype=np.float64)
        for one in found
        if isinstance(one, TaskMetric)
    }
    columns = Columns(
        task_ids=tuple(place),
        can_rank=can,
        missing=held.missing(tuple(place)),
        task=np.asarray(held.task, dtype=np.int64),
        index=np.asarray(held.index, dtype=np.int64),
        values={name: np.asarray(column) for name, (_, column) in of_samples.items()} | of_tasks,
        one_grade=np.array(tasks.one_grade, dtype=np.bool_) if known else None,
        withheld=np.array(withheld, dtype=np.bool_) if any(withheld) else None,
        having={
            one.score: _mask(tasks.scores[one.score] if known else having[one.score], len(place))
            for one in found
            if one.score is not None and (known == 0 or one.score in tasks.scores)
        },
    )
    for metric in (one for one in found if one.rankable_only):
        counts = can if isinstance(metric, TaskMetric) else can[columns.task]
        columns.values[metric.name][~counts] = math.nan
    return columns


class _Tasks:
    """What the tasks of a run ask, by their place."""

    def __init__(self, run: Run, asked: Iterable[Asked]) -> None:
        self.place: dict[str, int] = {}
        self.rankable, self.one_grade = array("b"), array("b")
        self.relevance: list[Labels] = []
        self.scores: dict[str, list[int]] = {}
        """Name of a score → places of the tasks that have it."""
        for task_id, relevance, scores in asked:
            if task_id in self.place:
                raise DataError(
                    f"{run.path / TASKS} holds task {task_id!r} twice; remove {TASKS} and {REWRITE_TASKS}"
                )
            self.place[task_id] = len(self.place)
            self.rankable.append(can_rank(relevance))
            self.one_grade.append(has_one_grade(relevance))
            self.relevance.append(array("d", relevance))
            for name in scores:
                self.scores.setdefault(name, []).append(self.place[task_id])
        # Without any task nobody knows, and everything was ranked before there were others.
        self.ranks = not self.place or any(self.relevance)


def scored_leniently(sample: Sample, relevance: Labels) -> Sample:
    """A sample with scores, which only strict ones are stored with, also where its answer is lenient.

    Args:
        sample: as it is stored.
        relevance: labels of its task, which can rank.
    """
    parse = sample.parse
    if parse is None or parse.tier != "lenient" or parse.ranking is None:
        return sample
    labels = tuple(relevance)
    return replace(sample, scores={name: score(labels, parse.ranking) for name, score in SCORES.items()})


def _mask(places: Iterable[int], tasks: int) -> BoolArray:
    mask = np.zeros(tasks, dtype=np.bool_)
    mask[list(places)] = True
    return mask


def metrics_of_samples(run: Run, columns: Columns) -> dict[str, Estimate]:
    """Every metric of the table that a run's samples give.

    Args:
        run: which run.
        columns: of all its metrics, read from it.
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
