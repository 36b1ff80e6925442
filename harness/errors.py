"""The errors a user can cause or meet; each knows its exit code.

Below every layer: imports nothing of the project. A message is one line that says what is wrong and
what to do about it; `harness.cli` prints it without a traceback unless `--debug` is given.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import ClassVar


class HarnessError(Exception):
    """Base of all expected errors: usage, configuration or data. Exit code 2."""

    exit_code: ClassVar[int] = 2


class DataError(HarnessError):
    """Input rows or files that can't be used as they are. Exit code 2."""


class EngineUnavailableError(HarnessError):
    """An engine that isn't installed or can't serve this checkpoint on this machine. Exit code 2."""


class RunMismatchError(HarnessError):
    """A run directory that belongs to another configuration, or is in use. Exit code 2."""


class IncompleteError(HarnessError):
    """Work stopped half-way (engine died, disk full, interrupted) and can be resumed. Exit code 3."""

    exit_code: ClassVar[int] = 3


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean a, b or c?`, or nothing where no name is like it."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if not close:
        return ""
    *first, last = close
    return f"; did you mean {', '.join(first)} or {last}?" if first else f"; did you mean {last}?"
