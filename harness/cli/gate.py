"""`harness gate`: ship a checkpoint or not."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from harness import files
from harness.cli.eval_options import EVAL_OPTION_NAMES, eval_config, eval_options, settle_engine
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.gate import GateResult, Policy
    from harness.runs import Run

_DEFAULT_POLICY_FILE = Path("gate.yaml")
_LIVE = ("ckpt", "replay", "base_urls")


class _GateCommand(click.Command):
    """Writes its reports also where the command line itself is wrong."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            _Reports(_last(given, "--junit"), _last(given, "--summary")).write_error(error)
            raise


def _last(arguments: list[str], option: str) -> Path | None:
    """The value of an option on a line that can't be parsed."""
    found = None
    for name, value in zip(arguments, [*arguments[1:], None], strict=True):
        if name == option and value is not None:
            found = Path(value)
        elif name.startswith(f"{option}="):
            found = Path(name.removeprefix(f"{option}="))
    return found


@click.command(
    cls=_GateCommand, epilog="\b\nExample: harness gate demo/listopd\n(a run that harness demo makes)"
)
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--policy", type=click.Path(path_type=Path), help="Rules and error rates; see --init.")
@click.option("--init", is_flag=True, help="Write a commented policy to gate.yaml (or --policy) and end.")
@click.option("--baseline", type=click.Path(path_type=Path), help="Run that `baseline` in rules means.")
@click.option("--common", is_flag=True, help="Compare unlike runs on the tasks they share.")
@click.option("--allow-incomplete", is_flag=True, help="Count missing samples at worst and at best.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write JUnit XML.")
@click.option("--summary", type=click.Path(path_type=Path), metavar="FILE", help="Write Markdown.")
@click.option("--no-record", is_flag=True, help="Don't leave the verdict in the run as gate.json.")
@click.option("--max-tasks", type=click.IntRange(min=1), help="Live: draw at most N tasks.")
@click.option(
    "--until",
    type=click.Choice(["verdict", "rules"]),
    default="verdict",
    show_default=True,
    help="Live: stop once the gate's verdict is known, or every rule's.",
)
@click.option("--json", "as_machine", is_flag=True, help="Print JSON instead of a table.")
@eval_options
@click.pass_context
def gate(context: click.Context, /, run: Path | None, init: bool, **options: Any) -> int:
    """Judge RUN by a policy; without a policy, parse_validity.strict >= 0.95.

    With --ckpt (or --replay, --base-url) in place of RUN the checkpoint is evaluated live, tasks in random
    order, and drawing stops as soon as the evidence is there; `harness eval` with the same options goes on
    with what was drawn.

    Exit codes: 0 passed, 1 failed, 2 usage, policy or data error, 3 incomplete run, 4 inconclusive,
    5 a bug in the harness itself.
    """
    own = _Options(**{field.name: options.pop(field.name) for field in fields(_Options)})
    if init:
        return _init(own.policy or _DEFAULT_POLICY_FILE)
    reports = _Reports(own.junit, own.summary)
    try:
        policy, baseline = _open(own)
        if run is not None:
            _refuse_live_options(context)
            result = _stored(run, policy, baseline, own)
        elif any(options[name] for name in _LIVE):
            result = _live(options, policy, baseline, own)
        else:
            raise HarnessError("give a RUN to judge, or --ckpt CKPT to evaluate one live")
        if not own.no_record:
            _record(result, policy)
        reports.write(result, policy)
        _show(result, own.as_machine)
    except BaseException as error:
        reports.write_error(error)
        raise
    return result.exit_code


@dataclass(frozen=True, slots=True)
class _Options:
    """What `harness gate` has beside the options of an evaluation."""

    policy: Path | None
    baseline: Path | None
    common: bool
    allow_incomplete: bool
    junit: Path | None
    summary: Path | None
    no_record: bool
    max_tasks: int | None
    until: Literal["verdict", "rules"]
    as_machine: bool


@dataclass(frozen=True, slots=True)
class _Reports:
    """The files that a result goes to."""

    junit: Path | None
    summary: Path | None

    def write(self, result: GateResult, policy: Policy) -> None:
        from harness.gate.junit import junit
        from harness.gate.markdown import summary

        problems = self._write(junit(result, policy.on_inconclusive), summary(result))
        if problems:
            raise problems[0]

    def write_error(self, error: BaseException) -> None:
        """Reports from an earlier gate must not stand in for the verdict that isn't there."""
        from harness.cli.ending import known, say
        from harness.cli.problems import in_flags
        from harness.gate.junit import junit_of_error
        from harness.gate.markdown import summary_of_error

        ours = known(error)
        ours = type(ours)(in_flags(str(ours), click.get_current_context().command, ()))
        for problem in self._write(junit_of_error(ours), summary_of_error(ours)):
            if str(problem) != str(ours):
                say(str(problem))

    def _write(self, junit: bytes, summary: str) -> list[HarnessError]:
        """Write all that can be written; what kept the others from it."""
        from harness.gate.markdown import append_job_summary

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
    from harness.cli.gate_table import gate_console, print_gate

    try:
        if as_machine:
            click.echo(json.dumps(result.to_dict(), indent=1, allow_nan=False))
        else:
            print_gate(result, gate_console())
    except (BrokenPipeError, SystemExit) as error:
        if not broken_pipe(error):
            raise
        # The verdict stands, whoever reads on.
        let_go_of_output()


def _init(path: Path) -> int:
    from harness.gate.policy import write_example

    write_example(path)
    click.echo(f"wrote {path}; use it with: harness gate RUN --policy {path}")
    return 0


def _open(options: _Options) -> tuple[Policy, Run | None]:
    from harness.gate import Policy, load_policy, open_run

    policy = Policy() if options.policy is None else load_policy(options.policy)
    return policy, None if options.baseline is None else open_run(options.baseline)


def _stored(path: Path, policy: Policy, baseline: Run | None, own: _Options) -> GateResult:
    from harness.gate import decide, open_run

    run = open_run(path)
    return decide(run, policy, baseline, allow_incomplete=own.allow_incomplete, common=own.common)


def _live(options: dict[str, Any], policy: Policy, baseline: Run | None, own: _Options) -> GateResult:
    from harness.cli.listening import error_console, listening
    from harness.gate.live import LiveOptions, decide_live

    if own.allow_incomplete:
        raise HarnessError("--allow-incomplete is for a stored RUN; a live gate misses no samples")
    console = error_console()
    config = eval_config(options)
    if config.engine.engine == "auto":
        config = settle_engine(config, console)
    live = LiveOptions(own.max_tasks, own.until, own.common)
    with listening(console) as on_progress:
        result, _ = decide_live(config, policy, baseline, live, on_progress)
    return result


def _record(result: GateResult, policy: Policy) -> None:
    from harness.gate.record import write_record

    write_record(Path(result.subject.run), result, policy)


def _refuse_live_options(context: click.Context) -> None:
    """A stored run was evaluated already: options of an evaluation would silently do nothing."""
    for name in ("max_tasks", "until", *EVAL_OPTION_NAMES):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = next(one for one in context.command.params if one.name == name)
            raise HarnessError(f"{option.opts[0]} is for a live gate; leave it out or leave RUN out")
