"""What the tables of several commands have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

from harness.cli.consoles import line
from harness.plain_text import plain
from harness.stats.estimate import Estimate


def titled(title: str, **more: Any) -> Table:
    """An empty table without lines under a bold title; `more` is for `rich.table.Table`."""
    return Table(
        title=plain(title), title_justify="left", title_style="bold", box=None, pad_edge=False, **more
    )


def metric_table(title: str, rows: Mapping[str, Estimate], percent: Callable[[str], bool]) -> Table:
    """Metrics with their intervals; `percent` says by its name whether one is a share."""
    table = titled(title)
    table.add_column("metric", min_width=24)
    for heading in ("estimate", "95 % interval", "n"):
        table.add_column(heading, justify="right")
    for name, estimate in rows.items():
        table.add_row(line(name), *_cells(estimate, percent(name)))
    return table


def _cells(estimate: Estimate, percent: bool) -> tuple[str, str, str]:
    def show(value: float) -> str:
        return f"{100 * value:.1f} %" if percent else f"{value:.3f}"

    if estimate.estimate is None:
        return "–", "–", str(estimate.n)
    if estimate.low is None or estimate.high is None:
        return show(estimate.estimate), "", str(estimate.n)
    return show(estimate.estimate), f"{show(estimate.low)} … {show(estimate.high)}", str(estimate.n)
