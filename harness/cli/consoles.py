"""The consoles that rich draws on: what comes from outside is words to them, never markup or control."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from harness.plain_text import plain, visible
from harness.streams import GuardedStream, styled

_LOG_WIDTH = 10_000


class _PlainConsole(Console):
    """Makes every text plain before it is laid out."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich; a bare string is one line."""
        super().print(*(plain(one) if isinstance(one, str) else one for one in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """As rich; a text may have several lines."""
        if isinstance(renderable, str):
            renderable = visible(renderable)
        elif isinstance(renderable, Text) and (words := visible(renderable.plain)) != renderable.plain:
            changed = renderable.blank_copy(words)
            changed.spans = list(renderable.spans) if len(words) == len(renderable.plain) else []
            renderable = changed
        return iter(super().render(renderable, options))


def results() -> Console:
    """Standard output, as wide as the terminal."""
    return _console()


def unwrapped() -> Console:
    """Standard output; a log or pipe has no width, and a path broken in two is of no use to what reads it."""
    console = _console()
    return console if console.is_terminal else _console(width=_LOG_WIDTH)


def errors() -> Console:
    """Progress and remarks go to standard error; standard output carries results alone."""
    return _console(stderr=True)


def line(text: str, style: str = "") -> Text:
    """Words from outside on one line, such as for a cell."""
    return Text(plain(text), style=style)


@contextmanager
def lines_beside(console: Console) -> Iterator[None]:
    """What else is written to standard error stands above the bar that `console` draws meanwhile."""
    stream = sys.stderr
    if not isinstance(stream, GuardedStream):
        yield
        return
    stream.beside = lambda words: console.print(Text(words), soft_wrap=True)
    try:
        yield
    finally:
        stream.beside = None
        stream.let_go()


def _console(*, stderr: bool = False, width: int | None = None) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return _PlainConsole(file=styled(stream), width=width, markup=False, emoji=False, highlight=False)
