"""Hypothesis strategies: listwise contracts of any envelope, and answers that keep or nearly keep them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from harness.contract import Contract, Terms
from harness.contract.member_path import path_of

NAMES = ["ranking", "a", "result", "é", 'x"y', "uniqueItems", "a b"]
ITEM_IDS = ["B00X1", "a", "A", "3", "id,7", "é", '"', "x y", "", "[1]", "0", "null"]
REASONS = {
    "type": "object",
    "properties": {"reason": {"type": "string", "minLength": 1}, "score": {"type": ["number", "null"]}},
    "required": ["reason"],
}


@st.composite
def envelopes(draw) -> Terms:
    """Terms of a listwise contract, with a further schema or without."""
    members = draw(st.lists(st.sampled_from(NAMES), max_size=3))
    id_field = draw(st.sampled_from([None, None, "id", "no"]))
    further = None
    if draw(st.booleans()):
        element = REASONS if id_field is not None else {}
        further = {"type": "array", "items": element}
        for place, name in enumerate(reversed(members)):
            beside = {"note": {"type": "string"}} if place == len(members) - 1 else {}
            further = {"type": "object", "properties": {**beside, name: further}, "required": [*beside]}
    contract = Contract(
        ranking=path_of(members),
        ids=draw(st.sampled_from(["number", "number0", "string", "letter", "item_id"])),
        id_field=id_field,
        length=draw(st.sampled_from(["all", {"top": 1}, {"top": 3}])),
        extra_keys=draw(st.booleans()),
        schema=further,
    )
    k = draw(st.integers(1, 6))
    ids = draw(st.lists(st.sampled_from(ITEM_IDS), min_size=k, max_size=k, unique=True))
    return Terms(contract, k, tuple(ids) if contract.ids == "item_id" else ())


@st.composite
def kept(draw, terms: Terms) -> tuple[Any, list[int]]:
    """A value that keeps the terms, and its ranking."""
    contract = terms.contract
    ranking = draw(st.permutations(range(1, terms.k + 1)))[: terms.listed]
    value: Any = [terms.spell(number) for number in ranking]
    if contract.id_field is not None:
        value = [{contract.id_field: one, "reason": "so", "score": 0.5} for one in value]
    for depth in reversed(range(len(contract.members))):
        value = {contract.members[depth]: value}
        if depth == 0 and contract.schema_ is not None:
            value = {"note": "n", **value} if contract.members[0] != "note" else value
        if contract.extra_keys and draw(st.booleans()):
            value["other"] = draw(st.sampled_from([None, 1, "x", [True]]))
    return value, ranking


def array_of(value: Any, terms: Terms) -> list[Any]:
    """The array that ranks."""
    for name in terms.contract.members:
        value = value[name]
    return value
