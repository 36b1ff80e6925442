"""`harness gate --plan`: what a policy can show, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from harness.cli import consoles, output
from harness.errors import HarnessError
from harness.gate import Policy, open_run
from harness.plain_text import plain
from harness.runs import Run

if TYPE_CHECKING:
    from harness.cli.gate import GateOptions
    from harness.gate.plan import RulePlan


def show_plan(
    path: Path | None, policy: Policy, baseline: Run | None, own: GateOptions, *, as_machine: bool
) -> int:
    """Print what each rule can show."""
    from harness.gate.assumed import assume, is_planned, measured, read_assumption
    from harness.gate.looks import tasks_left
    from harness.gate.plan import levels_of_next, plan

    for flag, given in (("--junit", own.junit), ("--summary", own.summary)):
        if given is not None:
            raise HarnessError(f"{flag} is for a verdict; --plan gives none, so leave it out")
    tasks, assumed, run = own.tasks, {}, None if path is None else open_run(path)
    if run is not None:
        assumed = measured(run, policy, baseline)
        tasks = tasks or run.manifest.tasks + (tasks_left(run.manifest) or 0)
    if tasks is None:
        raise HarnessError("--plan needs --tasks N, or a RUN whose dataset says how many there are")
    for text in own.assume:
        for rule, truth in read_assumption(text, [one for one in policy.parsed_rules if is_planned(one)]):
            assumed[rule.text] = assume(rule, truth, own.discordant)
    levels = levels_of_next(policy, tasks, run, own.stream)
    whole_list = policy.scope == "list"
    plans = [] if whole_list else plan(policy, tasks, assumed, levels=levels, discordant=own.discordant)
    read = [rule.text for rule in policy.parsed_rules if not is_planned(rule)]
    if as_machine:
        rules = [asdict(one) for one in plans]
        document = {"tasks": tasks, "scope": policy.scope, "rules": rules, "not_planned": read}
        output.document(document)
        return 0
    notes = [f"note: {plain(rule)}: read from the run, not planned" for rule in read]
    if whole_list:
        notes.append("plan: scope: list: a complete run settles every rule by its plain numbers")
    else:
        _print(plans, tasks, policy)
        notes.append(_look(tasks, levels.passing, run))
    for note in notes:
        consoles.unwrapped().print(note)
    return 0


def _look(tasks: int, level: float, run: Run | None) -> str:
    if level == 0.0:
        return "plan: alpha is used up by earlier looks at this run; nothing can be shown of it"
    look = f"plan: one look at {tasks:,} tasks, rules pass at {level:.3g}"
    if run is not None:
        return look
    return f"{look}; that is for ALL tasks of a dataset: a look at a part has half, unless `looks` plans it"


def _print(plans: Sequence[RulePlan], tasks: int, policy: Policy) -> None:
    console = consoles.unwrapped()
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
        if one.level > 0.0 and (one.least_tasks is None or one.least_tasks > tasks):
            needed = "no number is enough" if one.least_tasks is None else f"it takes {one.least_tasks:,}"
            cannot = f"{plain(one.rule)} can't pass on {tasks:,} tasks, however good the answers"
            console.print(f"note: {cannot}: {needed}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
