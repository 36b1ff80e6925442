"""Records of class masses by position, planted by the tests."""

from __future__ import annotations

import math

import numpy as np

from harness.cliff import (
    ClassMass,
    MassBounds,
    PositionRecords,
    known_clip,
)

CLIP = known_clip(5.0)


def exact(tails) -> MassBounds:
    """Known masses, from tail masses."""
    tails = np.asarray(tails, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return MassBounds.exact(ClassMass(log_mass=np.log1p(-tails), log_tail=np.log(tails)))


def records(rows, roles=("open", "separator", "close"), student=False) -> PositionRecords:
    """From rows (task, rollout, role, index, teacher tail, base tail[, student tail])."""
    task, rollout, role, index = (np.array(column) for column in list(zip(*rows, strict=True))[:4])
    tails = np.array([row[4:] for row in rows], dtype=np.float64)
    return PositionRecords(
        roles=roles,
        task=task,
        rollout=rollout,
        role=role,
        index=index,
        teacher=exact(tails[:, 0]),
        base=exact(tails[:, 1]),
        student=exact(tails[:, 2]) if student else None,
    )


def constant(teacher, base, tasks=12, positions=(1, 3, 1), **kwargs) -> PositionRecords:
    """Every position of a role has the same tails."""
    rows = [
        (task, 0, role, index, teacher[role], base[role])
        for task in range(tasks)
        for role in range(len(teacher))
        for index in range(positions[role])
    ]
    return records(rows, **kwargs)


def ragged(seed: int, tasks: int = 15, student: bool = False) -> PositionRecords:
    """Tasks with different numbers of rollouts and positions, heavy-tailed masses."""
    rng = np.random.default_rng(seed)
    rows = []
    for task in range(tasks):
        effect = rng.normal(0, 1, 3)
        for rollout in range(rng.integers(1, 4)):
            for role in range(3):
                for index in range(rng.integers(1, 5) if role == 1 else 1):
                    tails = np.exp(np.log([1e-3, 0.05, 4e-4]) + effect + rng.normal(0, 0.7, 3))
                    rows.append((task * 7, rollout, role, index, *np.minimum(tails, 0.9)))
    return records(rows, student=student)


def blurred(data: PositionRecords, seen: float) -> PositionRecords:
    """What an engine sees that shows the class but only a share of the tail."""

    def bounds(mass: ClassMass) -> MassBounds:
        return MassBounds.from_seen(mass.log_mass, mass.log_tail + math.log(seen), rounding=0.0)

    return PositionRecords(
        roles=data.roles,
        task=data.task,
        rollout=data.rollout,
        role=data.role,
        index=data.index,
        teacher=bounds(data.teacher.low),
        base=bounds(data.base.low),
        student=None if data.student is None else bounds(data.student.low),
    )
