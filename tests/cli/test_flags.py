"""Every flag of every command, as `tests/cases/flags.json` lists them: scripts of users rest on these."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from harness.cli import cli

CASES = Path(__file__).parents[1] / "cases" / "flags.json"


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, *path, name)
    else:
        yield " ".join(path), command


def type_of(kind: dict[str, Any]) -> str:
    if "choices" in kind:
        return "|".join(kind["choices"])
    if "types" in kind:
        return " ".join(type_of(one) for one in kind["types"])
    if "min" not in kind:
        return str(kind["name"])
    number, _, _ = kind["name"].partition(" ")
    low = "" if kind["min"] is None else f"{kind['min']:g} {'<' if kind['min_open'] else '<='} "
    high = "" if kind["max"] is None else f" {'<' if kind['max_open'] else '<='} {kind['max']:.10g}"
    return f"{low}{number}{high}"


def flags(command: click.Command) -> list[dict[str, Any]]:
    found = []
    for parameter in command.params:
        said = parameter.to_info_dict()
        default = None if said.get("default") == () else said.get("default")
        found.append(
            {
                "flag": ", ".join(said["opts"]),
                "type": "flag" if said.get("is_flag") else type_of(said["type"]),
                "default": str(default) if isinstance(default, Path) else default,
                "required": said["required"],
                "repeated": bool(said["multiple"]) or said["nargs"] < 0,
            }
        )
    return found


def listed() -> dict[str, list[dict[str, Any]]]:
    rows = json.loads(CASES.read_text(encoding="utf-8"))
    by_command: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_command.setdefault(row.pop("command"), []).append(row)
    return by_command


def test_the_commands_are_the_listed_ones() -> None:
    assert sorted(name for name, _ in commands(cli)) == sorted(listed())


@pytest.mark.parametrize("name", listed())
def test_a_commands_flags_are_the_listed_ones(name: str) -> None:
    def key(row: dict[str, Any]) -> str:
        return str(row["flag"])

    command = dict(commands(cli))[name]
    assert sorted(flags(command), key=key) == sorted(listed()[name], key=key)
