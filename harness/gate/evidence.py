"""Fixed-sample evidence on one rule: the tests of `harness.stats`, applied to a run's tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.gate.expression import Sense
from harness.metrics.columns import FloatArray, TaskTable
from harness.metrics.table import KNOWN
from harness.stats import (
    Decision,
    Estimate,
    PairedCounts,
    betting_growth,
    mean_against_bar,
    noninferior_rates,
    rate_against_bar,
)

_STORED_ERROR = 0.025
"""Of each end of the intervals in `metrics.json`."""
_ROUNDING = 1e-12
_DIFFERENCES = (-1.0, 1.0)

Kind = Literal["rate", "mean", "stored", "exact", "sequential"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the data say about one rule.

    Attributes:
        p_pass: p-value of "the rule doesn't hold".
        p_fail: p-value of "the rule holds", before any correction.
        estimate: of the metric or the difference, with the tests' interval.
        units: independent observations behind it.
        kind: how `units` and the p-values go together, for the advice on further ones: a `rate` of single
            samples, a `mean` over tasks, a `stored` interval, a `sequential` test of tasks, or `exact`, where
            nothing is left to chance.
        detail: numbers for the sentence that explains the verdict.
        log_capital: of a sequential test, log of the capital staked on the side that the estimate is on; of a
            mean, that of the best single stake in hindsight.
        missing: planned samples that aren't there, which were taken at their worst and at their best.
        reach: after the estimate, what it could be once every answer had a value.
        deciding: what decides the rule where further samples can't.
        at_worst: the estimate with every answer without a value on the side of the bar that it isn't on; None
            where all have one.
        hidden: units without a value, not among `units`.
    """

    p_pass: float
    p_fail: float
    estimate: Estimate
    units: int
    kind: Kind
    detail: str = ""
    log_capital: float = 0.0
    missing: int = 0
    reach: str = ""
    deciding: str = ""
    at_worst: float | None = None
    hidden: int = 0


def against_bar(
    table: TaskTable, bar: float, sense: Sense, alpha: float, *, interval: bool = True
) -> Evidence:
    """A metric against a number; what isn't known is taken at its worst and at its best.

    Args:
        table: the metric by task.
        bar: the number.
        sense: which side passes.
        alpha: level of the interval.
        interval: whether its ends are wanted; the p-values alone are found faster.
    """
    decision = _over_missing(table, lambda full: full.against_bar(bar, sense, alpha, interval=interval))
    tasks = int((table.count > 0).sum())
    if table.is_single:
        return _evidence(decision, tasks, "rate")
    growth = betting_growth(table.total, table.count, bar, most=table.most) if interval else 0.0
    return replace(_evidence(decision, tasks, "mean"), log_capital=growth)


def rate_from_counts(estimate: Estimate, bar: float, sense: Sense, alpha: float) -> Evidence:
    """A rate of independent samples from its stored estimate alone: n and the rate give the counts back."""
    n = estimate.n
    successes = round((estimate.estimate or 0.0) * n)
    return _evidence(rate_against_bar(successes, n, bar, sense=sense, alpha=alpha), n, "rate")


def against_baseline(
    candidate: TaskTable,
    baseline: TaskTable,
    shift: float,
    sense: Sense,
    alpha: float,
    *,
    interval: bool = True,
) -> Evidence:
    """Candidate − baseline against `shift`, paired on tasks that both tables have in the same order.

    Over the tasks on which both sides have a value: the exact test of paired rates where a task has one
    sample that is 0 or 1 on either side, otherwise that of the mean of the tasks' differences.

    Args:
        candidate: a metric of the run.
        baseline: of the baseline.
        shift: what the difference is compared with.
        sense: which side passes.
        alpha: level of the interval.
        interval: whether its ends are wanted; the p-values alone are found faster.
    """
    single = candidate.is_single and baseline.is_single

    def decided(low: float, high: float) -> Decision:
        differences = _differences(candidate, baseline, low, high)
        if single:
            gain, loss = (int((sign * differences > 0.5).sum()) for sign in (1.0, -1.0))
            counts = PairedCounts(len(differences) - gain - loss, gain, loss, 0)
            return _paired_rates(counts, shift, sense, alpha, interval)
        test = mean_against_bar(
            differences,
            np.ones(len(differences)),
            shift,
            sense=sense,
            alpha=alpha,
            bounds=_DIFFERENCES,
            most=1,
            interval=interval,
        )
        return replace(test, estimate=replace(test.estimate, method=f"{test.estimate.method}, paired"))

    if not candidate.is_open and not baseline.is_open:
        decision = decided(0.0, 0.0)
    else:
        both = int(((candidate.count > 0) & (baseline.count > 0)).sum())
        decision = _union(decided(0.0, 1.0), decided(1.0, 0.0), None, both)
    differences = _differences(candidate, baseline, None, None)
    seen = float(differences.mean()) if len(differences) else None
    decision = replace(decision, estimate=replace(decision.estimate, estimate=seen))
    evidence = _evidence(decision, len(differences), "mean")
    if single or not interval:
        return evidence
    growth = betting_growth(differences, np.ones(len(differences)), shift, bounds=_DIFFERENCES)
    return replace(evidence, log_capital=growth)


