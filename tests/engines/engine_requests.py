"""The requests that all engines are given, so that their answers can be compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.engines import Engine, Generation, GenerationRequest, SamplingParams, ScoreRequest
from tests.asking import asked

COUNT = 24
MAX_TOKENS = 48
GREEDY = SamplingParams(max_tokens=MAX_TOKENS)
SAMPLED = SamplingParams(max_tokens=MAX_TOKENS, temperature=1.0)
NUCLEUS = SamplingParams(max_tokens=MAX_TOKENS, temperature=0.8, top_p=0.9)
NAMES = ("red dress", 'blue "slim" jeans', "crème brûlée scarf", "漢字 shirt", "boots 👢", "black hat")


def prompts(count: int = COUNT) -> list[str]:
    """Prompts of many lengths, with quotes, accents, CJK and emoji."""
    return [
        f"Rank {2 + i % 5} items: "
        + "; ".join(f"{j + 1}. {NAMES[(i + j) % len(NAMES)]} size {i}" for j in range(2 + i % 5))
        for i in range(count)
    ]


def ranking_schema(k: int) -> dict[str, Any]:
    """The contract's schema, less what engines can't take."""
    ids = {"type": "integer", "minimum": 1, "maximum": k}
    return {
        "type": "object",
        "properties": {"ranking": {"type": "array", "items": ids, "minItems": k, "maxItems": k}},
        "required": ["ranking"],
        "additionalProperties": False,
    }


def make_requests(
    engine: Engine, count: int = COUNT, schema: dict[str, Any] | None = None
) -> list[GenerationRequest]:
    """One request a prompt, each with a seed of its own."""
    texts = prompts(count)
    return [
        GenerationRequest(f"key-{i}", f"task-{i}", 0, text, ids, 1000 + i, schema)
        for i, (text, ids) in enumerate(zip(texts, engine.encode(asked(*texts)), strict=True))
    ]


def scored_requests(engine: Engine, count: int = 6) -> list[ScoreRequest]:
    """Completions of many lengths behind the shared prompts."""
    return [
        ScoreRequest(one.key, one.prompt_ids, tuple(range(3, 3 + 4 * (i + 1))))
        for i, one in enumerate(make_requests(engine, count))
    ]


def by_key(generations: Iterable[Generation]) -> dict[str, Generation]:
    """Generations by key; a key that comes twice is an error."""
    answers: dict[str, Generation] = {}
    for one in generations:
        assert one.key not in answers
        answers[one.key] = one
    return answers


def contents(answers: dict[str, Generation]) -> dict[str, tuple[str, tuple[int, ...], str]]:
    """What must agree between engines."""
    return {key: (one.text, one.token_ids, one.finish_reason) for key, one in answers.items()}
