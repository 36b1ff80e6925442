"""Rollouts as tensors: those of one prompt share its tokens in one row, each seeing the prompt and itself.

With S samples a prompt of P tokens and completions of C, a row has P + S·C tokens where separate ones have
S·(P + C): at P = 92, C = 20 and S = 4 that is 2.6 times less to compute, forwards and backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby

import numpy as np
import torch

from harness.rollouts import Rollout

PAD_ID = 0


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """R rows of T tokens that hold N completion tokens, in the order of the rollouts.

    Attributes:
        token_ids: [R, T] int64, padded on the right.
        rows: [N] row of the position that predicts each completion token.
        places: [N] its place in the row.
        tokens: [N] the completion tokens.
        position_ids: [R, T], None where they are 0…T−1.
        mask: [R, 1, T, T] bool, what each place (second last) may see (last); None where plain causality
            does, padding being on the right.
    """

    token_ids: torch.Tensor
    rows: torch.Tensor
    places: torch.Tensor
    tokens: torch.Tensor
    position_ids: torch.Tensor | None
    mask: torch.Tensor | None

    def to(self, device: torch.device) -> Packed:
        """On another device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Packed(**{name: None if one is None else one.to(device) for name, one in values.items()})


def pack(rollouts: Sequence[Rollout], share_prompts: bool) -> Packed:
    """Lay out rollouts, each with at least one completion token.

    Args:
        rollouts: those with the same prompt are shared only where they follow each other.
        share_prompts: whether they are; else every rollout has a row of its own.
    """
    groups = (
        [list(group) for _, group in groupby(rollouts, key=lambda one: one.prompt_ids)]
        if share_prompts
        else [[one] for one in rollouts]
    )
    shared = any(len(group) > 1 for group in groups)
    lines = [_line(group) for group in groups]
    width = max(len(line.token_ids) for line in lines)
    token_ids = np.full((len(lines), width), PAD_ID, dtype=np.int64)
    position_ids = np.zeros((len(lines), width), dtype=np.int64)
    # Padding is a segment of its own; its rows see something, which keeps softmax from dividing 0 by 0.
    segments = np.full((len(lines), width), -1, dtype=np.int64)
    for row, line in enumerate(lines):
        end = len(line.token_ids)
        token_ids[row, :end] = line.token_ids
        position_ids[row, :end] = line.position_ids
        segments[row, :end] = line.segments
    mask = None
    if shared:
        own = segments[:, :, None] == segments[:, None, :]
        prompt = (segments == 0)[:, None, :]
        mask = torch.from_numpy(np.tril(own | prompt)[:, None])
    return Packed(
        token_ids=torch.from_numpy(token_ids),
        rows=torch.from_numpy(np.repeat(np.arange(len(lines)), [len(line.places) for line in lines])),
        places=torch.tensor([place for line in lines for place in line.places]),
        tokens=torch.tensor([token for one in rollouts for token in one.token_ids]),
        position_ids=torch.from_numpy(position_ids) if shared else None,
        mask=mask,
    )


@dataclass(frozen=True, slots=True)
class _Line:
    token_ids: list[int]
    position_ids: list[int]
    segments: list[int]
    places: list[int]


def _line(group: Sequence[Rollout]) -> _Line:
    prompt = group[0].prompt_ids
    line = _Line(list(prompt), list(range(len(prompt))), [0] * len(prompt), [])
    for number, rollout in enumerate(group, start=1):
        # The last completion token is predicted and not read: nothing comes after it.
        read = rollout.token_ids[:-1]
        begin = len(line.token_ids)
        line.places.extend([len(prompt) - 1, *range(begin, begin + len(read))])
        line.token_ids.extend(read)
        line.position_ids.extend(range(len(prompt), len(prompt) + len(read)))
        line.segments.extend([number] * len(read))
    return line
