"""The structural positions of a set of rollouts, and what models say there as records to estimate from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from harness.cliff import MassBounds, PositionRecords
from harness.contract import Role
from harness.contract.states import roles_of
from harness.engines.base import ScoreRequest
from harness.rollouts.rollout import Rollout
from harness.rollouts.walks import Walk, Walker

CONTENT_ROLES: Final = frozenset({"unused_id", "value"})
"""Which unused id comes next is the ranking itself, which value the answer; all else the contract decides."""

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """The structural positions of R rollouts, M in all, among their N tokens.

    Attributes:
        rollouts: [R] whose positions they are.
        walks: [R] of each rollout.
        tokens: [M] index of each position among the N tokens.
        structural: [N] whether a token stands where the contract alone decides what may come.
        members: [M] whether the token that stands there keeps the contract.
        task: [M] index of the task.
        draw: [M] the rollout's number among those of its task.
        role: [M] index into `roles`.
        decision: [M] which of the D decisions of all rollouts the token there takes part in, ascending.
        index: [M] how many decisions of this role came before in the rollout.
        step: [M] how many decisions of any role did.
        cut: [M] whether the rollout's walk stops short of the end of an answer.
        roles: of the contract.
    """

    rollouts: tuple[Rollout, ...]
    walks: tuple[Walk, ...]
    tokens: IntArray
    structural: BoolArray
    members: BoolArray
    task: IntArray
    draw: IntArray
    role: IntArray
    decision: IntArray
    index: IntArray
    step: IntArray
    cut: BoolArray
    roles: tuple[Role, ...]

    @classmethod
    def find(cls, rollouts: Sequence[Rollout], walker: Walker) -> Positions:
        """Walk every rollout, at least one, to where it leaves the contract or ends."""
        walks = tuple(walker(one.terms, one.token_ids) for one in rollouts)
        roles = roles_of(rollouts[0].terms.contract)
        numbers: dict[str, int] = {role: number for number, role in enumerate(roles)}
        starts = np.cumsum([0, *(len(one.token_ids) for one in rollouts)])
        reached = [len(walk.roles) for walk in walks]
        within = np.concatenate([np.arange(count, dtype=np.int64) for count in reached])
        tokens = np.repeat(starts[:-1], reached) + within
        step = np.array([one for walk in walks for one in walk.decisions], dtype=np.int64)
        opens = np.diff(step, prepend=-1) != 0
        opens[within == 0] = True
        role = np.array([numbers[role] for walk in walks for role in walk.roles], dtype=np.int64)
        structural = np.zeros(starts[-1], dtype=bool)
        structural[tokens[~np.isin(role, [numbers[one] for one in CONTENT_ROLES & numbers.keys()])]] = True
        return cls(
            rollouts=tuple(rollouts),
            walks=walks,
            tokens=tokens,
            structural=structural,
            members=np.array([member for walk in walks for member in walk.members], dtype=bool),
            task=np.repeat(np.array([one.task for one in rollouts], dtype=np.int64), reached),
            draw=np.repeat(np.array([one.draw for one in rollouts], dtype=np.int64), reached),
            role=role,
            decision=np.cumsum(opens) - 1,
            index=np.array([index for walk in walks for index in walk.indices], dtype=np.int64),
            step=step,
            cut=np.repeat(np.array([not walk.finished for walk in walks], dtype=bool), reached),
            roles=roles,
        )

    def among(self, tokens: slice) -> BoolArray:
        """[M] which positions lie among some of the N tokens."""
        return np.asarray((self.tokens >= tokens.start) & (self.tokens < tokens.stop))

    @property
    def opening(self) -> IntArray:
        """[D] the position at which each decision begins."""
        return np.flatnonzero(np.diff(self.decision, prepend=-1))

    def merged(self, masses: MassBounds, tokens: slice | None = None) -> MassBounds:
        """Mass of each decision: the product of those of the tokens it is written in.

        How a tokenizer cuts an answer, and above all whether it writes blanks apart, is no matter of the
        contract: a mean over tokens would be diluted by every blank.

        Args:
            masses: of the classes at all M positions, or at those among `tokens`.
            tokens: whole rollouts among the N tokens.
        """
        group = self.decision if tokens is None else self.decision[self.among(tokens)]
        group = group - group[0]
        count = int(group[-1]) + 1
        if count == group.size:
            return masses
        low = masses.low.product(group, count)
        return (
            MassBounds.exact(low) if masses.is_exact else MassBounds(low, masses.high.product(group, count))
        )

    def score_requests(self, keys: Sequence[str]) -> list[ScoreRequest]:
        """What engines are asked: every rollout as far as its walk goes, with the classes there.

        Args:
            keys: [R] of the requests.
        """
        return [
            ScoreRequest(key, one.prompt_ids, one.token_ids[: len(walk.roles)], walk.classes)
            for key, one, walk in zip(keys, self.rollouts, self.walks, strict=True)
        ]

    def records(
        self, teacher: MassBounds, base: MassBounds, student: MassBounds | None = None
    ) -> PositionRecords:
        """What `harness.cliff` estimates from, a row a decision.

        Args:
            teacher: [M] masses of the classes at these positions, one a token.
            base: likewise.
            student: likewise.
        """
        first = self.opening
        return PositionRecords(
            roles=self.roles,
            task=self.task[first],
            rollout=self.draw[first],
            role=self.role[first],
            index=self.index[first],
            teacher=self.merged(teacher),
            base=self.merged(base),
            student=None if student is None else self.merged(student),
            step=self.step[first],
            cut=self.cut[first],
        )
