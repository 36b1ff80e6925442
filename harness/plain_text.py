"""The one room that makes words from outside safe to show, in a terminal and in the log of a CI system.

Below every layer. Task ids, titles, names of files, models and servers, exceptions and model outputs may
hold what moves a cursor, colours or rewrites a screen (ESC, C1 controls, backspace), reorders or hides text
(marks of direction, zero widths), breaks a line, or commands a CI system (`::error::`, `##[group]`). All of
it becomes visible, none of it is lost. Secrets are masked with it, see `harness.masking`.

Letters of all scripts and emoji stay as they are.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from harness.masking import masked, masked_values

_COMMAND = re.compile(r"##(?=[A-Za-z]*\[)")
"""`##[group]` (GitHub, Azure), `##vso[…]` (Azure), `##teamcity[…]`: anywhere in a line."""
_SECTION = re.compile(r"\b(section_(?:start|end)|travis_(?:fold|time))(?=:)")
_COLONS = re.compile(r"(\[[0-9A-Fa-f:]*::[0-9A-Fa-f:.]*\])|:(?=:)")
"""GitHub reads a line that begins with two; what is printed may be wrapped there. `[::1]` is an address."""
_AT_START = re.compile(r"(?m)^((?:[^\S\n]|\x1b\[[0-9;]*m)*):(?=(?:\x1b\[[0-9;]*m)*:)")
_JOINER, _PICTURES = "\u200d", range(0x1F000, 0x1FB00)


def plain(text: str) -> str:
    """Text on one line that can't move a cursor, reorder what is around it, command a CI or tell a key.

    Control and other invisible characters become escapes such as `\\x1b`, `\\n`, `\\u202e`.
    """
    return _without_commands(_shown(masked(text), keep=""))


def visible(text: str) -> str:
    """As `plain`, with its line ends and tabs: for what is several lines long and is meant to be."""
    return without_commands(_shown(masked(text), keep="\n\t"))


def without_commands(text: str) -> str:
    """Lines in which no CI system finds a command; everything else is as it was, a terminal's colours too."""
    return _AT_START.sub(r"\1: ", _SECTION.sub(r"\1 ", _COMMAND.sub("## ", text)))


def json_text(value: Any, *, indent: int | None = 1) -> str:
    """A JSON document for a terminal or a log: secrets masked, what isn't plain as `\\u` escapes.

    Args:
        value: of dicts, lists, texts and finite numbers.
        indent: as `json.dumps` has it.
    """
    return plain_json(json.dumps(masked_values(value), indent=indent, allow_nan=False))


def plain_json(text: str) -> str:
    """The same JSON document in characters that are safe to show: it means what it meant."""
    if not text.isprintable():
        text = "".join(_json_escape(one) if not _is_plain(one) and one != "\n" else one for one in text)
    text = _SECTION.sub(lambda found: f"{found[1][:-1]}{_escaped_letter(found[1][-1])}", text)
    return re.sub(r"#(?=#[A-Za-z]*\[)", r"\\u0023", text)


def escaped(char: str) -> str:
    """`\\x00`, `\\n`, `\\u202e` or `\\U000e0001`."""
    return char.encode("unicode_escape", "backslashreplace").decode()


def _shown(text: str, keep: str) -> str:
    if text.isprintable():
        return text
    last = len(text) - 1
    return "".join(
        char
        if _is_plain(char)
        or char in keep
        or (char == _JOINER and 0 < at < last and _joins(text[at - 1], text[at + 1]))
        else escaped(char)
        for at, char in enumerate(text)
    )


def _is_plain(char: str) -> bool:
    """Whether a character is seen, or is a space of some script."""
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _joins(before: str, after: str) -> bool:
    """Whether a joiner stands inside an emoji, such as that of a family."""
    of_emoji = before == "\ufe0f" or ord(before) in _PICTURES or unicodedata.category(before) == "So"
    return of_emoji and (ord(after) in _PICTURES or unicodedata.category(after) == "So")


def _without_commands(line: str) -> str:
    return _COLONS.sub(lambda found: found[1] or ": ", _SECTION.sub(r"\1 ", _COMMAND.sub("## ", line)))


def _escaped_letter(char: str) -> str:
    return f"\\u{ord(char):04x}"


def _json_escape(char: str) -> str:
    return json.dumps(char)[1:-1] if not char.isascii() or char < " " else f"\\u{ord(char):04x}"
