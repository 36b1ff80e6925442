"""`harness gate`: ship a checkpoint or not."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import click
from pydantic import Field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import files
from harness.cli import consoles, output
from harness.cli.ending import known, say
from harness.cli.eval_options import eval_config, eval_options, settle_engine
from harness.cli.options import Command, flags_of, json_option, options_of, settings_from
from harness.cli.problems import in_flags
from harness.errors import HarnessError
from harness.gate import GateResult, Policy, decide, load_policy, open_run
from harness.gate.junit import junit, junit_of_error
from harness.gate.markdown import append_job_summary, summary, summary_of_error
from harness.gate.policy import write_example
from harness.gate.record import write_record
from harness.gate.text import count, headline, interval, remarks, value
from harness.plain_text import plain
from harness.runs import Run
from harness.runs.comparability import Common
from harness.runs.text import level
from harness.settings import Count, Settings

_DEFAULT_POLICY_FILE = Path("gate.yaml")
_LIVE = ("ckpt", "replay", "base_urls")
_STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
_WIDE = 150
"""Columns from which the reasons stand in the table; on a narrower terminal they follow it."""


class GateOptions(Settings, title="Gate"):
    """What `harness gate` has beside the options of a live gate and its evaluation."""

    policy: Path | None = None
    """Rules and error rates; see --init."""
    baseline: Path | None = None
    """Run that baseline in rules means."""
    common: Common = False
    allow_incomplete: bool = False
    """Count missing samples at worst and at best."""
    junit: Path | None = None
    """Write JUnit XML."""
    summary: Path | None = None
    """Write Markdown."""
    no_record: bool = False
    """Don't leave the verdict in the run as gate.json."""
    continued: bool = False
    """Use tests that may be looked at any time: the run can grow and be gated again at no cost."""
    stream: Path | None = None
    """Count the checkpoints gated for one release in this file; alpha holds for all of them together."""
    plan: bool = False
    """Say what the policy can show on so many `tasks`, and end; with a RUN, for what it measured."""
    tasks: Annotated[Count, Field(le=1_000_000)] | None = None
    """For `plan`: how many tasks will be evaluated; by default as many as the dataset of RUN has."""
    assume: tuple[str, ...] = ()
    """For `plan`: a truth, such as parse_validity.strict=0.97 or ndcg_at_1.all=baseline-0.01."""
    discordant: Annotated[float, Field(gt=0, le=1)] = 0.1
    """For `plan`: share of tasks on which candidate and baseline differ, where that is assumed."""


def _options() -> list[click.Option]:
    file = {"metavar": "FILE"}
    return options_of(GateOptions, junit=file, summary=file, stream=file)


def _live_options() -> list[click.Option]:
    from harness.gate.live import LiveOptions

    return [*options_of(LiveOptions, leave_out=("common",)), *eval_options()]


class _GateCommand(Command):
    """Writes its reports also where the command line itself is wrong."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            error = _one_run(error)
            _Reports(_last(given, "--junit"), _last(given, "--summary")).write_error(error)
            raise error from None


def _one_run(error: click.ClickException) -> click.ClickException:
    """Whoever gives two runs means the second as a baseline."""
    found = re.fullmatch(r"Got unexpected extra arguments? \((?P<words>.*)\)", error.message)
    if found is None:
        return error
    return click.UsageError(
        f"`{found['words']}` is too much: a gate judges one RUN; a baseline is given as --baseline RUN"
    )


def _last(arguments: list[str], option: str) -> Path | None:
    """The value of an option on a line that can't be parsed."""
    found = None
    for name, following in zip(arguments, [*arguments[1:], None], strict=True):
        if name == option and following is not None:
            found = Path(following)
        elif name.startswith(f"{option}="):
            found = Path(name.removeprefix(f"{option}="))
    return found


@click.command(
    cls=_GateCommand,
    settings=_options,
    rare_settings=_live_options,
    epilog="\b\nExample: harness gate demo/listopd\n(a run that harness demo makes)",
)
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--init", is_flag=True, help="Write a commented policy to gate.yaml (or --policy) and end.")
@json_option
@click.pass_context
def gate(context: click.Context, /, run: Path | None, init: bool, as_machine: bool, **options: Any) -> int:
    """Judge RUN by a policy; without a policy, parse_validity.strict >= 0.95.

    With --ckpt (or --replay, --base-url) in place of RUN the checkpoint is evaluated live, tasks in random
    order, and drawing stops as soon as the evidence is there; `harness eval` with the same options goes on
    with what was drawn.

    Exit codes: 0 passed, 1 failed, 2 usage, policy or data error, 3 incomplete run, 4 inconclusive,
    5 a bug in the harness itself.
    """
    own = settings_from(GateOptions, options)
    if init:
        return _init(own.policy or _DEFAULT_POLICY_FILE)
    if own.plan:
        from harness.cli.gate_plan import show_plan

        return show_plan(run, *_open(own), own, as_machine=as_machine)
    reports = _Reports(own.junit, own.summary)
    try:
        _refuse_plan_options(context)
        policy, baseline = _open(own)
        if run is not None:
            _refuse_live_options(context, options)
            result = _stored(run, policy, baseline, own)
        elif any(options.get(name) for name in _LIVE):
            result = _live(options, policy, baseline, own)
        else:
            raise HarnessError("give a RUN to judge, or --ckpt CKPT to evaluate one live")
        if not own.no_record:
            write_record(Path(result.subject.run), result, policy)
        reports.write(result, policy)
        _show(result, as_machine)
    except BaseException as error:
        reports.write_error(error)
        raise
    return result.exit_code


