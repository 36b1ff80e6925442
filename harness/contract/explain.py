"""Why a decoded value breaks the contract: a code, a JSONPath and a short message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from harness.contract.json_text import JsonObject
from harness.contract.result import FailureCode
from harness.contract.spelling import numbers_of
from harness.contract.terms import Terms

Step = str | int

_LONGEST_SNIPPET: Final = 40
_LARGE: Final = 10**_LONGEST_SNIPPET
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPE_NAMES: Final = {
    dict: "an object",
    JsonObject: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why strict parsing failed; the fields mean what they mean in `ParseResult`."""

    code: FailureCode
    path: str | None
    message: str


_Found = tuple[FailureCode, list[Step], str]


def explain(value: object, terms: Terms) -> Failure:
    """Explain why a decoded value isn't a valid answer.

    Args:
        value: a decoded value without repeated keys that breaks the contract.
        terms: what it breaks, of kind listwise.

    Raises:
        ValueError: the value keeps the contract.
    """
    for code, steps, message in _in_order(value, terms):
        return Failure(code, json_path(steps), message)
    raise ValueError("the value keeps the contract: nothing to explain")


def _in_order(value: object, terms: Terms) -> Iterator[_Found]:
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


def _wrong_types(objects: list[object], ids: object, terms: Terms) -> Iterator[_Found]:
    steps: list[Step] = list(terms.contract.members)
    for depth, one in enumerate(objects):
        if not isinstance(one, dict):
            yield "wrong_type", steps[:depth], _other_type("an object", one)
    if ids is not _NOTHING and not isinstance(ids, list):
        yield "wrong_type", steps, _other_type("an array", ids)
    if isinstance(ids, list) and terms.contract.id_field is not None:
        for index, one in enumerate(ids):
            if not isinstance(one, dict):
                yield "wrong_type", [*steps, index], _other_type("an object", one)


def _missing_keys(objects: list[object], ids: object, terms: Terms) -> Iterator[_Found]:
    contract = terms.contract
    steps: list[Step] = list(contract.members)
    for depth, one in enumerate(objects):
        if isinstance(one, dict) and contract.members[depth] not in one:
            yield "missing_key", steps[:depth], _missing(contract.members[depth])
    if isinstance(ids, list) and contract.id_field is not None:
        for index, one in enumerate(ids):
            if isinstance(one, dict) and contract.id_field not in one:
                yield "missing_key", [*steps, index], _missing(contract.id_field)


def _extra_keys(objects: list[object], terms: Terms) -> Iterator[_Found]:
    contract = terms.contract
    if contract.extra_keys:
        return
    for depth, one in enumerate(objects):
        if isinstance(one, dict):
            for name in one:
                if name != contract.members[depth]:
                    yield "extra_key", [*contract.members[:depth], name], extra(name)


def _wrong_ids(listed: list[Any], terms: Terms) -> Iterator[_Found]:
    """What is wrong with the ids of an array whose elements are what they should be."""
    contract = terms.contract
    array: list[Step] = list(contract.members)
    within: list[Step] = [] if contract.id_field is None else [contract.id_field]
    ids = listed if contract.id_field is None else [one[contract.id_field] for one in listed]
    wanted, called = (int, "an integer") if contract.ids in ("number", "number0") else (str, "a string")
    for index, one in enumerate(ids):
        if type(one) is not wanted:
            yield "wrong_id_type", [*array, index, *within], f"expected {called}, found {snippet(one)}"
    if len(ids) != terms.listed:
        yield "wrong_length", array, f"expected {terms.listed} ids, found {len(ids)}"
    numbers = numbers_of(contract.ids, terms.k, terms.item_ids)
    for index, one in enumerate(ids):
        if one not in numbers:
            message = f"id {snippet(one)} is not one of {_range(terms)}"
            yield "unknown_id", [*array, index, *within], message
    first: dict[object, int] = {}
    for index, one in enumerate(ids):
        if first.setdefault(one, index) != index:
            message = f"id {snippet(one)} stands at index {first[one]} already"
            yield "duplicate_id", [*array, index, *within], message


_NOTHING: Final = object()


def _other_type(wanted: str, found: object) -> str:
    return f"expected {wanted}, found {_TYPE_NAMES[type(found)]}"


def _missing(name: str) -> str:
    return f"key {snippet(name)} is missing"


def extra(name: str) -> str:
    """That a key is one too many."""
    return f"key {snippet(name)} is not part of the contract"


def _range(terms: Terms) -> str:
    if terms.contract.ids == "item_id":
        return f"the item ids of the {terms.k} candidates"
    return f"{terms.spell(1)} to {terms.spell(terms.k)}"


def explain_repeated_key(value: object) -> Failure:
    """Name the first key, from left to right and outside in, that its object has twice.

    Args:
        value: from `decode_remembering`.

    Raises:
        ValueError: no key is repeated.
    """
    waiting: list[tuple[list[Step], object]] = [([], value)]
    while waiting:
        path, current = waiting.pop()
        if isinstance(current, JsonObject):
            if current.repeated is not None:
                message = f"key {snippet(current.repeated)} stands in its object twice"
                return Failure("duplicate_key", json_path([*path, current.repeated]), message)
            inside: Iterable[tuple[Step, object]] = current.items()
        else:
            inside = enumerate(current) if isinstance(current, list) else ()
        waiting += reversed([([*path, step], item) for step, item in inside if isinstance(item, dict | list)])
    raise ValueError("no key is repeated: nothing to explain")


def json_path(steps: list[Step]) -> str:
    """JSONPath (RFC 9535) in ASCII; over-long names are shortened and then name nothing."""
    path = "$"
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif len(step) <= _LONGEST_SNIPPET and _PLAIN_NAME.fullmatch(step):
            path += f".{step}"
        else:
            path += f"[{snippet(step)}]"
    return path


def snippet(value: object) -> str:
    """A JSON value in ASCII, cut to a few dozen characters; never builds a long one first."""
    if isinstance(value, str):
        whole = len(value) <= _LONGEST_SNIPPET
        return json.dumps(value if whole else value[:_LONGEST_SNIPPET] + "...")
    if isinstance(value, dict | list):
        return _TYPE_NAMES[type(value)]
    if type(value) is int and abs(value) >= _LARGE:
        return "an integer of very many digits"
    return json.dumps(value)
