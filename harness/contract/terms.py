"""What one answer is held to: a contract, and what of it depends on the task."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from harness.contract.model import ROW, Contract
from harness.contract.schemas import keeps, require_usable, unsatisfiable
from harness.contract.specimen import attempts, specimen
from harness.contract.spelling import MAX_LISTED, scattered, spell
from harness.contract.words import and_schema, listwise_instruction, schema_instruction

# Keywords of `json_schema` that vLLM's structured-output backends refuse or that say nothing to a grammar
# (vllm/v1/structured_output/backend_xgrammar.py, has_xgrammar_unsupported_json_features).
_NOT_FOR_ENGINES: Final = frozenset({"$schema", "uniqueItems"})


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
            if contract.schema_ == ROW:
                if self.schema is None:
                    raise ValueError("the contract takes each task's own schema, and this task has none")
                try:
                    require_usable(self.schema)
                except ValueError as error:
                    raise ValueError(f"`schema` {error}") from None
            return
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        if contract.ids == "letter" and self.k > MAX_LISTED:
            raise ValueError(f"letters name at most {MAX_LISTED} candidates, and there are {self.k}")
        if contract.ids == "item_id":
            self._require_distinct()
        if contract.schema_ is not None and _is_impossible(self):
            raise ValueError(
                f"`schema=` and {self.listed} ids in `ranking={contract.ranking}`: no answer can keep both"
            )

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

    @property
    def whole_schema(self) -> str | None:
        """JSON Schema, as JSON text, that the whole answer must keep beside what the contract itself says."""
        return self.schema if self.contract.schema_ == ROW else self.contract.schema_

    def example(self) -> str | None:
        """A text that keeps the contract, ids in an arbitrary but fixed order.

        Returns:
            None where a schema is such that none is found.
        """
        if self.whole_schema is None:
            return self.answer(scattered(self.k))
        if self.contract.kind == "schema":
            return specimen(self.whole_schema)
        return next(self._examples(self.whole_schema), None)

    def _examples(self, schema: str) -> Iterator[str]:
        """Answers with whatever else a further schema wants beside the ids."""
        ids = [self.spell(number) for number in scattered(self.k)[: self.listed]]
        field = self.contract.id_field
        for whole in attempts(self.json_schema()):
            value = whole
            for name in self.contract.members:
                value = value[name]
            if field is None:
                value[:] = ids
            else:
                # Very long arrays are only begun.
                others = [*value, *value[-1:] * (len(ids) - len(value))]
                value[:] = [one | {field: own} for one, own in zip(others, ids, strict=True)]
            if keeps(whole, schema):
                yield json.dumps(whole, ensure_ascii=False)

    def instruction(self) -> str:
        """The sentences that tell a model what to answer."""
        example, schema = self.example(), self.whole_schema
        if self.contract.kind == "schema":
            assert schema is not None, "a contract of this kind has one"
            return schema_instruction(schema, example)
        said = listwise_instruction(self.contract, self.k, self.listed, self.item_ids, example)
        return said if schema is None else f"{said} {and_schema(schema)}"

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of a valid answer.

        A schema speaks of decoded values: it can't see repeated keys, and JSON Schema calls 3.0 an integer.
        The strict parser rejects repeated keys, and 3.0 as an id. Nor can it see that no two objects with an
        id name the same candidate.
        """
        further = None if self.whole_schema is None else json.loads(self.whole_schema)
        if self.contract.kind == "schema":
            return further if isinstance(further, dict) else {}
        spelled = [self.spell(number) for number in range(1, self.k + 1)]
        return self.contract.envelope.schema(spelled, self.listed, further)

    def engine_schema(self) -> dict[str, Any]:
        """`json_schema` less what structured-output engines refuse: that no id repeats stays unsaid.

        A schema that was given is handed on as it is.
        """
        schema = self.json_schema()
        if self.whole_schema is not None:
            return {name: part for name, part in schema.items() if name != "$schema"}
        return _for_engines(schema)


@lru_cache(maxsize=512)
def _is_impossible(terms: Terms) -> bool:
    return unsatisfiable(terms.json_schema())


def _for_engines(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {name: part for name, part in schema.items() if name not in _NOT_FOR_ENGINES}
    for name, part in kept.items():
        if name == "properties":
            kept[name] = {key: _for_engines(one) for key, one in part.items()}
        elif name == "items":
            kept[name] = _for_engines(part)
    return kept
