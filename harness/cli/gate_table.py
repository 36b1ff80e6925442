"""The table that `harness gate` prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.gate import GateResult
from harness.gate.text import count, headline, interval, remarks, value
from harness.runs.text import plain

_STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
_WIDE = 150
"""Columns from which the reasons stand in the table; on a narrower terminal they follow it."""
_LOG_WIDTH = 10_000


def gate_console() -> Console:
    """Standard output; a log, which has no width, is not wrapped."""
    console = Console()
    return console if console.is_terminal else Console(width=_LOG_WIDTH)


def print_gate(result: GateResult, console: Console) -> None:
    """Verdict, one line a rule, notes."""
    wide = console.width >= _WIDE
    console.print(_table(result, wide))
    if not wide:
        for rule in result.rules:
            console.print(Text(f"{plain(rule.rule)}: {plain(rule.why)}"))
    for note in remarks(result):
        console.print(Text(f"note: {plain(note)}"))
    console.print(Text(headline(result), style=f"bold {_STYLES[result.verdict]}"))
    console.print(Text(f"run: {plain(result.subject.run)}"))


def _table(result: GateResult, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("rule", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for heading in ("estimate", f"{1 - 2 * result.alpha:.0%} interval", "n"):
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
