"""The tables that `harness judge` prints: scores, and always beside them how far to trust them."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.summary import estimate_cells, estimate_table
from harness.judge import Forecast, JudgeResult, findings, pairwise_others
from harness.metrics.table import RUBRIC_PREFIX
from harness.runs import Run
from harness.stats import Estimate

_PERCENT = ("coverage", "unscored", "position_bias", "rate", "preference", "inconsistent")


def print_judged(run: Run, rubric: str, result: JudgeResult | None, console: Console) -> None:
    """Scores and exposure of one rubric, with what speaks against relying on it.

    Args:
        run: the judged run.
        rubric: its name.
        result: of the judging; None when it stopped half-way.
        console: where to.
    """
    score = f"{RUBRIC_PREFIX}{rubric}"
    sections = {f"Score, 0 to 1, of parsed rankings: {score}": _below(run, score)}
    sections[f"Exposure: judge.{rubric}"] = _below(run, f"judge.{rubric}")
    for other in pairwise_others(run.metrics, rubric):
        prefix = f"pairwise.{rubric}.{other}"
        sections[f"Side by side: {prefix}"] = _below(run, prefix)
    if not any(sections.values()):
        console.print(Text(f"{run.path}: not judged by {rubric}"))
        return
    for title, rows in sections.items():
        if rows:
            console.print(_table(title, rows))
    against = findings(run.metrics, rubric)
    if against:
        console.print(Text("Against relying on this judge:", style="bold"))
        for finding in against:
            console.print(Text(f"  {finding.code}: {finding.message}"), soft_wrap=True)
    else:
        console.print(Text("These checks found nothing against this judge; at a larger n they may."))
    if result is not None:
        console.print(Text(_spent(result)), soft_wrap=True)
    doubtful = sum(
        round(value.n * (value.estimate or 0.0))
        for name, value in run.metrics.items()
        if name.endswith(".unscored.in_doubt") and name.split(".")[1] == rubric
    )
    if doubtful:
        message = (
            f"{doubtful} judgements were under way when a session was killed: they may have been paid for "
            "and are unscored; --ask-again asks them again"
        )
        console.print(Text(message), soft_wrap=True)


def _below(run: Run, prefix: str) -> dict[str, Estimate]:
    """The metrics under a prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix).removeprefix(".") or "all criteria, weighted": estimate
        for name, estimate in run.metrics.items()
        if name == prefix or name.startswith(f"{prefix}.")
    }


def print_forecast(expected: Forecast, model: str, console: Console) -> None:
    """What a judging will take, and where the numbers come from."""
    lines = [
        f"{expected.judgements} judgements, {expected.done} of them there already",
        f"requests       {expected.requests} to {model}",
        f"tokens         {expected.tokens.prompt} in, {expected.tokens.output} out, by {expected.basis}",
    ]
    if expected.cost is None or expected.highest_cost is None:
        lines.append("cost           unknown: give the price with --price INPUT OUTPUT")
    else:
        lines.append(
            f"cost           ${expected.cost:.4f} expected, ${expected.highest_cost:.4f} at the very most"
        )
    lines.append("Failed requests that are sent again are not included; nothing was sent that is charged.")
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _table(title: str, rows: dict[str, Estimate]) -> Table:
    table = estimate_table(title)
    for name, estimate in rows.items():
        percent = any(word in name for word in _PERCENT)
        table.add_row(Text(name), *estimate_cells(estimate, percent=percent, no_interval=""))
    return table


def _spent(result: JudgeResult) -> str:
    spent = result.spent
    line = f"{spent.requests} requests, {spent.tokens.prompt} tokens in and {spent.tokens.output} out"
    line += ", price unknown" if result.cost is None else f", ${result.cost:.4f}"
    if spent.in_doubt:
        line += f"; {spent.in_doubt} more in doubt"
        line += "" if result.in_doubt_cost is None else f", at most ${result.in_doubt_cost:.4f}"
    return f"{line}; {result.from_cache} judgements from the cache"
