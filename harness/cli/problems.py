"""What went wrong, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

_SETTING = re.compile(r"`([a-z][a-z0-9_]*)=([^`]*)`")


def in_flags(message: str, command: click.Command, arguments: Sequence[str]) -> str:
    """A library's message in the words of the command that was called.

    Libraries know no flags. They write a setting as Python does, in backticks: "give `base_urls=URL`",
    "choose another `out=`". The command has an option of that name and calls it --base-url or --out; what it
    has no option for stays as it is.

    Args:
        message: of an error.
        command: the group of all commands, or the one that was called.
        arguments: of the command line, by which the command is found.
    """
    context = click.Context(command)
    for word in arguments:
        if isinstance(command, click.Group):
            command = command.get_command(context, word) or command
    flags = {option.name: max(option.opts, key=len) for option in command.params}

    def flag(found: re.Match[str]) -> str:
        name, value = found.groups()
        return f"{flags[name]} {value}".rstrip() if name in flags else found[0]

    return _SETTING.sub(flag, message)
