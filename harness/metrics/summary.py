"""From a table of scored samples to every metric of a run, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.bootstrap import bootstrap_ratio
from harness.stats.estimate import Estimate
from harness.stats.intervals import wilson, wilson_clustered

TIERS = ("strict", "lenient", "repaired", "none")
"""Parse tiers; a `SampleTable` holds their index."""

NO_CODE = -1
"""What a `SampleTable` holds in place of a failure code when the sample is strict."""

_STRICT = TIERS.index("strict")
_UNIT = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class SampleTable:
    """N scored samples of T tasks, by column.

    Attributes:
        task_index: [N] row of the task in the per-task columns, 0 … T − 1.
        tier: [N] index into `TIERS`.
        code: [N] index into the contract's failure codes, `NO_CODE` when strict.
        truncated: [N] whether the completion was cut off (finish_reason `length`), whatever its tier.
        ndcg_at_1: [N] NDCG@1 of the ranking; NaN when the sample isn't strict or its task has no NDCG.
        ndcg_at_k: [N] NDCG over all K ranks; NaN likewise.
        no_relevant: [T] whether no candidate of the task is relevant.
        all_tied: [T] whether all its labels are equal (so also when none is relevant).
        chance_ndcg_at_1: [T] NDCG@1 that a random ranking has on average; NaN where undefined.
    """

    task_index: npt.NDArray[np.integer]
    tier: npt.NDArray[np.integer]
    code: npt.NDArray[np.integer]
    truncated: npt.NDArray[np.bool_]
    ndcg_at_1: npt.NDArray[np.floating]
    ndcg_at_k: npt.NDArray[np.floating]
    no_relevant: npt.NDArray[np.bool_]
    all_tied: npt.NDArray[np.bool_]
    chance_ndcg_at_1: npt.NDArray[np.floating]


def summarise(
    table: SampleTable,
    failure_codes: Sequence[str],
    *,
    seed: int,
    confidence: float = 0.95,
    draws: int = 2000,
) -> dict[str, Estimate]:
    """Every metric of a run; names as in `metrics.json`.

    - `parse_validity.strict`, `.lenient`, `.repaired`: share of samples usable by whoever accepts that
      tier, so each includes the ones before it. Only the first is parse validity.
    - `failure_rate.<code>`: share of samples whose strict parse failed for this reason; they and
      `parse_validity.strict` add up to 1. `truncation_rate`: share cut off, strict or not.
    - `ndcg_at_1.parsed`, `ndcg_at_k.parsed`: mean over strictly parsed samples. `….all`: mean over all
      samples, every sample that isn't strict counting 0. `ndcg_at_1.chance`: what random rankings of the
      same tasks would have, each task once.
    - `task_rate.no_relevant`, `task_rate.all_tied`: shares of tasks with such labels (a task
      without any relevant candidate is in both). They say nothing about ranking, so the NDCG means
      leave their samples out; the rates of parsing keep them.

    Tasks without samples count nowhere. Rates have Wilson's interval, with the design effect of several
    samples a task; means have the percentile bootstrap by task. The order of samples and the numbering of
    tasks don't matter.

    Args:
        table: the samples.
        failure_codes: names of the contract's failure codes, in the order of `table.code`.
        seed: of the bootstrap.
        confidence: two-sided level of every interval, in (0, 1).
        draws: bootstrap resamples.

    Raises:
        ValueError: columns that disagree in length, hold an index out of range, or contradict each other.
    """
    _check(table, len(failure_codes))
    samples = np.bincount(table.task_index, minlength=len(table.no_relevant))
    seen = samples > 0

    def rate(hit: npt.NDArray[np.bool_]) -> Estimate:
        return _rate(
            np.bincount(table.task_index[hit], minlength=len(samples))[seen], samples[seen], confidence
        )

    metrics = {
        f"parse_validity.{name}": rate(table.tier <= tier)
        for tier, name in enumerate(TIERS)
        if name != "none"
    }
    metrics |= {f"failure_rate.{name}": rate(table.code == code) for code, name in enumerate(failure_codes)}
    metrics["truncation_rate"] = rate(table.truncated)
    informative = ~(table.no_relevant | table.all_tied)

    def mean(numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.integer]) -> Estimate:
        use = seen & informative
        return bootstrap_ratio(
            numerator[use],
            denominator[use],
            n=int(denominator[use].sum()),
            seed=seed,
            confidence=confidence,
            draws=draws,
            bounds=_UNIT,
        )

    strict = table.tier == _STRICT
    parsed = np.bincount(table.task_index[strict], minlength=len(samples))
    for name, values in (("ndcg_at_1", table.ndcg_at_1), ("ndcg_at_k", table.ndcg_at_k)):
        total = _sums(table.task_index, values, strict & informative[table.task_index], len(samples))
        metrics[f"{name}.parsed"] = mean(total, parsed)
        metrics[f"{name}.all"] = mean(total, samples)
    chance = np.where(informative, table.chance_ndcg_at_1, 0.0)
    metrics["ndcg_at_1.chance"] = mean(chance, np.ones(len(samples), dtype=np.int64))
    tasks = int(seen.sum())
    metrics["task_rate.no_relevant"] = wilson(int(table.no_relevant[seen].sum()), tasks, confidence)
    metrics["task_rate.all_tied"] = wilson(int(table.all_tied[seen].sum()), tasks, confidence)
    return metrics


def _rate(hits: npt.NDArray[np.int64], samples: npt.NDArray[np.int64], confidence: float) -> Estimate:
    if (samples == 1).all():
        return wilson(int(hits.sum()), int(samples.sum()), confidence)
    return wilson_clustered(hits, samples, confidence)


def _sums(
    task_index: npt.NDArray[np.integer],
    values: npt.NDArray[np.floating],
    use: npt.NDArray[np.bool_],
    tasks: int,
) -> npt.NDArray[np.float64]:
    """[T] sum of a task's values, added up in an order that depends on the values alone."""
    index, chosen = task_index[use], values[use]
    order = np.lexsort((chosen, index))
    return np.bincount(index[order], weights=chosen[order], minlength=tasks).astype(np.float64)


