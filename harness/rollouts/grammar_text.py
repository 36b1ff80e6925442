"""Pieces of a grammar as text: terminals of JSON, repeats, conditions."""

from __future__ import annotations

import json
from typing import Final

from harness.contract.json_strings import spellings

_CHARACTER: Final = r'[^"\\\x00-\x1f]|\\["\\\/bfnrt]'
# Python's decoder makes one character of a pair of surrogates, and of a lone one as well.
COUNTED: Final = (
    rf"{_CHARACTER}|\\u([0-9a-ce-fA-CE-F][0-9a-fA-F]{{3}}|[dD][0-7][0-9a-fA-F]{{2}})"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
HEAD: Final = rf"""%llguidance {{"allow_initial_skip": true, "no_forcing": true}}
%ignore /[ \t\r\n]+/
start: ROOT TAIL?
TAIL: /[ \t\r\n]+/
STRING: /"({_CHARACTER}|\\u[0-9a-fA-F]{{4}})*"/
INTEGER: /-?(0|[1-9][0-9]*)/
NUMBER: /-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/
any: STRING | NUMBER | "true" | "false" | "null" | any_array | any_object
any_array: "[" "]" | "[" any ("," any)* "]"
any_object: "{{" "}}" | "{{" STRING ":" any ("," STRING ":" any)* "}}"
"""


def times(part: str, low: int, high: int | None) -> str:
    """A part that often; without end where `high` is None."""
    if high == 0:
        return ""
    return f"({part}){{{low},{'' if high is None else high}}}"


def condition(conditions: list[str]) -> str:
    """A rule's condition that all of these hold."""
    if not conditions:
        return ""
    whole = conditions[-1]
    for one in reversed(conditions[:-1]):
        whole = f"and({one}, {whole})"
    return f"%if {whole}"


def spelled(content: str) -> str:
    """A terminal: a JSON string of this content, in all ways to escape it."""
    parts = []
    for char in content:
        ways = [_escaped(one) for one in spellings(char)]
        parts.append(f"({'|'.join(ways)})")
    return '/"' + "".join(parts) + '"/'


def _escaped(spelling: str) -> str:
    """A regex for one spelling of a character, hexadecimal digits in either case."""
    if spelling.startswith("\\u"):
        digits = "".join(f"[{one}{one.upper()}]" if one.isalpha() else one for one in spelling[2:6])
        return rf"\\u{digits}{_escaped(spelling[6:])}"
    plain = (one if one.isalnum() and one.isascii() else f"\\x{{{ord(one):x}}}" for one in spelling)
    return "".join(plain)


def quoted(literal: str) -> str:
    """A terminal: this text."""
    return json.dumps(literal)
