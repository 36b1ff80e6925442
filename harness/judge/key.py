"""The API key: read from the environment alone, never shown, never written."""

from __future__ import annotations

import os

from harness.errors import HarnessError
from harness.masking import remember, without_known

KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


class ApiKey:
    """A secret that doesn't print itself.

    Args:
        value: the key.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        remember(value)

    def reveal(self) -> str:
        """The key itself, for the client alone."""
        return self._value

    def redact(self, text: str) -> str:
        """The text with the key and all else that is known to be secret masked, see `harness.masking`."""
        return without_known(text, self._value)

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
