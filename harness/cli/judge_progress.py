"""Shows a judging's progress as any job's, with cost, unscored answers and requests under way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from harness.cli.listening import listening
from harness.judge import JudgeProgress, OnJudgeProgress
from harness.progress import Progress


@contextmanager
def listening_to_judge(console: Console) -> Iterator[OnJudgeProgress]:
    """A listener for a judging's progress, drawn on `console`."""
    with listening(console) as on_progress:

        def on_judging(report: JudgeProgress) -> None:
            total = report.total or None
            on_progress(Progress(report.stage, report.done, total, report.resumed, _details(report)))

        yield on_judging


def _details(report: JudgeProgress) -> str:
    cost = "" if report.cost is None else f"${report.cost:.4f}, "
    return f"{cost}{report.unscored} unscored, {report.in_flight} under way"
