"""The API key: read from the environment alone, never shown, never written."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, quote_plus

from harness.errors import HarnessError

KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
_MASK = "[key]"
_PIECE = 10


class ApiKey:
    """A secret that doesn't print itself.

    Args:
        value: the key.
    """

    __slots__ = ("_piece", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        length = min(_PIECE, len(value))
        pieces = {value[start : start + length] for start in range(len(value) - length + 1)}
        # Within a lookahead, so that pieces which overlap are all found.
        self._piece = re.compile(f"(?=({'|'.join(map(re.escape, sorted(pieces)))}))")

    def reveal(self) -> str:
        """The key itself, for the client alone."""
        return self._value

    def redact(self, text: str) -> str:
        """The text with the key masked: as it is, as a URL writes it, and pieces of it that were cut off."""
        for form in {quote(self._value, safe=""), quote_plus(self._value)}:
            text = text.replace(form, _MASK)
        parts: list[str] = []
        end = 0
        for found in self._piece.finditer(text):
            start, stop = found.span(1)
            if start > end or not parts:
                parts += [text[end:start], _MASK]
            end = stop
        return "".join([*parts, text[end:]])

    def __repr__(self) -> str:
        return "ApiKey(…)"

    def __reduce__(self) -> tuple[type, tuple[str]]:
        raise TypeError("an API key isn't to be pickled")


def key_from_environment() -> ApiKey | None:
    """The key in `GEMINI_API_KEY`, else in `GOOGLE_API_KEY`; None when neither holds one.

    Raises:
        HarnessError: what is there can't be sent in a header. It isn't shown.
    """
    for variable in KEY_VARIABLES:
        value = os.environ.get(variable, "").strip()
        if value:
            if not value.isascii() or not value.isprintable() or " " in value:
                raise HarnessError(f"{variable} holds characters that no API key has; set it again")
            return ApiKey(value)
    return None
