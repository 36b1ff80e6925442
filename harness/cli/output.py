"""What a command prints, results on standard output and remarks on standard error: the only ways to do it.

Nothing that is said here can move a cursor, command a CI system or tell a key (`harness.plain_text`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from harness.plain_text import json_text, plain, visible
from harness.streams import styled


def result(line: str) -> None:
    """One line of a result."""
    sys.stdout.write(f"{plain(line)}\n")


def lines(text: str) -> None:
    """A result of several lines that ends as it ends."""
    sys.stdout.write(visible(text))


def document(value: Any) -> None:
    """A result for machines: a JSON document of dicts, lists, texts and finite numbers."""
    # What guards the stream reads words, and would find some across quotes and escapes.
    styled(sys.stdout).write(f"{json_text(value)}\n")


def either(value: Any, line: str, *, as_machine: bool) -> None:
    """A document for machines or a line for people."""
    if as_machine:
        document(value)
    else:
        result(line)


def commands(lines: Sequence[str], *, as_machine: bool) -> None:
    """Commands to be run, a line each."""
    if as_machine:
        document(lines)
    else:
        for command in lines:
            result(command)


def remark(line: str) -> None:
    """One line beside the result."""
    sys.stderr.write(f"{plain(line)}\n")


def paragraph(text: str) -> None:
    """Several lines beside the result, such as a traceback; it ends as it ends."""
    sys.stderr.write(visible(text))
