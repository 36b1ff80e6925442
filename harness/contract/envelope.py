"""The JSON Schema of a listwise answer: the array that ranks, and what stands around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from harness.contract.model import Contract

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def envelope_schema(contract: Contract, spelled: Sequence[int | str], listed: int) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of answers that list candidates.

    Args:
        contract: of kind listwise.
        spelled: [K] the JSON values of the candidates, in the order of their numbers.
        listed: how many are listed, 1 … K.
    """
    item: dict[str, Any]
    if isinstance(spelled[0], int):
        item = {"type": "integer", "minimum": spelled[0], "maximum": spelled[-1]}
    else:
        item = {"type": "string", "enum": list(spelled)}
    if contract.id_field is not None:
        item = {"type": "object", "properties": {contract.id_field: item}, "required": [contract.id_field]}
    schema: dict[str, Any] = {
        "type": "array",
        "items": item,
        "minItems": listed,
        "maxItems": listed,
        "uniqueItems": True,
    }
    for name in reversed(contract.members):
        schema = {
            "type": "object",
            "properties": {name: schema},
            "required": [name],
            "additionalProperties": contract.extra_keys,
        }
    return {"$schema": DRAFT, **schema}
