"""What went wrong, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from harness.errors import HarnessError

if TYPE_CHECKING:
    from pydantic import ValidationError

_SETTING = re.compile(r"`([a-z][a-z0-9_]*)=([^`]*)`")


def first_problem(error: ValidationError) -> HarnessError:
    """The first problem with its place: `endpoint: must be a URL such as …`."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return HarnessError(f"{where}: {reason}" if where else reason)


def in_flags(message: str, group: click.Group, arguments: Sequence[str]) -> str:
    """A library's message in the words of the command that was called.

    Libraries know no flags. They write a setting as Python does, in backticks: "give `base_urls=URL`",
    "choose another `out=`". The command has an option of that name and calls it --base-url or --out; what it
    has no option for stays as it is.

    Args:
        message: of an error.
        group: all commands.
        arguments: of the command line, by which the command is found.
    """
    command: click.Command = group
    context = click.Context(group)
    for word in arguments:
        if isinstance(command, click.Group):
            command = command.get_command(context, word) or command
    flags = {option.name: max(option.opts, key=len) for option in command.params}

    def flag(found: re.Match[str]) -> str:
        name, value = found.groups()
        return f"{flags[name]} {value}".rstrip() if name in flags else found[0]

    return _SETTING.sub(flag, message)
