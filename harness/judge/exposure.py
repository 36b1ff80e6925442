"""How far a judge can be trusted: agreement with itself, biases, and what else its scores go along with.

Pure statistics. The unit of every interval is the task, as for the scores themselves: samples of one task,
and repeats of one sample, are alike. Rates and means have the intervals of `harness.stats`, which keep their
level; agreement and correlations a percentile bootstrap.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from harness.judge.answer import UNSCORED_REASONS
from harness.stats import Estimate, mean_interval, rate_by_task
from harness.stats.bootstrap import percentile_limits
from harness.stats.distributions import normal_quantile

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_WORK = 200_000_000
"""Most weighted samples ranked in one bootstrap; beyond it fewer resamples are drawn, but at least 200."""
_MIN_DRAWS = 200


def compact(tasks: Sequence[int] | IntArray) -> IntArray:
    """[N] task numbers without gaps: tasks of which nothing was judged are no part of the sample."""
    return np.unique(np.asarray(tasks, dtype=np.int64), return_inverse=True)[1].astype(np.int64)


def counts(tasks: IntArray) -> IntArray:
    """[T] number of entries of each task, numbered without gaps."""
    return np.bincount(tasks).astype(np.int64)


def sums(tasks: IntArray, values: Sequence[float] | FloatArray) -> FloatArray:
    """[T] sum of each task's values; tasks numbered without gaps."""
    return np.bincount(tasks, weights=np.asarray(values, dtype=np.float64)).astype(np.float64)


def unscored_rates(name: str, reasons: Sequence[str | None], tasks: Sequence[int]) -> dict[str, Estimate]:
    """Shares of judgements without a score: in all, and for each reason that occurred.

    Args:
        name: prefix of the metrics' names.
        reasons: of each judgement, None when it has a score.
        tasks: task of each judgement.
    """
    total = Counter(tasks)
    order = sorted(total)

    def rate(wanted: frozenset[str]) -> Estimate:
        hits = Counter(task for task, reason in zip(tasks, reasons, strict=True) if reason in wanted)
        return rate_by_task([hits[task] for task in order], [total[task] for task in order])

    metrics = {f"{name}.unscored": rate(frozenset(UNSCORED_REASONS))}
    for reason in UNSCORED_REASONS:
        if reason in reasons:
            metrics[f"{name}.unscored.{reason}"] = rate(frozenset({reason}))
    return metrics


def self_agreement(
    first: FloatArray, second: FloatArray, task_index: IntArray, *, seed: int, draws: int = 2000
) -> Estimate:
    """Quadratic-weighted κ between repeated judgements of the same samples.

    Cohen, "Weighted kappa" (Psychological Bulletin 70, 1968), with squared weights, in the form
    1 − Σ(x − y)² / E[Σ(x − y′)²], which needs no categories and so takes weighted totals as well as whole
    grades; repeats are exchangeable, so each pair counts in both orders. 1 is perfect, 0 is what shuffled
    scores would give. scikit-learn's `cohen_kappa_score` takes categories only, and weighs their places
    rather than their values; on whole grades the tests hold this one against it.

    Args:
        first: [P] scores of one repeat.
        second: [P] scores of another repeat of the same samples.
        task_index: [P] task of each pair.
        seed: of the bootstrap.
        draws: resamples.

    Returns:
        n is the number of pairs; no estimate when there are none or all scores are equal.
    """
    label = "quadratic-weighted kappa, bootstrap by task"
    pairs = len(first)
    if pairs == 0:
        return Estimate(0, None, None, None, label)
    task = compact(task_index)
    columns = (np.ones(pairs), (first - second) ** 2, first + second, first**2 + second**2)
    per_task = np.stack([sums(task, column) for column in columns], axis=1)
    estimate = _kappa(per_task.sum(axis=0))
    if math.isnan(estimate):
        return Estimate(pairs, None, None, None, f"{label}: all scores equal, undefined")
    replicates = _resample(len(per_task), seed, draws, lambda weight: _kappa(weight @ per_task))
    return with_limits(pairs, estimate, replicates, label)


def _kappa(totals: FloatArray) -> float:
    """κ from sums over pairs of 1, (x − y)², x + y and x² + y²; NaN when all scores are equal."""
    count, squared, total, squares = (float(value) for value in totals)
    variance = squares / (2.0 * count) - (total / (2.0 * count)) ** 2
    # Relative to the size of the scores: equal ones leave a variance of rounding errors.
    if variance <= 1e-12 * squares / count:
        return math.nan
    return 1.0 - squared / count / (2.0 * variance)


