"""Student, teacher and base side by side on given completions: what λ reached is made of.

Three models are in memory at once; the [positions, vocabulary] matrices exist a block of rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from harness.cliff.line_sums import NODES, LineSums
from harness.engines.base import ScoreRequest
from harness.engines.finite import NOT_NUMBERS, WHAT_TO_DO, NotNumbersError
from harness.engines.hf_scoring import BLOCK_LOGITS, OutputLayer, padded
from harness.engines.target_draw import plausible_gain
from harness.errors import IncompleteError


class TooLittleMemoryError(IncompleteError):
    """Three models and their logits don't fit into memory together."""


def line_sums(
    student: Any,
    teacher: Any,
    base: Any,
    requests: Sequence[ScoreRequest],
    *,
    roles: Mapping[str, Sequence[str]] = MappingProxyType({}),
    plausible: float = 0.0,
    batch_size: int = 8,
) -> Iterator[tuple[str, LineSums]]:
    """Key and sums of each completion, longest first.

    Args:
        student: a causal model that drew the completions at T = 1.
        teacher: likewise, of the same vocabulary.
        base: likewise.
        requests: prompts and completions.
        roles: by key, of each token of a completion; without them sums aren't told apart by role.
        plausible: the mask of extrapolation, see `TargetConfig`.
        batch_size: sequences at a time.

    Raises:
        TooLittleMemoryError: a device ran out of memory.
    """
    import torch

    outputs = [OutputLayer(model) for model in (student, teacher, base)]
    ordered = sorted(requests, key=lambda one: -(len(one.prompt_ids) + len(one.completion_ids)))
    for start in range(0, len(ordered), batch_size):
        try:
            yield from _batch(outputs, ordered[start : start + batch_size], roles, plausible)
        except torch.cuda.OutOfMemoryError as error:
            raise TooLittleMemoryError(
                f"{student.device} ran out of memory with student, teacher and base side by side"
            ) from error


def _batch(
    outputs: Sequence[OutputLayer],
    batch: Sequence[ScoreRequest],
    roles: Mapping[str, Sequence[str]],
    plausible: float,
) -> Iterator[tuple[str, LineSums]]:
    import torch

    places = padded(batch)
    with torch.inference_mode():
        hidden = [output.hidden_at(*places) for output in outputs]
        columns = line_columns(outputs, hidden, min(one.vocabulary for one in outputs), plausible)
    require_line_numbers(columns, [output.name for output in outputs])
    first = 0
    for one in batch:
        part = columns[first : first + len(one.completion_ids)]
        first += len(one.completion_ids)
        yield one.key, LineSums.of_columns(part, roles.get(one.key, ()))


def require_line_numbers(columns: Any, names: Sequence[str]) -> None:
    """Refuse what a model made that gives no numbers.

    Args:
        columns: of `line_columns`.
        names: of the models.

    Raises:
        NotNumbersError: one of them does.
    """
    if np.isnan(columns).any():
        told = ", ".join(dict.fromkeys(names))
        raise NotNumbersError(f"{told}: of one of them {NOT_NUMBERS}: {WHAT_TO_DO}")


def line_columns(
    outputs: Sequence[Callable[[Any], Any]], hidden: Sequence[Any], vocabulary: int, plausible: float
) -> Any:
    """What λ reached is made of at single tokens, see `LineSums.of_columns`.

    Args:
        outputs: [3] of student, teacher and base: hidden states to float32 logits.
        hidden: [3] of [positions, width], each where its output layer is.
        vocabulary: width that all three have.
        plausible: see `line_sums`.

    Returns:
        [positions, 2 + 3 · nodes], float64.
    """
    import torch

    count = hidden[0].shape[0]
    found = np.empty((count, 2 + 3 * len(NODES)))
    block = max(1, BLOCK_LOGITS // (4 * vocabulary))
    for start in range(0, count, block):
        part = slice(start, start + block)
        logs = [
            torch.log_softmax(output(rows[part])[:, :vocabulary], dim=-1).to(hidden[0].device)
            for output, rows in zip(outputs, hidden, strict=True)
        ]
        of_student, of_teacher, of_base = logs
        gain = plausible_gain(of_teacher, of_base, plausible)
        beside = of_teacher - gain
        mass = of_student.exp()
        values = [(mass * gain).sum(-1), (mass * (of_student - beside)).sum(-1)]
        partitions, slopes, curvatures = [], [], []
        beside, gain = beside.double(), gain.double()
        square = gain**2
        for node in NODES:
            scores = torch.add(beside, gain, alpha=node)
            top = scores.amax(dim=-1)
            weights = scores.sub_(top[:, None]).exp_()
            total = weights.sum(dim=-1)
            partitions.append(total.log() + top)
            slopes.append(torch.linalg.vecdot(weights, gain) / total)
            spread = torch.linalg.vecdot(weights, square) / total - slopes[-1] ** 2
            curvatures.append(spread.clamp_min(0.0))
        columns = [*values, *partitions, *slopes, *curvatures]
        found[part] = torch.stack(columns, dim=-1).double().cpu().numpy()
    return found
