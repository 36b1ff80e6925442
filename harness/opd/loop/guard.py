"""The λ guard of the clip edge: λ*_m estimated from the rollouts a run already has, and λ held below it.

Which edge a run has depends on its ratio: `harness.cliff.run_ratio`. Taken to the teacher it is λ* of the
paper; taken to the base it mostly lies below 1, where no extrapolation can keep to it; taken to the student
itself, or with a clip that lets the tail pull back, there is none.
"""

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
    RunRatio,
    ThresholdStatus,
    estimate_calibration,
    known_clip,
    run_ratio,
    switches_from_log_tails,
    thresholds_from_log_tails,
)
from harness.cliff.resample import MIN_TASKS
from harness.cliff.switch import ASSUMED
from harness.contract.automaton import ROLES
from harness.files import replacing
from harness.opd.config import Guard, OPDConfig

# The last rounds that an estimate rests on; with fresh rollouts older ones come from another policy.
WINDOW_ROUNDS = 16
# Enough for an interval's end; estimates are made every round.
RESAMPLES = 500
NOTED = "the λ guard:"
"""What the line begins with in which a run says which edge it has."""


@dataclass(frozen=True, slots=True)
class GuardReading:
    """What the guard found before a round.

    Attributes:
        lam: λ to train at.
        limit: the largest λ allowed: (1 − ε) times the lower bound of λ*_m, or a forecast's limit; None where
            nothing bounds it.
        exceeded: whether the λ asked for is above the limit.
        role: the binding role, None where no role has a finite λ*.
        estimate: λ* with its interval; None unless the edge is the teacher's.
    """

    lam: float
    limit: float | None
    exceeded: bool
    role: str | None
    estimate: LambdaStarEstimate | None


def ratio_of(config: OPDConfig, drawn_by: str | None, base: str) -> RunRatio:
    """The importance ratio of a run.

    Args:
        config: of the run.
        drawn_by: digest of the checkpoint that drew fixed rollouts.
        base: digest of the base.
    """
    return run_ratio(
        config.ratio,
        config.staleness,
        config.clip_sides,
        config.ratio_gradient,
        fixed_from="base" if drawn_by == base else "other",
    )


class LambdaGuard:
    """Watches λ against the lower bound of λ*_m, over the rollouts of the last rounds.

    Attributes:
        ratio: of the run; by default what λ* assumes, a ratio to the teacher.
    """

    def __init__(
        self, kind: Guard, lam: float, clip: float | None, epsilon: float, confidence: float, seed: int
    ) -> None:
        """Arguments as in `OPDConfig`; a clip is needed for `warn` and `enforce`."""
        self.ratio = ASSUMED
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
        free = GuardReading(self._lam, None, False, None, None)
        if self._kind not in ("warn", "enforce") or self._clip is None:
            return free
        self._window.append(records)
        match self.ratio.edge:
            case "teacher":
                return self._held(*self._edge_of_teacher(self._clip))
            case "base":
                found = self._held(*self._edge_of_base(self._clip))
                # Plain distillation would be beyond it too: not a bound that extrapolation could keep to.
                return found if found.limit is None or found.limit >= 1.0 else free
            case _:
                return free

    def note(self, records: PositionRecords) -> str | None:
        """What must be said of the run's edge once, in one line; None where it is the teacher's.

        Args:
            records: of the first round.
        """
        if self._kind not in ("warn", "enforce") or self._clip is None or self.ratio.edge == "teacher":
            return None
        said = f"{NOTED} {self.ratio.words}"
        if self.ratio.edge == "base":
            point = _smallest_switch(*_task_tails(records), np.log(self._clip))
            if not np.isfinite(point) or point >= 1.0:
                return said
            said += f", passed at λ = {point:.2g} and so by plain distillation, λ = 1"
        return f"{said}; λ isn't held. `guard=forecast` watches what is measured"

    def _held(self, low: float | None, role: str | None, estimate: LambdaStarEstimate | None) -> GuardReading:
        limit = None if low is None else (1.0 - self._epsilon) * low
        exceeded = limit is not None and self._lam > limit
        lam = limit if exceeded and self._kind == "enforce" and limit is not None else self._lam
        return GuardReading(lam, limit, exceeded, role, estimate)

    def _edge_of_teacher(self, clip: float) -> tuple[float | None, str | None, LambdaStarEstimate]:
        found = estimate_calibration(
            "role",
            PositionRecords.concat(self.window),
            known_clip(clip),
            confidence=self._confidence,
            resamples=RESAMPLES,
            seed=self._seed,
        )
        role = None if found.first is None else found.first.role
        return found.lambda_star.low, role, found.lambda_star

    def _edge_of_base(self, clip: float) -> tuple[float | None, None, None]:
        """Lower end of the smallest λ*_b of all roles, by bootstrap over tasks."""
        tails, counts = _task_tails(PositionRecords.concat(self.window))
        tasks = counts.shape[0]
        if tasks < MIN_TASKS:
            return None, None, None
        rng = np.random.default_rng(self._seed)
        draws = rng.multinomial(tasks, np.full(tasks, 1.0 / tasks), size=RESAMPLES)
        found = [
            _smallest_switch(tails * weight[:, None], counts * weight[:, None], np.log(clip))
            for weight in draws
        ]
        low = float(np.quantile(found, 0.5 * (1.0 - self._confidence), method="lower"))
        return (low if np.isfinite(low) else None), None, None


def _task_tails(records: PositionRecords) -> tuple[np.ndarray, np.ndarray]:
    """[2, T, R] tail masses of teacher and base summed by task and role, and [T, R] how many."""
    _, task = np.unique(records.task, return_inverse=True)
    shape = (int(task.max()) + 1, len(records.roles))
    cell = task * shape[1] + records.role

    def summed(weights: np.ndarray | None) -> np.ndarray:
        return np.bincount(cell, weights, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)

    models = (records.teacher.middle(), records.base.middle())
    return np.stack([summed(np.exp(one.log_tail)) for one in models]), summed(None)


def _smallest_switch(tails: np.ndarray, counts: np.ndarray, log_c: float) -> float:
    """Smallest λ*_b of the roles; +inf where none has one."""
    reached = counts.sum(axis=0) > 0
    with np.errstate(divide="ignore"):
        teacher, base = np.log((tails.sum(axis=1) / np.maximum(counts.sum(axis=0), 1.0))[:, reached])
    found = switches_from_log_tails(teacher, base, base, log_c).value
    return float(np.nanmin(np.where(np.isnan(found), np.inf, found), initial=np.inf))


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
