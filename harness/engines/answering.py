"""Under which name a service answers: whoever is asked for a model may be another, or become one."""

from __future__ import annotations

from harness.engines.http_exchange import ReplyError, shown
from harness.errors import IncompleteError


class Answering:
    """The name in the first reply, and that no later one carries another.

    Services answer with another name than they are asked for: dated (`gpt-4o-2024-08-06`), a path, or always
    the same. What isn't right is that it changes.
    """

    def __init__(self) -> None:
        """Nothing has answered yet."""
        self.name: str | None = None
        self._asked = ""

    def require_same(self, asked: str, said: object) -> str | None:
        """The name that a reply carries, as it may be shown; None where it carries none.

        Args:
            asked: the name that was sent.
            said: the reply's `model`.

        Raises:
            ReplyError: another one than before.
            IncompleteError: the one that was asked for, though another answered before.
        """
        if not isinstance(said, str) or not said.strip():
            return None
        name = shown(said)
        if self.name is None:
            self.name, self._asked = name, asked
        if _plain(name) == _plain(self.name):
            return self.name
        if _plain(name) == _plain(shown(asked)):
            raise IncompleteError(
                f"{shown(asked)} was asked for each time, and {self.name} answered first: what is there may "
                "be of either; see to what stands before the servers and choose another `out=`"
            )
        raise ReplyError(f"an answer by {name} where {self.name} answered before")

    def remarks(self) -> list[str]:
        """That another name answers than was asked for, where it does."""
        if self.name is None or _plain(self.name) == _plain(shown(self._asked)):
            return []
        return [f"asked for {shown(self._asked)}, the service answers as {self.name}"]


def _plain(name: str) -> str:
    return name.strip().casefold()
