"""A run against the baseline: paired differences, tests and equivalence, all by `harness.stats`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.errors import RunMismatchError
from harness.judge import require_same_rubric, rubric_table
from harness.metrics.columns import FloatArray, IntArray
from harness.metrics.table import METRICS, RUBRIC_PREFIX, SampleMetric
from harness.report.reading import RunFacts, compared
from harness.runs.comparability import compare_manifests, compare_prompts, prompts_of
from harness.stats import (
    Decision,
    PairedComparison,
    PairedCounts,
    bounded_equivalence,
    compare_means,
    compare_outcomes,
    equivalent_rates,
    holm,
    paired_differences,
)

Word = Literal[
    "better",
    "worse",
    "slightly better",
    "slightly worse",
    "equivalent",
    "not settled",
    "not tested",
    "no pairs",
]

ALPHA = 0.05
SEED = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate − baseline in one metric.

    Attributes:
        metric: its name.
        comparison: the difference with its interval, and the test of no difference.
        equivalence: whether it lies within the margin either way; None without pairs.
        p_holm: the test's p-value after Holm's correction over all tests of the page; None without a test.
        word: what that comes to: `better` and `worse` are shown by the test, `slightly` so where the margin
            is shown to hold as well; `equivalent` is the margin alone; `not tested` where the data decided
            when a run ended, so that the tests of a fixed number of samples don't hold.
        means: of the candidate and of the baseline over the same pairs; None without pairs.
        of: pairs there are, whether or not the metric counts in both; None where it always does.
        note: what else the word rests on, empty where nothing.
    """

    metric: str
    comparison: PairedComparison
    equivalence: Decision | None
    means: tuple[float, float] | None
    of: int | None = None
    p_holm: float | None = None
    word: Word = "no pairs"
    note: str = ""

    @property
    def against(self) -> bool:
        """Whether the paired test went against the run."""
        return self.word in ("worse", "slightly worse")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run beside the baseline.

    Attributes:
        candidate: name of the run.
        baseline: name of the baseline.
        differences: by metric; empty where the runs can't be paired.
        unpaired: why they can't be, None where they can.
        cautions: what else differs between the runs beside the checkpoint.
        pairs: samples that both have.
        asked: how many tasks were asked by other prompts, and why; empty where none was.
    """

    candidate: str
    baseline: str
    differences: dict[str, Difference]
    unpaired: str | None
    cautions: tuple[str, ...]
    pairs: int
    asked: str = ""


def compare_runs(runs: Sequence[RunFacts], baseline: RunFacts, margin: float) -> dict[str, Comparison]:
    """Compare every other run with the baseline, on the samples (task and index) that both have.

    Runs of different datasets are not paired. Two one-sided tests at `ALPHA` give the equivalence; p-values
    of "no difference" are corrected over all tests of all runs together.

    Args:
        runs: all runs of the report.
        baseline: one of them.
        margin: of the equivalence, in the metric's unit.
    """
    found = {facts.name: _compare(facts, baseline, margin) for facts in runs if facts is not baseline}
    tests = [
        (name, metric, difference.comparison.p_value)
        for name, comparison in found.items()
        for metric, difference in comparison.differences.items()
        if difference.comparison.p_value is not None
    ]
    corrected = holm([p for _, _, p in tests]) if tests else []
    for (name, metric, _), p_holm in zip(tests, corrected, strict=True):
        differences = found[name].differences
        differences[metric] = _worded(replace(differences[metric], p_holm=float(p_holm)), len(tests))
    return found


def number_of_tests(comparisons: dict[str, Comparison]) -> int:
    """How many tests Holm's correction goes over."""
    return sum(
        difference.p_holm is not None
        for comparison in comparisons.values()
        for difference in comparison.differences.values()
    )


