"""Why a decoded value breaks the contract: a code, a JSONPath and a short message."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from harness.contract.json_text import JsonObject
from harness.contract.model import Contract
from harness.contract.result import FAILURE_CODES, FailureCode

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

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


def explain(value: object, k: int, contract: Contract) -> Failure:
    """Explain why a decoded value isn't a valid answer.

    Args:
        value: a decoded value without repeated keys that breaks the contract.
        k: number of candidates, ≥ 1.
        contract: what it breaks.

    Raises:
        ValueError: the value keeps the contract.
    """
    specimen, indices = _specimen(value, k, contract)
    errors = [(_code(e), list(e.absolute_path)) for e in validator(contract, k).iter_errors(specimen)]
    if not errors:
        raise ValueError("the value keeps the contract: nothing to explain")
    code, path = min(errors, key=lambda error: (FAILURE_CODES.index(error[0]), error[1]))
    return _described(
        code, [step if isinstance(step, str) else indices[step] for step in path], value, k, contract
    )


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


@lru_cache(maxsize=256)
def validator(contract: Contract, k: int) -> Validator:
    """The compiled JSON Schema of `contract` for `k` candidates, with 3.0 and true not integers."""
    from jsonschema import Draft202012Validator, validators

    strict_types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, instance: type(instance) is int
    )
    extend: Callable[..., type[Validator]] = validators.extend
    return extend(Draft202012Validator, type_checker=strict_types)(contract.json_schema(k))


def _code(error: ValidationError) -> FailureCode:
    depth = len(error.absolute_path)
    match error.validator:
        case "type":
            return "wrong_id_type" if depth == 2 else "wrong_type"
        case "required":
            return "missing_key"
        case "additionalProperties":
            return "extra_key"
        case "minItems" | "maxItems":
            return "wrong_length"
        case "minimum" | "maximum" | "enum":
            return "unknown_id"
        case "uniqueItems":
            return "duplicate_id"
    raise AssertionError(f"the contract's schema has no {error.validator}")


def _specimen(value: object, k: int, contract: Contract) -> tuple[Any, list[int]]:
    """A small value that breaks the contract for the same first reason, and the original index of its ids.

    jsonschema takes microseconds an item, quadratic time on unsortable ones, and puts whole values in its
    messages, so it never sees an array of a million entries: only the first K + 1, enough to be too long,
    and the first one of a wrong type after those.
    """
    if not isinstance(value, dict):
        return _scalar(value), []
    ids = value.get(contract.key)
    members: dict[str, Any] = {}
    if not contract.extra_keys:
        members = dict.fromkeys([key for key in value if key != contract.key][:1])
    if contract.key in value:
        members[contract.key] = _scalar(ids)
    if not isinstance(ids, list):
        return members, []
    wanted = int if contract.id_style == "integer" else str
    indices = list(range(min(len(ids), k + 1)))
    indices += [i for i in [_first_other(ids, wanted)] if i is not None and i > k]
    members[contract.key] = [_scalar(ids[i]) for i in indices]
    return members, indices


def _scalar(value: object) -> object:
    """The value without its contents, a long string or integer cut short: as wrong as before."""
    if isinstance(value, dict):
        return {}
    if isinstance(value, list):
        return []
    if type(value) is int and abs(value) > _LARGE:
        return _LARGE if value > 0 else -_LARGE
    return value[:_LONGEST_SNIPPET] if isinstance(value, str) else value


def _first_other(ids: list[object], wanted: type) -> int | None:
    return next((i for i, item in enumerate(ids) if type(item) is not wanted), None)


def _described(code: FailureCode, path: list[Step], value: Any, k: int, contract: Contract) -> Failure:
    """Word the failure of `value`, the whole decoded answer, of which the schema complained at `path`."""
    key = contract.key
    ids: Any = value[key] if path else None
    is_integer = contract.id_style == "integer"
    match code:
        case "wrong_type":
            wanted, found = ("an array", ids) if path else ("an object", value)
            message = f"expected {wanted}, found {_TYPE_NAMES[type(found)]}"
        case "missing_key":
            message = f"key {snippet(key)} is missing"
        case "extra_key":
            path = [next(name for name in value if name != key)]
            message = f"key {snippet(path[0])} is not part of the contract"
        case "wrong_id_type":
            message = f"expected {'an integer' if is_integer else 'a string'}, found {snippet(ids[path[1]])}"
        case "wrong_length":
            message = f"expected {k} ids, found {len(ids)}"
        case "unknown_id":
            message = f"id {snippet(ids[path[1]])} is not one of 1 to {k}"
        case _:
            first: dict[object, int] = {}
            again = next(i for i, item in enumerate(ids) if first.setdefault(item, i) != i)
            path = [key, again]
            message = f"id {snippet(ids[again])} stands at index {first[ids[again]]} already"
    return Failure(code, json_path(path), message)


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
