"""`harness eval --judge gemini --rubric FILE`: the judge's part of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.errors import HarnessError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.judge import JudgeConfig, JudgeResult

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--judge", type=click.Choice(["gemini"]), help="Also grade the parsed rankings."),
    click.option("--rubric", help="Rubric file, or the name of a bundled one."),
    click.option("--max-cost", type=click.FloatRange(min=0), metavar="USD", help="Most the judge may cost."),
    click.option("--endpoint", metavar="URL", help="Base URL of the judge in place of Google's."),
)
_NAMES = ("judge", "rubric", "max_cost", "endpoint")


def eval_judge_options(command: Command) -> Command:
    """Give `harness eval` the options of its judge."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def split_judge_options(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the evaluation itself, and those of `eval_judge_options`."""
    ours = {name: options[name] for name in _NAMES}
    return {name: value for name, value in options.items() if name not in _NAMES}, ours


def judge_for_evaluation(options: dict[str, Any]) -> JudgeConfig | None:
    """The judging that `harness eval` was asked for, with a run still to be named.

    Returns:
        None where no judge was asked for.

    Raises:
        HarnessError: it can't be done, for want of a rubric, a library or a key; nothing has run yet.
    """
    if options["judge"] is None:
        given = [name for name in _NAMES[1:] if options[name] is not None]
        if given:
            flag = f"--{given[0].replace('_', '-')}"
            raise HarnessError(f"{flag} goes with --judge gemini; give both or neither")
        return None
    if options["rubric"] is None:
        raise HarnessError("--judge gemini needs --rubric NAME|FILE, such as --rubric listwise-relevance")

    from pydantic import ValidationError

    from harness.cli.problems import first_problem
    from harness.judge import (
        KEY_VARIABLES,
        JudgeConfig,
        installed_clients,
        key_from_environment,
        load_rubric,
    )

    if not installed_clients():
        raise HarnessError("--judge gemini needs a client; run: pip install 'format-safety-harness[genai]'")
    if key_from_environment() is None:
        raise HarnessError(
            f"--judge gemini needs a key in {' or '.join(KEY_VARIABLES)}; set it, or judge later"
        )
    limits = {name: options[name] for name in ("max_cost", "endpoint") if options[name] is not None}
    try:
        return JudgeConfig(run=Path(), rubric=load_rubric(options["rubric"]), **limits)
    except ValidationError as error:
        raise first_problem(error) from error


def judge_evaluated(config: JudgeConfig, run: Path, console: Console) -> JudgeResult:
    """Judge the run that has just been evaluated.

    Raises:
        IncompleteError: judging stopped half-way; the same command goes on.
    """
    from harness.cli.judge_progress import listening_to_judge
    from harness.judge import judge

    with listening_to_judge(console) as on_progress:
        return judge(config.model_copy(update={"run": run}), on_progress)
