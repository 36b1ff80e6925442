"""Where along a grid of levels do runs begin to fail? Onset with an interval, from runs of several seeds.

An onset is the level at which half of the runs fail. Grids end, and runs of one seed share their data, so an
onset is kept as bounds (a level below the grid or above it is a bound, never a number), and its interval
comes from resampling whole seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.distributions import check_confidence
from harness.stats.firth import firth_logistic

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OnsetBounds:
    """Onsets of R data sets, each known to lie between two levels.

    Attributes:
        low: [R] 0 where the onset may lie anywhere below the grid.
        high: [R] +inf where it may lie anywhere above the grid.
    """

    low: FloatArray
    high: FloatArray


OnsetFit = Callable[[FloatArray, FloatArray], OnsetBounds]


@dataclass(frozen=True, slots=True)
class OnsetEstimate:
    """An onset, or a ratio of two onsets, with its bootstrap interval.

    Attributes:
        value: its point estimate, None where the data only bound it on one side.
        least: the smallest value that the data themselves allow.
        most: the largest one, None where nothing bounds it above.
        low: lower end of the interval.
        high: upper end, None where nothing bounds it above.
        seeds: number of seeds that were resampled.
        method: how it was fitted.
    """

    value: float | None
    least: float
    most: float | None
    low: float
    high: float | None
    seeds: int
    method: str


def logistic_onset(levels: FloatArray, failed: FloatArray) -> OnsetBounds:
    """Level at which a logistic curve of the failure probability over log level crosses one half.

    Firth's penalised fit (see `firth_logistic`), which exists where maximum likelihood runs off. Where every
    run up to one level succeeds and every run from the next one on fails, no curve is better than another:
    the bounds are those two levels. A curve under one half on all of the grid puts the onset above it, one
    over one half at the lowest level puts it below.

    Args:
        levels: [J] ascending, > 0.
        failed: [R, S, J] 1 where the run of that seed and level failed, 0 where not, NaN where there is no
            such run.
    """
    present = np.isfinite(failed)
    trials = present.sum(axis=1).astype(np.float64)
    failures = np.where(present, failed, 0.0).sum(axis=1)
    x = np.log(levels)
    intercept, slope = firth_logistic(x, failures, trials)
    at_lowest, at_highest = intercept + slope * x[0], intercept + slope * x[-1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        crossing = np.exp(np.clip(-intercept / slope, x[0], x[-1]))
    below, above = at_lowest >= 0.0, (at_lowest < 0.0) & (at_highest < 0.0)
    low = np.where(below, 0.0, np.where(above, levels[-1], crossing))
    high = np.where(below, levels[0], np.where(above, np.inf, crossing))
    last_clean, first_full = _separation(failures, trials)
    separated = last_clean >= 0
    low = np.where(separated, levels[last_clean], low)
    high = np.where(separated, levels[first_full], high)
    return OnsetBounds(low, high)


def changepoint_onset(threshold: float) -> OnsetFit:
    """A fit that looks for the one step down in the mean outcome that leaves the least squared error.

    The onset lies between the two levels that the step parts, if the mean before it is at least `threshold`
    and the mean after it below; where there is no such step it lies above the grid (mean of the part before
    the best step at least the threshold) or below it.

    Args:
        threshold: outcome under which a level counts as failed.

    Returns:
        A function of levels [J] and outcomes [R, S, J] (NaN where there is no run).
    """

    def fit(levels: FloatArray, outcomes: FloatArray) -> OnsetBounds:
        present = np.isfinite(outcomes)
        weight = present.sum(axis=1).astype(np.float64)
        total = np.where(present, outcomes, 0.0).sum(axis=1)
        before_weight, before_total = np.cumsum(weight, axis=1)[:, :-1], np.cumsum(total, axis=1)[:, :-1]
        after_weight = weight.sum(axis=1, keepdims=True) - before_weight
        after_total = total.sum(axis=1, keepdims=True) - before_total
        # The squared error of a step is a constant minus this.
        explained = _mean_square(before_total, before_weight) + _mean_square(after_total, after_weight)
        step = np.argmax(explained, axis=1)
        rows = np.arange(len(step))
        before = before_total[rows, step] / np.maximum(before_weight[rows, step], 1.0)
        after = after_total[rows, step] / np.maximum(after_weight[rows, step], 1.0)
        inside = (before >= threshold) & (after < threshold)
        above = ~inside & (before >= threshold)
        low = np.where(inside, levels[step], np.where(above, levels[-1], 0.0))
        high = np.where(inside, levels[step + 1], np.where(above, np.inf, levels[0]))
        return OnsetBounds(low, high)

    return fit


def resample_seeds(seeds: int, draws: int, seed: int) -> IntArray:
    """[draws, seeds] which seeds a bootstrap draw takes; the same for every arm that shares the seeds."""
    if seeds < 1 or draws < 1:
        raise ValueError(f"{seeds} seeds and {draws} draws: nothing to resample")
    return np.random.default_rng(seed).integers(0, seeds, size=(draws, seeds))


def estimate_onset(
    levels: npt.ArrayLike,
    outcomes: npt.ArrayLike,
    fit: OnsetFit,
    resamples: IntArray,
    *,
    method: str,
    confidence: float = 0.95,
) -> OnsetEstimate:
    """The onset in one set of runs, with a percentile interval over resampled seeds.

    Args:
        levels: [J] ascending, > 0, J ≥ 2.
        outcomes: [S, J] one a run, NaN where there is none.
        fit: `logistic_onset`, or what `changepoint_onset` gives.
        resamples: [draws, S] from `resample_seeds`.
        method: name of the fit.
        confidence: two-sided level in (0, 1).

    Raises:
        ValueError: shapes or levels that don't fit.
    """
    grid, runs = _checked(levels, outcomes, resamples)
    check_confidence(confidence)
    own, drawn = fit(grid, runs[None]), fit(grid, runs[resamples])
    return _estimate(own, drawn, len(runs), confidence, method)


def onset_ratio(
    first: tuple[npt.ArrayLike, npt.ArrayLike],
    second: tuple[npt.ArrayLike, npt.ArrayLike],
    fit: OnsetFit,
    resamples: IntArray,
    *,
    method: str,
    confidence: float = 0.95,
) -> OnsetEstimate:
    """How far beyond level 1 the second onset lies, as a multiple of the first: (onset₂ − 1)/(onset₁ − 1).

    Both arms have the same seeds, which are resampled together. An onset at or below 1 has no distance, so a
    first arm that may have one leaves the ratio without an upper end.

    Args:
        first: levels and outcomes of the first arm, as in `estimate_onset`.
        second: of the second arm.
        fit: as in `estimate_onset`, the same for both.
        resamples: as in `estimate_onset`.
        method: name of the fit.
        confidence: two-sided level in (0, 1).

    Raises:
        ValueError: shapes or levels that don't fit.
    """
    check_confidence(confidence)
    arms = [_checked(levels, outcomes, resamples) for levels, outcomes in (first, second)]
    own = _ratio(*(fit(grid, runs[None]) for grid, runs in arms))
    drawn = _ratio(*(fit(grid, runs[resamples]) for grid, runs in arms))
    return _estimate(own, drawn, resamples.shape[1], confidence, method)


def _ratio(first: OnsetBounds, second: OnsetBounds) -> OnsetBounds:
    least, most = np.maximum(first.low - 1.0, 0.0), np.maximum(first.high - 1.0, 0.0)
    low, high = np.maximum(second.low - 1.0, 0.0), np.maximum(second.high - 1.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        smallest = np.where(np.isinf(most) | (low == 0.0), 0.0, low / most)
        largest = np.where((least == 0.0) | np.isinf(high), np.inf, high / least)
    return OnsetBounds(smallest, largest)


def _estimate(
    own: OnsetBounds, drawn: OnsetBounds, seeds: int, confidence: float, method: str
) -> OnsetEstimate:
    tail = (1.0 - confidence) / 2.0
    least, most = float(own.low[0]), float(own.high[0])
    # Order statistics, not interpolation: half-way to infinity is no level.
    low = min(least, float(np.quantile(drawn.low, tail, method="lower")))
    high = max(most, float(np.quantile(drawn.high, 1.0 - tail, method="higher")))
    bounded = least > 0.0 and np.isfinite(most)
    return OnsetEstimate(
        value=float(np.sqrt(least * most)) if bounded else None,
        least=least,
        most=most if np.isfinite(most) else None,
        low=low,
        high=high if np.isfinite(high) else None,
        seeds=seeds,
        method=method,
    )


def _separation(failures: FloatArray, trials: FloatArray) -> tuple[IntArray, IntArray]:
    """[R] last level without a failure and first with nothing else, −1 where the two don't part the grid."""
    tried = trials > 0
    none_failed, all_failed = tried & (failures == 0), tried & (failures == trials)
    clean_or_untried = np.logical_and.accumulate(none_failed | ~tried, axis=1)
    full_or_untried = np.logical_and.accumulate((all_failed | ~tried)[:, ::-1], axis=1)[:, ::-1]
    positions = np.arange(trials.shape[1])
    last_clean = np.where(clean_or_untried & tried, positions, -1).max(axis=1)
    first_full = np.where(full_or_untried & tried, positions, len(positions)).min(axis=1)
    between = (positions > last_clean[:, None]) & (positions < first_full[:, None]) & tried
    parted = (last_clean >= 0) & (first_full < len(positions)) & ~between.any(axis=1)
    return np.where(parted, last_clean, -1), np.where(parted, first_full, 0)


def _mean_square(total: FloatArray, weight: FloatArray) -> FloatArray:
    squares: FloatArray = np.divide(total**2, weight, out=np.zeros_like(total), where=weight > 0)
    return squares


def _checked(
    levels: npt.ArrayLike, outcomes: npt.ArrayLike, resamples: IntArray
) -> tuple[FloatArray, FloatArray]:
    grid, runs = np.asarray(levels, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if grid.ndim != 1 or len(grid) < 2 or not (np.diff(grid) > 0).all() or not grid[0] > 0:
        raise ValueError("levels must be at least two ascending numbers above 0")
    if runs.ndim != 2 or runs.shape[1] != len(grid):
        raise ValueError(f"outcomes of shape {runs.shape} for {len(grid)} levels; [seeds, levels] is needed")
    if resamples.ndim != 2 or resamples.shape[1] != len(runs):
        raise ValueError(f"resamples of shape {resamples.shape} for {len(runs)} seeds")
    return grid, runs
