"""Which Gemini libraries are installed, and a client that sends through one of them."""

from __future__ import annotations

import importlib.util

from harness.errors import EngineUnavailableError
from harness.judge.client import ClientName, JudgeClient
from harness.judge.key import ApiKey
from harness.judge.rubric import JudgeModel

_MODULES = {"google-generativeai": "google.generativeai", "google-genai": "google.genai"}
_EXTRAS = {"google-generativeai": "gemini", "google-genai": "genai"}


def installed_clients() -> list[str]:
    """Names of the Gemini libraries that can be imported, without importing them."""
    found = []
    for name, module in _MODULES.items():
        try:
            if importlib.util.find_spec(module) is not None:
                found.append(name)
        except ModuleNotFoundError:
            continue  # no `google` package at all
    return found


def open_client(
    choice: ClientName,
    key: ApiKey,
    model: JudgeModel,
    *,
    endpoint: str | None,
    timeout: float,
    connections: int,
) -> JudgeClient:
    """The client to use: the one named, or with `auto` the first installed one that can send the request.

    Args:
        choice: which library.
        key: the API key.
        model: decides whether a library can send the request.
        endpoint: base URL in place of Google's.
        timeout: seconds to wait for an answer.
        connections: most requests at once.

    Raises:
        EngineUnavailableError: it isn't installed, or can't send what the rubric asks for.
    """
    installed = installed_clients()
    wanted = list(_MODULES) if choice == "auto" else [choice]
    available = [name for name in wanted if name in installed]
    if not available:
        package = "google-generativeai or google-genai" if choice == "auto" else choice
        extra = "gemini" if choice == "auto" else _EXTRAS[choice]
        raise EngineUnavailableError(
            f"{package} isn't installed; pip install 'format-safety-harness[{extra}]'"
        )
    if model.sets_thinking:
        available = [name for name in available if name != "google-generativeai"]
        if not available:
            raise EngineUnavailableError(
                "the rubric sets how much the model thinks, which google-generativeai can't send; "
                "pip install 'format-safety-harness[genai]', or leave thinking_level and thinking_budget out"
            )
    if available[0] == "google-generativeai":
        from harness.judge.client_generativeai import GenerativeAIClient

        return GenerativeAIClient(key, endpoint=endpoint, timeout=timeout, connections=connections)
    from harness.judge.client_genai import GenAIClient

    return GenAIClient(key, endpoint=endpoint, timeout=timeout, connections=connections)
