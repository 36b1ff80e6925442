"""The options of a cliff estimate, shared by `harness cliff` and `harness eval --teacher …`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.evaluate import EvalConfig
    from harness.measure import CliffConfig

Command = TypeVar("Command", bound=Callable[..., Any])

_CALIBRATIONS = ("role", "position", "sequence")

_OPTIONS = (
    click.option("--teacher", help="Checkpoint of the teacher, folder or hub id."),
    click.option("--base", help="Checkpoint of the base: the warm start the student began from."),
    click.option("--lambda", "lam", type=float, help="λ of the run; an OPD run in --clip-from says its own."),
    click.option("--clip", type=float, help="Clip strength c of the run, above 1."),
    click.option(
        "--clip-from",
        type=click.Path(path_type=Path),
        help="Training configuration (YAML or JSON; TRL, verl) or OPD run folder to read c from.",
    ),
    click.option("--clip-key", help="Dotted key of c in --clip-from, where several could be it."),
    click.option(
        "--ratios",
        type=click.Path(path_type=Path),
        help="Logged importance ratios (.parquet or .jsonl) to estimate c from.",
    ),
    click.option("--ratio-column", help="Column of --ratios; `log…` names hold log-ratios."),
    click.option(
        "--calibration",
        type=click.Choice(_CALIBRATIONS),
        default="role",
        show_default=True,
        help="What counts as one event: a role's mean, its worst index, or the whole answer.",
    ),
    click.option(
        "--grid",
        type=click.FloatRange(min=0, min_open=True),
        default=0.05,
        show_default=True,
        help="Spacing of λ you care about; the interval of λ* should be narrower.",
    ),
    click.option(
        "--top-k",
        type=click.IntRange(min=1),
        default=20,
        show_default=True,
        help="Tokens a position that vllm and openai give; hf is exact.",
    ),
    click.option(
        "--max-top-k",
        type=click.IntRange(min=1),
        help="Most tokens a position where more are needed; 1280 for vllm, no more than --top-k for openai.",
    ),
    click.option("--teacher-url", "teacher_urls", multiple=True, help="Server of the teacher (openai)."),
    click.option("--base-url", "base_urls", multiple=True, help="Server of the base (openai)."),
)
# `harness eval` has a --base-url of its own, which is the student's.
_NOT_IN_EVAL = ("teacher_urls", "base_urls")
_CLIFF_ONLY = ("teacher", "base", "lam", "clip", "clip_from", "clip_key", "ratios", "ratio_column")


def cliff_options(command: Command) -> Command:
    """Give a command all options of a cliff estimate but `--student`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_NAMES = tuple(parameter.name or "" for parameter in click.command()(cliff_options(lambda: None)).params)


def cliff_config(evaluation: EvalConfig, options: dict[str, Any]) -> CliffConfig:
    """The job's configuration.

    Args:
        evaluation: of the rollouts.
        options: those of `cliff_options`, and `student` and `student_urls` where the command has them.

    Raises:
        HarnessError: teacher, base or λ is missing, or an option is out of range.
    """
    from pydantic import ValidationError

    from harness.cli.problems import first_problem
    from harness.measure import CliffConfig
    from harness.measure.clip_source import read_lambda

    if options.get("lam") is None and options.get("clip_from") is not None:
        options = options | {"lam": read_lambda(options["clip_from"])}
    for name, flag in (("teacher", "--teacher"), ("base", "--base"), ("lam", "--lambda")):
        if options.get(name) is None:
            raise HarnessError(f"the cliff needs {flag}; give --teacher, --base and --lambda")
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return CliffConfig(evaluation=evaluation, **given)
    except ValidationError as error:
        raise first_problem(error) from error


def eval_cliff_options(command: Command) -> Command:
    """Give `harness eval` the same options, but those whose names it uses itself."""
    for option, name in reversed(list(zip(_OPTIONS, _NAMES, strict=True))):
        if name not in _NOT_IN_EVAL:
            command = option(command)
    return command


def split_cliff_options(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the evaluation itself, and those of `eval_cliff_options`."""
    ours = {name: value for name, value in options.items() if name in _NAMES and name not in _NOT_IN_EVAL}
    return {name: value for name, value in options.items() if name not in ours}, ours


def cliff_for_evaluation(evaluation: EvalConfig, options: dict[str, Any]) -> CliffConfig | None:
    """The cliff estimate that `harness eval` was asked for; its student is the evaluated checkpoint.

    Args:
        evaluation: with its engine settled.
        options: those of `eval_cliff_options`.

    Returns:
        None where no option that means nothing without an estimate was given.

    Raises:
        HarnessError: it can't be made; nothing has run yet.
    """
    from harness.measure import check_cliff

    if all(options.get(name) is None for name in _CLIFF_ONLY):
        return None
    if evaluation.engine.engine == "openai":
        raise HarnessError(
            "teacher and base need servers of their own; evaluate first, then run harness cliff"
        )
    config = cliff_config(evaluation, options | {"student": evaluation.engine.ckpt})
    check_cliff(config)
    return config
