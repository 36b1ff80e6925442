"""Standard output and standard error through which nothing goes that is secret or that moves a cursor.

The last line of defence: what libraries print, warnings, tracebacks, the lines of child processes. Below
every layer, for the command line and for processes of our own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from harness.plain_text import visible, without_commands

_TAIL = 24


def _one_by_one(stream: GuardedStream | StyledStream, lines: Iterable[str]) -> None:
    """In place of the stream's own `writelines`, which would go past its guard."""
    for line in lines:
        stream.write(line)


class GuardedStream:
    """A text stream whose lines are made plain as they are written; in all else the stream it is made of."""

    def __init__(self, stream: TextIO) -> None:
        """Guard `stream`, which stays open."""
        self._stream = stream
        self._line = ""
        self.beside: Callable[[str], None] | None = None
        """Where whole lines go meanwhile: beside a progress bar they would tear it."""
        self._held = ""

    def write(self, text: str) -> int:
        """Write words of anybody's."""
        if not isinstance(text, str):
            return self._stream.write(text)  # Whatever the stream says of it.
        safe = visible(_on_lines(text))
        if self.beside is None:
            self.write_styled(safe)
        else:
            *lines, self._held = (self._held + safe).split("\n")
            for line in lines:
                self.beside(line)
        return len(text)

    writelines = _one_by_one

    def write_styled(self, text: str) -> None:
        """Write what a console of ours has made, colours and all: its words are plain already."""
        first, *others = text.split("\n")
        whole = without_commands(self._line + first)
        # A command may have begun in what was written before.
        safe = whole[len(self._line) :] if whole.startswith(self._line) else f" {first}"
        lines = [safe, *(without_commands(one) for one in others)]
        self._line = lines[-1] if others else self._line + safe
        if len(self._line) > _TAIL:
            self._line = f"…{self._line[-_TAIL:]}"
        self._stream.write(_encodable("\n".join(lines), self._stream))

    def let_go(self) -> None:
        """Write what is held back."""
        held, self._held = self._held, ""
        if held:
            self.write_styled(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class StyledStream:
    """A guarded stream as a console of ours sees it."""

    def __init__(self, guarded: GuardedStream) -> None:
        """Write to `guarded`."""
        self._guarded = guarded

    def write(self, text: str) -> int:
        """Write what was made plain already."""
        self._guarded.write_styled(text)
        return len(text)

    writelines = _one_by_one

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guarded, name)


@contextmanager
def guarded() -> Iterator[None]:
    """Guard standard output and standard error of this process while the block runs."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_guarded(stream) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def styled(stream: TextIO) -> TextIO:
    """Standard output or error for a console of ours."""
    return StyledStream(stream) if isinstance(stream, GuardedStream) else stream  # type: ignore[return-value]


def _guarded(stream: Any) -> Any:
    return stream if stream is None or isinstance(stream, GuardedStream) else GuardedStream(stream)


def _on_lines(text: str) -> str:
    """Bars of other libraries go back to the line's beginning; here each of their states is a line."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _encodable(text: str, stream: TextIO) -> str:
    """Text that a terminal without Unicode can take."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        pass
    return text
