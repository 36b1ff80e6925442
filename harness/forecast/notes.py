"""What a reader of a forecast must know beside its numbers, one sentence each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.metrics.columns import TaskTable
from harness.runs.forecast_record import Gain, Point
from harness.stats import Estimate
from harness.stats.bounded import mean_interval
from harness.stats.falling import LargestLevel

BASE, TEACHER = 0.0, 1.0
"""λ at which the target is the base, and the teacher."""


def notes_of(
    points: Sequence[Point],
    largest: LargestLevel,
    bar: float,
    *,
    rising: bool = False,
    intervals: int | None = None,
) -> tuple[str, ...]:
    """About the two checkpoints, the grid and the number of answers.

    Args:
        points: by ascending λ.
        largest: λ that holds the bar.
        bar: of parse validity.
        rising: whether validity is shown to rise somewhere beyond λ = 1.
        intervals: how many share the error; by default one a point.
    """
    at = {point.lam: point.parse_validity for point in points}
    base, teacher = at.get(BASE), at.get(TEACHER)
    found = []
    unfit = teacher is not None and teacher.high is not None and teacher.high < bar
    if teacher is None:
        found.append("λ = 1, the teacher, wasn't drawn: add it to see what there is to lose")
    elif unfit:
        found.append(
            f"the teacher itself keeps the contract in {teacher.estimate:.1%} of its answers, so no λ is "
            "to blame: was it trained on this prompt and this contract?"
        )
    if base is not None and teacher is not None and _surely_above(base, teacher):
        found.append(
            f"the base keeps the contract better than the teacher ({base.estimate:.1%} against "
            f"{teacher.estimate:.1%}): extrapolation leads away from it; are the two swapped?"
        )
    if largest.estimate is None and largest.high is None and points[-1].lam > TEACHER:
        found.append(f"nothing falls up to λ = {points[-1].lam:g}: draw further on to see where it does")
    if rising:
        found.append(
            "validity is shown to rise somewhere beyond λ = 1, which the curve and the largest λ take to be "
            "impossible: believe the λ drawn alone"
        )
    n = min(point.parse_validity.n for point in points)
    needed = math.ceil(math.log(0.025 / (intervals or len(points))) / math.log(bar))
    if largest.low is None and not unfit and n < needed:
        found.append(
            f"{n} answer{'' if n == 1 else 's'} a λ can't show {bar:.0%}, even if all are valid: that takes "
            f"about {needed}"
        )
    return tuple(found)


def gain_of(
    quality: Mapping[float, TaskTable], confidence: float = 0.95, *, intervals: int | None = None
) -> Gain | None:
    """How much better than the teacher the best λ above 1 is, all answers counted.

    Args:
        quality: λ → NDCG@1, or right answers, with failures as 0, over the same tasks.
        confidence: with which the intervals of all λ hold together.
        intervals: how many share the error, at least one for each λ above 1; by default as many.

    Returns:
        None without λ = 1 or any beyond it, or where the tasks can't tell.
    """
    beyond = [lam for lam in quality if lam > TEACHER]
    if TEACHER not in quality or not beyond:
        return None
    each = 1.0 - (1.0 - confidence) / (intervals or len(beyond))
    found = []
    for lam in beyond:
        differences = quality[lam].means - quality[TEACHER].means
        known = differences[~np.isnan(differences)]
        if len(known):
            ones = np.ones(len(known))
            estimate = mean_interval(known, ones, confidence=each, bounds=(-1.0, 1.0), most=1)
            found.append(Gain(lam, estimate))
    return max(found, key=_best, default=None)


def _surely_above(one: Estimate, other: Estimate) -> bool:
    return one.low is not None and other.high is not None and one.low > other.high


def _best(gain: Gain) -> float:
    estimate = gain.difference.estimate
    return -math.inf if estimate is None else estimate
