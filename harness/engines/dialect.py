"""What a service doesn't take of a request, learnt from how it refuses one: said once, and remembered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

RENAMED: Final = {"max_tokens": "max_completion_tokens"}
"""OpenAI's reasoning models, and gateways before them, take the second and refuse the first."""

_WITHOUT: Final = {
    "seed": "seed is left out: the service takes none, so a second run may draw other answers",
    "top_k": "top_k is left out: the service takes none, and may have a default of its own",
    "min_p": "min_p is left out: the service takes none, and may have a default of its own",
    "repetition_penalty": "repetition_penalty is left out: the service takes none, and may have a default of "
    "its own",
    "return_token_ids": "token ids of answers aren't asked for: the service gives none",
}
_NEUTRAL: Final[dict[str, Any]] = {"temperature": 1.0, "top_p": 1.0, "stop_token_ids": []}
"""What every service does where nothing is said; only this value may be left unsaid."""
_UNKNOWN: Final = re.compile(
    r"(?i)unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not (?:permitted|allowed|accepted)|extra"
    r"|no longer|only the default|not a valid|instead"
)
_TOO_LONG: Final = re.compile(r"(?i)too (?:large|long|many|big)|context|at (?:most|least)|maximum|exceed")


class Dialect:
    """Makes requests as the service wants them, and says what it leaves out."""

    def __init__(self) -> None:
        """Nothing is known of the service yet."""
        self._renamed: set[str] = set()
        self._without: set[str] = set()

    def spoken(self, body: dict[str, Any]) -> dict[str, Any]:
        """A body as the service is known to want it."""
        kept = {name: value for name, value in body.items() if name not in self._without}
        return {(RENAMED[name] if name in self._renamed else name): value for name, value in kept.items()}

    def learnt(self, body: dict[str, Any], said: str) -> dict[str, Any] | None:
        """The refused body without what the service says it doesn't take; None where it says no such thing.

        Args:
            body: as it was sent.
            said: the service's words.
        """
        for name, wanted in RENAMED.items():
            wants = name in body and _names(said, wanted) and _UNKNOWN.search(said)
            # vLLM names both fields where a prompt is too long.
            if wants and not _TOO_LONG.search(said):
                self._renamed.add(name)
                return self.spoken(body)
        unwanted = {name for name in self._may_go(body) if _names(said, name)}
        if not unwanted or not _UNKNOWN.search(said):
            return None
        self._without |= unwanted
        return self.spoken(body)

    def remarks(self) -> list[str]:
        """What is sent otherwise than asked for, a sentence each."""
        renamed = [f"{name} is sent as {RENAMED[name]}" for name in sorted(self._renamed)]
        neutral = "is left out: the service takes none, and its default is what was asked for"
        return renamed + [_WITHOUT.get(name, f"{name} {neutral}") for name in sorted(self._without)]

    @staticmethod
    def _may_go(body: dict[str, Any]) -> Iterator[str]:
        for name, value in body.items():
            if name in _WITHOUT or (name in _NEUTRAL and value == _NEUTRAL[name]):
                yield name


def _names(said: str, field: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(field)}(?!\w)", said) is not None
