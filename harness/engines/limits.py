"""How long prompts and answers may be, and what ended an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from harness.engines.base import FinishReason, GenerationRequest
from harness.errors import DataError

MaxTokens = Annotated[
    int | None, Field(ge=1, description="Most completion tokens; 64 + 8 K of the largest K by default.")
]

SHOWN = 3


def check_prompts(requests: Sequence[GenerationRequest], context_length: int | None) -> None:
    """Refuse prompts that were not encoded or leave no room for one token of answer.

    Raises:
        DataError: naming the tasks.
    """
    if empty := [request.task_id for request in requests if not request.prompt_ids]:
        raise DataError(f"no token ids for the prompt of {_named(empty)}; encode the prompts first")
    if context_length is None:
        return
    long = [request for request in requests if len(request.prompt_ids) >= context_length]
    if long:
        longest = max(len(request.prompt_ids) for request in long)
        raise DataError(
            f"the prompt of {_named([request.task_id for request in long])} is too long: up to {longest} "
            f"tokens, and the context holds {context_length} with the answer; shorten the history or the "
            "titles, or use a model with a longer context"
        )


def usual_answer_tokens(k: int) -> int:
    """Most tokens of an answer of K candidates where nobody says: room for any usual spelling."""
    return 64 + 8 * k


def shortest(*limits: int | None) -> int | None:
    """The smallest of the limits that are known, None where none is."""
    return min((limit for limit in limits if limit is not None), default=None)


def answer_limit(prompt_tokens: int, max_tokens: int, context_length: int | None) -> int:
    """Most tokens an answer may have: `max_tokens`, or what is left of the context."""
    return max_tokens if context_length is None else min(max_tokens, context_length - prompt_tokens)


def how_it_ended(token_ids: Sequence[int], stop_ids: Sequence[int]) -> FinishReason:
    """`stop` for a completion whose last token ends it."""
    return "stop" if token_ids and token_ids[-1] in stop_ids else "length"


def _named(task_ids: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(task_ids))
    more = f" and {len(distinct) - SHOWN} more" if len(distinct) > SHOWN else ""
    return f"task{'s' if len(distinct) > 1 else ''} {', '.join(distinct[:SHOWN])}{more}"
