"""Log probabilities of given completions under targets at several λ: teacher and base read them once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.engines.base import ScoreRequest
from harness.engines.finite import NOT_NUMBERS, WHAT_TO_DO, NotNumbersError
from harness.engines.hf_scoring import BLOCK_LOGITS, OutputLayer, padded
from harness.engines.target_draw import plausible_gain
from harness.errors import IncompleteError

FloatArray = npt.NDArray[np.float64]


def target_logprobs(
    teacher: Any,
    base: Any,
    requests: Sequence[ScoreRequest],
    lams: Sequence[float],
    *,
    plausible: float = 0.0,
    batch_size: int = 8,
) -> Iterator[tuple[str, FloatArray]]:
    """Key and [λ] log π_λ of each whole completion, longest first; log Z is taken over the whole vocabulary.

    Args:
        teacher: a causal model.
        base: likewise, of the same vocabulary, on the same device or another.
        requests: prompts and completions.
        lams: λ.
        plausible: the mask of extrapolation, see `TargetConfig`.
        batch_size: sequences at a time.

    Raises:
        IncompleteError: a device ran out of memory.
        NotNumbersError: the logits are NaN or infinite.
    """
    import torch

    outputs = [OutputLayer(model) for model in (teacher, base)]
    ordered = sorted(requests, key=lambda one: -(len(one.prompt_ids) + len(one.completion_ids)))
    for start in range(0, len(ordered), batch_size):
        try:
            yield from _batch(outputs, ordered[start : start + batch_size], lams, plausible)
        except torch.cuda.OutOfMemoryError as error:
            raise IncompleteError(
                f"{teacher.device} ran out of memory with teacher and base side by side; give the base a "
                "device of its own with `base_device=`"
            ) from error


def _batch(
    outputs: Sequence[OutputLayer], batch: Sequence[ScoreRequest], lams: Sequence[float], plausible: float
) -> Iterator[tuple[str, FloatArray]]:
    import torch

    ids, mask, at_row, at_position = padded(batch)
    tokens = ids[at_row, at_position + 1]
    with torch.inference_mode():
        hidden = []
        for output in outputs:
            device = output.device
            states = output.decoder(
                input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
            ).last_hidden_state
            hidden.append(states[at_row.to(device), at_position.to(device)])
        columns = _columns(outputs, hidden, tokens, lams, plausible)
    if np.isnan(columns).any():
        names = ", ".join(dict.fromkeys(output.name for output in outputs))
        raise NotNumbersError(f"{names}: of one of them {NOT_NUMBERS}: {WHAT_TO_DO}")
    first = 0
    for one in batch:
        part = columns[first : first + len(one.completion_ids)]
        first += len(one.completion_ids)
        yield one.key, part.sum(axis=0)


def _columns(
    outputs: Sequence[OutputLayer],
    hidden: Sequence[Any],
    tokens: Any,
    lams: Sequence[float],
    plausible: float,
) -> FloatArray:
    """[positions, λ] log π_λ of the tokens that stand there."""
    import torch

    vocabulary = min(output.vocabulary for output in outputs)
    count, device = len(tokens), hidden[0].device
    found = np.empty((count, len(lams)))
    block = max(1, BLOCK_LOGITS // (4 * vocabulary))
    for start in range(0, count, block):
        part = slice(start, start + block)
        of_teacher, of_base = (
            torch.log_softmax(output(rows[part])[:, :vocabulary], dim=-1).to(device)
            for output, rows in zip(outputs, hidden, strict=True)
        )
        gain = plausible_gain(of_teacher, of_base, plausible)
        at = tokens[part].to(device).unsqueeze(-1)
        for column, lam in enumerate(lams):
            scores = of_teacher + (lam - 1.0) * gain
            own = scores.gather(-1, at).squeeze(-1).double()
            found[part, column] = (own - torch.logsumexp(scores.double(), dim=-1)).cpu().numpy()
    return found
