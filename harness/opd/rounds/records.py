"""Structural positions of several rounds: joined, chosen from, stored and read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.cliff import ClassMass, MassBounds, PositionRecords
from harness.files import replacing


def join_records(parts: Sequence[PositionRecords]) -> PositionRecords:
    """Positions of several sets of rollouts of the same roles and exact masses."""
    return PositionRecords(
        roles=parts[0].roles,
        task=np.concatenate([one.task for one in parts]),
        rollout=np.concatenate([one.rollout for one in parts]),
        role=np.concatenate([one.role for one in parts]),
        index=np.concatenate([one.index for one in parts]),
        teacher=_join_masses([one.teacher.low for one in parts]),
        base=_join_masses([one.base.low for one in parts]),
    )


def select_records(records: PositionRecords, chosen: npt.NDArray[np.bool_]) -> PositionRecords:
    """Some of the positions.

    Args:
        records: N positions with exact masses.
        chosen: [N] which to keep, at least one.
    """

    def part(masses: MassBounds) -> MassBounds:
        return MassBounds.exact(ClassMass(masses.low.log_mass[chosen], masses.low.log_tail[chosen]))

    return PositionRecords(
        roles=records.roles,
        task=records.task[chosen],
        rollout=records.rollout[chosen],
        role=records.role[chosen],
        index=records.index[chosen],
        teacher=part(records.teacher),
        base=part(records.base),
    )


def save_window(path: Path, window: Sequence[PositionRecords]) -> None:
    """Write the rounds of a guard into a file."""
    columns: dict[str, Any] = {}
    for number, one in enumerate(window):
        for name in ("task", "rollout", "role", "index"):
            columns[f"{number} {name}"] = getattr(one, name)
        for name, masses in (("teacher", one.teacher.low), ("base", one.base.low)):
            columns[f"{number} {name} mass"], columns[f"{number} {name} tail"] = (
                masses.log_mass,
                masses.log_tail,
            )
    with replacing(path) as stream:
        np.savez(stream, **columns)


def load_window(path: Path, roles: tuple[str, ...]) -> list[PositionRecords]:
    """What `save_window` wrote."""
    with np.load(path) as stored:
        columns = {name: stored[name] for name in stored.files}
    numbers = sorted({int(name.split()[0]) for name in columns})

    def masses(number: int, name: str) -> MassBounds:
        return MassBounds.exact(ClassMass(columns[f"{number} {name} mass"], columns[f"{number} {name} tail"]))

    return [
        PositionRecords(
            roles=roles,
            task=columns[f"{number} task"],
            rollout=columns[f"{number} rollout"],
            role=columns[f"{number} role"],
            index=columns[f"{number} index"],
            teacher=masses(number, "teacher"),
            base=masses(number, "base"),
        )
        for number in numbers
    ]


def _join_masses(parts: Sequence[ClassMass]) -> MassBounds:
    return MassBounds.exact(
        ClassMass(
            np.concatenate([one.log_mass for one in parts]), np.concatenate([one.log_tail for one in parts])
        )
    )
