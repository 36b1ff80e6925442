"""google-genai, the successor that Google supports: one HTTP request a call."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from harness.judge.client import Question, Reply, RequestFailedError, failure_of_status, one_line, reply_text
from harness.judge.key import ApiKey

_API_VERSION = "v1beta"
"""What google-generativeai uses too: both libraries then send the same request."""


class GenAIClient:
    """The supported library, in its blocking form: its async form would retry by itself under aiohttp.

    Args:
        key: the API key.
        endpoint: base URL in place of Google's.
        timeout: seconds to wait for an answer.
        connections: most requests at once.
    """

    name = "google-genai"

    def __init__(self, key: ApiKey, *, endpoint: str | None, timeout: float, connections: int) -> None:
        from google import genai
        from google.genai import types

        self._types = types
        self.version: str = genai.__version__
        self._key = key
        options: dict[str, Any] = {
            "api_version": _API_VERSION,
            "timeout": round(1000 * timeout),
            # One attempt: the library's own retries would be requests that nobody counted.
            "retry_options": types.HttpRetryOptions(attempts=1),
            "client_args": {"limits": _limits(connections)},
        }
        if endpoint:
            options["base_url"] = endpoint.rstrip("/")
        # vertexai False: an environment variable must not send catalogue titles to another service.
        self._client = genai.Client(
            vertexai=False, api_key=key.reveal(), http_options=types.HttpOptions(**options)
        )

    def ask(self, question: Question) -> Reply:
        """Send one request, exactly once; see `JudgeClient`."""
        model, types = question.model, self._types
        thinking = None
        if model.sets_thinking:
            thinking = types.ThinkingConfig(
                thinking_budget=model.thinking_budget,
                thinking_level=model.thinking_level and types.ThinkingLevel(model.thinking_level.upper()),
            )
        config = types.GenerateContentConfig(
            system_instruction=question.prompt.system,
            max_output_tokens=model.max_output_tokens,
            temperature=model.temperature,
            top_p=model.top_p,
            thinking_config=thinking,
            response_mime_type="application/json",
            response_schema=dict(question.schema),
        )
        try:
            response = self._client.models.generate_content(
                model=model.name, contents=question.prompt.user, config=config
            )
        except Exception as error:
            raise self._failure(error) from None
        return _reply(response, self._key)

    def count_tokens(self, model: str, text: str) -> int:
        """Input tokens by the service's own count; see `JudgeClient`."""
        try:
            counted = self._client.models.count_tokens(model=model, contents=text)
        except Exception as error:
            raise self._failure(error) from None
        return int(counted.total_tokens or 0)

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _failure(self, error: Exception) -> RequestFailedError:
        from google.genai import errors

        if isinstance(error, errors.APIError):
            headers = getattr(error.response, "headers", None) or {}
            message = str(error.message or error.status or "")
            return failure_of_status(int(error.code or 0), message, headers, error.details, self._key)
        detail = one_line(f"{type(error).__name__}: {error}", self._key)
        if _is_a(error, "TimeoutException"):
            return RequestFailedError("timeout", detail)
        if _is_a(error, "HTTPError"):
            return RequestFailedError("connection", detail)
        if isinstance(error, errors.UnknownApiResponseError | ValueError | AttributeError):
            # The library trips over replies that aren't what the service says it sends.
            return RequestFailedError("bad_response", detail)
        return RequestFailedError("fatal", detail)


def _is_a(error: Exception, name: str) -> bool:
    """Whether it is httpx's class of this name, or that of httpx2, its fork, which google-genai 3 uses."""
    return any(
        cls.__name__ == name and cls.__module__.partition(".")[0] in ("httpx", "httpx2")
        for cls in type(error).__mro__
    )


def _limits(connections: int) -> Any:
    """Of the library that google-genai will use: it prefers httpx2 and goes by the type of this object."""
    http = importlib.import_module("httpx2" if importlib.util.find_spec("httpx2") else "httpx")
    return http.Limits(max_connections=connections, max_keepalive_connections=connections)


def _reply(response: Any, key: ApiKey) -> Reply:
    feedback, usage = response.prompt_feedback, response.usage_metadata
    candidate = response.candidates[0] if response.candidates else None
    parts = candidate.content.parts if candidate and candidate.content else None
    text = "".join(part.text for part in parts or () if part.text and not part.thought)
    prompt = output = None
    if usage is not None:
        prompt = usage.prompt_token_count
        output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        if usage.total_token_count and prompt is not None:
            output = max(output, usage.total_token_count - prompt)
    return Reply(
        text=reply_text(text, key),
        finish=candidate.finish_reason.name if candidate and candidate.finish_reason else "",
        blocked=feedback.block_reason.name if feedback and feedback.block_reason else None,
        prompt_tokens=prompt,
        output_tokens=output,
    )
