"""`harness demo`: the whole thing once, on bundled checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import json_option

if TYPE_CHECKING:
    from rich.console import Console

    from harness.demo import Demo
    from harness.stats import Estimate

_NAMES = {
    "base": "SFT base, the student's warm start",
    "large": "larger SFT baseline",
    "listopd": "distilled student, λ below λ*",
}
_GATE_STYLE = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


@click.command(name="demo", epilog="Example: harness demo --out demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder for the runs and the report.",
)
@json_option
def demo(out: Path, as_machine: bool) -> None:
    """Evaluate three bundled checkpoints, estimate λ* of their teacher and base, gate, and write a report.

    Needs no download and no GPU; a minute or two on two cores. Run again, it goes on with what is there.
    """
    from harness.cli import consoles, output
    from harness.cli.listening import listening
    from harness.demo import run_demo

    with listening(consoles.errors()) as on_progress:
        made = run_demo(out, on_progress)
    if as_machine:
        output.document(made.to_dict())
    else:
        _print(made, consoles.results())


def _print(made: Demo, console: Console) -> None:
    from rich.text import Text

    from harness.cli.tables import titled

    first = made.shown[0].run.manifest
    table = titled(
        f"{first.dataset.name} ({first.dataset.split}), {first.tasks} tasks, greedy, 95 % intervals"
    )
    table.add_column("checkpoint", no_wrap=True)
    for heading in ("strict validity", "NDCG@1 parsed", "NDCG@1 all", "gate"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in made.shown:
        metrics = one.run.metrics
        table.add_row(
            f"zoo:{one.name}",
            _cell(metrics["parse_validity.strict"], percent=True),
            _cell(metrics["ndcg_at_1.parsed"]),
            _cell(metrics["ndcg_at_1.all"]),
            Text(one.gate.verdict, style=_GATE_STYLE[one.gate.verdict]),
        )
    chance = made.shown[0].run.metrics.get("ndcg_at_1.chance")
    lines = [f"zoo:{name} is the {words}" for name, words in _NAMES.items()]
    if chance is not None and chance.estimate is not None:
        lines.append(f"chance: NDCG@1 {chance.estimate:.2f}; gate: parse_validity.strict >= 0.95")
    table.caption, table.caption_justify = "\n".join(lines), "left"
    console.print(table)
    console.print()
    console.print(_cliff_line(made))
    console.print(f"report: {made.report}", soft_wrap=True)


def _cliff_line(made: Demo) -> str:
    from harness.cli.cliff_summary import mass_text

    result = made.cliff.result
    star, binding = result.lambda_star, result.binding
    where = "no finite λ*" if star.value is None else f"λ* = {star.value:.3f}"
    if star.low is not None:
        where += f" [{star.low:.3f}, {'∞' if star.high is None else f'{star.high:.3f}'}]"
    if binding is not None:
        p = mass_text(binding.p.estimate, binding.teacher_tail)
        b = mass_text(binding.b.estimate, binding.base_tail)
        where += f" at {binding.role} (p = {p}, b = {b})"
    return (
        f"The extrapolation cliff at c = {made.clip:g}: {where}; zoo:listopd was trained with "
        f"λ = {made.lam:g}: {result.verdict}"
    )


def _cell(estimate: Estimate, *, percent: bool = False) -> str:
    if estimate.estimate is None:
        return "–"
    scale, digits, sign = (100, 0, " %") if percent else (1, 2, "")
    value = f"{scale * estimate.estimate:.{digits}f}{sign}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({scale * estimate.low:.{digits}f}–{scale * estimate.high:.{digits}f})"
