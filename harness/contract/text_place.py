"""Where in an answer's text something is wrong: from the place a decoder stopped at, or from a JSONPath."""

from __future__ import annotations

import json
import re
from typing import Final

from harness.contract.json_text import WHITE_SPACE, Malformed, skim
from harness.contract.wording import json_path

_LEXEME: Final = re.compile(r'[ \t\n\r]*("(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+)', re.DOTALL)


def place_of_failure(text: str, path: str | None) -> int | None:
    """Index of the character at which a text goes wrong, its length where something is missing at the end.

    Args:
        text: a completion that isn't strict.
        path: of the value that breaks the contract, where the text is JSON.

    Returns:
        None where it can't be said.
    """
    start = len(text) - len(text.lstrip(WHITE_SPACE))
    end = skim(text, start)
    if isinstance(end, Malformed):
        return end.position
    rest = text[end:].lstrip(WHITE_SPACE)
    if rest:
        return len(text) - len(rest)
    return None if path is None else _place_of_value(text, path)


def _place_of_value(text: str, path: str) -> int | None:
    """Where the value with a path begins in a JSON text; of several under one key the last."""
    steps: list[str | int] = []
    expects_key: list[bool] = []
    found: int | None = None
    at = 0
    while lexeme := _LEXEME.match(text, at):
        at, one = lexeme.end(), lexeme[1]
        if one in ("]", "}"):
            steps.pop()
            expects_key.pop()
        elif one == ",":
            last = steps[-1]
            if isinstance(last, int):
                steps[-1] = last + 1
            else:
                expects_key[-1] = True
        elif one == ":":
            continue
        elif expects_key and expects_key[-1]:
            steps[-1], expects_key[-1] = str(json.loads(one)), False
        else:
            if json_path(steps) == path:
                found = lexeme.start(1)
            if one in ("[", "{"):
                steps.append(0 if one == "[" else "")
                expects_key.append(one == "{")
    return found
