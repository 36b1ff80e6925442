"""The domain of the cliff's formulas: its error, its array type, its checks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.errors import DataError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

CLIP_RANGE = "the clip strength c must be finite and at least 1"


class CliffDomainError(DataError, ValueError):
    """A value outside the domain of the cliff's formulas. Exit code 2."""


def require(ok: BoolArray | np.bool_ | bool, message: str) -> None:
    """Raise with this message unless every entry holds; NaN compares false, so it never passes."""
    if not np.all(ok):
        raise CliffDomainError(message)


def scalar_or_array(x: FloatArray) -> float | FloatArray:
    """A Python float for a 0-d array, the array itself otherwise."""
    return float(x) if x.ndim == 0 else x
