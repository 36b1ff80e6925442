"""Where the extrapolated fixed point lies at each role: as the coin has it, and token by token.

The objective is level at π_λ(a) ∝ π_T(a)^λ · π_B(a)^(1−λ). With S_X = Σ_{a ∈ X} π_T(a)^λ · π_B(a)^(1−λ), and
t and u the teacher's and the base's distributions inside a class or its tail X,

    S_X = π_T(X)^λ · π_B(X)^(1−λ) · exp((λ − 1) · D_λ(t ‖ u)),     D_λ the Rényi divergence of order λ,

so that the odds S_tail / S_class of π_λ are the coin's times exp((λ − 1)·(D_λ in the tail − D_λ in the
class)). The coin takes both divergences for equal, and all decisions of a role for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from harness.cliff.domain import FloatArray, require
from harness.cliff.events import Events, by_role
from harness.cliff.kappa import clip_margin, tail_log_odds_of_first
from harness.cliff.log_odds import log_mass, probability
from harness.cliff.masses import ClassMass, MassBounds, PositionRecords
from harness.cliff.readings import Readings, Resampling, estimate_of, finite, read
from harness.cliff.resample import TaskSums
from harness.cliff.switch import ASSUMED, RunRatio, Switches, fixed_point_log_tail, switches_from_log_tails
from harness.stats.estimate import Estimate

LAMBDAS: Final = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0)
"""Where the target's tail is looked at beside the run's λ."""
_FAR: Final = 5000.0
"""Log-odds of a class that holds everything, or nothing."""


@dataclass(frozen=True, slots=True)
class RoleFixedPoint:
    """The fixed point at one role.

    Attributes:
        role: its name.
        n: decisions.
        coin_tail: 1 − q_λ of a coin with the role's mean p and b; None at p or b in {0, 1}.
        target_tail: mean tail of π_λ over the decisions; None where it wasn't measured.
        edge: (1 − m)/c of the run's ratio; None where it has no edge, or m isn't known.
        switch: λ*_m, at which the coin passes that edge; None where it has no finite value.
        switch_status: a `SwitchStatus`, or `no_edge`.
        beyond: whether the target's tail lies below the edge; None without an edge, where the tail wasn't
            measured, and where the interval of their ratio holds 1.
        reached_at: the least λ ≥ 1 looked at, at which the target's mean tail lies below the edge; None where
            there is none.
        closest: the least ratio of the two over those λ.
    """

    role: str
    n: int
    coin_tail: float | None
    target_tail: Estimate | None
    edge: float | None
    switch: float | None
    switch_status: str
    beyond: bool | None
    reached_at: float | None
    closest: float | None

    @property
    def times(self) -> float | None:
        """The target's tail in units of the coin's."""
        tail = None if self.target_tail is None else self.target_tail.estimate
        return tail / self.coin_tail if tail is not None and self.coin_tail else None


@dataclass(frozen=True, slots=True, eq=False)
class TargetMasses:
    """What was measured of the extrapolated target.

    Attributes:
        at: class mass of each decision under π_μ, at the run's λ and other μ; empty where not measured.
        missing: why not.
        plausible: see `FixedPoints`.
    """

    at: Mapping[float, ClassMass] = field(default_factory=dict)
    missing: str = ""
    plausible: float = 0.0


NOT_MEASURED: Final = TargetMasses(missing="not asked for")


@dataclass(frozen=True, slots=True)
class FixedPoints:
    """The fixed point of a run's λ at every role that was reached.

    Attributes:
        lam: the run's λ.
        ratio: the run's importance ratio.
        ratio_source: how that is known, in words.
        roles: in the order of the contract.
        lambdas: where the target's tail was looked at, ascending; empty where it wasn't measured.
        missing: why it wasn't; empty where it was.
        plausible: the target extrapolates only where the teacher gives a token this share of its likeliest
            one's probability; 0 is everywhere, as the coin does.
    """

    lam: float
    ratio: RunRatio
    ratio_source: str
    roles: tuple[RoleFixedPoint, ...]
    lambdas: tuple[float, ...]
    missing: str
    plausible: float = 0.0

    def at(self, role: str) -> RoleFixedPoint | None:
        """The entry of a role, None where no rollout reaches it."""
        return next((one for one in self.roles if one.role == role), None)


def masses_of_odds(log_odds: FloatArray) -> ClassMass:
    """Class masses from [N] log-odds of tail against class."""
    odds = np.clip(log_odds, -_FAR, _FAR)
    return ClassMass(log_mass=log_mass(-odds), log_tail=log_mass(odds))


def fixed_points(
    records: PositionRecords,
    lam: float,
    settings: Resampling,
    *,
    ratio: RunRatio = ASSUMED,
    ratio_source: str = "",
    target: TargetMasses = NOT_MEASURED,
) -> FixedPoints:
    """Coin, target and edge by role.

    Args:
        records: decisions of the rollouts.
        lam: the run's λ, finite.
        settings: clip, level and resamples.
        ratio: the run's importance ratio.
        ratio_source: how that is known, in words.
        target: class masses of the decisions under the target.

    Raises:
        CliffDomainError: arguments out of range, or masses of other decisions.
    """
    targets = target.at
    require(not targets or lam in targets, "the target's masses at the run's λ are missing")
    size = records.task.size
    require(all(one.log_mass.size == size for one in targets.values()), "one mass a decision is needed")
    events = by_role(records)
    sums, coin, switches = _of_the_coin(events, lam, ratio, settings.log_c)
    edges = None if switches is None else np.exp(switches.log_edge)
    along = {mu: _mean_tail(events, one) for mu, one in sorted(targets.items())}
    tails, margins = _of_the_target(events, targets.get(lam), ratio, settings)
    rows = []
    for role in np.flatnonzero(sums.count.sum(axis=0)):
        count, tasks = int(sums.count[:, role].sum()), int(sums.tasks()[role])
        edge = None if edges is None else finite(edges[role])
        reached, closest = _against({mu: float(one[role]) for mu, one in along.items()}, edge)
        rows.append(
            RoleFixedPoint(
                role=records.roles[role],
                n=count,
                coin_tail=finite(coin[role]),
                target_tail=None if tails is None else estimate_of(tails, probability, role, count, tasks),
                edge=edge,
                switch=None if switches is None else finite(switches.value[role]),
                switch_status="no_edge" if switches is None else str(switches.status[role]),
                beyond=None if margins is None else _beyond(estimate_of(margins, np.exp, role, count, tasks)),
                reached_at=reached,
                closest=closest,
            )
        )
    return FixedPoints(
        float(lam), ratio, ratio_source, tuple(rows), tuple(along), target.missing, target.plausible
    )


def _of_the_coin(
    events: Events, lam: float, ratio: RunRatio, log_c: float
) -> tuple[TaskSums, FloatArray, Switches | None]:
    """Sums of teacher and base, [G] the coin's tail (NaN where it has none), and the run's switch."""
    teacher, base = events.teacher.middle(), events.base.middle()
    sums = TaskSums.collect(events.task, events.group, events.row_of.size, teacher, base)
    means = sums.means()
    with np.errstate(divide="ignore", invalid="ignore"):
        of_teacher, of_base = np.log(means.tail[0]), np.log(means.tail[1])
        inside = np.logical_and.reduce([(x > 0) & (x < 1) for x in (*means.tail, *means.mass)])
    coin = np.full(inside.shape, np.nan)
    coin[inside] = np.exp(fixed_point_log_tail(lam, of_teacher[inside], of_base[inside]))
    if ratio.edge not in ("teacher", "base"):
        return sums, coin, None
    of_edge = of_teacher if ratio.edge == "teacher" else of_base
    return sums, coin, switches_from_log_tails(of_teacher, of_base, of_edge, log_c)


def _of_the_target(
    events: Events, target: ClassMass | None, ratio: RunRatio, settings: Resampling
) -> tuple[Readings | None, Readings | None]:
    """Log-odds of the target's tail, and log of its ratio to the edge; None where there is none."""
    if target is None:
        return None, None
    mass = MassBounds.exact(target)
    _, (tails,) = read(events, mass, mass, (tail_log_odds_of_first,), settings)
    if ratio.edge not in ("teacher", "base"):
        return tails, None
    other = events.teacher if ratio.edge == "teacher" else events.base
    _, (margins,) = read(events, other, mass, (clip_margin(settings.log_c),), settings)
    return tails, margins


def _mean_tail(events: Events, target: ClassMass) -> FloatArray:
    sums = np.bincount(events.group, np.exp(target.log_tail), minlength=events.row_of.size)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / np.bincount(events.group, minlength=events.row_of.size))


def _against(tails: Mapping[float, float], edge: float | None) -> tuple[float | None, float | None]:
    """The least λ ≥ 1 with a tail below the edge, and the least tail in units of it."""
    beyond = {mu: tail / edge for mu, tail in tails.items() if mu >= 1} if edge else {}
    return min((mu for mu, times in beyond.items() if times < 1), default=None), min(
        beyond.values(), default=None
    )


def _beyond(margin: Estimate) -> bool | None:
    if margin.low is not None and margin.low >= 1:
        return False
    return True if margin.high is not None and margin.high < 1 else None
