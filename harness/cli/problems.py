"""What went wrong, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from harness.cli.options import flags_of

_SETTING = re.compile(r"`([a-z][a-z0-9_]*)=([^`]*)`")


def in_flags(message: str, command: click.Command, arguments: Sequence[str]) -> str:
    """A library's message in the words of the command that was called.

    Libraries know no flags. They write a setting as Python does, in backticks: "give `base_urls=URL`",
    "choose another `out=` or pass `overwrite=True`". The command has an option of that name and calls it
    --base-url, --out or --overwrite; what it has no option for stays as it is.

    Args:
        message: of an error.
        command: the group of all commands, or the one that was called.
        arguments: of the command line, by which the command is found.
    """
    context = click.Context(command)
    for word in arguments:
        if isinstance(command, click.Group):
            command = command.get_command(context, word) or command
    options = {option.name: option for option in command.params if isinstance(option, click.Option)}

    def flag(found: re.Match[str]) -> str:
        name, value = found.groups()
        if name not in options:
            return found[0]
        written = max(options[name].opts, key=len)
        return written if options[name].is_flag else f"{written} {value}".rstrip()

    return _SETTING.sub(flag, message)


def as_flags(message: str) -> str:
    """Likewise, of settings that every command spells alike."""

    def flag(found: re.Match[str]) -> str:
        name, value = found.groups()
        written = max(flags_of(name), key=len)
        return written if value == "True" else f"{written} {value}"

    return _SETTING.sub(flag, message)
