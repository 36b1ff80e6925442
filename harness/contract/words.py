"""What a model is told of its contract where nobody words it for it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from harness.contract.model import Contract
from harness.contract.schemas import root_types
from harness.contract.spelling import spell


def listwise_instruction(
    contract: Contract, k: int, listed: int, item_ids: Sequence[str], example: str | None
) -> str:
    """The sentences that tell a model what to answer when there are `k` candidates.

    Args:
        contract: of kind listwise.
        k: number of candidates, ≥ 1.
        listed: how many of them are wanted.
        item_ids: [K] where the contract lists these.
        example: an answer that keeps the contract.
    """
    names, values, name = _named(contract, k, item_ids)
    how_many = f"all {k} {names}" if listed == k else f"the {listed} best of the {k} {names}"
    once = "each exactly once" if listed == k else "each at most once"
    if contract.id_field is None:
        listing = f"lists {how_many} ({values}), {once}, best first"
    else:
        field = _quoted(contract.id_field)
        listing = (
            f"lists {how_many}, {once}, best first, as objects whose key {field} is the {name} ({values})"
        )
    whole = "object" if contract.members else "array"
    said = f"Answer with one JSON {whole} and nothing around it. {_where(contract)} {listing}."
    if example is None:
        return said
    return f"{said} The form, with the {names.removeprefix('candidate ')} in no particular order: {example}"


def schema_instruction(schema: str, example: str | None) -> str:
    """The sentences that tell a model to keep a schema.

    Args:
        schema: as JSON text.
        example: an answer that keeps it, None where none is known.
    """
    types = root_types(schema)
    what = next(iter(types)) if types in ({"object"}, {"array"}) else "value"
    said = f"Answer with one JSON {what} and nothing around it. It keeps this JSON Schema: {_shown(schema)}"
    return said if example is None else f"{said}\nAn answer of this form: {example}"


def and_schema(schema: str) -> str:
    """That the answer keeps a further schema."""
    return f"The whole answer also keeps this JSON Schema: {_shown(schema)}"


def _shown(schema: str) -> str:
    whole = json.loads(schema)
    if isinstance(whole, dict):
        whole = {name: part for name, part in whole.items() if name not in ("$schema", "$id")}
    return json.dumps(whole, ensure_ascii=False)


def _where(contract: Contract) -> str:
    if not contract.members:
        return "It"
    if len(contract.members) == 1:
        key = _quoted(contract.key)
        return f"Its key {key}" if contract.extra_keys else f"Its only key {key}"
    outer = " in ".join(f"the object under {_quoted(name)}" for name in reversed(contract.members[:-1]))
    return f"The key {_quoted(contract.key)} of {outer}"


def _named(contract: Contract, k: int, item_ids: Sequence[str]) -> tuple[str, str, str]:
    """What ids are called, their values, and what one is called."""
    first, last = spell(contract.ids, 1, item_ids), spell(contract.ids, k, item_ids)
    match contract.ids:
        case "number" | "number0":
            return "candidate numbers", f"integers {first} to {last}", "number of a candidate"
        case "string":
            return "candidate numbers", f'strings "{first}" to "{last}"', "number of a candidate"
        case "letter":
            return "candidate letters", f'strings "{first}" to "{last}"', "letter of a candidate"
    return "candidate ids", "strings, as they stand beside the candidates", "id of a candidate"


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
