"""Class masses from any engine: exact from one that sees the whole distribution, else bounds from its top-k.

Where the tokens seen leave a tail too uncertain, the sequence is scored again with a larger k.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.cliff import MassBounds
from harness.engines.base import Engine, ScoreRequest, TokenScores

DEFAULT_TOP_K = 20
GROWTH = 4
# Enough to fill the batches of a server or of vLLM.
CHUNK = 256
# λ* moves by about the relative error of the tail divided by the log-odds gap: 2 % is a few thousandths.
TAIL_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class ClassScores:
    """Class masses of one completion.

    Attributes:
        key: the request's key.
        logprobs: [T] logprob of the token that stands there.
        masses: of the request's classes at its T positions.
        top_k: how many tokens a position they rest on, 0 for the whole vocabulary.
    """

    key: str
    logprobs: npt.NDArray[np.float64]
    masses: MassBounds
    top_k: int


def score_classes(
    engine: Engine,
    requests: Sequence[ScoreRequest],
    top_k: int = DEFAULT_TOP_K,
    max_top_k: int | None = None,
    done: Collection[str] = frozenset(),
    chunk: int = CHUNK,
) -> Iterator[ClassScores]:
    """Yield the class masses of `requests`, in any order.

    Args:
        engine: a started engine.
        requests: the whole plan, each with its classes.
        top_k: tokens a position that an engine without exact masses is asked for first, ≥ 1.
        max_top_k: most it may be asked for; None stays at `top_k`.
        done: keys that must not be yielded again.
        chunk: how many requests are brought to their last k before others begin: were it all of them, a
            process that dies late would leave little. An engine that forms batches gets all of them.

    Raises:
        IncompleteError: the engine died.
        HarnessError: it refuses a request or can't score.
    """
    largest = max(top_k, max_top_k or top_k)
    if engine.capabilities.batch_size is not None:
        yield from _settled(engine, requests, top_k, largest, done)
        return
    finished = set(done)
    missing = [request for request in requests if request.key not in finished]
    for start in range(0, len(missing), chunk):
        yield from _settled(engine, missing[start : start + chunk], top_k, largest)


def _settled(
    engine: Engine,
    requests: Sequence[ScoreRequest],
    top_k: int,
    largest: int,
    done: Collection[str] = frozenset(),
) -> Iterator[ClassScores]:
    waiting, k = list(requests), top_k
    while waiting:
        by_key = {request.key: request for request in waiting}
        again: list[ScoreRequest] = []
        for scores in engine.score(waiting, k, done):
            request = by_key[scores.key]
            if scores.class_masses is not None:
                yield ClassScores(scores.key, scores.logprobs, MassBounds.exact(scores.class_masses), 0)
                continue
            bounds = bounds_from_top_k(request, scores)
            if k < largest and is_wide(bounds):
                again.append(request)
            else:
                yield ClassScores(scores.key, scores.logprobs, bounds, k)
        waiting, k = again, min(GROWTH * k, largest)


def bounds_from_top_k(request: ScoreRequest, scores: TokenScores) -> MassBounds:
    """Bounds of the class masses when the top-k tokens, and the one that stands there, were seen.

    Args:
        request: with its classes.
        scores: of this request, without exact masses.
    """
    count = len(request.classes)
    inside, outside = np.full(count, -np.inf), np.full(count, -np.inf)
    for t, (token, members) in enumerate(zip(request.completion_ids, request.classes, strict=True)):
        ids, logprobs = scores.top_ids[t], scores.top_logprobs[t]
        if token not in ids:
            ids, logprobs = np.append(ids, token), np.append(logprobs, scores.logprobs[t])
        is_member = np.isin(ids, members)
        inside[t] = np.logaddexp.reduce(logprobs[is_member], initial=-np.inf)
        outside[t] = np.logaddexp.reduce(logprobs[~is_member], initial=-np.inf)
    return MassBounds.from_seen(inside, outside)


def is_wide(bounds: MassBounds) -> bool:
    """Whether some tail, or mass, is uncertain by more than the tolerance and more tokens would tell."""
    largest, smallest = np.exp(bounds.low.log_tail), np.exp(bounds.high.log_tail)
    unseen = largest - smallest
    smaller = np.minimum(largest, np.exp(bounds.high.log_mass))
    # float32 logprobs leave about 1e-6 unseen whatever k is.
    return bool(np.any((unseen > TAIL_TOLERANCE * smaller) & (unseen > 2e-6)))
