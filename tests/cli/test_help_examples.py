"""What `--help` shows can be copied into a shell: whole lines, and inputs that a stranger has."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from harness.cli import cli, main
from harness.engines.zoo import resolved

RUNS_OF_THE_DEMO = {"demo/base", "demo/large", "demo/listopd"}


def example_of(capsys: pytest.CaptureFixture[str], *command: str) -> list[str]:
    assert main([*command, "--help"]) == 0
    _, _, example = capsys.readouterr().out.rpartition("Example: ")
    # The first line, and those that its shell line ends carry it over to.
    line = re.match(r"(?:.*\\\n)*.*", example)
    assert line is not None
    program, *arguments = shlex.split(line[0].replace("\\\n", " "))
    assert program == "harness"
    return arguments


@pytest.mark.parametrize(
    "command", [(), ("eval",), ("cliff",), ("rescore",), ("gate",), ("report",), ("judge",)]
)
def test_an_example_needs_the_zoo_or_the_demo_alone(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    name, *arguments = example_of(capsys, *command)
    known = cli.get_command(click.Context(cli), name)
    assert known is not None
    with known.make_context(name, list(arguments)) as context:
        given = [value for value in context.params.values() if value]
    members = [value for value in given if isinstance(value, str) and value.startswith("zoo:")]
    for member in members:
        assert resolved(member).is_dir()
    runs = {word for word in arguments if "/" in word}
    assert runs <= RUNS_OF_THE_DEMO
    assert members or runs


@pytest.mark.model
def test_the_cliffs_example_gives_a_side(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    example = example_of(capsys, "cliff")
    assert (
        main([*example, "--engine", "hf", "--device", "cpu", "--out", str(tmp_path / "run"), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["verdict"] in ("left", "right")


def test_the_cliffs_own_number_of_tasks_is_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cliff", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Only the first N tasks. [default: 64; x>=1]" in shown
    assert main(["eval", "--help"]) == 0
    assert "Only the first N tasks. [x>=1]" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("group", [[], ["data"], ["data", "prepare"], ["train"], ["prereg"]], ids=" ".join)
def test_a_group_on_its_own_shows_its_help(group: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(group) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(" ".join(["Usage: harness", *group]))
    assert "\nCommands:\n" in shown
    assert "error" not in shown.splitlines()[0]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("evl", "there is no command 'evl'; did you mean eval?"),
        ("xyz", "it is one of eval, rescore, forecast"),
    ],
)
def test_a_mistyped_command_is_told_its_neighbour(
    typed: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([typed]) == 2
    assert says in capsys.readouterr().err
