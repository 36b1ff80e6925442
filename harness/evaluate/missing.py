"""Samples that can't be had: which they are, and whether a run may end without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.engines import GenerationRequest, UnansweredError
from harness.errors import IncompleteError
from harness.runs.manifest import Missing

_NAMED = 5
"""Tasks that a message names."""


def missing_of(error: UnansweredError, by_key: Mapping[str, GenerationRequest]) -> tuple[Missing, ...]:
    """The samples that an engine set aside, with the cause of each."""
    asked = [(by_key[one.key], one.cause) for one in error.requests]
    return tuple(
        Missing(task_id=request.task_id, sample_index=request.sample_index, cause=cause)
        for request, cause in asked
    )


def require_allowed(missing: Sequence[Missing], there: int, most: int, error: UnansweredError) -> None:
    """Refuse to end without so many samples, or without any that are there.

    Args:
        missing: what can't be had, one at least.
        there: samples that the run has.
        most: samples that may be missing.
        error: by which the engine ended.

    Raises:
        IncompleteError: the message names the tasks.
    """
    count = len(missing)
    if count <= most and there:
        return
    tasks = list(dict.fromkeys(one.task_id for one in missing))
    named = ", ".join(tasks[:_NAMED]) + (", …" if len(tasks) > _NAMED else "")
    without = f", or with `allow_missing={count}` to finish without them" if there else ""
    raise IncompleteError(
        f"{count} of {there + count} samples got no answer that can be used, of "
        f"task{'s' if len(tasks) > 1 else ''} {named} (last: {missing[-1].cause}); run the same "
        f"command again to try once more{without}"
    ) from error
