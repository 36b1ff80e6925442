"""`harness gate --plan`: what a policy can show, before anything is drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from harness.cli.tables import unwrapped_console
from harness.errors import HarnessError
from harness.gate import Policy, open_run
from harness.runs import Run
from harness.runs.text import plain

if TYPE_CHECKING:
    from harness.cli.gate import GateOptions
    from harness.gate.plan import RulePlan


def show_plan(
    path: Path | None, policy: Policy, baseline: Run | None, own: GateOptions, *, as_machine: bool
) -> int:
    """Print what each rule can show."""
    from harness.gate.expression import WordRule
    from harness.gate.looks import tasks_left
    from harness.gate.plan import assume, measured, plan, read_assumption

    rules = [rule for rule in policy.parsed_rules if not isinstance(rule, WordRule)]
    tasks, assumed = own.tasks, {}
    if path is not None:
        run = open_run(path)
        assumed = measured(run, policy, baseline)
        tasks = tasks or run.manifest.tasks + (tasks_left(run.manifest) or 0)
    if tasks is None:
        raise HarnessError("--plan needs --tasks N, or a RUN whose dataset says how many there are")
    for text in own.assume:
        for rule, truth in read_assumption(text, rules):
            assumed[rule.text] = assume(rule, truth, own.discordant)
    plans = plan(policy, tasks, assumed, discordant=own.discordant)
    if as_machine:
        click.echo(json.dumps({"tasks": tasks, "rules": [asdict(one) for one in plans]}, indent=1))
    else:
        _print(plans, tasks, policy)
    return 0


def _print(plans: Sequence[RulePlan], tasks: int, policy: Policy) -> None:
    console = unwrapped_console()
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("rule", overflow="fold")
    detectable = f"passes {policy.power:.0%} of the time from"
    for heading in ("assumed", "P(pass)", "P(fail)", detectable, "can pass from", "live, median"):
        table.add_column(heading, justify="right")
    for one in plans:
        table.add_row(
            Text(plain(one.rule)),
            _number(one.truth),
            _percent(one.passes),
            _percent(one.fails),
            _number(one.detectable),
            "never" if one.least_tasks is None else f"{one.least_tasks:,} tasks",
            "–" if one.live_tasks is None else f"{one.live_tasks:,.0f} tasks",
        )
    console.print(table)
    for one in plans:
        if one.least_tasks is None or one.least_tasks > tasks:
            needed = "no number is enough" if one.least_tasks is None else f"it takes {one.least_tasks:,}"
            cannot = f"{plain(one.rule)} can't pass on {tasks:,} tasks, however good the answers"
            console.print(Text(f"note: {cannot}: {needed}"))
    level = plans[0].level if plans else policy.alpha
    console.print(Text(f"plan: one look at {tasks:,} tasks, rules pass at {level:.3g}"))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
