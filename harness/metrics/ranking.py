"""Ranking quality of one answer against one task's labels.

NDCG as in Burges et al., "Learning to rank using gradient descent" (ICML 2005), the form
that ranking toolkits call exponential gains: gain 2^rel − 1, discount 1 / log2(1 + rank), divided by
the best value that any ranking of *all* candidates reaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_MAX_EXPONENT = 512.0
"""Largest label whose gain is formed as it stands; above it all gains are scaled down together."""

_CACHED_TASKS = 1 << 16


class _Labels(NamedTuple):
    gains: tuple[float, ...]
    discounts: tuple[float, ...]
    ideal: float


def has_relevant(relevance: Sequence[float]) -> bool:
    """Whether any candidate has a label above 0, so that NDCG is defined."""
    return any(label > 0 for label in relevance)


def is_all_tied(relevance: Sequence[float]) -> bool:
    """Whether all labels are the same, so that every full ranking is as good as every other.

    A task without any relevant candidate (all labels 0) is tied as well.
    """
    return all(label == relevance[0] for label in relevance)


def has_one_grade(relevance: Sequence[float]) -> bool:
    """Whether all relevant candidates are equally relevant, so that NDCG@1 can only be 0 or 1."""
    return len({label for label in relevance if label > 0}) == 1


def ndcg_at(relevance: Sequence[float], ranking: Sequence[int], at: int = 1) -> float | None:
    """NDCG of a ranking, over its first `at` ranks.

    A number that repeats an earlier one earns nothing but still occupies its rank, as does a number outside
    1…K: an answer can't gain by padding. Ranks that a short ranking leaves empty earn nothing.

    Args:
        relevance: [K] one label per candidate, finite and ≥ 0.
        ranking: candidate numbers, 1-based, best first; may be shorter than K, empty, or hold wrong numbers.
        at: number of ranks that count, ≥ 1; more than K is the same as K.

    Returns:
        A value in [0, 1], or None when no candidate is relevant (then nothing can be ranked well or badly).

    Raises:
        ValueError: a label that is negative or not finite, or `at` < 1.
    """
    gains, discounts, ideal = _labels(relevance if type(relevance) is tuple else tuple(relevance), at)
    if ideal == 0.0:
        return None
    candidates = len(gains)
    if len(discounts) == 1:
        return gains[ranking[0] - 1] / ideal if ranking and 1 <= ranking[0] <= candidates else 0.0
    total = 0.0
    seen = set()
    for number, discount in zip(ranking, discounts, strict=False):
        if number not in seen and 1 <= number <= candidates:
            total += gains[number - 1] * discount
            seen.add(number)
    return total / ideal


def chance_ndcg(relevance: Sequence[float], at: int = 1) -> float | None:
    """Expected NDCG of a uniformly random ranking of all candidates.

    Every candidate is equally likely at every rank, so the expected gain at a rank is the mean gain:
    E[NDCG@at] = mean(gain) · Σ_{r ≤ min(at, K)} discount(r) / ideal.

    Args:
        relevance: [K] one label per candidate, finite and ≥ 0.
        at: number of ranks that count, ≥ 1.

    Returns:
        A value in (0, 1], or None when no candidate is relevant.

    Raises:
        ValueError: a label that is negative or not finite, or `at` < 1.
    """
    gains, discounts, ideal = _labels(tuple(relevance), at)
    if ideal == 0.0:
        return None
    return math.fsum(gains) / len(gains) * math.fsum(discounts) / ideal


@lru_cache(maxsize=_CACHED_TASKS)
def _labels(relevance: tuple[float, ...], at: int) -> _Labels:
    """Gains, discounts and ideal DCG of a task, cached: a run scores many samples of the same tasks."""
    if at < 1:
        raise ValueError(f"at is {at}; the number of ranks that count must be 1 or more")
    for label in relevance:
        if not (math.isfinite(label) and label >= 0):
            raise ValueError(f"relevance label {label!r} is not a finite number ≥ 0")
    shift = max(0.0, max(relevance, default=0.0) - _MAX_EXPONENT)
    gains = tuple(_gain(label, shift) for label in relevance)
    discounts = tuple(1.0 / math.log2(1 + rank) for rank in range(1, min(at, len(gains)) + 1))
    ideal = 0.0
    # Summed rank by rank as in `ndcg_at`, so that a perfect ranking scores exactly 1.
    for gain, discount in zip(sorted(gains, reverse=True), discounts, strict=False):
        ideal += gain * discount
    return _Labels(gains, discounts, ideal)


def _gain(label: float, shift: float) -> float:
    """(2^label − 1) / 2^shift."""
    if shift == 0.0 and label < 1.0:
        return math.expm1(label * math.log(2.0))  # 2^label − 1 would round a tiny label's gain to 0
    return float(2.0 ** (label - shift) - 2.0**-shift)