def _check(table: SampleTable, codes: int) -> None:
    samples, tasks = len(table.task_index), len(table.no_relevant)
    per_sample = (table.tier, table.code, table.truncated, table.ndcg_at_1, table.ndcg_at_k)
    if any(column.shape != (samples,) for column in per_sample):
        raise ValueError(f"per-sample columns differ in length; task_index has {samples} entries")
    if any(column.shape != (tasks,) for column in (table.all_tied, table.chance_ndcg_at_1)):
        raise ValueError(f"per-task columns differ in length; no_relevant has {tasks} entries")
    for name, column, low, high in (
        ("task_index", table.task_index, 0, tasks),
        ("tier", table.tier, 0, len(TIERS)),
        ("code", table.code, NO_CODE, codes),
    ):
        if samples and not (low <= int(column.min()) and int(column.max()) < high):
            raise ValueError(f"{name} must lie in {low} … {high - 1}")
    strict = table.tier == _STRICT
    if ((table.code == NO_CODE) != strict).any():
        raise ValueError("a sample must have a failure code exactly when it isn't strict")
    informative = ~(table.no_relevant | table.all_tied)
    scored = strict & informative[table.task_index]
    for name, values in (("ndcg_at_1", table.ndcg_at_1[scored]), ("ndcg_at_k", table.ndcg_at_k[scored])):
        if not ((values >= 0.0) & (values <= 1.0 + 1e-9)).all():
            raise ValueError(f"{name} of a strict sample must lie in [0, 1] where its task's labels differ")
    if not np.isfinite(table.chance_ndcg_at_1[informative]).all():
        raise ValueError("chance_ndcg_at_1 must be a number where a task's labels differ")
