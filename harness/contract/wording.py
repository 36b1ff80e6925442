"""How a failure is worded: its place as JSONPath, values cut short, one line of ASCII."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from harness.contract.json_text import JsonObject
from harness.contract.member_path import PLAIN_NAME
from harness.contract.result import FAILURE_CODES, FailureCode

Step = str | int

_LONGEST_SNIPPET: Final = 40
_LARGE: Final = 10**_LONGEST_SNIPPET
TYPE_NAMES: Final = {
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


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that is wrong with a decoded value.

    Attributes:
        code: what.
        steps: member names and indices that lead there.
        message: in one line of ASCII.
    """

    code: FailureCode
    steps: list[Step]
    message: str

    def comes_before(self) -> tuple[int, list[tuple[bool, Step]]]:
        """What is named first has the smallest."""
        return FAILURE_CODES.index(self.code), [(isinstance(step, str), step) for step in self.steps]

    def failure(self) -> Failure:
        """As it is reported."""
        return Failure(self.code, json_path(self.steps), self.message)


def other_type(wanted: str, found: object) -> str:
    """That a value has another type."""
    return f"expected {wanted}, found {TYPE_NAMES[type(found)]}"


def missing(name: str) -> str:
    """That a key is missing."""
    return f"key {snippet(name)} is missing"


def extra(name: str) -> str:
    """That a key is one too many."""
    return f"key {snippet(name)} is not part of the contract"


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
        elif len(step) <= _LONGEST_SNIPPET and PLAIN_NAME.fullmatch(step):
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
        return TYPE_NAMES[type(value)]
    if type(value) is int and abs(value) >= _LARGE:
        return "an integer of very many digits"
    return json.dumps(value)
