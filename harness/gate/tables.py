"""A metric by task: what tests need where the estimate alone isn't enough."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import DataError, IncompleteError
from harness.gate.measures import MEASURES
from harness.metrics.ranking import has_relevant, is_all_tied
from harness.runs import Run
from harness.runs.directory import TASKS

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TaskTable:
    """One metric of a run, added up by task.

    Attributes:
        task_ids: T tasks.
        total: [T] sum of the values of a task's samples.
        count: [T] number of samples that count.
        missing: [T] planned samples that aren't there.
        is_rate: whether a sample's value is 0 or 1.
        counts_always: whether every sample counts, whatever it says.
    """

    task_ids: tuple[str, ...]
    total: FloatArray
    count: IntArray
    missing: IntArray
    is_rate: bool
    counts_always: bool

    @property
    def estimate(self) -> float | None:
        """Mean over the samples that count."""
        count = int(self.count.sum())
        return float(self.total.sum()) / count if count else None

    def means(self) -> dict[str, float]:
        """Mean of each task over its samples that count, where any does."""
        rows = zip(self.task_ids, self.total.tolist(), self.count.tolist(), strict=True)
        return {task_id: total / count for task_id, total, count in rows if count}

    def filled(self, value: float) -> TaskTable:
        """With every missing sample there, at this value."""
        return replace(
            self,
            total=self.total + value * self.missing,
            count=self.count + self.missing,
            missing=np.zeros_like(self.missing),
        )

    def of_tasks(self, task_ids: Collection[str]) -> TaskTable:
        """Only these tasks, in the order given; all of them must be there."""
        place = {task_id: index for index, task_id in enumerate(self.task_ids)}
        rows = np.array([place[task_id] for task_id in task_ids], dtype=np.int64)
        return replace(
            self,
            task_ids=tuple(task_ids),
            total=self.total[rows],
            count=self.count[rows],
            missing=self.missing[rows],
        )


def is_informative(relevance: Sequence[float]) -> bool:
    """Whether labels can tell one full ranking from another."""
    return has_relevant(relevance) and not is_all_tied(relevance)


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


def incomplete(run: Run, samples: int) -> IncompleteError:
    """The error that says how far a run is."""
    return IncompleteError(
        f"{run.path} has {samples} of {run.manifest.planned} samples; finish it with the same "
        "`harness eval`, or gate by worst and best case with --allow-incomplete"
    )


def tabulate(run: Run, metrics: Collection[str], *, allow_missing: bool = False) -> dict[str, TaskTable]:
    """Metrics of `MEASURES` by task, in one pass over the samples.

    Raises:
        DataError: a file of the run can't be read, or its files don't belong together.
        IncompleteError: samples are missing, unless that is allowed.
    """
    informative = {task["task_id"]: is_informative(task["relevance"]) for task in read_task_rows(run.path)}
    place = {task_id: index for index, task_id in enumerate(informative)}
    measures = {name: MEASURES[name] for name in metrics}
    total = {name: [0.0] * len(place) for name in measures}
    count = {name: [0] * len(place) for name in measures}
    seen = [0] * len(place)
    for sample in run.iter_samples():
        row = place.get(sample.task_id)
        if row is None:
            raise DataError(
                f"{run.path}: sample {sample.key!r} answers task {sample.task_id!r}, which tasks.jsonl "
                "doesn't hold; the run's files don't belong together"
            )
        seen[row] += 1
        for name, measure in measures.items():
            value = measure.value(sample)
            if value is not None:
                total[name][row] += value
                count[name][row] += 1
    missing = run.manifest.samples_per_task - np.array(seen, dtype=np.int64)
    if not allow_missing and (missing > 0).any():
        raise incomplete(run, sum(seen))
    if (missing < 0).any():
        task_id = tuple(place)[int(missing.argmin())]
        raise DataError(
            f"{run.path} holds {max(seen)} samples of task {task_id!r} and should hold "
            f"{run.manifest.samples_per_task}; its files don't belong together"
        )
    tables = {}
    for name, measure in measures.items():
        used = np.array([not measure.informative_only or one for one in informative.values()], dtype=np.bool_)
        tables[name] = TaskTable(
            tuple(task_id for task_id, use in zip(informative, used, strict=True) if use),
            np.array(total[name], dtype=np.float64)[used],
            np.array(count[name], dtype=np.int64)[used],
            missing[used],
            measure.is_rate,
            measure.counts_always,
        )
    return tables