@dataclass(frozen=True, slots=True)
class _Reports:
    """The files that a result goes to."""

    junit: Path | None
    summary: Path | None

    def write(self, result: GateResult, policy: Policy) -> None:
        problems = self._write(junit(result, policy.on_inconclusive), summary(result))
        if problems:
            raise problems[0]

    def write_error(self, error: BaseException) -> None:
        """Reports from an earlier gate must not stand in for the verdict that isn't there."""
        ours = known(error)
        ours = type(ours)(in_flags(str(ours), click.get_current_context().command, ()))
        for problem in self._write(junit_of_error(ours), summary_of_error(ours)):
            if str(problem) != str(ours):
                say(str(problem))

    def _write(self, junit: bytes, summary: str) -> list[HarnessError]:
        """Write all that can be written; what kept the others from it."""
        problems = []
        for path, content in ((self.junit, junit), (self.summary, summary.encode())):
            if path is None:
                continue
            try:
                with files.output(path, "choose another file"):
                    files.write_bytes(path, content)
            except HarnessError as problem:
                with suppress(OSError):
                    if path.is_file():
                        path.unlink()
                problems.append(problem)
        try:
            append_job_summary(summary)
        except HarnessError as problem:
            problems.append(problem)
        return problems


def _show(result: GateResult, as_machine: bool) -> None:
    from harness.cli.ending import broken_pipe, let_go_of_output

    try:
        if as_machine:
            output.document(result.to_dict())
        else:
            print_gate(result, consoles.unwrapped())
    except (BrokenPipeError, SystemExit) as error:
        if not broken_pipe(error):
            raise
        # The verdict stands, whoever reads on.
        let_go_of_output()


def _init(path: Path) -> int:
    write_example(path)
    output.result(f"wrote {path}; use it with: harness gate RUN --policy {path}")
    return 0


def _open(options: GateOptions) -> tuple[Policy, Run | None]:
    policy = Policy() if options.policy is None else load_policy(options.policy)
    return policy, None if options.baseline is None else open_run(options.baseline)


def _stored(path: Path, policy: Policy, baseline: Run | None, own: GateOptions) -> GateResult:
    run = open_run(path)
    return decide(
        run,
        policy,
        baseline,
        allow_incomplete=own.allow_incomplete,
        common=own.common,
        continued=own.continued,
        stream=own.stream,
    )


def _live(options: dict[str, Any], policy: Policy, baseline: Run | None, own: GateOptions) -> GateResult:
    from harness.cli.listening import listening
    from harness.gate.live import LiveOptions, decide_live

    if own.allow_incomplete:
        raise HarnessError("--allow-incomplete is for a stored RUN; a live gate misses no samples")
    if own.continued:
        raise HarnessError("--continue is for a stored RUN; a live gate goes on with the same command anyway")
    console = consoles.errors()
    config = settle_engine(eval_config(options), console)
    live = settings_from(LiveOptions, options)
    with listening(console) as on_progress:
        result, _ = decide_live(config, policy, baseline, live, on_progress, stream=own.stream)
    return result


def _refuse_live_options(context: click.Context, options: dict[str, Any]) -> None:
    """A stored run was evaluated already: options of an evaluation would silently do nothing."""
    for name in options.keys() - GateOptions.model_fields.keys():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise HarnessError(f"{flags_of(name)[0]} is for a live gate; leave it out or leave RUN out")


def _refuse_plan_options(context: click.Context) -> None:
    for name in ("tasks", "assume", "discordant"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise HarnessError(f"{flags_of(name)[0]} is for --plan; add that or leave it out")


def print_gate(result: GateResult, console: Console) -> None:
    """Verdict, one line a rule, notes."""
    wide = console.width >= _WIDE
    console.print(_table(result, wide))
    if not wide:
        for rule in result.rules:
            console.print(f"{rule.rule}: {rule.why}")
    for note in remarks(result):
        console.print(f"note: {note}")
    console.print(Text(headline(result), style=f"bold {_STYLES[result.verdict]}"))
    console.print(f"run: {result.subject.run}")


def _table(result: GateResult, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("rule", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for heading in ("estimate", f"{level(result.alpha)}% interval", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("why", overflow="fold")
    for rule in result.rules:
        cells: list[Text | str] = [
            Text(plain(rule.rule)),
            Text(rule.verdict, style=_STYLES[rule.verdict]),
            value(rule),
            interval(rule),
            count(rule),
        ]
        if wide:
            cells.append(Text(plain(rule.why)))
        table.add_row(*cells)
    return table
