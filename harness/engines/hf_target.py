"""Odds of tail against class under the extrapolated target, from teacher and base side by side.

Both models are in memory at once; the [positions, vocabulary] matrices exist a block of rows at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.engines.base import ScoreRequest
from harness.engines.finite import NOT_NUMBERS, WHAT_TO_DO, NotNumbersError
from harness.engines.hf_classes import grouped
from harness.engines.hf_line import TooLittleMemoryError
from harness.engines.hf_scoring import BLOCK_LOGITS, OutputLayer, padded
from harness.engines.target_draw import plausible_gain

FloatArray = npt.NDArray[np.float64]
_LARGEST = 5000.0
"""Log-odds beyond which the smaller of the two is 0 anyhow; keeps infinities out of files."""


def target_odds(
    teacher: Any,
    base: Any,
    requests: Sequence[ScoreRequest],
    lambdas: Sequence[float],
    *,
    plausible: float = 0.0,
    done: Collection[str] = frozenset(),
    batch_size: int = 8,
) -> Iterator[tuple[str, FloatArray]]:
    """Key and log-odds of each completion that isn't done, longest first; batches are as if none were.

    Args:
        teacher: a causal model.
        base: likewise, of the same vocabulary.
        requests: completions with their classes.
        lambdas: [L] where the target is looked at.
        plausible: where it extrapolates, see `TargetConfig`.
        done: keys that must not be yielded again.
        batch_size: sequences at a time.

    Yields:
        The request's key and [T, L] log(Σ_tail π_T^λ π_B^(1−λ) / Σ_class π_T^λ π_B^(1−λ)) at its T positions.

    Raises:
        NotNumbersError: the logits of one of them are NaN or infinite.
        TooLittleMemoryError: a device ran out of memory.
    """
    import torch

    outputs = [OutputLayer(teacher), OutputLayer(base)]
    ordered = sorted(requests, key=lambda one: -(len(one.prompt_ids) + len(one.completion_ids)))
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        if all(one.key in done for one in batch):
            continue
        try:
            found = list(_batch(outputs, batch, lambdas, plausible))
        except torch.cuda.OutOfMemoryError as error:
            raise TooLittleMemoryError(
                f"{teacher.device} ran out of memory with teacher and base side by side"
            ) from error
        yield from (one for one in found if one[0] not in done)


def _batch(
    outputs: Sequence[OutputLayer], batch: Sequence[ScoreRequest], lambdas: Sequence[float], plausible: float
) -> Iterator[tuple[str, FloatArray]]:
    import torch

    places = padded(batch)
    classes = [ids for one in batch for ids in one.classes]
    with torch.inference_mode():
        hidden = [output.hidden_at(*places) for output in outputs]
        odds = _odds(outputs, hidden, classes, lambdas, plausible)
    if np.isnan(odds).any():
        names = ", ".join(dict.fromkeys(output.name for output in outputs))
        raise NotNumbersError(f"{names}: of one of them {NOT_NUMBERS}: {WHAT_TO_DO}")
    first = 0
    for one in batch:
        yield one.key, odds[first : first + len(one.classes)]
        first += len(one.classes)


def _odds(
    outputs: Sequence[OutputLayer],
    hidden: Sequence[Any],
    classes: Sequence[npt.NDArray[np.int64]],
    lambdas: Sequence[float],
    plausible: float,
) -> FloatArray:
    """[positions, L]."""
    import torch

    vocabulary = min(output.vocabulary for output in outputs)
    found = np.empty((len(classes), len(lambdas)))
    block = max(1, BLOCK_LOGITS // (4 * vocabulary))
    device = hidden[0].device
    for start in range(0, len(classes), block):
        part = slice(start, start + block)
        of_teacher, of_base = (
            torch.log_softmax(output(rows[part])[:, :vocabulary], dim=-1).to(device)
            for output, rows in zip(outputs, hidden, strict=True)
        )
        gain = plausible_gain(of_teacher, of_base, plausible)
        member = torch.zeros_like(of_teacher, dtype=torch.bool)
        for rows, ids in grouped(classes[part]):
            # A tokenizer may hold ids beyond the output layer: nothing can put mass on them.
            own = torch.as_tensor(ids[ids < vocabulary], device=device)
            member[torch.as_tensor(rows, device=device).unsqueeze(-1), own.unsqueeze(0)] = True
        others, columns = ~member, []
        for lam in lambdas:
            scores = of_teacher + (lam - 1.0) * gain
            # Near its largest, where float32 is finest.
            scores -= scores.amax(dim=-1, keepdim=True)
            tail, mass = (scores.masked_fill(away, -torch.inf).logsumexp(dim=-1) for away in (member, others))
            columns.append((tail - mass).clamp(-_LARGEST, _LARGEST))
        found[part] = torch.stack(columns, dim=-1).double().cpu().numpy()
    return found
