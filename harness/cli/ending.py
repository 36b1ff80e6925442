"""How a command ends: any exception as one line on standard error and an exit code, which is never 1.

1 means that a gate failed, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

import click

from harness import files
from harness.cli.output import paragraph, remark
from harness.errors import HarnessError, IncompleteError, InternalError


def known(error: BaseException) -> HarnessError:
    """Any exception as one of ours, whose message and exit code are what the command ends with."""
    match error:
        case HarnessError():
            return error
        case click.ClickException():
            return HarnessError(error.format_message())
        case KeyboardInterrupt() | click.Abort():
            return IncompleteError(str(error) or "interrupted; run the same command again")
        case OSError() | SystemExit() if broken_pipe(error):
            return IncompleteError("what read this command's messages is gone; run the same command to go on")
        case OSError():
            return files.explained(error) or InternalError.of(error)
        case _:
            return InternalError.of(error)


def end(error: BaseException, debug: bool, worded: Callable[[str], str]) -> int:
    """Say what ended the command, which is being handled, and return its exit code.

    Args:
        error: any exception.
        debug: show its traceback.
        worded: puts a library's message into the words of the command line.
    """
    unread = _done_but_unread(error)
    let_go_of_output()
    if unread:
        return 0
    # A group on its own: its help, as it is. click before 8.2 prints it itself and has no such class.
    if type(error).__name__ == "NoArgsIsHelpError" and isinstance(error, click.ClickException):
        paragraph(f"{error.format_message()}\n")
        return HarnessError.exit_code
    ours = known(error)
    with contextlib.suppress(OSError):
        if debug:
            paragraph("".join(map(_whole, traceback.format_exception(error))))
        say(_worded(worded, str(ours)))
    return ours.exit_code


def _whole(part: str) -> str:
    """A part of a traceback; an exception's words stay on their line, for they may pretend to be ours."""
    if part.startswith((" ", "Traceback", "\n")):
        return part
    return part.rstrip("\n").replace("\n", "\\n") + "\n"


def say(message: str) -> None:
    """An error's message as one line on standard error."""
    remark(f"harness: error: {' '.join(message.split())}")


def _worded(worded: Callable[[str], str], message: str) -> str:
    """What broke the command may break what looks its options up; the message must be said all the same."""
    try:
        return worded(message)
    except Exception:
        return message


def broken_pipe(error: BaseException) -> bool:
    """Whether nobody reads any more what was being written; rich leaves by SystemExit(1) then."""
    return isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError)


def let_go_of_output() -> None:
    """Write what standard output still holds, or nothing from then on.

    It would fail again as Python ends, and change the exit code.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError), files.child_log(Path(os.devnull)) as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _done_but_unread(error: BaseException) -> bool:
    """Whether only the reader of standard output left (`| head`), which results are written to at the end.

    A broken standard error, or a pipe to some engine, stopped the command half-way.
    """
    on_output = isinstance(error, SystemExit) or _has_no_reader(sys.stdout)
    return broken_pipe(error) and on_output and not _has_no_reader(sys.stderr)


def _has_no_reader(stream: TextIO) -> bool:
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLERR)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):
        return False  # no such call on this system, or nothing of the system's behind the stream


@contextmanager
def terminable() -> Iterator[None]:
    """A preempted job (SIGTERM) ends like Ctrl-C: samples kept, manifest written, exit code 3.

    Only the main thread may set handlers, and whoever called gets theirs back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        # None: of a program that embeds Python; it can't be set again from here.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if earlier is None else earlier)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
