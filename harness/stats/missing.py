"""What missing samples could at worst and at best have said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.bootstrap import bootstrap_ratio
from harness.stats.estimate import Estimate
from harness.stats.intervals import Counts, check_count_arrays, wilson_clustered


@dataclass(frozen=True, slots=True)
class MissingBounds:
    """A metric with every missing sample counted at its worst, and at its best.

    No assumption on why samples are missing is made (Manski, "Nonparametric bounds on treatment
    effects", American Economic Review 80, 1990); with none missing the two are equal.

    Attributes:
        worst: estimate with all missing samples at the least possible value.
        best: estimate with all of them at the largest.
        missing: how many.
    """

    worst: Estimate
    best: Estimate
    missing: int


def rate_with_missing(
    successes_per_task: Counts, n_per_task: Counts, missing_per_task: Counts, *, confidence: float = 0.95
) -> MissingBounds:
    """Bounds of a rate: missing samples all failures, then all successes.

    Args:
        successes_per_task: [T] successes among the samples that are there.
        n_per_task: [T] samples that are there.
        missing_per_task: [T] samples that were planned and are missing.
        confidence: level of each interval, in (0, 1).

    Raises:
        ValueError: arrays of different lengths or entries that aren't counts.
    """
    successes = np.asarray(successes_per_task)
    samples, missing = np.asarray(n_per_task), np.asarray(missing_per_task)
    if missing.shape != samples.shape:
        raise ValueError(f"missing has shape {missing.shape}, samples {samples.shape}; both must be [tasks]")
    check_count_arrays(missing, missing)
    return MissingBounds(
        wilson_clustered(successes, samples + missing, confidence),
        wilson_clustered(successes + missing, samples + missing, confidence),
        int(missing.sum()),
    )


def bounds_with_missing(
    numerator_per_task: Sequence[float] | npt.NDArray[np.floating],
    n_per_task: Counts,
    missing_per_task: Counts,
    *,
    seed: int,
    bounds: tuple[float, float] = (0.0, 1.0),
    confidence: float = 0.95,
    draws: int = 2000,
) -> MissingBounds:
    """Bounds of a mean over samples: missing ones all at the lower bound, then all at the upper.

    Args:
        numerator_per_task: [T] sum of the values that are there.
        n_per_task: [T] how many they are.
        missing_per_task: [T] samples that were planned and are missing.
        seed: of the bootstrap.
        bounds: least and largest value a sample can have.
        confidence: level of each interval, in (0, 1).
        draws: bootstrap resamples.

    Raises:
        ValueError: arrays of different lengths, missing entries that aren't counts, or bounds out of order.
    """
    total = np.asarray(numerator_per_task, dtype=np.float64)
    samples, missing = np.asarray(n_per_task), np.asarray(missing_per_task)
    if not total.shape == samples.shape == missing.shape:
        raise ValueError(f"shapes {total.shape}, {samples.shape}, {missing.shape}; all must be [tasks]")
    check_count_arrays(missing, missing)
    if not bounds[0] <= bounds[1]:
        raise ValueError(f"bounds {bounds} are out of order")
    everything = samples + missing
    worst, best = (
        bootstrap_ratio(
            total + missing * value,
            everything,
            n=int(everything.sum()),
            seed=seed,
            confidence=confidence,
            draws=draws,
            bounds=bounds,
        )
        for value in bounds
    )
    return MissingBounds(worst, best, int(missing.sum()))
