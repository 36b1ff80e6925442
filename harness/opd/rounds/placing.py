"""Where the student in training stands on the line of its teacher and base, by rollouts it has just drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from harness.cliff.line_sums import LineSums
from harness.engines.hf_line import line_columns, require_line_numbers
from harness.opd.models.policy import Policy
from harness.opd.rounds.scoring import Layout
from harness.rollouts import Rollout

MOST_PLACED: Final = 64
"""Rollouts of a round that are read for it, all processes together."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the three policies and how it reads the rollouts.

    Attributes:
        policy: on its device.
        layout: of the rollouts.
        below: whether it is read without its adapter.
    """

    policy: Policy
    layout: Layout
    below: bool = False

    def hidden(self, part: slice) -> torch.Tensor:
        """[N, width] hidden states before the tokens of a forward pass."""
        with torch.no_grad(), self._chosen():
            return self.policy(self.layout.packed(part).to(self.policy.device)).hidden

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Float32 logits [rows, vocabulary]."""
        with self._chosen():
            logits: torch.Tensor = self.policy.output(hidden)
        return logits

    @contextlib.contextmanager
    def _chosen(self) -> Iterator[None]:
        with self.policy.without_adapter() if self.below else contextlib.nullcontext():
            yield


def line_sums_of(sides: Sequence[Side], rollouts: Sequence[Rollout], plausible: float) -> list[LineSums]:
    """Sums of each rollout, exactly, over the whole vocabulary.

    Args:
        sides: [3] student, teacher and base.
        rollouts: those of their layouts, drawn by the student as it is.
        plausible: mask of the line.

    Raises:
        NotNumbersError: what one of them says isn't a number.
    """
    vocabulary = min(side.policy.output.vocabulary for side in sides)
    found = []
    for part in sides[0].layout.passes(0, len(rollouts)):
        with torch.no_grad():
            columns = line_columns(sides, [side.hidden(part) for side in sides], vocabulary, plausible)
        require_line_numbers(columns, [side.policy.output.name for side in sides])
        first = 0
        for one in rollouts[part]:
            found.append(LineSums.of_columns(columns[first : first + len(one.token_ids)]))
            first += len(one.token_ids)
    return found
