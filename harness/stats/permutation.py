"""Permutation test of paired differences: under "no difference" every sign could as well be the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EXACT_LIMIT = 20
"""Most nonzero differences for which all 2ⁿ sign patterns are gone through."""

_MAX_DISTINCT = 512
_MAX_DIRECT_WORK = 500_000_000
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class SignFlip:
    """Result of a sign-flip test.

    Attributes:
        p_value: never 0; at least 2⁻ⁿ (exact) or 1/(draws + 1) (Monte Carlo).
        method: which of the two, with the number of draws.
    """

    p_value: float
    method: str


def sign_flip(
    differences: npt.ArrayLike,
    *,
    seed: int,
    draws: int = 9999,
) -> SignFlip:
    """Two-sided p-value of "the mean difference is 0" under random signs.

    Fisher, "The Design of Experiments" (1935), §21. All sign patterns up to 20 nonzero differences;
    beyond, Monte Carlo with (b + 1)/(draws + 1), which counts the data as one draw and so never understates
    the p-value (Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9, 2010). Differences of 0 don't matter.

    Draws cost O(distinct sizes of differences) each, not O(T); where more than 512 sizes and 5·10⁸ single
    signs would be needed, nearly equal sizes are first replaced by their root mean square, which keeps the
    variance of the permutation distribution.

    Args:
        differences: [T] one a task, finite.
        seed: of the Monte Carlo signs.
        draws: number of Monte Carlo sign patterns, ≥ 1.

    Raises:
        ValueError: differences not finite or not one-dimensional, or draws < 1.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or draws < 1:
        raise ValueError("differences must be a finite array of shape [tasks], and draws ≥ 1")
    sizes, counts = np.unique(np.abs(values[values != 0.0]), return_counts=True)
    # Sums of the same numbers in another order may differ in the last bits and still be ties.
    reach = abs(math.fsum(values)) - 1e-12 * float(counts @ sizes)
    if counts.sum() <= EXACT_LIMIT:
        sums = _all_sums(np.repeat(sizes, counts))
        hits = int((np.abs(sums) >= reach).sum())
        return SignFlip(hits / len(sums), "sign-flip, exact")
    rng = np.random.default_rng(seed)
    hits = int((np.abs(_drawn_sums(sizes, counts, rng, draws)) >= reach).sum())
    return SignFlip((hits + 1) / (draws + 1), f"sign-flip, {draws} draws")


def _all_sums(sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _drawn_sums(
    sizes: npt.NDArray[np.float64], counts: npt.NDArray[np.integer], rng: np.random.Generator, draws: int
) -> npt.NDArray[np.float64]:
    total = int(counts.sum())
    if len(sizes) > _MAX_DISTINCT:
        if total * draws <= _MAX_DIRECT_WORK:
            return _signed_sums(np.repeat(sizes, counts), rng, draws)
        sizes, counts = _merge(sizes, counts)
    positive = rng.binomial(counts, 0.5, size=(draws, len(sizes)))
    return (2.0 * positive - counts) @ sizes


def _signed_sums(
    sizes: npt.NDArray[np.float64], rng: np.random.Generator, draws: int
) -> npt.NDArray[np.float64]:
    sums = np.empty(draws)
    chunk = max(1, _CHUNK // len(sizes))
    for start in range(0, draws, chunk):
        stop = min(start + chunk, draws)
        positive = rng.integers(0, 2, size=(stop - start, len(sizes)), dtype=np.int8)
        sums[start:stop] = 2.0 * (positive @ sizes) - sizes.sum()
    return sums


def _merge(
    sizes: npt.NDArray[np.float64], counts: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Groups of neighbouring sizes with equal shares of variance and number; rare large ones stay alone."""
    square = counts * sizes**2
    weight = np.cumsum(square / square.sum() + counts / counts.sum())
    label = np.minimum((weight / weight[-1] * _MAX_DISTINCT).astype(np.int64), _MAX_DISTINCT - 1)
    starts = np.flatnonzero(np.diff(label, prepend=-1))
    merged = np.add.reduceat(counts, starts)
    return np.sqrt(np.add.reduceat(square, starts) / merged), merged
