"""Exact masses of token classes from hidden states, a block of rows at a time.

Class and complement are each summed with logsumexp in float32 and normalised in float64: the tail of a class
near 1 then keeps its digits, which log(1 − mass) would not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.cliff import ClassMass

IdArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def class_masses(
    logits_of: Callable[[Any], Any], hidden: Any, tokens: Any, classes: Sequence[IdArray], block: int
) -> tuple[FloatArray, ClassMass]:
    """Logprobs of tokens, and the masses of the classes they should come from.

    Args:
        logits_of: the output layer: hidden states [rows, width] to float32 logits [rows, vocabulary], fresh
            ones that may be overwritten.
        hidden: [N, width] hidden states at the positions.
        tokens: [N] the tokens that stand there.
        classes: [N] token ids of each class, ascending; positions with the same class share one array object.
        block: positions whose logits may exist at once.

    Returns:
        [N] logprobs, and [N] masses.
    """
    own, inside, outside = (np.empty(len(classes)) for _ in range(3))
    for start in range(0, len(classes), block):
        part = slice(start, start + block)
        own[part], inside[part], outside[part] = _split(logits_of(hidden[part]), tokens[part], classes[part])
    total = np.logaddexp(inside, outside)
    return own - total, ClassMass(inside - total, outside - total)


def _split(logits: Any, tokens: Any, classes: Sequence[IdArray]) -> tuple[Any, Any, Any]:
    """Logit of each token, log-sum of its class and of the complement: [rows] float64 arrays each."""
    import torch

    # The rows' common scale cancels later; without it the sums stay near 0, where float32 is finest.
    logits = logits.sub_(logits.max(dim=-1, keepdim=True).values)
    own = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    inside = torch.full_like(own, -torch.inf)
    for rows, members in grouped(classes):
        # A tokenizer may hold ids beyond the output layer: nothing can put mass on them.
        ids = members[members < logits.shape[-1]]
        if not ids.size:
            continue
        at = torch.as_tensor(rows, device=logits.device).unsqueeze(-1)
        columns = torch.as_tensor(ids, device=logits.device).unsqueeze(0)
        inside[at.squeeze(-1)] = logits[at, columns].logsumexp(dim=-1)
        logits[at, columns] = -torch.inf
    outside = logits.logsumexp(dim=-1)
    own, inside, outside = (part.double().cpu().numpy() for part in (own, inside, outside))
    return own, inside, outside


def grouped(classes: Sequence[IdArray]) -> list[tuple[list[int], IdArray]]:
    """Rows that share a class object, and the class."""
    groups: dict[int, tuple[list[int], IdArray]] = {}
    for row, ids in enumerate(classes):
        groups.setdefault(id(ids), ([], ids))[0].append(row)
    return list(groups.values())
