"""The errors a user can cause or meet; each knows its exit code.

Below every layer: imports nothing of the project. A message is one line that says what is wrong and
what to do about it; `harness.cli` prints it without a traceback unless `--debug` is given.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

_PACKAGE = Path(__file__).parent


class HarnessError(Exception):
    """Base of all expected errors: usage, configuration or data. Exit code 2."""

    exit_code: ClassVar[int] = 2


class DataError(HarnessError):
    """Input rows or files that can't be used as they are. Exit code 2."""


class EngineUnavailableError(HarnessError):
    """An engine that isn't installed or can't serve this checkpoint on this machine. Exit code 2."""


class RefusedError(HarnessError):
    """A service refuses everything that it is asked: a key that isn't valid, a model that it doesn't have.

    Exit code 2 where nothing was done before; a job that has something to lose makes it an `IncompleteError`.
    """


class RunMismatchError(HarnessError):
    """A run directory that belongs to another configuration, or is in use. Exit code 2."""


class IncompleteError(HarnessError):
    """Work stopped half-way (engine died, disk full, interrupted) and can be resumed. Exit code 3."""

    exit_code: ClassVar[int] = 3


class InternalError(HarnessError):
    """The harness itself failed: a bug, not something a user did. Exit code 5."""

    exit_code: ClassVar[int] = 5

    @classmethod
    def of(cls, error: BaseException) -> InternalError:
        """An exception that nobody foresaw, with the line of ours that it came through."""
        said = " ".join(traceback.format_exception_only(error)[-1].split())
        frames = reversed(traceback.extract_tb(error.__traceback__))
        ours = next((frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)), None)
        place = f" at {Path(ours.filename).relative_to(_PACKAGE.parent)}:{ours.lineno}" if ours else ""
        return cls(f"internal: {said}{place}; run again with --debug for the traceback")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM in the middle of a job; says how far it came and how to go on.

    Still a `KeyboardInterrupt`: whoever runs a job from Python (pytest, a notebook) is stopped by it too.
    Only `harness.cli` turns it into an exit code, that of `IncompleteError`.
    """


def words_of(error: BaseException, most: int | None = None) -> str:
    """What an exception says on one line, or its kind where it says nothing.

    Args:
        error: any.
        most: characters.
    """
    said = str(error)
    if isinstance(error, OSError) and error.strerror:
        said = said.removeprefix(f"[Errno {error.errno}] ")
    elif isinstance(error, UnicodeDecodeError):
        said = f"no {error.encoding.upper()} text at byte {error.start + 1}"
    return (" ".join(said.split()) or type(error).__name__)[:most]


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean a, b or c?`, or nothing where no name is like it."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if not close:
        return ""
    *first, last = close
    return f"; did you mean {', '.join(first)} or {last}?" if first else f"; did you mean {last}?"
