"""A rate under a policy that drew nothing, from answers of another one, by importance weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from harness.stats.bootstrap import bootstrap_ratio
from harness.stats.distributions import check_confidence
from harness.stats.estimate import Estimate

FloatArray = npt.NDArray[np.float64]

LEAST_EFFECTIVE: Final = 100.0
"""Effective answers below which no rate is given.

The standard error of a rate is then at most about ½/√ESS (Kong, "A note on importance sampling using
standardized weights", 1992): .05 at 100, as coarse as is of any use. Below, the ESS itself can't be believed
either: it takes about exp(KL) draws for those that weigh most to be among them (Chatterjee and Diaconis, "The
sample size required in importance sampling", arXiv 1511.01437)."""
_LARGEST_LOG: Final = 300.0
"""Of a weight: its square is still a number."""


@dataclass(frozen=True, slots=True)
class WeightedRate:
    """A rate by importance weights.

    Attributes:
        rate: mean of weight · hit, its interval by bootstrap over tasks; without numbers where `refused`.
        effective: Kish's effective number of answers, (Σw)² / Σw².
        unseen: share of the other policy's answers that are unlike any drawn, 1 − mean weight; they count as
            no hits. 0 in expectation; None where `refused`, as a mean that a few weights make says nothing.
        refused: why there is no rate, empty where there is one.
    """

    rate: Estimate
    effective: float
    unseen: float | None
    refused: str = ""


def weighted_rate(
    task: Sequence[int],
    log_weights: Sequence[float] | FloatArray,
    hits: Sequence[bool],
    *,
    seed: int,
    confidence: float = 0.95,
) -> WeightedRate:
    """The rate of hits under the policy that the weights lead to.

    The mean of weight · hit is unbiased, which takes exact weights, constants included. It isn't divided by
    the mean weight: a policy's new failures are answers that the old one didn't draw, all that was drawn hits
    with weights below 1, and dividing by their mean would give back the old rate (Owen, "Monte Carlo theory,
    methods and examples", ch. 9, has both estimates).

    Args:
        task: [N] of each answer; answers of one task are resampled together.
        log_weights: [N] of log π_wanted − log π_drew, exact.
        hits: [N].
        seed: of the bootstrap.
        confidence: two-sided level, in (0, 1).

    Raises:
        ValueError: no answer, lists of different lengths, weights that aren't numbers.
    """
    check_confidence(confidence)
    logs, values = np.asarray(log_weights, dtype=float), np.asarray(hits, dtype=float)
    if not len(logs) or not len(task) == len(logs) == len(values) or np.isnan(logs).any():
        raise ValueError(f"{len(task)} tasks, {len(logs)} weights, {len(values)} hits: one of each an answer")
    weights = np.exp(np.minimum(logs, _LARGEST_LOG))
    squares = float((weights**2).sum())
    effective = float(weights.sum() ** 2 / squares) if squares > 0.0 else 0.0
    if effective < LEAST_EFFECTIVE:
        answers = "answer" if round(effective) == 1 else "answers"
        refused = f"{effective:.0f} effective {answers}, and {LEAST_EFFECTIVE:.0f} are needed"
        return WeightedRate(Estimate(len(logs), None, None, None, refused), effective, None, refused)
    _, group = np.unique(np.asarray(task), return_inverse=True)
    found = bootstrap_ratio(
        np.bincount(group, weights=weights * values).astype(float),
        np.bincount(group).astype(float),
        n=len(logs),
        seed=seed,
        confidence=confidence,
        method="bca",
        bounds=(0.0, 1.0),
    )
    middle, low, high = (
        None if one is None else min(one, 1.0) for one in (found.estimate, found.low, found.high)
    )
    rate = Estimate(found.n, middle, low, high, f"importance weights, {found.method}")
    return WeightedRate(rate, effective, max(0.0, 1.0 - float(weights.mean())))
