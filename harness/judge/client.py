"""The seam between judging and whichever Gemini library is installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from harness.judge.key import ApiKey
from harness.judge.prompt import Prompt
from harness.judge.rubric import JudgeModel
from harness.plain_text import plain
from harness.retrying import retry_after_seconds

ClientName = Literal["auto", "google-generativeai", "google-genai"]

FailureKind = Literal[
    "rate_limited",
    "server_error",
    "timeout",
    "connection",
    "bad_response",
    "empty",
    "rejected",
    "fatal",
    "in_doubt",
]
"""`fatal` concerns every request (key, permission, model name, the library), `rejected` this one alone.
`empty` isn't a client's: see `empty_reply`. Nor is `in_doubt`: the request was under way when its session was
killed.
"""

RETRIED: frozenset[FailureKind] = frozenset(
    {"rate_limited", "server_error", "timeout", "bad_response", "empty"}
)
MAYBE_CHARGED: frozenset[FailureKind] = frozenset({"timeout", "connection", "bad_response"})
"""Failures that leave open whether the service did the work and charged for it."""

_UNEXPLAINED = frozenset({"", "STOP", "FINISH_REASON_UNSPECIFIED"})
"""Finish reasons that don't say why there is no text."""
_MAX_DETAIL = 200


@dataclass(frozen=True, slots=True)
class Question:
    """One request.

    Attributes:
        model: the judge and its parameters.
        prompt: system instruction and question.
        schema: of the answer, in the subset of OpenAPI that Gemini takes.
    """

    model: JudgeModel
    prompt: Prompt
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service said with status 200, whatever it is worth.

    Attributes:
        text: the answer; None when there is none.
        finish: finish reason as the API spells it (`STOP`, `SAFETY`, …); empty when unknown.
        blocked: why the prompt itself was blocked, None when it wasn't.
        prompt_tokens: charged input tokens, None when the service didn't say.
        output_tokens: charged output tokens, thinking included, None when the service didn't say.
    """

    text: str | None
    finish: str
    blocked: str | None
    prompt_tokens: int | None
    output_tokens: int | None


def empty_reply(reply: Reply) -> RequestFailedError | None:
    """The failure behind a reply that says nothing and doesn't say why; None where it says anything.

    With status 200 a busy service may send an error in place of candidates, none at all, or one that is
    finished and empty. That is no word about the question: asked again it is answered.

    Returns:
        `empty` where it may be what was paid for: one without text, `bad_response` where not even tokens were
        counted.
    """
    if reply.blocked or (reply.text or "").strip() or reply.finish not in _UNEXPLAINED:
        return None
    if not reply.finish and reply.prompt_tokens is None:
        return RequestFailedError("bad_response", "HTTP 200 without an answer in it")
    return RequestFailedError("empty", "an empty answer, and no reason for it")


class RequestFailedError(Exception):
    """A request that brought no reply.

    Attributes:
        kind: what happened.
        retry_after: seconds the service asked to wait, None when it didn't.
        detail: one line for people, without the key.
    """

    def __init__(self, kind: FailureKind, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.kind: FailureKind = kind
        self.retry_after = retry_after
        self.detail = detail


class JudgeClient(Protocol):
    """A Gemini library behind one face. Methods block; they are called from several threads at once."""

    name: str
    version: str

    def ask(self, question: Question) -> Reply:
        """Send one request, exactly once.

        Raises:
            RequestFailedError: there was no reply.
        """
        ...

    def count_tokens(self, model: str, text: str) -> int:
        """Input tokens of a text by the service's own count; free of charge.

        Raises:
            RequestFailedError: there was no reply.
        """
        ...

    def close(self) -> None:
        """Let go of connections; does nothing the second time."""
        ...


def failure_of_status(
    status: int, message: str, headers: Mapping[str, str], body: object, key: ApiKey
) -> RequestFailedError:
    """The failure behind an HTTP status other than 200.

    Args:
        status: HTTP status.
        message: what the service said.
        headers: of the response.
        body: its JSON, as far as it is JSON.
        key: to be masked.
    """
    detail = one_line(f"HTTP {status}: {message}", key)
    if status == 429:
        return RequestFailedError("rate_limited", detail, retry_after_seconds(headers, body))
    if status == 408:
        return RequestFailedError("timeout", detail)
    if status >= 500:
        return RequestFailedError("server_error", detail, retry_after_seconds(headers, body))
    if status in (401, 403, 404) or "API key" in message:
        return RequestFailedError("fatal", detail)
    return RequestFailedError("rejected", detail)


def reply_text(text: str, key: ApiKey) -> str | None:
    """The text of a reply, fit to be stored; None when there is none.

    An endpoint may echo the key it was sent, and JSON can hold half a surrogate pair, which no file takes.
    """
    return key.redact(text).encode("utf-8", "replace").decode("utf-8") or None


def one_line(text: str, key: ApiKey) -> str:
    """The text on one line, cut to 200 characters, the key masked, unprintable characters escaped."""
    printable = plain(" ".join(key.redact(text).split()))
    return printable if len(printable) <= _MAX_DETAIL else printable[: _MAX_DETAIL - 1] + "…"
