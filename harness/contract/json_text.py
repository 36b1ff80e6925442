"""JSON as text: where a value ends or goes wrong, and decoding that no input can make raise or hang.

Python's decoder recurses, so how deep it gets depends on the caller's stack, and it says where an error is
but not how far it looked. `skim` therefore checks the grammar without recursion, in time linear in what it
reads, and `decode` is only given what `skim` accepted.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
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
_TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels"
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
    found = Reading(text, start).ends(start)
    assert found is not None, "a reading knows of its own beginning"
    return found


class Reading:
    """A text read as JSON from one place on, only as far as was asked about.

    What an array or object holds reads the same whatever it stands in, but for how deep it nests. So whoever
    tries one beginning after the other need not read a text of a thousand nested openings a thousand times.
    """

    __slots__ = ("_after", "_broken", "_closers", "_open", "_over", "_position", "_start", "_text")

    def __init__(self, text: str, start: int) -> None:
        """Begin at a value's first character; nothing is read yet."""
        self._text = text
        self._start = self._position = start
        self._after: int | None = None  # Where a value has just ended; None where one begins at `_position`.
        self._closers: list[str] = []
        self._open: list[int] = []  # Beginnings of what is open, outermost first.
        self._broken: dict[int, Malformed] = {}  # By beginning: what is no JSON.
        self._over = False

    def reaches(self, place: int) -> bool:
        """Whether there may be something to ask of this reading about a beginning at `place` or later."""
        return not self._over or place < self._position

    def ends(self, start: int) -> int | Malformed | None:
        """As `skim(text, start)`, of the value itself or of an array or object in it.

        Args:
            start: no smaller than in the call before.

        Returns:
            None where nothing of this reading opens, or what closed before it was asked about.
        """
        if start in self._broken:
            return self._broken[start]
        place = bisect_left(self._open, start)
        is_open = place < len(self._open) and self._open[place] == start
        if self._over or (start < self._position and not is_open):
            return None
        return self._read(start, is_open)

    def _read(self, wanted: int, is_open: bool) -> int | Malformed | None:
        """Go on until it is known how `wanted` ends, or passed; `is_open` says that it was come by."""
        text, closers = self._text, self._closers
        position, after = self._position, self._after
        while True:
            going: int | Malformed
            if after is not None and not closers:
                return self._done(after, wanted)
            if after is not None:
                going = _past_space(text, after)
                if text.startswith(closers[-1], going):
                    closers.pop()
                    after = going + 1
                    if self._open.pop() == wanted:
                        self._position, self._after, self._over = after, after, not closers
                        return after
                    continue
                if not text.startswith(",", going):
                    return self._failed(Malformed(going, f"expected ',' or '{closers[-1]}'"), wanted)
                going, after = _next_value(text, going + 1, closers[-1]), None
            elif position > wanted and not is_open:
                break
            elif (closer := _CLOSER.get(text[position : position + 1])) is None:
                going = _past_scalar(text, position)
                after = None if isinstance(going, Malformed) else going
            elif self._is_too_deep_for(position) and wanted in self._broken:
                break
            else:
                is_open = is_open or position == wanted
                going, after = self._opened(position, closer)
            if isinstance(going, Malformed):
                return self._failed(going, wanted)
            position = going
        self._position, self._after = position, after
        return self._broken.get(wanted)

    def _opened(self, position: int, closer: str) -> tuple[int | Malformed, int | None]:
        """Go into what opens at `position`: where its first value begins, or, where it is empty, ends."""
        self._open.append(position)
        self._closers.append(closer)
        inside = _past_space(self._text, position + 1)
        if self._text.startswith(closer, inside):
            return inside, inside
        return _next_value(self._text, inside, closer), None

    def _is_too_deep_for(self, position: int) -> bool:
        """Note what is open so many levels above a further opening that it can hold no more."""
        if len(self._open) < MAX_DEPTH:
            return False
        self._broken[self._open[-MAX_DEPTH]] = Malformed(position, _TOO_DEEP, too_deep=True)
        return True

    def _done(self, end: int, wanted: int) -> int | None:
        """The whole value is read."""
        self._position, self._over = end, True
        return end if wanted == self._start else None

    def _failed(self, found: Malformed, wanted: int) -> Malformed | None:
        """The text is no JSON from here on: nothing that is open will close."""
        for begun in self._open or (self._start,):
            self._broken.setdefault(begun, found)
        self._position, self._over = found.position, True
        return self._broken.get(wanted)


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