def rank_correlation(
    x: FloatArray,
    y: FloatArray,
    task_index: IntArray,
    *,
    given: FloatArray | None = None,
    seed: int,
    draws: int = 2000,
) -> Estimate:
    """Spearman's rank correlation, ranks taken anew in every resample.

    With `given`, the partial rank correlation (Kendall & Stuart, "The Advanced Theory of Statistics", vol. 2,
    27.5, on ranks): what x and y share beyond what both share with it.

    Args:
        x: [N] values.
        y: [N] values of the same samples.
        task_index: [N] task of each sample.
        given: [N] values to hold fixed.
        seed: of the bootstrap.
        draws: resamples; fewer when there are many samples.

    Returns:
        No estimate when there are fewer than three samples or a variable is constant.
    """
    label = "Spearman, bootstrap by task" if given is None else "partial Spearman, bootstrap by task"
    samples = len(x)
    if samples < 3:
        return Estimate(samples, None, None, None, label)
    columns = [_Ranker(values) for values in ((x, y) if given is None else (x, y, given))]
    estimate = _correlation([column.ranks(np.ones(samples)) for column in columns], np.ones(samples))
    if math.isnan(estimate):
        return Estimate(samples, None, None, None, f"{label}: a constant, undefined")
    task = compact(task_index)

    def replicate(weight: FloatArray) -> float:
        return _correlation([column.ranks(weight[task]) for column in columns], weight[task])

    affordable = max(_MIN_DRAWS, min(draws, _WORK // (samples * len(columns) * 8)))
    replicates = _resample(len(counts(task)), seed, affordable, replicate)
    return with_limits(samples, estimate, replicates, label)


class _Ranker:
    """Average ranks of values that come with multiplicities, without sorting again each time."""

    def __init__(self, values: FloatArray) -> None:
        distinct, self._index = np.unique(values, return_inverse=True)
        self._distinct = len(distinct)

    def ranks(self, weight: FloatArray) -> FloatArray:
        """[N] rank of each value when value i is there weight[i] times."""
        count = np.bincount(self._index, weights=weight, minlength=self._distinct)
        ranks: FloatArray = (np.cumsum(count) - (count - 1.0) / 2.0)[self._index]
        return ranks


def _correlation(ranks: list[FloatArray], weight: FloatArray) -> float:
    matrix = np.stack(ranks)
    centred = matrix - (matrix @ weight / weight.sum())[:, None]
    covariance = (centred * weight) @ centred.T
    spread = np.sqrt(np.diag(covariance))
    if (spread <= 1e-9 * len(weight)).any():
        return math.nan
    r = covariance / np.outer(spread, spread)
    if len(ranks) == 2:
        return float(np.clip(r[0, 1], -1.0, 1.0))
    rest = (1.0 - r[0, 2] ** 2) * (1.0 - r[1, 2] ** 2)
    if rest <= 1e-12:
        return math.nan  # one of the two is all but the variable held fixed: nothing is left to correlate
    return float(np.clip((r[0, 1] - r[0, 2] * r[1, 2]) / math.sqrt(rest), -1.0, 1.0))


def position_bias(earlier: FloatArray, later: FloatArray, task_index: IntArray) -> Estimate:
    """How often the presentation that showed the top choice earlier got the higher score.

    Args:
        earlier: [P] score of the repeat in which the ranking's first choice was listed earlier.
        later: [P] score of the repeat of the same sample in which it was listed later.
        task_index: [P] task of each pair.

    Returns:
        A rate among pairs whose scores differ, in [0, 1]: ½ without bias, 1 when being listed early always
        helps, 0 when it always hurts. n is the number of those pairs.
    """
    task = compact(task_index)
    differ = (earlier != later).astype(np.float64)
    wins = (earlier > later).astype(np.float64)
    return mean_interval(sums(task, wins), sums(task, differ), most=int(counts(task).max(initial=0)))


def detectable_difference(
    total_per_task: FloatArray,
    count_per_task: IntArray,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Estimate:
    """Smallest difference of two means that runs of this size tell apart.

    For two independent runs that are as large and as varied as this one, by the normal approximation:
    (z_{1−α/2} + z_power) · √2 · SE, the standard error of the ratio of per-task sums by linearisation
    (Cochran, "Sampling Techniques", 1977, eq. 6.13). Runs on the same tasks, compared in pairs, tell smaller
    differences apart.

    Args:
        total_per_task: [T] sum of each task's scores.
        count_per_task: [T] number of them.
        alpha: two-sided level.
        power: wanted probability of detecting it.

    Returns:
        n is the number of scores; no estimate from fewer than two tasks with scores, nor where all scores
        are equal, which says nothing about how scores vary.
    """
    label = f"two-sided {100 * alpha:g} %, power {100 * power:g} %, two independent runs of this size"
    has = count_per_task > 0
    total, count = total_per_task[has], count_per_task[has].astype(np.float64)
    n, tasks = int(count.sum()), len(count)
    if tasks < 2:
        return Estimate(n, None, None, None, label)
    mean = math.fsum(total) / n
    residual = total - mean * count
    error = math.sqrt(tasks / (tasks - 1) * math.fsum(residual**2)) / n
    if error <= 1e-12:
        return Estimate(n, None, None, None, f"{label}: all scores equal, undefined")
    reach = (normal_quantile(1.0 - alpha / 2.0) + normal_quantile(power)) * math.sqrt(2.0) * error
    return Estimate(n, reach, None, None, label)


def _resample(tasks: int, seed: int, draws: int, statistic: Callable[[FloatArray], float]) -> FloatArray:
    """The statistic in every resample of tasks where it is defined; it is given [T] multiplicities."""
    rng = np.random.default_rng(seed)
    share = np.full(tasks, 1.0 / tasks)
    drawn = (rng.multinomial(tasks, share).astype(np.float64) for _ in range(draws))
    values = np.fromiter((statistic(weight) for weight in drawn), dtype=np.float64, count=draws)
    defined: FloatArray = values[np.isfinite(values)]
    return defined


def with_limits(n: int, estimate: float, replicates: FloatArray, label: str) -> Estimate:
    """No limits where resamples don't vary: a width of 0 would be a certainty that the data don't hold."""
    if len(replicates) < 2 or float(np.ptp(replicates)) <= 1e-12:
        return Estimate(n, estimate, None, None, f"{label}: resamples don't vary, no interval")
    low, high = percentile_limits(replicates, 0.95)
    return Estimate(n, estimate, low, high, label)
