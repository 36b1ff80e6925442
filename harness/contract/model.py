"""The contract as one object, from which prompt text, schema, parser and roles all come."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from harness.settings import Settings

IdStyle = Literal["integer", "string"]

# Keywords of `json_schema` that vLLM's structured-output backends refuse or that say nothing to a grammar
# (vllm/v1/structured_output/backend_xgrammar.py, has_xgrammar_unsupported_json_features).
_NOT_FOR_ENGINES: Final = frozenset({"$schema", "uniqueItems"})


class Contract(Settings, title="Contract"):
    """A JSON object one key of which lists the K candidate ids, each once, best first."""

    key: Annotated[str, Field(min_length=1)] = "ranking"
    """Name of the key that lists the ids."""
    id_style: IdStyle = "integer"
    """Candidate numbers as JSON integers (3) or as JSON strings ("3")."""
    extra_keys: bool = False
    """Let the object hold other keys beside the list. Their values may be any JSON value, but NaN, Infinity,
    repeated keys and nesting deeper than 64 levels break the contract there too."""

    def example(self, k: int) -> str:
        """A text that keeps the contract for `k` candidates, ids in an arbitrary but fixed order."""
        return json.dumps({self.key: [self.spell(n) for n in _scattered(k)]}, ensure_ascii=False)

    def spell(self, number: int) -> int | str:
        """The JSON value that stands for candidate `number`."""
        return str(number) if self.id_style == "string" else number

    def instruction(self, k: int) -> str:
        """The sentences that tell a model what to answer when there are `k` candidates."""
        ids = f"integers 1 to {k}" if self.id_style == "integer" else f'strings "1" to "{k}"'
        key = json.dumps(self.key, ensure_ascii=False)
        which = f"Its key {key}" if self.extra_keys else f"Its only key {key}"
        return (
            f"Answer with one JSON object and nothing around it. {which} lists all {k} candidate numbers "
            f"({ids}), each exactly once, best first. The form, with the numbers in no particular order: "
            f"{self.example(k)}"
        )

    def json_schema(self, k: int) -> dict[str, Any]:
        """JSON Schema (draft 2020-12) of a valid answer for `k` candidates.

        A schema speaks of decoded values: it can't see repeated keys, and JSON Schema calls 3.0 an integer.
        The strict parser rejects both.

        Raises:
            ValueError: `k` < 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        item: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": k}
        if self.id_style == "string":
            item = {"type": "string", "enum": [str(n) for n in range(1, k + 1)]}
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                self.key: {"type": "array", "items": item, "minItems": k, "maxItems": k, "uniqueItems": True}
            },
            "required": [self.key],
            "additionalProperties": self.extra_keys,
        }

    def engine_schema(self, k: int) -> dict[str, Any]:
        """`json_schema` less what structured-output engines refuse: that no id repeats stays unsaid.

        Raises:
            ValueError: `k` < 1.
        """
        schema = {name: part for name, part in self.json_schema(k).items() if name not in _NOT_FOR_ENGINES}
        ranking = schema["properties"][self.key]
        kept = {name: part for name, part in ranking.items() if name not in _NOT_FOR_ENGINES}
        return schema | {"properties": {self.key: kept}}


DEFAULT: Final = Contract()
"""`{"ranking": [3, 1, 2, …]}`: integers, no other key."""


def _scattered(k: int) -> list[int]:
    """1…k by steps of about the golden ratio: neither ascending nor descending for most k, no randomness."""
    step = max(1, round(k * 0.618))
    while math.gcd(step, k) != 1:
        step += 1
    return [(k // 2 + i * step) % k + 1 for i in range(k)]
