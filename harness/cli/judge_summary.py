"""The tables that `harness judge` prints: scores, and always beside them how far to trust them."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.judge import Forecast, findings
from harness.runs import Run
from harness.stats import Estimate

_PERCENT = ("coverage", "unscored", "position_bias", "rate", "preference", "inconsistent")


def print_judged(run: Run, rubric: str, spent: dict[str, Any] | None, console: Console) -> None:
    """Scores and exposure of one rubric, with what speaks against relying on it.

    Args:
        run: the judged run.
        rubric: its name.
        spent: requests and money, None when it isn't known.
        console: where to.
    """
    shown = False
    for title, prefix in (
        ("Rubric (0 to 1, parsed rankings alone)", f"rubric.{rubric}"),
        ("Exposure", f"judge.{rubric}."),
        ("Pairwise", f"pairwise.{rubric}."),
    ):
        rows = {
            name: estimate
            for name, estimate in run.metrics.items()
            if name == prefix or name.startswith(prefix if prefix.endswith(".") else f"{prefix}.")
        }
        if rows:
            shown = True
            console.print(_table(title, rows))
    if not shown:
        console.print(Text(f"{run.path}: not judged by {rubric}"))
        return
    against = findings(run.metrics, rubric)
    if against:
        console.print(Text("Against relying on this judge:", style="bold"))
        for finding in against:
            console.print(Text(f"  {finding.code}: {finding.message}"))
    elif f"judge.{rubric}.coverage" in run.metrics:
        console.print(Text("These checks found nothing against this judge; at another n they may."))
    if spent is not None:
        console.print(Text(_spent(spent)))


def print_forecast(expected: Forecast, model: str, console: Console) -> None:
    """What a judging will take, and where the numbers come from."""
    lines = [
        f"{expected.judgements} judgements, {expected.done} of them there already",
        f"requests       {expected.requests} to {model}",
        f"input tokens   {expected.prompt_tokens} ({expected.prompt_basis})",
        f"output tokens  {expected.output_tokens} ({expected.output_basis})",
    ]
    if expected.cost is None or expected.highest_cost is None:
        lines.append("cost           unknown: give the price with --price INPUT OUTPUT")
    else:
        lines.append(
            f"cost           ${expected.cost:.4f} expected, ${expected.highest_cost:.4f} at the very most"
        )
    lines.append("Failed requests that are sent again are not included; nothing was sent that is charged.")
    for line in lines:
        console.print(Text(line))


def _table(title: str, rows: dict[str, Estimate]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("metric", min_width=24)
    for heading in ("estimate", "95 % interval", "n"):
        table.add_column(heading, justify="right")
    for name, estimate in rows.items():
        table.add_row(Text(name), *_cells(name, estimate))
    return table


def _cells(name: str, estimate: Estimate) -> tuple[str, str, str]:
    percent = any(word in name.rsplit(".", 1)[-1] for word in _PERCENT) or ".unscored" in name

    def show(value: float) -> str:
        return f"{100 * value:.1f} %" if percent else f"{value:.3f}"

    if estimate.estimate is None:
        return "–", "", str(estimate.n)
    interval = ""
    if estimate.low is not None and estimate.high is not None:
        interval = f"{show(estimate.low)} … {show(estimate.high)}"
    return show(estimate.estimate), interval, str(estimate.n)


def _spent(spent: dict[str, Any]) -> str:
    line = f"{spent['requests']} requests, ${spent['cost']:.4f} for those answered"
    if spent["in_doubt"]:
        line += f"; {spent['in_doubt']} in doubt, at most ${spent['in_doubt_cost']:.4f} more"
    return line
