"""google-generativeai 0.8 (out of support): `transport="rest"`, one HTTP request a call."""

from __future__ import annotations

import warnings
from typing import Any

from harness.judge.client import Question, Reply, RequestFailedError, failure_of_status, one_line, reply_text
from harness.judge.key import ApiKey

_DEFAULT_POOL = 10


class GenerativeAIClient:
    """The library the user named.

    Its `configure` is global to the process: one client at a time.

    Args:
        key: the API key.
        endpoint: base URL in place of Google's.
        timeout: seconds to wait for an answer.
        connections: most requests at once.
    """

    name = "google-generativeai"

    def __init__(self, key: ApiKey, *, endpoint: str | None, timeout: float, connections: int) -> None:
        with warnings.catch_warnings():
            # It announces its own end of support at import; our documentation says so too.
            warnings.simplefilter("ignore", FutureWarning)
            import google.generativeai as library
            from google.generativeai.client import get_default_generative_client
        self._library = library
        self.version: str = library.__version__
        self._key = key
        # retry None: its own retries would be requests that nobody counted.
        self._options: dict[str, Any] = {"timeout": timeout, "retry": None}
        options: dict[str, Any] = {"api_key": key.reveal()}
        if endpoint:
            options["api_endpoint"] = endpoint.rstrip("/")
        library.configure(transport="rest", client_options=options)
        self._session = get_default_generative_client().transport._session
        # google-auth would send a request again, twice, when the answer is 401.
        self._session._max_refresh_attempts = 0
        _widen_pool(self._session, connections)

    def ask(self, question: Question) -> Reply:
        """Send one request, exactly once; see `JudgeClient`."""
        model = question.model
        settings: dict[str, Any] = {
            "max_output_tokens": model.max_output_tokens,
            "temperature": model.temperature,
            "top_p": model.top_p,
            "response_mime_type": "application/json",
            "response_schema": dict(question.schema),
        }
        generative = self._library.GenerativeModel(
            model.name,
            system_instruction=question.prompt.system,
            generation_config={name: value for name, value in settings.items() if value is not None},
        )
        try:
            response = generative.generate_content(question.prompt.user, request_options=self._options)
        except Exception as error:
            raise self._failure(error) from None
        return _reply(response, self._key)

    def count_tokens(self, model: str, text: str) -> int:
        """Input tokens by the service's own count; see `JudgeClient`."""
        try:
            counted = self._library.GenerativeModel(model).count_tokens(text, request_options=self._options)
        except Exception as error:
            raise self._failure(error) from None
        return int(counted.total_tokens)

    def close(self) -> None:
        """Let go of connections."""
        self._session.close()
        # Otherwise the library keeps the key, in its global configuration, after the job.
        self._library.configure(api_key="unset", transport="rest")

    def _failure(self, error: Exception) -> RequestFailedError:
        import requests
        from google.api_core.exceptions import GoogleAPICallError
        from google.protobuf.json_format import ParseError

        if isinstance(error, GoogleAPICallError) and error.code is not None:
            headers = getattr(error.response, "headers", {})
            body = {"error": {"details": error.details}}
            return failure_of_status(int(error.code), error.message, headers, body, self._key)
        detail = one_line(f"{type(error).__name__}: {error}", self._key)
        if isinstance(error, requests.exceptions.Timeout):
            return RequestFailedError("timeout", detail)
        if isinstance(error, requests.exceptions.RequestException):
            return RequestFailedError("connection", detail)
        if isinstance(error, ParseError | ValueError | AttributeError):
            return RequestFailedError("bad_response", detail)
        return RequestFailedError("fatal", detail)


def _widen_pool(session: Any, connections: int) -> None:
    from requests.adapters import HTTPAdapter

    if connections > _DEFAULT_POOL:
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=connections))


def _name(value: Any) -> str:
    """Of a member of an enumeration; a number that the library has no member for stays one."""
    return str(getattr(value, "name", value))


def _reply(response: Any, key: ApiKey) -> Reply:
    """Read the message itself: the library's `text` raises where an answer was blocked."""
    feedback, usage = response.prompt_feedback, response.usage_metadata
    blocked = _name(feedback.block_reason) if feedback.block_reason else None
    if blocked is None and not response.candidates and "prompt_feedback" in response._result:
        # A reason that the library doesn't know is dropped on the way; that there was one can be seen.
        blocked = "a reason that google-generativeai doesn't know"
    candidate = response.candidates[0] if response.candidates else None
    text = "".join(part.text for part in candidate.content.parts) if candidate else ""
    total, prompt = usage.total_token_count, usage.prompt_token_count
    return Reply(
        text=reply_text(text, key),
        finish=_name(candidate.finish_reason) if candidate and candidate.finish_reason else "",
        blocked=blocked,
        prompt_tokens=prompt or None,
        # The library doesn't know thinking tokens; the total holds them.
        output_tokens=max(total - prompt, usage.candidates_token_count) if total else None,
    )
