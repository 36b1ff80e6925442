"""STAND-IN until W1's Terms."""
from __future__ import annotations
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StandInContract:
    kind: str = "schema"
    ranking: str = "$.ranking"
    ids: str = "number"
    id_field: str | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    contract: StandInContract
    k: int = 0
    item_ids: tuple[str, ...] = ()
    schema: str | None = None
    def json_schema(self) -> dict[str, Any]:
        return json.loads(self.schema or "{}")
    def spell(self, number: int) -> int | str:
        ids = self.contract.ids
        return {"number": number, "number0": number - 1, "string": str(number), "letter": chr(64 + number)}.get(ids) if ids != "item_id" else self.item_ids[number - 1]
