"""How positions are grouped into Bernoulli events: by role, by role and index, or by whole rollout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.cliff.domain import FloatArray
from harness.cliff.masses import IntArray, MassBounds, PositionRecords


@dataclass(frozen=True, slots=True)
class Events:
    """Bernoulli events in groups, and the row of the report each group belongs to.

    Attributes:
        rows: [R] names of the rows.
        task: [N] task of each event.
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
    group: IntArray
    row_of: IntArray
    index_of: tuple[int | None, ...]
    teacher: MassBounds
    base: MassBounds
    student: MassBounds | None
    shares: tuple[FloatArray, FloatArray]


def by_role(records: PositionRecords) -> Events:
    """One group per role."""
    groups = len(records.roles)
    return Events(
        rows=records.roles,
        task=records.task,
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
        group=np.searchsorted(cells, records.role * stride + records.index).astype(np.int64),
        row_of=(cells // stride).astype(np.int64),
        index_of=tuple(int(cell % stride) for cell in cells),
        teacher=records.teacher,
        base=records.base,
        student=records.student,
        shares=(_tail_shares(records, records.teacher), _tail_shares(records, records.base)),
    )


def by_rollout(records: PositionRecords) -> Events:
    """One group; an event is a rollout, its mass the product of its class masses."""
    rollout, task = records.rollout_of
    count = task.size

    def product(bounds: MassBounds) -> MassBounds:
        low = bounds.low.product(rollout, count)
        return (
            MassBounds.exact(low) if bounds.is_exact else MassBounds(low, bounds.high.product(rollout, count))
        )

    return Events(
        rows=("sequence",),
        task=task,
        group=np.zeros(count, dtype=np.int64),
        row_of=np.zeros(1, dtype=np.int64),
        index_of=(None,),
        teacher=product(records.teacher),
        base=product(records.base),
        student=None if records.student is None else product(records.student),
        shares=(np.ones(1), np.ones(1)),
    )


def _tail_shares(records: PositionRecords, bounds: MassBounds) -> FloatArray:
    tails = np.bincount(records.role, np.exp(bounds.middle().log_tail), minlength=len(records.roles))
    return np.asarray(tails / tails.sum() if tails.sum() > 0 else tails)
