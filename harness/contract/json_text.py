"""JSON as text: where a value ends or goes wrong, and decoding that no input can make raise or hang.

Python's decoder recurses, so how deep it gets depends on the caller's stack, and it says where an error is
but not how far it looked. `skim` therefore checks the grammar without recursion, in time linear in what it
reads, and `decode` is only given what `skim` accepted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

WHITE_SPACE: Final = " \t\n\r"
"""What JSON calls white space (RFC 8259); a byte-order mark or a no-break space is not."""

MAX_DEPTH: Final = 64
"""Deepest nesting that counts as JSON here; `{"ranking": [1]}` is 2 deep."""

# Below this many digits int() never meets sys.set_int_max_str_digits, whatever a program set it to.
_MAX_DIGITS: Final = 640
_OVERLONG: Final = 10**_MAX_DIGITS

_SPACE = r"[ \t\n\r]*"
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_PLAIN_STRING = r'"[^"\\\x00-\x1f]*"'
_SCALAR = rf"(?:{_PLAIN_STRING}|{_NUMBER}|true|false|null)"
_KEY = rf"{_SPACE}{_PLAIN_STRING}{_SPACE}:{_SPACE}"
# Each skips what is simple and stops before the next value that isn't; group 1 says that its key is read too.
# Repeats are bounded because the regex engine keeps memory for each round of a group.
_ELEMENTS = re.compile(rf"(?:{_SPACE}{_SCALAR}{_SPACE},){{0,256}}{_SPACE}")
_MEMBERS = re.compile(rf"(?:{_KEY}{_SCALAR}{_SPACE},){{0,256}}{_SPACE}(?:{_KEY}())?")
_STRING_PART = re.compile(r'(?:[^"\\\x00-\x1f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})){0,256}')
_SPACES = re.compile(_SPACE)
_SPACE_CHARS: Final = tuple(WHITE_SPACE)
_CLOSER: Final = {"{": "}", "[": "]"}
_BARE = re.compile(rf"{_NUMBER}|true|false|null")


@dataclass(frozen=True, slots=True)
class Malformed:
    """Where and why a text stops being JSON.

    Attributes:
        position: 0-based index of the first character that can't stand there; the text's length at its end.
        reason: what should have stood there, or what is wrong.
        too_deep: the text was sound so far but nests deeper than `MAX_DEPTH`.
    """

    position: int
    reason: str
    too_deep: bool = False


def skim(text: str, start: int) -> int | Malformed:
    """Find the end of the JSON value that begins at `start`, without building it.

    Args:
        text: any string, lone surrogates included.
        start: index of the value's first character, not of white space before it.

    Returns:
        Index just past the value, or where and why it isn't one. Looks no further than that, give or take a
        constant factor.
    """
    closers: list[str] = []
    position = start
    while True:
        closer = _CLOSER.get(text[position : position + 1])
        ended = True
        if closer is None:
            found = _past_scalar(text, position)
        elif len(closers) == MAX_DEPTH:
            return Malformed(position, f"nested deeper than {MAX_DEPTH} levels", too_deep=True)
        else:
            position = _past_space(text, position + 1)
            ended = text.startswith(closer, position)
            if ended:
                found = position + 1
            else:
                closers.append(closer)
                found = _next_value(text, position, closer)
        while ended and not isinstance(found, Malformed):
            if not closers:
                return found
            position = _past_space(text, found)
            if text.startswith(closers[-1], position):
                closers.pop()
                found = position + 1
            elif text.startswith(",", position):
                ended = False
                found = _next_value(text, position + 1, closers[-1])
            else:
                found = Malformed(position, f"expected ',' or '{closers[-1]}'")
        if isinstance(found, Malformed):
            return found
        position = found


def _next_value(text: str, position: int, closer: str) -> int | Malformed:
    """Index of the next value of an open array or object that can't be skipped by a regex."""
    match = (_ELEMENTS if closer == "]" else _MEMBERS).match(text, position)
    if match is None:
        raise AssertionError("these patterns match nothing at all, too")
    position = match.end()
    if closer == "]" or match.lastindex:
        return position
    if not text.startswith('"', position):
        return Malformed(position, "expected a key in double quotes")
    found = _past_string(text, position)
    if isinstance(found, Malformed):
        return found
    position = _past_space(text, found)
    if not text.startswith(":", position):
        return Malformed(position, "expected ':'")
    return _past_space(text, position + 1)


def _past_scalar(text: str, position: int) -> int | Malformed:
    if text.startswith('"', position):
        return _past_string(text, position)
    match = _BARE.match(text, position)
    return match.end() if match else Malformed(position, "expected a value")


def _past_string(text: str, quote: int) -> int | Malformed:
    position, before = _end(_STRING_PART, text, quote + 1), quote + 1
    while position != before:
        position, before = _end(_STRING_PART, text, position), position
    char = text[position : position + 1]
    if char == '"':
        return position + 1
    if char == "\\":
        return Malformed(position, "bad escape in a string")
    return Malformed(position, "control character in a string" if char else "string without an end")


def _past_space(text: str, position: int) -> int:
    return _end(_SPACES, text, position) if text.startswith(_SPACE_CHARS, position) else position


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    """End of a match of a pattern that may match nothing."""
    match = pattern.match(text, position)
    return match.end() if match else position


class RepeatedKeyError(ValueError):
    """Some object in the text has a key twice."""


class JsonObject(dict[str, object]):
    """A decoded object that remembers a key it had twice."""

    __slots__ = ("repeated",)

    def __init__(self, members: list[tuple[str, object]]) -> None:
        super().__init__(members)
        self.repeated: str | None = None
        if len(self) != len(members):
            seen: set[str] = set()
            self.repeated = next(key for key, _ in members if key in seen or seen.add(key))  # type: ignore[func-returns-value]


def _unique(members: list[tuple[str, object]]) -> dict[str, object]:
    decoded = dict(members)
    if len(decoded) != len(members):
        raise RepeatedKeyError
    return decoded


def _bounded_int(digits: str) -> int:
    """The integer, or for hundreds of digits one as good: no contract has an id that long."""
    if len(digits) <= _MAX_DIGITS:
        return int(digits)
    return -_OVERLONG if digits[0] == "-" else _OVERLONG


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


QUICK_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
"""Raises ValueError on anything but sound JSON without repeated keys, and on integers it finds too long."""

_UNIQUE = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_bounded_int, parse_constant=_refuse_constant
).raw_decode
_REMEMBERING = json.JSONDecoder(
    object_pairs_hook=JsonObject, parse_int=_bounded_int, parse_constant=_refuse_constant
).raw_decode


def decode(text: str, start: int) -> object:
    """Decode the value at `start`, which `skim` accepted.

    Raises:
        RepeatedKeyError: an object in it has a key twice.
    """
    return _UNIQUE(text, start)[0]


def decode_remembering(text: str, start: int) -> object:
    """As `decode`, but objects come as `JsonObject` and repeated keys don't raise (the last one counts)."""
    return _REMEMBERING(text, start)[0]
