"""Bootstrap of a ratio of per-task sums, resampling whole tasks.

A mean over samples whose tasks were drawn, not the samples, is such a ratio: Σ_t (sum of task t's values) /
Σ_t (number of task t's samples). Resampling T rows with replacement is a multinomial draw of how often each
*distinct* row comes up, so a million tasks with a handful of distinct rows cost no more than a handful.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.stats.distributions import check_confidence, normal_cdf, normal_quantile
from harness.stats.estimate import Estimate

FloatArray = npt.NDArray[np.float64]
Method = Literal["percentile", "bca"]

MAX_DISTINCT_ROWS = 4096
_MAX_DIRECT_WORK = 200_000_000
"""Most single draws (tasks × resamples) made one by one; beyond it rows are merged first, see `_merge`."""
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class _Rows:
    """Distinct (numerator, denominator) rows with their multiplicities, in an order of their own."""

    numerator: FloatArray
    denominator: FloatArray
    count: npt.NDArray[np.int64]


def bootstrap_ratio(
    numerator_per_task: Sequence[float] | npt.NDArray[np.floating],
    denominator_per_task: Sequence[float] | npt.NDArray[np.number],
    *,
    n: int,
    seed: int,
    confidence: float = 0.95,
    draws: int = 2000,
    method: Method = "percentile",
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """Interval of Σ numerator / Σ denominator with tasks as the units that were sampled.

    The percentile and BCa intervals of Efron, "Better bootstrap confidence intervals" (JASA 82, 1987). The
    order of tasks doesn't matter, not even in the last bit. Where a resample is without a defined
    value, and where resampling can't say anything, the rule is:

    - a task with denominator 0 (nothing of it counted) stays in the resampling; a resample whose
      denominators are all 0 is left out.
    - nothing to divide by: `estimate`, `low` and `high` are None.
    - one task with a denominator: an estimate without limits, since nothing shows how tasks differ.
    - every task has the same value: resampling would give an interval of width 0, a certainty that
      the data don't hold. With `bounds`, the limits are those an exact argument leaves: if a share ε of
      tasks had another value, all T would agree with probability (1 − ε)^T, which excludes ε above
      1 − ((1 − confidence)/2)^(1/T), and such a share can pull the mean no further than towards a bound
      (at value 1 of [0, 1] this is Clopper and Pearson's limit). Without `bounds` there are no limits.
    - BCa without a bias correction (all resamples on one side of the estimate): the percentile interval.

    Exact resampling up to 2·10⁸ single draws or 4,096 distinct rows; beyond, rows are first merged into 4,096
    groups of nearly equal residual (see `_merge`), which leaves the estimate as it is and shortens the
    interval by less than one part in a thousand.

    Args:
        numerator_per_task: [T] sum of each task's values.
        denominator_per_task: [T] number (or weight) of its values, ≥ 0.
        n: number of samples behind it, only reported.
        seed: decides the resamples, and with them the limits.
        confidence: two-sided level in (0, 1).
        draws: number of resamples, ≥ 1.
        method: `percentile` or `bca` (bias-corrected and accelerated).
        bounds: least and largest value that a single sample can have, when known.

    Raises:
        ValueError: arrays of different shapes, not finite, a negative denominator, or settings out of range.
    """
    check_confidence(confidence)
    if draws < 1 or n < 0 or method not in ("percentile", "bca"):
        raise ValueError(f"draws = {draws}, n = {n}, method = {method!r}: not a bootstrap that can be made")
    rows = _distinct(numerator_per_task, denominator_per_task)
    label = f"bootstrap-{method}, by task"
    weighted = rows.denominator > 0
    if not weighted.any():
        return Estimate(n, None, None, None, label)
    estimate = _ratio(rows)
    tasks = int(rows.count[weighted].sum())
    if tasks == 1:
        return Estimate(n, estimate, None, None, f"{label}: one task, no interval")
    residual = rows.numerator - estimate * rows.denominator
    scale = float(np.abs(rows.numerator).max()) + abs(estimate) * float(rows.denominator.max())
    if float(np.abs(residual).max()) <= 1e-12 * scale:
        low, high = _constant_limits(estimate, tasks, confidence, bounds)
        return Estimate(n, estimate, low, high, f"{label}: all tasks equal, limit on unseen values")
    replicates = _replicates(rows, np.random.default_rng(seed), draws)
    if method == "bca":
        low, high = bca_limits(replicates, estimate, *_jackknife(rows), confidence=confidence)
    else:
        low, high = percentile_limits(replicates, confidence)
    return Estimate(n, estimate, low, high, label)


def percentile_limits(replicates: FloatArray, confidence: float) -> tuple[float, float]:
    """The (1 ∓ confidence)/2 quantiles of the bootstrap replicates [draws]."""
    low, high = np.quantile(replicates, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return float(low), float(high)


def bca_limits(
    replicates: FloatArray,
    estimate: float,
    jackknife: FloatArray,
    jackknife_count: npt.NDArray[np.int64] | None = None,
    *,
    confidence: float,
) -> tuple[float, float]:
    """Bias-corrected and accelerated limits, Efron (1987), with jackknife acceleration.

    Args:
        replicates: [draws] bootstrap replicates of the statistic.
        estimate: the statistic on the data.
        jackknife: [D] the statistic without one unit.
        jackknife_count: [D] number of units with that value; None means one each.
        confidence: two-sided level in (0, 1).
    """
    below = (np.count_nonzero(replicates < estimate) + np.count_nonzero(replicates <= estimate)) / 2.0
    share = below / len(replicates)
    if share in (0.0, 1.0):
        return percentile_limits(replicates, confidence)
    bias = normal_quantile(share)
    count = np.ones(len(jackknife)) if jackknife_count is None else jackknife_count
    deviation = float(count @ jackknife) / float(count.sum()) - jackknife
    spread = float(count @ deviation**2)
    acceleration = float(count @ deviation**3) / (6.0 * spread**1.5) if spread > 0.0 else 0.0
    levels = []
    for tail in ((1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0):
        shifted = bias + normal_quantile(tail)
        levels.append(normal_cdf(bias + shifted / (1.0 - acceleration * shifted)))
    low, high = np.quantile(replicates, levels)
    return float(low), float(high)


def _distinct(
    numerator: Sequence[float] | npt.NDArray[np.floating],
    denominator: Sequence[float] | npt.NDArray[np.number],
) -> _Rows:
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"shapes {top.shape} and {bottom.shape}; both must be [tasks]")
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        raise ValueError(
            "a numerator or denominator is not finite; leave undefined tasks out or give them 0 and 0"
        )
    if (bottom < 0).any():
        raise ValueError("a denominator is negative")
    order = np.lexsort((top, bottom))
    top, bottom = top[order], bottom[order]
    first = np.ones(len(top), dtype=bool)
    first[1:] = (top[1:] != top[:-1]) | (bottom[1:] != bottom[:-1])
    starts = np.flatnonzero(first)
    return _Rows(top[starts], bottom[starts], np.diff(np.append(starts, len(top))))


def _ratio(rows: _Rows) -> float:
    return math.fsum(rows.count * rows.numerator) / math.fsum(rows.count * rows.denominator)


def _constant_limits(
    value: float, tasks: int, confidence: float, bounds: tuple[float, float] | None
) -> tuple[float | None, float | None]:
    if bounds is None:
        return None, None
    unseen = -math.expm1(math.log((1.0 - confidence) / 2.0) / tasks)
    return value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value)


def _jackknife(rows: _Rows) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """The ratio without one task, once for each distinct row."""
    bottom = float(rows.count @ rows.denominator) - rows.denominator
    top = float(rows.count @ rows.numerator) - rows.numerator
    return top / bottom, rows.count


def _replicates(rows: _Rows, rng: np.random.Generator, draws: int) -> FloatArray:
    """The ratio in each resample that has a denominator: [≤ draws]."""
    tasks = int(rows.count.sum())
    few = len(rows.count) <= min(MAX_DISTINCT_ROWS, max(2, tasks // 8))
    if not few and tasks * draws > _MAX_DIRECT_WORK:
        rows, few = _merge(rows, MAX_DISTINCT_ROWS), True
    top, bottom = (_multinomial_sums if few else _direct_sums)(rows, rng, draws)
    defined = bottom > 0
    return top[defined] / bottom[defined]


def _multinomial_sums(rows: _Rows, rng: np.random.Generator, draws: int) -> tuple[FloatArray, FloatArray]:
    tasks = int(rows.count.sum())
    values = np.stack([rows.numerator, rows.denominator], axis=1)
    chunk = max(1, _CHUNK // len(rows.count))
    sums = [
        rng.multinomial(tasks, rows.count / tasks, size=min(chunk, draws - start)) @ values
        for start in range(0, draws, chunk)
    ]
    both = np.concatenate(sums)
    return both[:, 0], both[:, 1]


def _direct_sums(rows: _Rows, rng: np.random.Generator, draws: int) -> tuple[FloatArray, FloatArray]:
    """Sums over tasks drawn one by one: faster when most rows differ."""
    top, bottom = np.repeat(rows.numerator, rows.count), np.repeat(rows.denominator, rows.count)
    tasks = len(top)
    same = bool((rows.denominator == rows.denominator[0]).all())
    sums = np.empty((draws, 2))
    chunk = max(1, _CHUNK // tasks)
    for start in range(0, draws, chunk):
        stop = min(start + chunk, draws)
        chosen = rng.integers(0, tasks, size=(stop - start, tasks), dtype=np.int32)
        sums[start:stop, 0] = top[chosen].sum(axis=1)
        sums[start:stop, 1] = bottom[0] * tasks if same else bottom[chosen].sum(axis=1)
    return sums[:, 0], sums[:, 1]


def _merge(rows: _Rows, groups: int) -> _Rows:
    """Replace rows of nearly equal residual (numerator − ratio · denominator) by their mean.

    To first order a resampled ratio moves by the sum of residuals, so only the spread of residuals *within*
    a group is lost. Groups are cut at equal shares of Σ(|residual| + mean |residual|): a rare extreme
    row keeps a group of its own.
    """
    residual = rows.numerator - _ratio(rows) * rows.denominator
    order = np.argsort(residual, kind="stable")
    count = rows.count[order]
    size = np.abs(residual[order])
    weight = np.cumsum(count * (size + float(count @ size) / float(count.sum())))
    label = np.minimum((weight / weight[-1] * groups).astype(np.int64), groups - 1)
    starts = np.flatnonzero(np.diff(label, prepend=-1))
    merged = np.add.reduceat(count, starts)
    return _Rows(
        np.add.reduceat(count * rows.numerator[order], starts) / merged,
        np.add.reduceat(count * rows.denominator[order], starts) / merged,
        merged,
    )
