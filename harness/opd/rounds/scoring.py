"""What frozen policies say about a round's rollouts: logprobs of the tokens, masses of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from harness.cliff import ClassMass, MassBounds, PositionRecords
from harness.contract.automaton import ROLES
from harness.engines.base import ScoreRequest
from harness.engines.hf_classes import class_scores
from harness.measure.positions import Walk, Walker
from harness.opd.models.policy import BLOCK_LOGITS, Policy
from harness.opd.rounds.drawing import Rollout
from harness.opd.rounds.packing import Packed, pack

# Which unused id comes next is the ranking itself; everywhere else the contract alone decides.
CONTENT_ROLE = "unused_id"

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """The structural positions of R rollouts, M in all, among their N tokens.

    Attributes:
        walks: [R] of each rollout.
        tokens: [M] index of each position among the N tokens.
        structural: [N] whether a token stands where the contract alone decides what may come.
        task: [M] index of the task.
        draw: [M] the rollout's number among those of its task.
        role: [M] index into `ROLES`.
        index: [M] how many positions of this role came before in the rollout.
    """

    walks: tuple[Walk, ...]
    tokens: npt.NDArray[np.int64]
    structural: npt.NDArray[np.bool_]
    task: npt.NDArray[np.int64]
    draw: npt.NDArray[np.int64]
    role: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]

    @classmethod
    def find(cls, rollouts: Sequence[Rollout], walker: Walker) -> Positions:
        """Walk every rollout to where it leaves the contract or ends."""
        walks = tuple(walker(one.k, one.token_ids) for one in rollouts)
        numbers: dict[str, int] = {role: number for number, role in enumerate(ROLES)}
        starts = np.cumsum([0, *(len(one.token_ids) for one in rollouts)])
        reached = [len(walk.roles) for walk in walks]
        tokens = np.concatenate([start + np.arange(n) for start, n in zip(starts, reached, strict=False)])
        role = np.array([numbers[role] for walk in walks for role in walk.roles], dtype=np.int64)
        structural = np.zeros(starts[-1], dtype=bool)
        structural[tokens[role != numbers[CONTENT_ROLE]]] = True
        return cls(
            walks=walks,
            tokens=tokens.astype(np.int64),
            structural=structural,
            task=np.repeat(np.array([one.task for one in rollouts], dtype=np.int64), reached),
            draw=np.repeat(np.array([one.draw for one in rollouts], dtype=np.int64), reached),
            role=role,
            index=np.array([index for walk in walks for index in walk.indices], dtype=np.int64),
        )

    def records(self, teacher: ClassMass, base: ClassMass) -> PositionRecords:
        """What `harness.cliff` estimates from."""
        return PositionRecords(
            roles=ROLES,
            task=self.task,
            rollout=self.draw,
            role=self.role,
            index=self.index,
            teacher=MassBounds.exact(teacher),
            base=MassBounds.exact(base),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One frozen policy's view of N tokens and M structural positions.

    Attributes:
        logprobs: [N] float32, on the CPU.
        masses: [M] of the classes.
    """

    logprobs: torch.Tensor
    masses: ClassMass


class Layout:
    """How rollouts are cut into forward passes; frozen and trained policies read the same tensors.

    Only then are equal policies equal to the last bit, and A exactly 0 between them.
    """

    def __init__(self, rollouts: Sequence[Rollout], size: int, share_prompts: bool) -> None:
        """Cut `rollouts` into passes of `size`."""
        self._rollouts = rollouts
        self._size = size
        self._share = share_prompts
        self._packed: dict[int, Packed] = {}
        self.starts = np.cumsum([0, *(len(one.token_ids) for one in rollouts)])

    def apart(self) -> Layout:
        """The same passes with a row for every rollout."""
        return Layout(self._rollouts, self._size, False)

    def passes(self, first: int, last: int) -> list[slice]:
        """Rollouts of each forward pass of the rollouts from `first` to `last`."""
        return [slice(at, min(at + self._size, last)) for at in range(first, last, self._size)]

    def packed(self, part: slice) -> Packed:
        """Their tensors."""
        if part.start not in self._packed:
            self._packed[part.start] = pack(self._rollouts[part], self._share)
        return self._packed[part.start]

    def tokens(self, part: slice) -> slice:
        """Where their tokens lie among all N."""
        return slice(int(self.starts[part.start]), int(self.starts[part.stop]))


def score(policy: Policy, layout: Layout, passes: Sequence[slice], positions: Positions | None) -> Scores:
    """Read rollouts with a policy that is not being trained.

    Args:
        policy: on its device.
        layout: of the rollouts.
        passes: all of its forward passes, in order.
        positions: where class masses are wanted; None for logprobs alone.
    """
    logprobs: list[torch.Tensor] = []
    masses: list[ClassMass] = []
    for part in passes:
        packed = layout.packed(part).to(policy.device)
        with torch.no_grad():
            reading = policy(packed)
        logprobs.append(reading.logprobs.float().cpu())
        if positions is not None:
            lengths = np.diff(layout.starts[part.start : part.stop + 1])
            masses.append(class_masses(policy, reading.hidden, packed.tokens, positions.walks[part], lengths))
    return Scores(torch.cat(logprobs), _joined(masses))


def class_masses(
    policy: Policy,
    hidden: torch.Tensor,
    tokens: torch.Tensor,
    walks: Sequence[Walk],
    lengths: npt.NDArray[np.int64],
) -> ClassMass:
    """Masses at the structural positions of some rollouts.

    Args:
        policy: whose hidden states they are.
        hidden: [N, width] at all completion tokens of these rollouts.
        tokens: [N] those tokens.
        walks: of each rollout; each goes over the first of its rollout's tokens.
        lengths: completion tokens of each rollout.
    """
    begins = np.cumsum([0, *lengths])[:-1]
    reached = [np.arange(begin, begin + len(walk.roles)) for begin, walk in zip(begins, walks, strict=True)]
    at = torch.from_numpy(np.concatenate(reached)).to(hidden.device)
    requests = [
        ScoreRequest(str(number), (), (0,) * len(walk.roles), walk.classes)
        for number, walk in enumerate(walks)
    ]
    with torch.no_grad():
        block = max(1, BLOCK_LOGITS // policy.output.vocabulary)
        scored = class_scores(policy.output, hidden[at], tokens[at], requests, block)
    found = [one.class_masses for one in scored if one.class_masses is not None]
    return ClassMass(
        np.concatenate([one.log_mass for one in found]), np.concatenate([one.log_tail for one in found])
    )


def _joined(parts: Sequence[ClassMass]) -> ClassMass:
    empty = [np.empty(0)]
    return ClassMass(
        np.concatenate([one.log_mass for one in parts] or empty),
        np.concatenate([one.log_tail for one in parts] or empty),
    )
