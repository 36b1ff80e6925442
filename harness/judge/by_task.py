"""Adding up per task, the unit that every interval resamples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def compact(tasks: Sequence[int] | IntArray) -> IntArray:
    """[N] task numbers without gaps: tasks of which nothing was judged are no part of the sample."""
    return np.unique(np.asarray(tasks, dtype=np.int64), return_inverse=True)[1].astype(np.int64)


def counts(tasks: IntArray) -> IntArray:
    """[T] number of entries of each task, numbered without gaps."""
    return np.bincount(tasks).astype(np.int64)


def sums(tasks: IntArray, values: Sequence[float] | FloatArray) -> FloatArray:
    """[T] sum of each task's values; tasks numbered without gaps."""
    return np.bincount(tasks, weights=np.asarray(values, dtype=np.float64)).astype(np.float64)
