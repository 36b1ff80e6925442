"""Which sequences the hf engine scores together; no torch here.

Batch and padding decide the last bits of a score, so that a job which goes on after a kill must form the
batches of one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from harness.engines.base import ScoreRequest


def batches(requests: Sequence[ScoreRequest], size: int) -> Iterator[list[ScoreRequest]]:
    """All requests in batches of `size`, longest first."""
    ordered = sorted(requests, key=lambda one: -(len(one.prompt_ids) + len(one.completion_ids)))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def unfinished_batches(
    requests: Sequence[ScoreRequest], done: Collection[str], size: int
) -> list[ScoreRequest]:
    """All requests of every batch that isn't wholly done; `batches` of them are the same batches.

    Args:
        requests: the whole plan.
        done: keys that are scored already.
        size: requests a batch.
    """
    return [
        request
        for batch in batches(requests, size)
        if any(one.key not in done for one in batch)
        for request in batch
    ]