def _compare(candidate: RunFacts, baseline: RunFacts, margin: float) -> Comparison:
    asked = compare_manifests(candidate.run.manifest, baseline.run.manifest)
    cautions = [*asked.differences, *asked.remarks]
    if candidate.dataset != baseline.dataset:
        unpaired = (
            "the runs were evaluated on different datasets: their samples can't be paired, and a difference "
            "of their numbers would mix the checkpoints with the data"
        )
        return Comparison(candidate.name, baseline.name, {}, unpaired, tuple(cautions), 0)
    pairs = _Pairs(candidate, baseline)
    if not len(pairs.task):
        unpaired = "the runs have no sample in common"
        return Comparison(candidate.name, baseline.name, {}, unpaired, tuple(cautions), 0)
    differences = {name: pairs.difference(metric, margin) for name, metric in pairs.compared().items()}
    for name, difference in differences.items():
        everywhere = differences.get(counterpart(name))
        if pairs.withheld:
            differences[name] = replace(difference, of=pairs.asked(compared()[name]))
        elif everywhere is not None:
            differences[name] = replace(difference, of=everywhere.comparison.difference.n)
    for name in (name for name in candidate.rubrics if name in baseline.rubrics):
        metric = f"{RUBRIC_PREFIX}{name}"
        try:
            differences[metric] = _rubric_difference(candidate, baseline, metric, margin, pairs.tasks)
        except RunMismatchError as error:
            cautions.append(str(error))
    stopped = [facts.name for facts in (candidate, baseline) if facts.stopped]
    if stopped:
        differences = {name: _untested(one, stopped) for name, one in differences.items()}
    prompts = compare_prompts(
        candidate.run.manifest,
        baseline.run.manifest,
        prompts_of(candidate.samples.columns),
        prompts_of(baseline.samples.columns),
    )
    cautions += filter(None, [prompts.said])
    return Comparison(
        candidate.name,
        baseline.name,
        differences,
        None,
        tuple(cautions),
        len(pairs.task),
        prompts.said or "",
    )


def counterpart(metric: str) -> str:
    """The metric over all samples that goes with one over some of them: `….parsed` → `….all`."""
    if f"{metric}.all" in METRICS:
        return f"{metric}.all"
    score, _, over = metric.rpartition(".")
    return f"{score}.all" if over not in ("all", "") else ""


class _Pairs:
    """The samples that two runs share."""

    def __init__(self, candidate: RunFacts, baseline: RunFacts) -> None:
        mine, theirs = candidate.samples, baseline.samples
        # In an order that doesn't depend on which sample finished first.
        shared = sorted(place for place in theirs.row if place in mine.row)
        self._mine = np.array([mine.row[place] for place in shared], dtype=np.int64)
        self._theirs = np.array([theirs.row[place] for place in shared], dtype=np.int64)
        number: dict[str, int] = {}
        self.task: IntArray = np.array(
            [number.setdefault(task_id, len(number)) for task_id, _ in shared], dtype=np.int64
        )
        self.tasks = len(number)
        self._single = len(number) == len(shared)
        self._columns = (theirs.columns, mine.columns)
        self.withheld = any(columns.withheld is not None for columns in self._columns)

    def compared(self) -> dict[str, SampleMetric]:
        """Metrics that both runs have."""
        both = self._columns[0].values.keys() & self._columns[1].values.keys()
        return {name: metric for name, metric in compared().items() if name in both}

    def asked(self, metric: SampleMetric) -> int:
        """Pairs, or tasks where those have several samples, that a metric would be about if all answered."""
        mine = self._columns[1]
        used = mine.used(metric)[mine.task[self._mine]]
        return len(np.unique(self.task[used]))

    def difference(self, metric: SampleMetric, margin: float) -> Difference:
        name = metric.name
        old = self._columns[0].values[name][self._theirs].astype(np.float64)
        new = self._columns[1].values[name][self._mine].astype(np.float64)
        both = ~(np.isnan(old) | np.isnan(new))
        if self._single and both.any() and all(columns.is_rate(metric) for columns in self._columns):
            counts = PairedCounts.from_outcomes(old[both] > 0.5, new[both] > 0.5)
            compared = replace(compare_outcomes(counts), dropped=int((~both).sum()))
            equivalence = equivalent_rates(counts, margin, alpha=ALPHA, interval=False)
            return Difference(name, compared, equivalence, (float(new[both].mean()), float(old[both].mean())))
        return _mean_difference(name, self._by_task(old, new), self._by_task(new, old), margin)

    def _by_task(self, values: FloatArray, others: FloatArray) -> FloatArray:
        """[T] mean of each task over the samples that count in both runs, NaN where there is none."""
        if self._single:
            return values
        both = ~(np.isnan(values) | np.isnan(others))
        tasks = int(self.task[-1]) + 1
        count = np.bincount(self.task[both], minlength=tasks)
        total = np.bincount(self.task[both], weights=values[both], minlength=tasks)
        means: FloatArray = np.full(tasks, np.nan)
        np.divide(total, count, out=means, where=count > 0)
        return means


