"""Prediction-powered inference: the mean of a few people's scores, helped by a judge's scores of many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.distributions import check_confidence, student_t_quantile

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEAST_LABELLED = 10
"""Labelled tasks from which on an interval is given."""
LEAST_UNLIKE = 5
"""Of them, those with another label than the commonest. Labels that are nearly all alike show too little of
how they vary, and an interval holds the truth too seldom (`benchmarks/judge_statistics.py`)."""


@dataclass(frozen=True, slots=True)
class PredictionPowered:
    """A mean with what it rests on.

    Attributes:
        estimate: the mean label of everything predicted, on the labels' scale.
        low: lower end of its interval, None with too few labelled tasks, or labels too much alike.
        high: upper end likewise.
        weight: λ, how much of a prediction counts; 0 where predictions say nothing of the labels.
        labelled: entries with a label.
        predicted: all entries.
        worth: labels that without predictions would have given this precision; None where either variance
            is 0 or not known.
    """

    estimate: float
    low: float | None
    high: float | None
    weight: float
    labelled: int
    predicted: int
    worth: float | None


def prediction_powered_mean(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, tasks: npt.ArrayLike, *, confidence: float = 0.95
) -> PredictionPowered | None:
    """Mean label from labels of some entries and predictions of all of them, PPI++ with power tuning.

    θ̂ = mean of the labels + λ · (mean prediction of the unlabelled − mean prediction of the labelled)
    (Angelopoulos, Duchi and Zrnic, "PPI++: Efficient Prediction-Powered Inference", arXiv 2311.01453; with
    λ = 1 that of Angelopoulos et al., "Prediction-Powered Inference", Science 382, 2023, arXiv 2301.09633).
    λ is the one with the least estimated variance, at least 0; predictions may have another scale than
    labels, so it has no upper bound. Whatever the predictions are worth, the estimate is that of the labels
    to first order, provided that the labelled entries are a random part of all.

    The variance is that of sums over tasks, since entries of a task are alike (linearisation); the papers'
    normal interval takes Student's quantile here, with as many degrees of freedom as there are labelled
    tasks, less one for the mean and one for λ. Ends may leave the labels' scale, which isn't known.

    Args:
        labels: [N] people's scores, NaN where there is none.
        predictions: [N] the judge's.
        tasks: [N] task of each entry.
        confidence: two-sided level in (0, 1).

    Returns:
        None without a label.

    Raises:
        ValueError: shapes that don't fit, or a prediction that isn't finite.
    """
    check_confidence(confidence)
    y, f = np.asarray(labels, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    task = np.unique(np.asarray(tasks), return_inverse=True)[1]
    if not y.shape == f.shape == task.shape or y.ndim != 1:
        raise ValueError(f"shapes {y.shape}, {f.shape} and {task.shape}; all must be [entries]")
    if not np.isfinite(f).all():
        raise ValueError("a prediction is not finite")
    has = ~np.isnan(y)
    labelled, rest = int(has.sum()), int((~has).sum())
    if labelled == 0:
        return None
    mean = float(y[has].mean())
    # What each task adds to the error of the mean label (a) and of the two mean predictions' difference (b).
    a = np.bincount(task[has], weights=(y[has] - mean) / labelled, minlength=task.max() + 1)
    b = np.bincount(task[has], weights=(f[has] - f[has].mean()) / labelled, minlength=task.max() + 1)
    weight, gap = 0.0, 0.0
    if rest:
        b -= np.bincount(task[~has], weights=(f[~has] - f[~has].mean()) / rest, minlength=task.max() + 1)
        gap = float(f[has].mean() - f[~has].mean())
        spread = float(b @ b)
        weight = max(0.0, float(a @ b) / spread) if spread > 0.0 else 0.0
    estimate = mean - weight * gap
    units = len(np.unique(task[has]))
    freedom = units - 1 - (weight > 0.0)
    low = high = worth = None
    values, times = np.unique(y[has], return_counts=True)
    unlike = len(np.unique(task[has & (y != values[np.argmax(times)])]))
    if units >= LEAST_LABELLED and unlike >= LEAST_UNLIKE:
        # Labelled tasks are the few, and λ is from them: they give the correction for small numbers.
        variance = float(((a - weight * b) ** 2).sum()) * units / freedom
        alone = float((a**2).sum()) * units / (units - 1)
        reach = student_t_quantile((1.0 + confidence) / 2.0, freedom) * math.sqrt(variance)
        if variance > 0.0:
            low, high, worth = estimate - reach, estimate + reach, labelled * alone / variance
    return PredictionPowered(estimate, low, high, weight, labelled, labelled + rest, worth)
