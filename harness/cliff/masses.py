"""Measured class masses: what an engine's scores come down to before anything is estimated from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import BoolArray, FloatArray, require

IntArray = npt.NDArray[np.int64]
Chosen = npt.NDArray[np.bool_] | npt.NDArray[np.int64] | slice

_ROUNDING = 1e-6
FLOAT32_LOGPROB_ROUNDING = 2.0**-22


@dataclass(frozen=True, slots=True)
class ClassMass:
    """Mass on the equivalence class and on its complement, both as logs so that neither loses digits.

    Attributes:
        log_mass: [N] log of the class mass, ≤ 0; −inf is none.
        log_tail: [N] log of one minus it, ≤ 0; −inf is none. Up to 1e-6 above 0 is taken as rounding, as 0.
    """

    log_mass: FloatArray
    log_tail: FloatArray

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            CliffDomainError: shapes that differ, NaN, logs above 0, or masses that don't add up to 1.
        """
        mass, tail = np.asarray(self.log_mass, np.float64), np.asarray(self.log_tail, np.float64)
        require(mass.ndim == 1 and mass.shape == tail.shape, "class mass and tail need one length")
        require((mass <= _ROUNDING) & (tail <= _ROUNDING), "log masses must be numbers, at most 0")
        object.__setattr__(self, "log_mass", np.minimum(mass, 0.0))
        object.__setattr__(self, "log_tail", np.minimum(tail, 0.0))
        total = np.exp(self.log_mass) + np.exp(self.log_tail)
        require(np.abs(total - 1.0) < 1e-3, "class mass and tail must add up to 1")

    @classmethod
    def from_log_mass(cls, log_mass: npt.ArrayLike) -> ClassMass:
        """From log class masses ≤ 0: keeps the digits of a mass near 0."""
        log_mass = np.asarray(log_mass, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return cls(log_mass=log_mass, log_tail=np.log(-np.expm1(log_mass)))

    @classmethod
    def concat(cls, parts: Sequence[ClassMass]) -> ClassMass:
        """Masses one after the other; none of no parts."""
        none = np.empty(0)
        return cls(
            log_mass=np.concatenate([none, *(one.log_mass for one in parts)]),
            log_tail=np.concatenate([none, *(one.log_tail for one in parts)]),
        )

    def __getitem__(self, chosen: Chosen) -> ClassMass:
        return ClassMass(self.log_mass[chosen], self.log_tail[chosen])

    def product(self, group: IntArray, groups: int, further: FloatArray | None = None) -> ClassMass:
        """Mass of all events of a group happening: the product of their masses.

        Args:
            group: [N] group of each entry, 0 … groups − 1.
            groups: number of groups.
            further: [groups] log of what the product is to be multiplied by.
        """
        # log(1 − tail) where the mass is near 1, else a sum of many roundings would pose as a tail.
        with np.errstate(divide="ignore"):
            exact = np.where(self.log_tail < np.log(0.5), np.log1p(-np.exp(self.log_tail)), self.log_mass)
        whole = np.bincount(group, weights=exact, minlength=groups)
        return ClassMass.from_log_mass(whole if further is None else whole + further)


@dataclass(frozen=True, slots=True)
class MassBounds:
    """A class mass known exactly (`low` is `high`) or between two bounds, as from top-k logprobs.

    Attributes:
        low: the least class mass, and with it the largest tail.
        high: the largest class mass.
    """

    low: ClassMass
    high: ClassMass

    def __post_init__(self) -> None:
        """Check the order of the bounds.

        Raises:
            CliffDomainError: lengths that differ, or a lower bound above the upper one.
        """
        require(self.low.log_mass.shape == self.high.log_mass.shape, "bounds must have one length")
        require(
            self.low.log_mass <= self.high.log_mass + _ROUNDING,
            "a lower bound lies above its upper one",
        )

    @classmethod
    def exact(cls, mass: ClassMass) -> MassBounds:
        """A mass known exactly."""
        return cls(low=mass, high=mass)

    @classmethod
    def from_seen(
        cls,
        log_mass_seen: npt.ArrayLike,
        log_tail_seen: npt.ArrayLike,
        rounding: float = FLOAT32_LOGPROB_ROUNDING,
    ) -> MassBounds:
        """Bounds when only the top-k tokens were seen: what wasn't seen may be all class or all tail.

        Args:
            log_mass_seen: [N] log of the class mass among the tokens seen; −inf for none.
            log_tail_seen: [N] log of the other mass among them; −inf for none.
            rounding: error of the mass seen, from the precision of its logprobs; added to the largest tail.
        """
        mass, tail = (
            np.exp(np.asarray(log_mass_seen, np.float64)),
            np.exp(np.asarray(log_tail_seen, np.float64)),
        )
        unseen = np.maximum(1.0 - mass - tail, 0.0)
        with np.errstate(divide="ignore"):
            largest_tail = np.minimum(tail + unseen + rounding, 1.0)
            low = ClassMass(log_mass=np.log1p(-largest_tail), log_tail=np.log(largest_tail))
            high = ClassMass(log_mass=np.log(np.minimum(mass + unseen, 1.0)), log_tail=np.log(tail))
        return cls(low=low, high=high)

    @classmethod
    def concat(cls, parts: Sequence[MassBounds]) -> MassBounds:
        """Bounds one after the other; exact where all of them are."""
        low = ClassMass.concat([one.low for one in parts])
        if all(one.is_exact for one in parts):
            return cls.exact(low)
        return cls(low=low, high=ClassMass.concat([one.high for one in parts]))

    def __getitem__(self, chosen: Chosen) -> MassBounds:
        low = self.low[chosen]
        return MassBounds.exact(low) if self.is_exact else MassBounds(low, self.high[chosen])

    @property
    def is_exact(self) -> bool:
        """Whether there is nothing between the bounds."""
        return self.low is self.high

    def middle(self) -> ClassMass:
        """The mean of the two bounds."""
        if self.is_exact:
            return self.low
        return ClassMass(
            log_mass=np.logaddexp(self.low.log_mass, self.high.log_mass) - np.log(2.0),
            log_tail=np.logaddexp(self.low.log_tail, self.high.log_tail) - np.log(2.0),
        )


@dataclass(frozen=True, slots=True)
class PositionRecords:
    """One row per decision of every rollout, scored by all models on the same token ids.

    A decision is a structural position whatever number of tokens it is written in: blanks before an id and
    the id are one, and its mass is the product of the masses of its tokens.

    Attributes:
        roles: names of the roles, in the order in which they are to be reported.
        task: [N] index of the task, ≥ 0; tasks are what the bootstrap resamples.
        rollout: [N] index of the rollout within its task.
        role: [N] index into `roles`.
        index: [N] how many decisions of this role the rollout had before (the fifth separator has 4).
        teacher: class mass under π_T.
        base: class mass under π_B.
        student: class mass under π_S, None without a student.
        step: [N] how many decisions the rollout had before, of any role; None together with `cut`, where
            every rollout counts as walked to its end.
        cut: [N] whether the decision's rollout stops short of the end of an answer: it left the contract, or
            its tokens ran out.
    """

    roles: tuple[str, ...]
    task: IntArray
    rollout: IntArray
    role: IntArray
    index: IntArray
    teacher: MassBounds
    base: MassBounds
    student: MassBounds | None = None
    step: IntArray | None = None
    cut: BoolArray | None = None

    def __post_init__(self) -> None:
        """Check that all columns fit together.

        Raises:
            CliffDomainError: no positions, columns of different length, or indices out of range.
        """
        columns = [self.task, self.rollout, self.role, self.index]
        size = self.task.size
        require(size > 0, "no rollout reaches a structural position: check the prompts and the contract")
        require((self.step is None) == (self.cut is None), "step and cut are given together or not at all")
        if self.step is not None and self.cut is not None:
            require(self.cut.dtype == np.bool_ and self.cut.size == size, "cut must hold one bool a position")
            columns.append(self.step)
        lengths = [c.size for c in columns] + [m.low.log_mass.size for m in self.models]
        require(all(n == size for n in lengths), f"columns of one length are needed, not of {lengths}")
        for column in columns:
            require(
                np.issubdtype(column.dtype, np.integer) and column.min() >= 0, "indices must be integers ≥ 0"
            )
        require(self.role.max() < len(self.roles), "a role index lies beyond the list of roles")

    @property
    def columns(self) -> dict[str, Any]:
        """Every field with a row a position, by name: arrays and masses; those that are None left out."""
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "roles"}
        return {name: column for name, column in found.items() if column is not None}

    @classmethod
    def concat(cls, parts: Sequence[PositionRecords]) -> PositionRecords:
        """Positions of several sets of rollouts; columns that some of them lack are left out.

        Args:
            parts: at least one, with the same roles.

        Raises:
            CliffDomainError: roles that differ.
        """
        require(all(one.roles == parts[0].roles for one in parts), "records of other roles can't be joined")
        columns = [one.columns for one in parts]
        joined: dict[str, Any] = {}
        for name, first in columns[0].items():
            if all(name in one for one in columns):
                join = MassBounds.concat if isinstance(first, MassBounds) else np.concatenate
                joined[name] = join([one[name] for one in columns])
        return cls(roles=parts[0].roles, **joined)

    def __getitem__(self, chosen: Chosen) -> PositionRecords:
        return PositionRecords(
            roles=self.roles, **{name: column[chosen] for name, column in self.columns.items()}
        )

    @property
    def models(self) -> tuple[MassBounds, ...]:
        """Teacher, base and, where there is one, student."""
        both = (self.teacher, self.base)
        return both if self.student is None else (*both, self.student)

    @property
    def rollout_of(self) -> tuple[IntArray, IntArray]:
        """[N] number of the rollout each position belongs to, and [R] the task of each rollout."""
        pairs = np.stack([self.task, self.rollout], axis=1)
        unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
        return inverse.reshape(-1).astype(np.int64), unique[:, 0].astype(np.int64)

    def reached(self) -> BoolArray:
        """[roles] whether any rollout reaches the role."""
        return np.bincount(self.role, minlength=len(self.roles)) > 0
