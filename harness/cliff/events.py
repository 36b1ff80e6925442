"""How positions are grouped into Bernoulli events: by role, by role and index, or by whole rollout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.cliff.domain import FloatArray
from harness.cliff.masses import ClassMass, IntArray, MassBounds, PositionRecords


@dataclass(frozen=True, slots=True)
class Events:
    """Bernoulli events in groups, and the row of the report each group belongs to.

    Attributes:
        rows: [R] names of the rows.
        task: [N] task of each event.
        answer: [N] rollout of each event, 0 … number of rollouts − 1.
        group: [N] group of each event, 0 … G − 1.
        row_of: [G] row of each group.
        index_of: [G] index within the role, where groups are that fine.
        teacher: [N] mass of each event under π_T.
        base: [N] mass under π_B.
        student: [N] mass under π_S, None without a student.
        shares: [R] share of each row in the tail mass of teacher and base.
    """

    rows: tuple[str, ...]
    task: IntArray
    answer: IntArray
    group: IntArray
    row_of: IntArray
    index_of: tuple[int | None, ...]
    teacher: MassBounds
    base: MassBounds
    student: MassBounds | None
    shares: tuple[FloatArray, FloatArray]

    def base_failures(self) -> FloatArray:
        """[R] share of the answers reaching a row in which the base leaves the class at one of its events."""
        rows = self.row_of[self.group]
        cells, cell = np.unique(rows * (self.answer.max() + 1) + self.answer, return_inverse=True)
        tails = np.exp(self.base.middle().product(cell.reshape(-1), cells.size).log_tail)
        row, count = cells // (self.answer.max() + 1), len(self.rows)
        reached = np.bincount(row, minlength=count)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.bincount(row, tails, minlength=count) / reached)


def by_role(records: PositionRecords) -> Events:
    """One group per role."""
    groups = len(records.roles)
    return Events(
        rows=records.roles,
        task=records.task,
        answer=records.rollout_of[0],
        group=records.role,
        row_of=np.arange(groups),
        index_of=(None,) * groups,
        teacher=records.teacher,
        base=records.base,
        student=records.student,
        shares=(_tail_shares(records, records.teacher), _tail_shares(records, records.base)),
    )


def by_index(records: PositionRecords) -> Events:
    """One group per role and index; a role without positions keeps one empty group."""
    stride = int(records.index.max()) + 1
    unreached = np.flatnonzero(~records.reached()) * stride
    cells = np.union1d(records.role * stride + records.index, unreached)
    return Events(
        rows=records.roles,
        task=records.task,
        answer=records.rollout_of[0],
        group=np.searchsorted(cells, records.role * stride + records.index).astype(np.int64),
        row_of=(cells // stride).astype(np.int64),
        index_of=tuple(int(cell % stride) for cell in cells),
        teacher=records.teacher,
        base=records.base,
        student=records.student,
        shares=(_tail_shares(records, records.teacher), _tail_shares(records, records.base)),
    )


def by_rollout(records: PositionRecords) -> Events:
    """One group; an event is a rollout, its mass the product of its class masses.

    A rollout that left the contract says nothing of the positions it never came to. Taken as it is, it would
    count as an easy one: with a base that breaks half of its answers early, b of the whole answer would come
    out far too large. So it goes on as the rollouts that did get there (`_unwalked`).
    """
    rollout, task = records.rollout_of
    count = task.size

    def product(bounds: MassBounds) -> MassBounds:
        low = bounds.low.product(rollout, count, _unwalked(records, rollout, bounds.low))
        if bounds.is_exact:
            return MassBounds.exact(low)
        return MassBounds(low, bounds.high.product(rollout, count, _unwalked(records, rollout, bounds.high)))

    return Events(
        rows=("sequence",),
        task=task,
        answer=np.arange(count),
        group=np.zeros(count, dtype=np.int64),
        row_of=np.zeros(1, dtype=np.int64),
        index_of=(None,),
        teacher=product(records.teacher),
        base=product(records.base),
        student=None if records.student is None else product(records.student),
        shares=(np.ones(1), np.ones(1)),
    )


def _unwalked(records: PositionRecords, rollout: IntArray, mass: ClassMass) -> FloatArray | None:
    """[R] log of the class mass of the positions that a cut rollout never came to; 0 for whole ones.

    By step: the mean tail over all rollouts that get that far, or are through already, is what is lost there
    (the product-limit estimator of Kaplan and Meier, 1958, with tails in the place of counted failures).
    It enters the intervals as if it were known.
    """
    if records.step is None or records.cut is None:
        return None
    steps, count = int(records.step.max()) + 1, int(rollout.max()) + 1
    length = np.bincount(rollout, minlength=count)
    cut = np.zeros(count, dtype=bool)
    cut[rollout] = records.cut
    through = np.cumsum(np.bincount(length[~cut], minlength=steps + 1))[:steps]
    there = np.bincount(records.step, minlength=steps)
    lost = np.bincount(records.step, np.exp(mass.log_tail), minlength=steps) / (there + through)
    with np.errstate(divide="ignore"):
        kept = np.log1p(-np.minimum(lost, 1.0))
    rest = np.append(np.cumsum(kept[::-1])[::-1], 0.0)
    return np.asarray(np.where(cut, rest[np.minimum(length, steps)], 0.0))


def _tail_shares(records: PositionRecords, bounds: MassBounds) -> FloatArray:
    tails = np.bincount(records.role, np.exp(bounds.middle().log_tail), minlength=len(records.roles))
    return np.asarray(tails / tails.sum() if tails.sum() > 0 else tails)