def from_stored_interval(estimate: Estimate, bar: float, sense: Sense) -> Evidence:
    """A metric known only by its stored 95 % interval: all that says is on which side of the bar it lies.

    Each end errs with 2.5 %, so that is the p-value where the whole interval lies on one side. A smaller one
    can't be had from it: below that alpha, or with several such rules to correct failing for, nothing is
    decided. A limit that is missing or equal to the estimate says nothing on its side. What is known from the
    labels of the tasks is so for certain.
    """

    def p_value(limit: float | None, beyond: Callable[[float], bool]) -> float:
        says = limit is not None and limit != estimate.estimate and beyond(limit)
        return _STORED_ERROR if says else 1.0

    if estimate.method == KNOWN:
        known = Evidence(1.0, 1.0, estimate, estimate.n, "exact")
        return exactly(known, estimate.estimate, estimate.estimate, bar, sense)
    above = p_value(estimate.low, lambda low: low > bar)
    below = p_value(estimate.high, lambda high: high < bar)
    p_pass, p_fail = (above, below) if sense == ">=" else (below, above)
    return Evidence(p_pass, p_fail, estimate, estimate.n, "stored")


def exactly(evidence: Evidence, low: float | None, high: float | None, bar: float, sense: Sense) -> Evidence:
    """The same rule about this list of tasks alone: its value lies between `low` and `high` for certain."""
    if low is None or high is None:
        return replace(evidence, p_pass=1.0, p_fail=1.0, kind="exact")
    worst, best = (low, high) if sense == ">=" else (-high, -low)
    goal = bar if sense == ">=" else -bar
    estimate = replace(evidence.estimate, low=low, high=high, method="whole list")
    return replace(
        evidence,
        p_pass=0.0 if worst >= goal - _ROUNDING else 1.0,
        p_fail=0.0 if best < goal - _ROUNDING else 1.0,
        estimate=estimate,
        kind="exact",
    )


def list_range(candidate: TaskTable, baseline: TaskTable | None) -> tuple[float | None, float | None]:
    """Least and largest value that the metric (or its difference) can have once nothing is missing."""
    if baseline is None:
        return candidate.filled(0.0).estimate, candidate.filled(1.0).estimate
    low, high = (_differences(candidate, baseline, fill, 1.0 - fill) for fill in (0.0, 1.0))
    return (float(low.mean()) if len(low) else None), (float(high.mean()) if len(high) else None)


def _over_missing(table: TaskTable, decided: Callable[[TaskTable], Decision]) -> Decision:
    if not table.is_open:
        return decided(table)
    return _union(
        decided(table.filled(0.0)), decided(table.filled(1.0)), table.estimate, int(table.count.sum())
    )


def _union(first: Decision, second: Decision, estimate: float | None, n: int) -> Decision:
    """No surer than the less sure of two; the interval holds both."""
    lows = [one.estimate.low for one in (first, second)]
    highs = [one.estimate.high for one in (first, second)]
    merged = Estimate(
        n,
        estimate,
        None if None in lows else min(low for low in lows if low is not None),
        None if None in highs else max(high for high in highs if high is not None),
        f"{first.estimate.method}, missing at worst and best",
    )
    p_pass, p_fail = max(first.p_pass, second.p_pass), max(first.p_fail, second.p_fail)
    return Decision("undecided", p_pass, p_fail, merged, first.alpha)


def _evidence(decision: Decision, units: int, kind: Kind) -> Evidence:
    return Evidence(decision.p_pass, decision.p_fail, decision.estimate, units, kind)


def _differences(
    candidate: TaskTable, baseline: TaskTable, low: float | None, high: float | None
) -> FloatArray:
    """One difference a task, missing candidate samples at `low`, the baseline's at `high`.

    Tasks without a value on either side are left out. With `low` and `high` None only what is there
    counts. Where a missing sample might not count at all (it may not parse), the difference is as far off as
    it can be.
    """
    if low is not None and high is not None:
        mean = candidate.filled(low).means - baseline.filled(high).means
        hidden = (candidate.missing > 0) | (baseline.missing > 0)
        hidden &= ((candidate.count == 0) | (baseline.count == 0)) & ~np.isnan(mean)
        if not candidate.counts_always:
            mean = np.where(hidden, low - high, mean)
    else:
        mean = candidate.means - baseline.means
    known: FloatArray = mean[~np.isnan(mean)]
    return known


def _paired_rates(counts: PairedCounts, shift: float, sense: Sense, alpha: float, interval: bool) -> Decision:
    """The exact test of difference ≥ shift or ≤ shift, from that of non-inferiority."""
    if sense == ">=":
        return noninferior_rates(counts, -shift, alpha=alpha, interval=interval)
    # The rule is about failures: their difference is the successes' with the sign turned.
    swapped = PairedCounts(counts.both, counts.baseline_only, counts.candidate_only, counts.neither)
    return _mirrored(noninferior_rates(swapped, shift, alpha=alpha, interval=interval))


def _mirrored(decision: Decision) -> Decision:
    estimate = decision.estimate
    turned = [None if value is None else -value for value in (estimate.estimate, estimate.high, estimate.low)]
    return replace(decision, estimate=replace(estimate, estimate=turned[0], low=turned[1], high=turned[2]))
