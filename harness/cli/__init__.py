"""The command line: one file a command; each parses arguments, calls one job and prints."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from dataclasses import dataclass

import click

from harness import __version__
from harness.cli.ending import end, terminable
from harness.cli.problems import in_flags
from harness.masking import learn
from harness.streams import guarded


@dataclass(frozen=True, slots=True)
class _Entry:
    module: str
    attribute: str
    summary: str


_COMMANDS = {
    "eval": _Entry("harness.cli.eval", "eval_command", "Evaluate a checkpoint into a run directory."),
    "rescore": _Entry("harness.cli.rescore", "rescore", "Parse and score a stored run again, no engine."),
    "forecast": _Entry(
        "harness.cli.forecast", "forecast_command", "Where the format falls with λ, untrained."
    ),
    "cliff": _Entry("harness.cli.cliff", "cliff", "Estimate λ* and say on which side of it a run sits."),
    "judge": _Entry("harness.cli.judge", "judge_command", "Grade parsed rankings by a rubric with Gemini."),
    "gate": _Entry("harness.cli.gate", "gate", "Pass or fail a checkpoint against a policy, for CI."),
    "report": _Entry("harness.cli.report", "report", "Compare runs in one self-contained HTML file."),
    "data": _Entry("harness.cli.data", "data", "List, check, prepare and generate datasets."),
    "train": _Entry("harness.cli.train", "train", "Train: warm start (sft), on-policy distillation (opd)."),
    "merge": _Entry("harness.cli.merge", "merge_command", "Merge an adapter into its base, or shards."),
    "sweep": _Entry("harness.cli.sweep", "sweep", "Train and evaluate a λ grid × seeds; where is the onset?"),
    "prereg": _Entry("harness.cli.prereg", "prereg", "Lock a prediction before a sweep; hit or miss after."),
    "demo": _Entry("harness.cli.demo", "demo", "Evaluate, gate and report the bundled checkpoints."),
    "doctor": _Entry("harness.cli.doctor", "doctor", "Say what this machine can run, and what is missing."),
}


class _LazyGroup(click.Group):
    """Imports a command's module when the command is used, so that `harness --help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it is one of {', '.join(_COMMANDS)}"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: harness eval --ckpt zoo:base --limit 64",
)
@click.version_option(__version__, prog_name="harness")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Does a checkpoint keep its JSON contract, how well does it rank, and where is λ*?

    Exit codes: 0 done or gate passed, 1 gate failed, 2 usage, configuration or data error,
    3 incomplete and resumable, 4 inconclusive, 5 a bug in the harness itself.
    """


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code. Whatever ended the command is one line on standard error.
    """
    if "_HARNESS_COMPLETE" in os.environ:
        cli.main(prog_name="harness")  # answers the shell and exits
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    # Only the group knows --debug; taking it out here lets it stand anywhere on the line.
    rest = [argument for argument in given if argument != "--debug"]
    learn(given)
    with guarded(), terminable():
        try:
            return _run(rest)
        except BaseException as error:
            return end(error, debug, lambda message: in_flags(message, cli, rest))


def _run(arguments: list[str]) -> int:
    # Not `cli.main`: where a reader of the output left it ends the process with 1, as if a gate had failed.
    try:
        with cli.make_context("harness", arguments) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as ending:
        result = ending.exit_code
    sys.stdout.flush()
    return result if isinstance(result, int) else 0
