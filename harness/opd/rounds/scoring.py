"""What frozen policies say about a round's rollouts: logprobs of the tokens, masses of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from harness.cliff import ClassMass
from harness.engines import hf_classes
from harness.engines.finite import NOT_NUMBERS, WHAT_TO_DO, NotNumbersError
from harness.opd.models.policy import BLOCK_LOGITS, Policy
from harness.opd.rounds.packing import Packed, pack
from harness.rollouts import Positions, Rollout


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One frozen policy's view of N tokens and M structural positions.

    Attributes:
        logprobs: [N] float32, on the CPU.
        masses: [M] of the classes.
        likeliest: [N] largest logprob where each token stands; None in scores stored by earlier versions.
    """

    logprobs: torch.Tensor
    masses: ClassMass
    likeliest: torch.Tensor | None


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

    Raises:
        NotNumbersError: the policy's logits are NaN or infinite.
    """
    logprobs: list[torch.Tensor] = []
    likeliest: list[torch.Tensor] = []
    masses: list[ClassMass] = []
    for part in passes:
        packed = layout.packed(part).to(policy.device)
        with torch.no_grad():
            reading = policy(packed)
        logprobs.append(reading.logprobs.float().cpu())
        if bool(logprobs[-1].isnan().any()):
            raise NotNumbersError(f"{policy.output.name}: {NOT_NUMBERS}: {WHAT_TO_DO}")
        likeliest.append(reading.likeliest.float().cpu())
        if positions is not None:
            masses.append(class_masses(policy, reading.hidden, packed.tokens, layout, positions, part))
    return Scores(torch.cat(logprobs), ClassMass.concat(masses), torch.cat(likeliest))


def class_masses(
    policy: Policy,
    hidden: torch.Tensor,
    tokens: torch.Tensor,
    layout: Layout,
    positions: Positions,
    part: slice,
) -> ClassMass:
    """Masses at the structural positions of one forward pass.

    Args:
        policy: whose hidden states they are.
        hidden: [N, width] at all completion tokens of the pass.
        tokens: [N] those tokens.
        layout: of all rollouts.
        positions: of all rollouts.
        part: the rollouts of the pass.
    """
    own = layout.tokens(part)
    at = torch.from_numpy(positions.tokens[positions.among(own)] - own.start).to(hidden.device)
    classes = [ids for walk in positions.walks[part] for ids in walk.classes]
    block = max(1, BLOCK_LOGITS // policy.output.vocabulary)
    with torch.no_grad():
        return hf_classes.class_masses(policy.output, hidden[at], tokens[at], classes, block)[1]
