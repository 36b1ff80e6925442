"""p, b and λ* per role with intervals bootstrapped by task, under three calibrations.

How single positions are calibrated to a contract is not published (Li et al., arXiv 2605.08737), so all
three are estimated from the same positions. Intervals are made for κ = 1/(λ* − 1), which is finite through
p = b and nearly linear in the log tail masses, and carried over to λ*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from harness.cliff.clip import ClipEstimate
from harness.cliff.domain import BoolArray, FloatArray
from harness.cliff.events import Events, by_index, by_role, by_rollout
from harness.cliff.kappa import clip_margin, kappa_against, kappa_half, log_odds_of_first
from harness.cliff.log_odds import probability, threshold_from_reciprocal_excess
from harness.cliff.masses import PositionRecords
from harness.cliff.readings import Readings, Resampling, estimate_of, finite, read, resampling
from harness.cliff.resample import METHOD, MIN_TASKS, TaskSums
from harness.cliff.results import (
    Calibration,
    CalibrationEstimate,
    CliffEstimate,
    LambdaStarEstimate,
    LambdaStarStatus,
    RoleEstimate,
)
from harness.cliff.tail_bounds import TailSums, effective_tasks, threshold_bounds


def estimate_cliff(
    records: PositionRecords,
    clip: ClipEstimate,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> CliffEstimate:
    """Estimate λ* from class masses at structural positions.

    Args:
        records: positions of rollouts drawn at T = 1, top_p = 1.
        clip: the clip strength; where only a lower bound is known, every λ* is a lower bound too.
        confidence: two-sided level of all intervals, in (0, 1).
        resamples: bootstrap resamples, ≥ 100.
        seed: seed of the resampling; the same for every calibration.

    Returns:
        All three calibrations. With bounds instead of exact masses, intervals run from the lowest end under
        the pessimistic reading to the highest under the optimistic one.

    Raises:
        CliffDomainError: a clip whose lower bound is 1, or arguments out of range.
    """
    settings = resampling(clip, confidence, resamples, seed)
    task_of_rollout = records.rollout_of[1]
    return CliffEstimate(
        role=_calibrate("role", records, settings),
        position=_calibrate("position", records, settings),
        sequence=_calibrate("sequence", records, settings),
        clip=clip,
        exact=all(m.is_exact for m in records.models),
        n_tasks=np.unique(records.task).size,
        n_rollouts=task_of_rollout.size,
        n_positions=records.task.size,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        method=METHOD,
    )


def estimate_calibration(
    calibration: Calibration,
    records: PositionRecords,
    clip: ClipEstimate,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> CalibrationEstimate:
    """One calibration of `estimate_cliff`; same arguments, results and errors."""
    return _calibrate(calibration, records, resampling(clip, confidence, resamples, seed))


_EVENTS: dict[Calibration, Callable[[PositionRecords], Events]] = {
    "role": by_role,
    "position": by_index,
    "sequence": by_rollout,
}


def _calibrate(
    calibration: Calibration, records: PositionRecords, settings: Resampling
) -> CalibrationEstimate:
    events = _EVENTS[calibration](records)
    log_c = settings.log_c
    sums, (kappa,) = read(events, events.teacher, events.base, (kappa_against(log_c),), settings)
    teacher, (half, z_p) = read(
        events, events.teacher, events.teacher, (kappa_half(log_c), log_odds_of_first), settings
    )
    base, (z_b,) = read(events, events.base, events.base, (log_odds_of_first,), settings)
    status, status_half = _status(sums, kappa.point), _status(teacher, half.point)
    margin = None
    if events.student is not None:
        margin = read(events, events.teacher, events.student, (clip_margin(log_c),), settings)
    failures, bounds = events.base_failures(), _Bounds(events, settings)
    rows = []
    for row, name in enumerate(events.rows):
        members = events.row_of == row
        worst = _worst(members, status, kappa.point)
        alone = np.arange(status.size) == worst
        count, tasks = int(sums.count[:, worst].sum()), int(sums.tasks()[worst])
        below, above = bounds.of(members & ((status == "finite") | (status == "unbounded")))
        rows.append(
            RoleEstimate(
                role=name,
                index=events.index_of[worst] if count else None,
                n_positions=count,
                n_tasks=tasks,
                p=estimate_of(z_p, probability, worst, count, tasks),
                b=estimate_of(z_b, probability, worst, count, tasks),
                teacher_tail=finite(teacher.means().tail[0][worst]),
                base_tail=finite(base.means().tail[0][worst]),
                teacher_tail_share=float(events.shares[0][row]),
                base_tail_share=float(events.shares[1][row]),
                lambda_star=_lambda_star(kappa, members, status, worst),
                lambda_star_half=_lambda_star(half, alone, status_half, worst),
                student_tail=None if margin is None else finite(margin[0].means().tail[1][worst]),
                clip_margin=None
                if margin is None
                else estimate_of(margin[1][0], np.exp, worst, count, tasks),
                effective_tasks=_carrying(sums, worst) if count else None,
                base_failure=finite(failures[row]),
                left_below=below,
                right_above=above,
            )
        )
    every = np.ones(status.size, dtype=bool)
    smallest = _worst(every, status, kappa.point)
    dominant = rows[int(np.argmax(events.shares[0]))]
    return CalibrationEstimate(
        calibration=calibration,
        roles=tuple(rows),
        binding=None if dominant.lambda_star.value is None else dominant,
        lambda_star=_lambda_star(kappa, every, status, smallest),
        first=rows[int(events.row_of[smallest])] if status[smallest] == "finite" else None,
    )


class _Bounds:
    """What a verdict rests on: bounds of λ* that hold without regard to the spread that was seen."""

    def __init__(self, events: Events, settings: Resampling) -> None:
        self._settings = settings
        # Mass known between bounds: the most of it is the least of the tail.
        large, small = (
            TaskSums.collect(events.task, events.group, events.row_of.size, *pair)
            for pair in ((events.teacher.low, events.base.low), (events.teacher.high, events.base.high))
        )
        self._sums = TailSums(
            count=large.count.T,
            teacher=(small.tail[0].T, large.tail[0].T),
            base=(small.tail[1].T, large.tail[1].T),
        )

    def of(self, members: BoolArray) -> tuple[float | None, float | None]:
        """Of the smallest λ* among some groups; each shares in the probability of an error."""
        if not members.any():
            return None, None
        alpha = 0.5 * (1.0 - self._settings.confidence) / int(members.sum())
        own = TailSums(
            count=self._sums.count[members],
            teacher=(self._sums.teacher[0][members], self._sums.teacher[1][members]),
            base=(self._sums.base[0][members], self._sums.base[1][members]),
        )
        below, above = threshold_bounds(own, self._settings.log_c, alpha)
        return finite(below.min()), finite(above.min())


def _carrying(sums: TaskSums, group: int) -> float:
    """Tasks that carry the tail of a group, under the model for which they are fewer."""
    return float(min(effective_tasks(tail[:, group]) for tail in sums.tail))


def _status(sums: TaskSums, kappa: FloatArray) -> NDArray[np.str_]:
    """[G] a `LambdaStarStatus` each."""
    means, count = sums.means(), sums.count.sum(axis=0)
    base_edge = (means.mass[1] == 0) | (means.tail[1] == 0)
    return np.select(
        [count == 0, means.tail[0] == 0, base_edge, sums.tasks() < MIN_TASKS, kappa <= 0],
        ["not_reached", "teacher_deterministic", "base_degenerate", "too_few_tasks", "unbounded"],
        default="finite",
    )


def _worst(members: BoolArray, status: NDArray[np.str_], kappa: FloatArray) -> int:
    """The member with the smallest λ*, of those with a value where there are any."""
    for wanted in ("finite", "unbounded", "too_few_tasks"):
        candidates = np.flatnonzero(members & (status == wanted))
        if candidates.size:
            return int(candidates[np.argmax(kappa[candidates])])
    return int(np.flatnonzero(members)[0])


def _lambda_star(
    kappa: Readings, members: BoolArray, status: NDArray[np.str_], worst: int
) -> LambdaStarEstimate:
    """Smallest λ* among the members; `worst` has it."""
    kind = cast(LambdaStarStatus, str(status[worst]))
    measured = members & ((status == "finite") | (status == "unbounded"))
    low = high = least = most = None
    if measured.any():
        kappa_low, kappa_high = kappa.interval_of_largest(measured)
        low, high = _threshold(kappa_high), _threshold(kappa_low)
        identified = kappa.identified()
        least, most = (_threshold(float(end[measured].max())) for end in reversed(identified))
    elif kind == "too_few_tasks":
        least, most = (_threshold(float(end[worst])) for end in reversed(kappa.identified()))
    value = _threshold(float(kappa.point[worst])) if kind in ("finite", "too_few_tasks") else None
    return LambdaStarEstimate(kind, value, low, high, least, most)


def _threshold(kappa: float) -> float | None:
    return finite(threshold_from_reciprocal_excess(kappa))
