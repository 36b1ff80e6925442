"""A run's metrics by column, and one metric by task."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from harness.metrics.table import Metric, SampleMetric
from harness.stats.bounded import mean_against_bar
from harness.stats.decision import Decision, Sense
from harness.stats.threshold import rate_against_bar

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Columns:
    """N samples of T tasks, by column, in the order in which the samples finished.

    Attributes:
        task_ids: [T] in the order of the dataset.
        can_rank: [T] whether a task's labels can tell one full ranking from another.
        missing: [T] planned samples that aren't there.
        task: [N] place of a sample's task among the T.
        index: [N] of a sample among those of its task.
        values: name → [N] values of a measure of samples, or [T] of a metric of tasks; NaN where one doesn't
            count.
        one_grade: [T] whether a task's relevant candidates are equally relevant, so that its NDCG@1 is 0 or
            1 whatever is answered; None where that isn't known.
        withheld: [N] whether a provider withheld the answer; None where none was.
        having: name of a score that not all tasks have → [T] whether a task has it.
    """

    task_ids: tuple[str, ...]
    can_rank: BoolArray
    missing: IntArray
    task: IntArray
    index: IntArray
    values: dict[str, npt.NDArray[np.floating]]
    one_grade: BoolArray | None = None
    withheld: BoolArray | None = None
    having: Mapping[str, BoolArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse columns that can't stand side by side."""
        samples, tasks = len(self.task), len(self.task_ids)
        values = {len(column) for column in self.values.values()}
        if (len(self.index), len(self.can_rank), len(self.missing)) != (samples, tasks, tasks) or not (
            values <= {samples, tasks}
        ):
            raise ValueError(f"columns differ in length; there are {samples} samples of {tasks} tasks")
        if samples and not (self.task.min() >= 0 and self.task.max() < tasks):
            raise ValueError(f"task must lie in 0 … {tasks - 1}")

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.task)

    @property
    def withheld_samples(self) -> int:
        """How many of them a provider withheld."""
        return 0 if self.withheld is None else int(self.withheld.sum())

    def is_rate(self, metric: Metric) -> bool:
        """Whether each value of a metric must be 0 or 1: by its nature, or by the labels of all its tasks."""
        if metric.is_rate:
            return True
        used = self.used(metric)
        return metric.rate_of_one_grade and self.one_grade is not None and bool(self.one_grade[used].all())

    def used(self, metric: Metric) -> BoolArray:
        """[T] whether a metric is about a task."""
        if metric.score is not None:
            return self.having.get(metric.score, np.zeros_like(self.can_rank))
        return self.can_rank if metric.rankable_only else np.ones_like(self.can_rank)

    def by_task(self, metric: SampleMetric) -> TaskTable:
        """A metric of samples, added up by task."""
        values = self.values[metric.name]
        known = ~np.isnan(values)
        tasks = len(self.task_ids)
        total = np.bincount(self.task[known], weights=values[known], minlength=tasks)
        count = np.bincount(self.task[known], minlength=tasks)
        there = np.bincount(self.task, minlength=tasks)
        # Nobody knows what was withheld, so it is bounded like what isn't there at all.
        hidden = np.zeros(tasks, dtype=np.int64)
        if self.withheld is not None:
            hidden = np.bincount(self.task[self.withheld & ~known], minlength=tasks)
        used = self.used(metric)
        return TaskTable(
            tuple(task_id for task_id, use in zip(self.task_ids, used, strict=True) if use),
            total.astype(np.float64)[used],
            count.astype(np.int64)[used],
            (self.missing + hidden).astype(np.int64)[used],
            (there - count - hidden).astype(np.int64)[used],
            self.is_rate(metric),
            metric.always,
            withheld=hidden.astype(np.int64)[used],
        )


@dataclass(frozen=True, slots=True)
class TaskTable:
    """One metric of a run, added up by task: what tests need where the estimate alone isn't enough.

    Attributes:
        task_ids: T tasks.
        total: [T] sum of the values of a task's samples.
        count: [T] number of samples that count.
        missing: [T] samples whose value isn't known: planned and not there, withheld by a provider, or parsed
            and not scored.
        silent: [T] samples that are there and don't count, such as one that didn't parse.
        is_rate: whether a sample's value is 0 or 1.
        counts_always: whether a missing sample counts for certain once its value is known.
        limits: [T] least and largest that `total` can be, where the value of a sample that counts is known
            in part (some repeats of its judgement have no score); None where it is `total`.
        withheld: [T] those of `missing` that a provider withheld; None where none was.
    """

    task_ids: tuple[str, ...]
    total: FloatArray
    count: IntArray
    missing: IntArray
    silent: IntArray
    is_rate: bool
    counts_always: bool
    limits: tuple[FloatArray, FloatArray] | None = None
    withheld: IntArray | None = None

    @property
    def hidden(self) -> IntArray:
        """[T] `withheld`, zeros where none was."""
        return np.zeros_like(self.missing) if self.withheld is None else self.withheld

    @property
    def estimate(self) -> float | None:
        """Mean over the samples that count."""
        count = int(self.count.sum())
        return float(self.total.sum()) / count if count else None

    @property
    def means(self) -> FloatArray:
        """[T] mean of each task over its samples that count, NaN where none does."""
        means: FloatArray = np.full(len(self.total), np.nan)
        np.divide(self.total, self.count, out=means, where=self.count > 0)
        return means

    def mean_of(self) -> dict[str, float]:
        """The mean of each task of which a sample counts."""
        rows = zip(self.task_ids, self.means.tolist(), self.count.tolist(), strict=True)
        return {task_id: mean for task_id, mean, count in rows if count}

    @property
    def most(self) -> int:
        """Largest number of samples that a task was to have."""
        return int((self.count + self.missing + self.silent).max(initial=0))

    @property
    def is_single(self) -> bool:
        """Whether a task has one sample at most, which is 0 or 1: what the exact tests of rates are for."""
        return self.is_rate and self.most <= 1

    @property
    def is_open(self) -> bool:
        """Whether some value isn't known."""
        return bool(self.missing.any()) or self.limits is not None

    def filled(self, value: float) -> TaskTable:
        """With everything that isn't known at this value, in [0, 1]."""
        least, most = self.limits or (self.total, self.total)
        return replace(
            self,
            total=least + value * (most - least) + value * self.missing,
            count=self.count + self.missing,
            missing=np.zeros_like(self.missing),
            limits=None,
            withheld=None,
        )

    def of_every_answer(self) -> TaskTable:
        """The same asked of every sample: one that doesn't count is one whose value isn't known."""
        return replace(
            self, missing=self.missing + self.silent, silent=np.zeros_like(self.silent), counts_always=True
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
            silent=self.silent[rows],
            limits=None if self.limits is None else (self.limits[0][rows], self.limits[1][rows]),
            withheld=None if self.withheld is None else self.withheld[rows],
        )

    def against_bar(self, bar: float, sense: Sense, alpha: float, *, interval: bool = True) -> Decision:
        """The test of the metric against a number, over the samples that are there."""
        if self.is_single:
            successes, n = round(float(self.total.sum())), int(self.count.sum())
            return rate_against_bar(successes, n, bar, sense=sense, alpha=alpha)
        return mean_against_bar(
            self.total, self.count, bar, sense=sense, alpha=alpha, most=self.most, interval=interval
        )
