"""Options made from settings: what a flag takes, what the help shows, and the way back."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import Field

from harness.cli.options import Command, GroupedOption, options_of, settings_from
from harness.settings import Count, Group, Settings
from tests.cli.test_flags import commands


class Oven(Settings, title="Oven"):
    """An oven."""

    heat: Annotated[float, Field(gt=0, lt=300)] = 180.0
    """Of the air, above what `trays` need."""
    fan: bool = False
    """Move the air."""


class Timer(Settings, title="Timer"):
    """A clock."""

    minutes: Count = 30
    """Until it rings."""


class Kitchen(Settings, title="Kitchen"):
    """A kitchen."""

    cook: str
    """Who cooks."""
    oven: Oven = Oven(heat=200.0)
    timer: Timer | None = None
    trays: tuple[int, ...] = ()
    """Their sizes."""
    book: Path | None = None
    """Where the recipes are."""
    style: Annotated[Literal["plain", "rich"], Group("Taste")] = "plain"
    """Of the food."""
    lam: float = 1.0
    """Has a flag of another name."""
    guests: dict[str, int] = Field(default_factory=dict)
    """Who eats how much."""


def command(made: list[dict[str, Any]], **arguments: Any) -> click.Command:
    @click.command(cls=Command, settings=lambda: options_of(Kitchen, leave_out=("guests",)), **arguments)
    @click.option("--json", "as_machine", is_flag=True, help="As JSON.")
    def cook(as_machine: bool, **options: Any) -> None:
        made.append(options)

    return cook


def given(*words: str) -> Kitchen:
    made: list[dict[str, Any]] = []
    result = CliRunner().invoke(command(made), list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return settings_from(Kitchen, made[0])


@pytest.mark.parametrize(
    ("words", "means"),
    [
        (["--cook", "Ada"], Kitchen(cook="Ada")),
        (["--cook", "Ada", "--fan"], Kitchen(cook="Ada", oven=Oven(heat=200.0, fan=True))),
        (["--cook", "Ada", "--timer-minutes", "5"], Kitchen(cook="Ada", timer=Timer(minutes=5))),
        (["--cook", "Ada", "--trays", "3", "--trays", "4"], Kitchen(cook="Ada", trays=(3, 4))),
        (["--cook", "Ada", "--book", "a/b"], Kitchen(cook="Ada", book=Path("a/b"))),
        (["--cook", "Ada", "--style", "rich", "--lambda", "2"], Kitchen(cook="Ada", style="rich", lam=2.0)),
    ],
)
def test_options_give_the_settings_they_stand_for(words: list[str], means: Kitchen) -> None:
    assert given(*words) == means


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Missing option '--cook'"),
        (["--cook", "Ada", "--heat", "300"], "300.0 is not in the range 0<x<300"),
        (["--cook", "Ada", "--timer-minutes", "0"], "0 is not in the range x>=1"),
        (["--cook", "Ada", "--style", "raw"], "'raw' is not one of 'plain', 'rich'"),
        (["--cook", "Ada", "--trays", "big"], "'big' is not a valid integer"),
        (["--cook", "Ada", "--guests", "x"], "No such option"),
    ],
)
def test_bounds_and_choices_are_those_of_the_setting(words: list[str], says: str) -> None:
    result = CliRunner().invoke(command([]), words)
    assert result.exit_code == 2
    assert says in result.output


def test_help_has_a_section_for_each_group() -> None:
    shown = CliRunner().invoke(command([]), ["--help"]).output
    sections = re.findall(r"^(\w+):$", shown, flags=re.MULTILINE)
    assert sections == ["Kitchen", "Oven", "Timer", "Taste", "Options"]
    words = " ".join(shown.split())
    assert "--heat FLOAT RANGE Of the air, above what --trays need. [default: 200.0; 0<x<300]" in words
    assert "--cook TEXT Who cooks. [required]" in words
    assert "--timer-minutes INTEGER RANGE Until it rings. [x>=1]" in words
    assert words.index("--json") > words.index("--style")


def test_what_a_command_says_goes_before_the_declaration() -> None:
    (option,) = options_of(Kitchen, only=("cook",), cook={"required": False, "metavar": "NAME"})
    assert (option.required, option.metavar, option.help) == (False, "NAME", "Who cooks.")


@pytest.mark.parametrize(
    ("words", "loads"),
    [
        (["--cook", "Ada"], 0),
        (["--cook", "Ada", "--json"], 0),
        (["--cook=Ada", "--rare", "x"], 1),
        (["--cook=Ada", "--rare=x"], 1),
        (["--help"], 1),
        (["--cook", "Ada", "--nonsense"], 1),
    ],
)
def test_rare_options_are_made_where_one_is_given(words: list[str], loads: int) -> None:
    loaded: list[int] = []

    def rare() -> list[click.Option]:
        loaded.append(1)
        return [GroupedOption(["--rare"], group="Rare")]

    made: list[dict[str, Any]] = []
    CliRunner().invoke(command(made, rare_settings=rare), words)
    assert len(loaded) == loads
    if made:
        assert ("rare" in made[0]) == bool(loads)


def test_a_commands_rare_options_are_among_its_own() -> None:
    cook = command([], rare_settings=lambda: [GroupedOption(["--rare"], group="Rare")])
    assert {"rare", "cook", "as_machine"} <= {one.name for one in cook.params}


def test_every_option_says_what_it_does() -> None:
    from harness.cli import cli

    silent = [
        (name, option.opts)
        for name, one in commands(cli)
        for option in one.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []
