"""Fixed-sample evidence on one rule: the tests of `harness.stats`, applied to a run's tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.gate.expression import Sense
from harness.metrics.columns import FloatArray, TaskTable
from harness.stats import (
    Decision,
    Estimate,
    PairedCounts,
    mean_against_bar,
    noninferior_rates,
    rate_against_bar,
)
from harness.stats.distributions import normal_cdf, two_sided_z

_STORED_CONFIDENCE = 0.95
"""Level of the intervals in `metrics.json`."""
_ROUNDING = 1e-12

Kind = Literal["rate", "mean", "constant", "stored", "exact", "sequential"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the data say about one rule.

    Attributes:
        p_pass: p-value of "the rule doesn't hold".
        p_fail: p-value of "the rule holds", before any correction.
        estimate: of the metric or the difference, with the tests' interval.
        units: independent observations behind it.
        kind: how `units` and the p-values go together, for the advice on further ones: a `rate` of single
            samples, a `mean` over tasks, a mean of `constant` values, a `stored` interval, a `sequential`
            test of tasks, or `exact`, where nothing is left to chance.
        detail: numbers for the sentence that explains the verdict.
        log_capital: of a sequential test, log of the capital staked on the side that the estimate is on.
        missing: planned samples that aren't there, which were taken at their worst and at their best.
        reach: after the estimate, what it could be once every answer had a value.
        deciding: what decides the rule where further samples can't.
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


def against_bar(table: TaskTable, bar: float, sense: Sense, alpha: float) -> Evidence:
    """A metric against a number; what isn't known is taken at its worst and at its best."""
    decision = _over_missing(table, lambda full: full.against_bar(bar, sense, alpha))
    single = table.is_rate and bool((table.count + table.missing <= 1).all())
    tasks = int((table.count > 0).sum())
    return _evidence(decision, tasks, "rate" if single else _kind(table))


def rate_from_counts(estimate: Estimate, bar: float, sense: Sense, alpha: float) -> Evidence:
    """A rate of independent samples from its stored estimate alone: n and the rate give the counts back."""
    n = estimate.n
    successes = round((estimate.estimate or 0.0) * n)
    return _evidence(rate_against_bar(successes, n, bar, sense=sense, alpha=alpha), n, "rate")


def against_baseline(
    candidate: TaskTable, baseline: TaskTable, shift: float, sense: Sense, alpha: float
) -> Evidence:
    """Candidate − baseline against `shift`, paired on tasks that both tables have in the same order.

    Rates with one sample a task: Tango's score test. Otherwise a t test of the tasks' differences, over the
    tasks on which both sides have a value.
    """
    single = candidate.is_rate and all(
        bool((table.count + table.missing == 1).all()) for table in (candidate, baseline)
    )

    def decided(low: float, high: float) -> Decision:
        if single:
            outcomes = (baseline.filled(high).total > 0.5, candidate.filled(low).total > 0.5)
            return _paired_rates(PairedCounts.from_outcomes(*outcomes), shift, sense, alpha)
        differences = _differences(candidate, baseline, low, high)
        test = mean_against_bar(
            differences, np.ones(len(differences)), shift, sense=sense, alpha=alpha, bounds=(-1.0, 1.0)
        )
        return replace(test, estimate=replace(test.estimate, method="paired t, by task"))

    if not candidate.is_open and not baseline.is_open:
        decision = decided(0.0, 0.0)
    else:
        both = int(((candidate.count > 0) & (baseline.count > 0)).sum())
        decision = _union(decided(0.0, 1.0), decided(1.0, 0.0), None, both)
    differences = _differences(candidate, baseline, None, None)
    seen = float(differences.mean()) if len(differences) else None
    decision = replace(decision, estimate=replace(decision.estimate, estimate=seen))
    constant = len(differences) > 0 and bool((differences == differences[0]).all())
    return _evidence(decision, len(differences), "constant" if constant else "mean")


def from_stored_interval(estimate: Estimate, bar: float, sense: Sense) -> Evidence:
    """A metric known only by its stored 95 % interval, each side scaled like a normal error.

    Exact at alpha = 0.025 where the interval is; an approximation at other levels. A limit that is missing or
    equal to the estimate says nothing on its side.
    """
    z = two_sided_z(_STORED_CONFIDENCE)

    def p_value(limit: float | None, distance: float) -> float:
        if limit is None or estimate.estimate is None or limit == estimate.estimate:
            return 1.0
        return normal_cdf(-distance * z / abs(limit - estimate.estimate))

    value = math.nan if estimate.estimate is None else estimate.estimate
    p_above, p_below = p_value(estimate.low, value - bar), p_value(estimate.high, bar - value)
    p_pass, p_fail = (p_above, p_below) if sense == ">=" else (p_below, p_above)
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


def _kind(table: TaskTable) -> Kind:
    values = table.means[table.count > 0]
    return "constant" if len(values) and bool((values == values[0]).all()) else "mean"


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


def _paired_rates(counts: PairedCounts, shift: float, sense: Sense, alpha: float) -> Decision:
    """Tango's test of difference ≥ shift or ≤ shift, from his test of non-inferiority."""
    if sense == "<=":
        # The rule is about failures: their difference is the successes' with the sign turned.
        return _mirrored(_paired_rates(_swapped(counts), -shift, ">=", alpha))
    if shift <= 0.0:
        return noninferior_rates(counts, -shift, alpha=alpha)
    # Superiority by `shift` is refuted where the baseline is shown to be inferior by less.
    turned = _mirrored(noninferior_rates(_swapped(counts), shift, alpha=alpha))
    return replace(turned, p_pass=turned.p_fail, p_fail=turned.p_pass)


def _swapped(counts: PairedCounts) -> PairedCounts:
    return PairedCounts(counts.both, counts.baseline_only, counts.candidate_only, counts.neither)


def _mirrored(decision: Decision) -> Decision:
    estimate = decision.estimate
    turned = [None if value is None else -value for value in (estimate.estimate, estimate.high, estimate.low)]
    return replace(decision, estimate=replace(estimate, estimate=turned[0], low=turned[1], high=turned[2]))
