"""Why a decoded value breaks a listwise contract: a code, a JSONPath and a short message."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from harness.contract.explain_schema import schema_failures
from harness.contract.spelling import numbers_of
from harness.contract.terms import Terms
from harness.contract.wording import Failure, Found, Step, extra, missing, other_type, snippet


def explain(value: object, terms: Terms, *, brief: bool = False) -> Failure:
    """Explain why a decoded value isn't a valid answer.

    Args:
        value: a decoded value without repeated keys that breaks the contract.
        terms: what it breaks.
        brief: the value is large; of what breaks a schema the first that is come by will do.

    Raises:
        ValueError: the value keeps the contract.
    """
    found = [] if terms.contract.kind == "schema" else list(islice(_in_order(value, terms), 1))
    schema = terms.whole_schema
    if schema is not None:
        found += schema_failures(value, schema, brief=brief)
    if not found:
        raise ValueError("the value keeps the contract: nothing to explain")
    return min(found, key=Found.comes_before).failure()


def _in_order(value: object, terms: Terms) -> Iterator[Found]:
    """Everything that is wrong, by code in the order of `FAILURE_CODES`, then by place."""
    objects, ids = _way(value, terms)
    yield from _wrong_types(objects, ids, terms)
    yield from _missing_keys(objects, ids, terms)
    yield from _extra_keys(objects, terms)
    if isinstance(ids, list):
        yield from _wrong_ids(ids, terms)


def _way(value: object, terms: Terms) -> tuple[list[object], object]:
    """What stands on the way to the ranking, as far as there is one, and what is there at its end."""
    passed: list[object] = []
    for name in terms.contract.members:
        passed.append(value)
        if not isinstance(value, dict) or name not in value:
            return passed, _NOTHING
        value = value[name]
    return passed, value


def _wrong_types(objects: list[object], ids: object, terms: Terms) -> Iterator[Found]:
    steps: list[Step] = list(terms.contract.members)
    for depth, one in enumerate(objects):
        if not isinstance(one, dict):
            yield Found("wrong_type", steps[:depth], other_type("an object", one))
    if ids is not _NOTHING and not isinstance(ids, list):
        yield Found("wrong_type", steps, other_type("an array", ids))
    if isinstance(ids, list) and terms.contract.id_field is not None:
        for index, one in enumerate(ids):
            if not isinstance(one, dict):
                yield Found("wrong_type", [*steps, index], other_type("an object", one))


def _missing_keys(objects: list[object], ids: object, terms: Terms) -> Iterator[Found]:
    contract = terms.contract
    steps: list[Step] = list(contract.members)
    for depth, one in enumerate(objects):
        if isinstance(one, dict) and contract.members[depth] not in one:
            yield Found("missing_key", steps[:depth], missing(contract.members[depth]))
    if isinstance(ids, list) and contract.id_field is not None:
        for index, one in enumerate(ids):
            if isinstance(one, dict) and contract.id_field not in one:
                yield Found("missing_key", [*steps, index], missing(contract.id_field))


def _extra_keys(objects: list[object], terms: Terms) -> Iterator[Found]:
    contract = terms.contract
    if contract.extra_keys:
        return
    for depth, one in enumerate(objects):
        if isinstance(one, dict):
            for name in one:
                if name not in contract.allowed[depth]:
                    yield Found("extra_key", [*contract.members[:depth], name], extra(name))


def _wrong_ids(listed: list[Any], terms: Terms) -> Iterator[Found]:
    """What is wrong with the ids of an array whose elements are what they should be."""
    contract = terms.contract
    array: list[Step] = list(contract.members)
    within: list[Step] = [] if contract.id_field is None else [contract.id_field]
    ids = listed if contract.id_field is None else [one[contract.id_field] for one in listed]
    wanted, called = (int, "an integer") if contract.ids in ("number", "number0") else (str, "a string")
    for index, one in enumerate(ids):
        if type(one) is not wanted:
            yield Found("wrong_id_type", [*array, index, *within], f"expected {called}, found {snippet(one)}")
    if len(ids) != terms.listed:
        yield Found("wrong_length", array, f"expected {terms.listed} ids, found {len(ids)}")
    numbers = numbers_of(contract.ids, terms.k, terms.item_ids)
    for index, one in enumerate(ids):
        if one not in numbers:
            message = f"id {snippet(one)} is not one of {_range(terms)}"
            yield Found("unknown_id", [*array, index, *within], message)
    first: dict[object, int] = {}
    for index, one in enumerate(ids):
        if first.setdefault(one, index) != index:
            message = f"id {snippet(one)} stands at index {first[one]} already"
            yield Found("duplicate_id", [*array, index, *within], message)


_NOTHING: Final = object()


def _range(terms: Terms) -> str:
    if terms.contract.ids == "item_id":
        return f"the item ids of the {terms.k} candidates"
    return f"{terms.spell(1)} to {terms.spell(terms.k)}"