def _rubric_difference(
    candidate: RunFacts, baseline: RunFacts, metric: str, margin: float, pairs: int
) -> Difference:
    require_same_rubric(candidate.run, baseline.run, metric)
    new, old = (rubric_table(facts.run, metric).mean_of() for facts in (candidate, baseline))
    shared = sorted(new.keys() & old.keys())
    found = _mean_difference(
        metric,
        np.array([old[task_id] for task_id in shared], dtype=np.float64),
        np.array([new[task_id] for task_id in shared], dtype=np.float64),
        margin,
    )
    return replace(found, of=pairs)


def _mean_difference(metric: str, old: FloatArray, new: FloatArray, margin: float) -> Difference:
    differences, _ = paired_differences(old, new)
    if not len(differences):
        return Difference(metric, compare_means([], [], seed=SEED), None, None)
    both = ~(np.isnan(old) | np.isnan(new))
    means = (float(new[both].mean()), float(old[both].mean()))
    equivalence = bounded_equivalence(differences, margin, alpha=ALPHA)
    return Difference(metric, compare_means(old, new, seed=SEED), equivalence, means)


def _untested(difference: Difference, stopped: Sequence[str]) -> Difference:
    """Only the estimate: neither a test nor an interval of a fixed number of samples holds here."""
    if difference.means is None:
        return difference
    compared = difference.comparison
    estimate = replace(compared.difference, low=None, high=None, method="stopped early: no interval")
    return replace(
        difference,
        comparison=replace(compared, difference=estimate, p_value=None),
        equivalence=None,
        word="not tested",
        note=f"{' and '.join(stopped)} stopped early by the gate",
    )


def _worded(difference: Difference, tests: int) -> Difference:
    compared = difference.comparison
    estimate, p = compared.difference, difference.p_holm
    if estimate.estimate is None or p is None or difference.equivalence is None:
        return difference
    within = difference.equivalence.verdict == "pass"
    bounded = estimate.low is not None and estimate.high is not None
    reaches = bounded and (estimate.low or 0.0) <= 0.0 <= (estimate.high or 0.0)
    if p > ALPHA:
        if within or reaches or not bounded:
            return replace(difference, word="equivalent" if within else "not settled")
        unadjusted = compared.p_value is not None and compared.p_value <= ALPHA
        why = f"after the correction for {tests} comparisons" if unadjusted else f"by {compared.test}"
        return replace(difference, word="not settled", note=why)
    metric = METRICS.get(difference.metric)
    up = (estimate.estimate > 0) != (metric is not None and metric.lower_is_better)
    word: Word = "better" if up else "worse"
    if within:
        word = "slightly better" if up else "slightly worse"
    # The interval of a mean assumes nothing but its bounds, so it may be the more cautious of the two.
    return replace(
        difference, word=word, note=f"by {compared.test}; the interval reaches 0" if reaches else ""
    )
