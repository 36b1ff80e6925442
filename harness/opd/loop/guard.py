"""The λ guard: λ* estimated from the rollouts a run already has, and λ held below it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.cliff import (
    ClassMass,
    LambdaStarEstimate,
    MassBounds,
    PositionRecords,
    ThresholdStatus,
    estimate_calibration,
    known_clip,
    thresholds_from_log_tails,
)
from harness.contract.automaton import ROLES
from harness.files import replacing
from harness.opd.config import Guard

# The last rounds that an estimate rests on; with fresh rollouts older ones come from another policy.
WINDOW_ROUNDS = 16
# Enough for an interval's end; estimates are made every round.
RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class GuardReading:
    """What the guard found before a round.

    Attributes:
        lam: λ to train at.
        limit: (1 − ε) times the lower bound of λ*; None where nothing bounds it.
        exceeded: whether the λ asked for is above the limit.
        role: the binding role, None where no role has a finite λ*.
        estimate: λ* with its interval; None with the guard off.
    """

    lam: float
    limit: float | None
    exceeded: bool
    role: str | None
    estimate: LambdaStarEstimate | None


class LambdaGuard:
    """Watches λ against λ*'s lower bound, over the rollouts of the last rounds."""

    def __init__(
        self, kind: Guard, lam: float, clip: float | None, epsilon: float, confidence: float, seed: int
    ) -> None:
        """Arguments as in `OPDConfig`; a clip is needed unless `kind` is `off`."""
        self._kind = kind
        self._lam = lam
        self._clip = clip
        self._epsilon = epsilon
        self._confidence = confidence
        self._seed = seed
        self._window: deque[PositionRecords] = deque(maxlen=WINDOW_ROUNDS)

    @property
    def window(self) -> tuple[PositionRecords, ...]:
        """What the next estimate rests on, oldest first."""
        return tuple(self._window)

    def save(self, path: Path) -> None:
        """Write the window into a file, from which `restore` takes it back."""
        arrays: dict[str, Any] = {}
        for number, records in enumerate(self._window):
            for name, column in records.columns.items():
                if isinstance(column, MassBounds):
                    arrays[f"{number} {name} mass"] = column.low.log_mass
                    arrays[f"{number} {name} tail"] = column.low.log_tail
                else:
                    arrays[f"{number} {name}"] = column
        with replacing(path) as stream:
            np.savez(stream, **arrays)

    def restore(self, path: Path, roles: tuple[str, ...] = ROLES) -> None:
        """Go on where the guard that wrote this file stopped."""
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
        for number in sorted({int(name.split()[0]) for name in arrays}):
            start = f"{number} "
            own = {name.removeprefix(start): one for name, one in arrays.items() if name.startswith(start)}
            columns: dict[str, Any] = {name: one for name, one in own.items() if " " not in name}
            for name in ("teacher", "base"):
                columns[name] = MassBounds.exact(ClassMass(own[f"{name} mass"], own[f"{name} tail"]))
            self._window.append(PositionRecords(roles=roles, **columns))

    def hold(self, records: PositionRecords) -> GuardReading:
        """The λ of the next round, whose rollouts have these positions."""
        if self._kind == "off" or self._clip is None:
            return GuardReading(self._lam, None, False, None, None)
        self._window.append(records)
        found = estimate_calibration(
            "role",
            PositionRecords.concat(self.window),
            known_clip(self._clip),
            confidence=self._confidence,
            resamples=RESAMPLES,
            seed=self._seed,
        )
        low = found.lambda_star.low
        limit = None if low is None else (1.0 - self._epsilon) * low
        exceeded = limit is not None and self._lam > limit
        lam = self._lam
        if exceeded and self._kind == "enforce" and limit is not None:
            lam = limit
        role = None if found.first is None else found.first.role
        return GuardReading(lam, limit, exceeded, role, found.lambda_star)


@dataclass(frozen=True, slots=True)
class RoleReading:
    """Point estimates at one role.

    Attributes:
        p: teacher's mean class mass.
        b: base's.
        q: student's, None where it wasn't read.
        lambda_star: λ* at the measured b; None without a clip and where it has no finite value.
    """

    p: float
    b: float
    q: float | None
    lambda_star: float | None


def read_roles(
    records: PositionRecords, clip: float | None, student: ClassMass | None = None
) -> dict[str, RoleReading]:
    """p, b, q and λ* of every role that was reached; arithmetic only, no intervals."""
    reached = records.reached()
    count = np.bincount(records.role, minlength=len(records.roles))[reached]

    def mean(log: np.ndarray) -> np.ndarray:
        sums = np.bincount(records.role, weights=np.exp(log), minlength=len(records.roles))
        return np.asarray(sums[reached] / count)

    teacher, base = records.teacher.middle(), records.base.middle()
    stars = np.full(count.size, np.nan)
    if clip is not None:
        with np.errstate(divide="ignore"):
            tails = np.log(mean(teacher.log_tail)), np.log(mean(base.log_tail))
        found = thresholds_from_log_tails(*tails, np.log(clip))
        stars = np.where(found.status == ThresholdStatus.FINITE, found.value, np.nan)
    p, b = mean(teacher.log_mass), mean(base.log_mass)
    q = None if student is None else mean(student.log_mass)
    return {
        name: RoleReading(
            p=float(p[place]),
            b=float(b[place]),
            q=None if q is None else float(q[place]),
            lambda_star=float(stars[place]) if np.isfinite(stars[place]) else None,
        )
        for place, name in enumerate(np.array(records.roles)[reached].tolist())
    }


def binding_role(roles: dict[str, RoleReading]) -> str | None:
    """The role with the smallest λ*, None where none has one."""
    finite = {name: one.lambda_star for name, one in roles.items() if one.lambda_star is not None}
    return min(finite, key=lambda name: finite[name]) if finite else None
