"""`harness prereg`: predict the onset before a sweep, and be held to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import Command, json_option, options_of, settings_from

if TYPE_CHECKING:
    from harness.cliff import CliffResult
    from harness.evaluate.config import EvalConfig


@click.group(epilog="Example: harness prereg lock plan.yaml --out runs/sweep")
def prereg() -> None:
    """Lock a prediction of the onset before a sweep, and compare it with what the sweep finds."""


def _lock_options() -> list[click.Option]:
    from harness.sweep.prereg.lock import LockSettings

    return options_of(LockSettings)


@prereg.command(
    name="lock",
    cls=Command,
    settings=_lock_options,
    epilog="Example: harness prereg lock plan.yaml --out runs/sweep --note 'timed with seeds 900, 901'",
)
@click.argument("plan_file", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the sweep to come.")
@json_option
def lock_command(plan_file: Path, out: Path, as_machine: bool, **options: Any) -> None:
    """Measure teacher and base, and write the windows into OUT/prereg.json before the first run.

    Put that file under version control: its commit is the evidence of when it was written.
    """
    from harness.cli import consoles, output
    from harness.cli.listening import listening
    from harness.cli.sweep_tables import print_lock
    from harness.measure import CliffConfig, measure_cliff
    from harness.sweep.plan import read_plan
    from harness.sweep.prereg.lock import LockSettings, lock

    settings = settings_from(LockSettings, options)
    plan = read_plan(plan_file)
    with listening(consoles.errors()) as on_progress:

        def measure(rollouts: EvalConfig, clip: float) -> tuple[CliffResult, int]:
            # Scores of teacher and base don't depend on λ; the job wants one all the same.
            config = CliffConfig(
                evaluation=rollouts,
                teacher=plan.teacher,
                base=plan.base,
                lam=1.0,
                clip=clip,
                token_level="skip",
            )
            report = measure_cliff(config, on_progress)
            return report.result, report.drawn

        locked = lock(plan, out, measure, settings, on_progress)
    if as_machine:
        output.document(locked.model_dump(mode="json"))
    else:
        print_lock(locked, consoles.results())
        output.result(f"lock: {out / 'prereg.json'}; run: harness sweep {plan_file} --out {out}")


@prereg.command(name="check", epilog="Example: harness prereg check runs/sweep")
@click.argument("sweep", type=click.Path(path_type=Path))
@click.option(
    "--allow-code-change",
    is_flag=True,
    help="Where code isn't the locked one, say what and go on.",
)
@json_option
def check_command(sweep: Path, allow_code_change: bool, as_machine: bool) -> int:
    """Say for each locked test whether the sweep hit its window; a miss is a result.

    Refused (exit code 2) where the sweep began before its lock, plan or checkpoints are not the locked ones,
    or the code means something else than the locked one. Exit code 3 while runs are missing, 0 otherwise,
    hit or miss.
    """
    from harness.cli import consoles, output
    from harness.cli.listening import on_code_change
    from harness.cli.sweep_tables import print_report
    from harness.errors import IncompleteError
    from harness.sweep.folder import SweepFolder
    from harness.sweep.prereg.check import check

    report = check(SweepFolder(sweep), on_code_change(consoles.errors(), allowed=allow_code_change))
    if as_machine:
        output.document(report.to_dict())
    else:
        print_report(report, consoles.results())
        if not report.complete:
            output.result(
                f"{report.analysis.finished} of {report.analysis.planned} runs are there; not final"
            )
    return 0 if report.complete else IncompleteError.exit_code
