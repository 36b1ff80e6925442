"""Where a student stands on the line of its teacher and base: in one sentence, and by role."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.tables import titled
from harness.cliff.reached import RoleReached
from harness.measure import PlaceReport
from harness.plain_text import plain
from harness.stats.estimate import Estimate


def print_place(report: PlaceReport, console: Console) -> None:
    """By role, then the sentence, where the eye stays."""
    placement = report.placement
    console.print(role_table(placement.reached_by_role))
    console.print()
    console.print(Text(f"The student: {plain(placement.reached)}.", style="bold"))
    plural = "" if report.drawn == 1 else "s"
    drawn = Text(f"{report.drawn} rollout{plural} at T = 1, {report.strict:.1%} strict, ")
    drawn.append(plain(f"in {report.rollouts}"))
    console.print(drawn)


def role_table(roles: Sequence[RoleReached]) -> Table:
    """λ reached and off the line by the role of the position, most tokens first."""
    table = titled("The student by role: λ reached, and nats a token off the line", padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in ("tasks", "tokens", "λ reached", "off the line"):
        table.add_column(heading, justify="right", no_wrap=heading in ("tasks", "tokens"))
    for role in sorted(roles, key=lambda one: -one.tokens):
        reached, off = _shown(role.lambda_reached, "z.3f"), _shown(role.off_the_line, ".2g")
        table.add_row(
            role.role,
            str(role.lambda_reached.n),
            str(role.tokens),
            reached,
            "–" if reached == off else off,
        )
    if any(role.role == "elsewhere" for role in roles):
        table.caption = "elsewhere: behind the token that breaks the contract"
        table.caption_justify = "left"
    return table


def _shown(estimate: Estimate, digits: str) -> str:
    if estimate.estimate is None:
        return plain(estimate.method)
    value = f"{estimate.estimate:{digits}}"
    if estimate.low is None and estimate.high is None:
        return value
    low, high = ("…" if end is None else f"{end:{digits}}" for end in (estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
