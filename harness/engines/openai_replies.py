"""What OpenAI-compatible servers answer, read field by field: any may be absent, or of another type."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.engines.base import FinishReason, ScoreRequest, TokenScores
from harness.engines.finish_reasons import GIVEN_UP, finish_reason, plain_word
from harness.engines.http_exchange import ReplyError

MOST_TOKENS = 2**31
MOST_CONTEXT = 2**24
"""No model reads as many tokens."""
COUNTED_BESIDE = 16
"""Tokens that services count beside those asked for: of the end, of a message's frame."""
MOST_TOKEN_ID = 2**24
"""No vocabulary is as large."""


def only_choice(answer: dict[str, Any]) -> dict[str, Any]:
    """The one completion that was asked for.

    Raises:
        ReplyError: none, several, or something else.
    """
    if answer.get("error"):
        raise ReplyError("an error in the reply")
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ReplyError("no completion in the reply")
    if len(choices) > 1:
        raise ReplyError(f"{len(choices)} completions where one was asked for")
    choice: dict[str, Any] = choices[0]
    # OpenRouter puts what its provider says of a failure beside whatever there is of an answer.
    if choice.get("error"):
        raise ReplyError("an error in place of a completion")
    return choice


def text_of(choice: dict[str, Any]) -> str:
    """The completion; a chat message without content has none, as where an answer is withheld.

    Raises:
        ReplyError: no completion, or one that isn't text.
    """
    message = choice.get("message")
    if "text" in choice:
        content = choice["text"]
        if content is None and ending_of(choice)[0] != "withheld":
            raise ReplyError("no completion in the reply")
    elif isinstance(message, dict) and ("content" in message or choice.get("finish_reason")):
        content = message.get("content")
    else:
        raise ReplyError("no completion in the reply")
    # Parts of other types, such as thoughts, are no part of the answer.
    parts = content if isinstance(content, list) else ["" if content is None else content]
    asked = [part for part in parts if not isinstance(part, dict) or part.get("type", "text") == "text"]
    texts = [part.get("text") if isinstance(part, dict) else part for part in asked]
    if isinstance(content, dict) or any(not isinstance(text, str) for text in texts):
        raise ReplyError("a completion that isn't text")
    return "".join(map(str, texts))


def ending_of(choice: dict[str, Any]) -> tuple[FinishReason, str | None]:
    """Why the answer ended, and the service's word for it where nobody knows that one; it counts as a stop.

    Raises:
        ReplyError: no word, or one for a request that was given up.
    """
    word = choice.get("finish_reason")
    if word is not None and not isinstance(word, str):
        raise ReplyError("a finish_reason that isn't a word")
    if word and plain_word(word) in GIVEN_UP:
        raise ReplyError(f"a request that the server gave up ({word})")
    message = choice.get("message")
    # OpenAI's structured output: the model's own refusal stands in a field of its own, in place of content.
    if isinstance(message, dict) and message.get("refusal") and not message.get("content"):
        return "withheld", None
    try:
        return finish_reason(word), None
    except ValueError:
        return "stop", word


def token_ids(value: object) -> tuple[int, ...]:
    """Token ids.

    Raises:
        ReplyError: something else.
    """
    if not isinstance(value, list) or any(type(one) is not int for one in value):
        raise ReplyError("token ids that are none")
    if any(not 0 <= one < MOST_TOKEN_ID for one in value):
        raise ReplyError("token ids that are none")
    return tuple(value)


def tokens_of(answer: dict[str, Any]) -> tuple[int, ...]:
    """The token ids in a reply of `/tokenize`.

    Raises:
        ReplyError: there are none.
    """
    return token_ids(answer.get("tokens"))


def reasoning_of(choice: dict[str, Any]) -> str:
    """What servers with a reasoning parser send beside the answer, or in place of one; mostly empty."""
    message = choice.get("message")
    if not isinstance(message, dict):
        return ""
    said = [message.get("reasoning_content"), message.get("reasoning")]
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    # Of a part that thinks: a text, or a list of parts again.
    said += [str(part.get("thinking")) for part in parts if isinstance(part, dict) and part.get("thinking")]
    return next((one for one in said if isinstance(one, str) and one.strip()), "")


def token_counts(answer: dict[str, Any], most: int, context: int | None) -> tuple[int | None, int | None]:
    """Tokens of prompt and completion by the reply's `usage`; None for those that can't be so many.

    Args:
        answer: the reply.
        most: completion tokens that it may have.
        context: longest prompt + completion, None where it isn't known.
    """
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    longest = MOST_CONTEXT if context is None else context
    details = counts.get("completion_tokens_details")
    # Some services let a model think beyond max_tokens, and say how much.
    hidden = count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
    prompt, made = count(counts.get("prompt_tokens")), count(counts.get("completion_tokens"))
    room = min(most + (hidden or 0), longest) + COUNTED_BESIDE
    return (
        None if prompt is None or prompt > longest + COUNTED_BESIDE else prompt,
        None if made is None or made > room else made,
    )


def count(value: object) -> int | None:
    """A number of tokens; None for what can't be one, which is as good as not said."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST_TOKENS:
        return None
    return int(value) if int(value) == value else None


def scores_of(request: ScoreRequest, top_k: int, answer: dict[str, Any]) -> TokenScores:
    """The logprobs that vLLM gives of a prompt's own tokens.

    Raises:
        ReplyError: they aren't there, or aren't numbers.
    """
    try:
        rows = only_choice(answer)["prompt_logprobs"][len(request.prompt_ids) :]
        tops = [sorted(row.items(), key=lambda entry: entry[1]["rank"])[:top_k] for row in rows]
        own = [row[str(token)]["logprob"] for row, token in zip(rows, request.completion_ids, strict=True)]
        shape = (len(rows), -1)
        scores = TokenScores(
            key=request.key,
            logprobs=np.array(own, dtype=np.float64),
            top_ids=np.array([[int(i) for i, _ in top] for top in tops], dtype=np.int64).reshape(shape),
            top_logprobs=np.array([[e["logprob"] for _, e in top] for top in tops], dtype=np.float64).reshape(
                shape
            ),
        )
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ReplyError("no logprobs of the prompt in the reply") from error
    if np.isnan(scores.logprobs).any() or np.isnan(scores.top_logprobs).any():
        raise ReplyError("logprobs that aren't numbers")
    return scores
