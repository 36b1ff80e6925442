"""JSON strings character by character: reading one, and all the ways to spell a character."""

from __future__ import annotations

from typing import Final, NamedTuple

_HEX: Final = "0123456789abcdefABCDEF"
_SIMPLE_ESCAPES: Final = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}


class StringStep(NamedTuple):
    """A JSON string in progress.

    Attributes:
        text: its characters so far, decoded.
        escape: what can't be decoded yet: nothing, the beginning of an escape sequence, or a high surrogate
            that was written as an escape, alone or with the beginning of the next one (they may be a pair).
        closed: the closing quote was read.
    """

    text: str
    escape: str
    closed: bool = False


def advance_string(text: str, escape: str, char: str) -> StringStep | None:
    """Read one more character of a JSON string, as Python's decoder would.

    Two escapes that form a surrogate pair become one character; a lone surrogate stays one.

    Args:
        text: as in `StringStep`.
        escape: as in `StringStep`.
        char: the next character.

    Returns:
        The string one character on, or None when no JSON string goes on like this.
    """
    high = escape[:1] if escape[:1] > "\\" else ""
    begun = escape[len(high) :]
    if not begun:
        if char == '"':
            return StringStep(text + high, "", closed=True)
        if char == "\\":
            return StringStep(text, high + "\\")
        return StringStep(text + high + char, "") if char >= " " else None
    if begun == "\\":
        if char == "u":
            return StringStep(text, escape + "u")
        plain = _SIMPLE_ESCAPES.get(char)
        return None if plain is None else StringStep(text + high + plain, "")
    return _with_hex_digit(text, high, begun, char)


def _with_hex_digit(text: str, high: str, begun: str, char: str) -> StringStep | None:
    if char not in _HEX:
        return None
    if len(begun) < len("\\uXXX"):
        return StringStep(text, high + begun + char.lower())
    unit = chr(int(begun[2:] + char, 16))
    if high and "\udc00" <= unit <= "\udfff":
        code = 0x10000 + ((ord(high) - 0xD800) << 10) + (ord(unit) - 0xDC00)
        return StringStep(text + chr(code), "")
    if "\ud800" <= unit <= "\udbff":
        return StringStep(text + high, unit)
    return StringStep(text + high + unit, "")


def longer_escape(escape: str, char: str) -> str:
    """The escape with one more character, hexadecimal digits in lower case."""
    return escape + (char.lower() if "u" in escape and char in "ABCDEF" else char)


def spellings(char: str) -> tuple[str, ...]:
    """All ways to write one character in a JSON string, hexadecimal digits in lower case."""
    code = ord(char)
    units = [code]
    if code > 0xFFFF:
        units = [0xD800 + ((code - 0x10000) >> 10), 0xDC00 + ((code - 0x10000) & 0x3FF)]
    escaped = "".join(f"\\u{unit:04x}" for unit in units)
    simple = [f"\\{name}" for name, plain in _SIMPLE_ESCAPES.items() if plain == char]
    raw = [] if char < " " or char in '"\\' else [char]
    return (*raw, *simple, escaped)
