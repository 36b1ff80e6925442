"""The words by which services say why an answer ended, and the three things they mean here."""

from __future__ import annotations

from typing import Final

from harness.engines.base import FinishReason

GIVEN_UP: Final = frozenset(
    {
        *("abort", "aborted", "error", "cancelled", "canceled", "cancel", "user_cancel", "failed", "failure"),
        *("timeout", "timed_out", "deadline_exceeded", "not_finished", "interrupted", "preempted"),
        # Zhipu, DeepSeek, Ollama (an empty reply while it loads or unloads the model), and gateways.
        *("network_error", "insufficient_system_resource", "load", "unload", "disconnect", "disconnected"),
        *("system_error", "server_error", "internal_error", "internal_server_error", "unknown_error"),
        *("connection_error", "engine_error", "backend_error", "provider_error", "upstream_error"),
        *("model_error", "exception", "overloaded", "overload", "unavailable", "service_unavailable"),
        *("rate_limit", "rate_limited", "rate_limit_exceeded", "resource_exhausted", "out_of_memory", "oom"),
    }
)
"""Words for a request that a server gave up: no answer, but a fault that may be gone at the next attempt."""

_BY_MEANING: Final[dict[FinishReason, tuple[str, ...]]] = {
    "stop": (
        *("stop", "eos", "eos_token", "end_of_text", "complete", "completed", "finish", "finished"),
        # Anthropic, Bedrock, Cohere, TGI, MLC, Gemini: ended by the model itself, or by a stop word of ours.
        *("end_turn", "stop_sequence", "stop_string", "stop_token", "stop_criteria_met", "stopped_eos"),
        *("stopped_word", "unspecified", "null", "none", "normal", "endoftext"),
        # A tool called in place of an answer is the model's own failure to answer.
        *("tool_calls", "tool_call", "tool_use", "function_call", "malformed_function_call"),
        *("malformed_tool_use", "malformed_model_output", "unexpected_tool_call", "too_many_tool_calls"),
    ),
    "length": (
        *("length", "max_tokens", "max_output_tokens", "max_new_tokens", "max_length", "token_limit"),
        *("stopped_limit", "model_length", "context_length", "context_length_exceeded", "error_limit"),
        *("model_context_window_exceeded", "incomplete", "limit", "time_limit"),
    ),
    "withheld": (
        *("withheld", "content_filter", "content_filtered", "content_blocked", "guardrail_intervened"),
        *("refusal", "refused", "safety", "recitation", "blocklist", "prohibited_content", "spii"),
        *("language", "other", "model_armor", "image_safety", "image_prohibited_content"),
        *("image_recitation", "image_other", "blocked", "prompt_blocked", "error_toxic", "sensitive"),
        *("moderation", "flagged", "jailbreak"),
    ),
}
_MEANING: Final = {word: meaning for meaning, words in _BY_MEANING.items() for word in words}
_PREFIXES: Final = ("finishreason.", "finish_reason_", "stopreason.", "stop_reason_")


def finish_reason(word: str | None) -> FinishReason:
    """What a service's word means: case, hyphens and the name of an enumeration before it don't matter.

    `withheld` is whatever the provider, and not the model, ended: filters, recitation checks, refusals that
    the service marks as such, and Gemini's `OTHER`, which doesn't say. Words are those of the APIs of
    OpenAI, Azure, Anthropic, Bedrock, Gemini, Cohere, Mistral, Zhipu, DeepSeek, TGI, vLLM, SGLang, Ollama and
    llama.cpp.

    Args:
        word: as it was sent or recorded; None or an empty one means that the answer ended by itself.

    Raises:
        ValueError: nobody's word, or one for a request without an answer (`GIVEN_UP`).
    """
    if not word:
        return "stop"
    plain = plain_word(word)
    meaning = _MEANING.get(plain)
    if meaning is None:
        if plain in GIVEN_UP:
            raise ValueError(f"finish_reason {word!r} is the end of a request without an answer")
        known = "stop, length and withheld, or words that services use for them"
        raise ValueError(f"finish_reason {word!r} is no known one ({known})")
    return meaning


def plain_word(word: str) -> str:
    """A service's word in lower case with underscores, without the name of its enumeration."""
    plain = word.strip().lower().replace("-", "_").replace(" ", "_")
    for prefix in _PREFIXES:
        plain = plain.removeprefix(prefix)
    return plain
