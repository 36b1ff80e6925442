"""What one answer is held to: a contract, and what of it depends on the task."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from harness.contract.envelope import envelope_schema
from harness.contract.model import ROW, Contract
from harness.contract.spelling import scattered, spell
from harness.contract.words import listwise_instruction

# Keywords of `json_schema` that vLLM's structured-output backends refuse or that say nothing to a grammar
# (vllm/v1/structured_output/backend_xgrammar.py, has_xgrammar_unsupported_json_features).
_NOT_FOR_ENGINES: Final = frozenset({"$schema", "uniqueItems"})

MAX_LISTED: Final = 100
"""Most candidates that letters are given to."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one answer is held to.

    Attributes:
        contract: of the run.
        k: number of candidates, ≥ 1; 0 for kind `schema`.
        item_ids: [K] ids of the candidates in the order of their numbers, where the contract lists these.
        schema: the task's own JSON Schema as JSON text, where the contract leaves it to the tasks.

    Raises:
        ValueError: the contract can't be kept by an answer to such a task.
    """

    contract: Contract
    k: int
    item_ids: tuple[str, ...] = ()
    schema: str | None = None

    def __post_init__(self) -> None:
        contract = self.contract
        if contract.kind == "schema":
            if contract.schema_ == ROW and self.schema is None:
                raise ValueError("the contract takes each task's own schema, and this task has none")
            return
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        if contract.ids == "letter" and self.k > MAX_LISTED:
            raise ValueError(f"letters name at most {MAX_LISTED} candidates, and there are {self.k}")
        if contract.ids == "item_id":
            self._require_distinct()

    def _require_distinct(self) -> None:
        if len(self.item_ids) != self.k:
            raise ValueError(f"there are {len(self.item_ids)} item ids for {self.k} candidates")
        item_id, count = Counter(self.item_ids).most_common(1)[0]
        if count > 1:
            raise ValueError(f"{count} candidates have the item id {json.dumps(item_id)}")

    @property
    def listed(self) -> int:
        """How many candidates an answer lists."""
        length = self.contract.length
        return self.k if length == "all" else min(length.top, self.k)

    def spell(self, number: int) -> int | str:
        """The JSON value that stands for candidate `number`, counted from 1."""
        return spell(self.contract.ids, number, self.item_ids)

    def answer(self, ranking: list[int] | tuple[int, ...]) -> str:
        """The shortest usual answer that gives this ranking.

        Args:
            ranking: candidate numbers, best first, at least as many as the contract wants.
        """
        contract = self.contract
        ids: list[Any] = [self.spell(number) for number in ranking[: self.listed]]
        if contract.id_field is not None:
            ids = [{contract.id_field: one} for one in ids]
        value: Any = ids
        for name in reversed(contract.members):
            value = {name: value}
        return json.dumps(value, ensure_ascii=False)

    def example(self) -> str:
        """A text that keeps the contract, ids in an arbitrary but fixed order."""
        return self.answer(scattered(self.k))

    def instruction(self) -> str:
        """The sentences that tell a model what to answer."""
        return listwise_instruction(self.contract, self.k, self.listed, self.item_ids, self.example())

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of a valid answer.

        A schema speaks of decoded values: it can't see repeated keys, and JSON Schema calls 3.0 an integer.
        The strict parser rejects both as ids. Nor can it see that no two objects with an id name the same.
        """
        spelled = [self.spell(number) for number in range(1, self.k + 1)]
        return envelope_schema(self.contract, spelled, self.listed)

    def engine_schema(self) -> dict[str, Any]:
        """`json_schema` less what structured-output engines refuse: that no id repeats stays unsaid."""
        return _for_engines(self.json_schema())


def _for_engines(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {name: part for name, part in schema.items() if name not in _NOT_FOR_ENGINES}
    for name, part in kept.items():
        if name == "properties":
            kept[name] = {key: _for_engines(one) for key, one in part.items()}
        elif name == "items":
            kept[name] = _for_engines(part)
    return kept
