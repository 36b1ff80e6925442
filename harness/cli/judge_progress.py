"""Shows a judging's progress: a bar with rate, cost and unscored count, or a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from harness.judge import JudgeProgress
from harness.judge.config import OnJudgeProgress

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def listening(console: Console) -> Iterator[OnJudgeProgress]:
    """A listener for a judging's progress, drawn on `console`."""
    if console.is_terminal:
        with _bar(console) as on_progress:
            yield on_progress
    else:
        yield _Lines(console)


@contextmanager
def _bar(console: Console) -> Iterator[OnJudgeProgress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[details]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting", total=None, rate="", details="")
        began = time.monotonic()
        stage = ""

        def on_progress(report: JudgeProgress) -> None:
            nonlocal stage, began
            if report.stage != stage:
                stage, began = report.stage, time.monotonic()
                progress.reset(bar, description=stage, total=report.total or None, completed=report.done)
            rate = _rate(report, time.monotonic() - began)
            progress.update(
                bar,
                total=report.total or None,
                completed=report.done,
                rate="" if rate is None else f"{rate:.1f}/s",
                details=_details(report),
            )

        yield on_progress


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._began = self._said = time.monotonic()

    def __call__(self, report: JudgeProgress) -> None:
        moment = time.monotonic()
        if report.stage != self._stage:
            self._stage, self._began = report.stage, moment
        elif moment - self._said < _SECONDS_BETWEEN_LINES and report.done != report.total:
            return
        self._said = moment
        self._console.print(self._line(report, moment - self._began), highlight=False)

    def _line(self, report: JudgeProgress, seconds: float) -> str:
        if not report.total:
            return report.stage
        parts = [f"{report.stage}: {report.done}/{report.total}"]
        rate = _rate(report, seconds)
        if rate is not None:
            parts.append(f"{rate:.1f}/s")
            parts.append(f"{(report.total - report.done) / rate:.0f} s left")
        parts.append(_details(report))
        return ", ".join(parts)


def _rate(report: JudgeProgress, seconds: float) -> float | None:
    fresh = report.done - report.resumed
    return fresh / seconds if fresh > 0 and seconds > 0 else None


def _details(report: JudgeProgress) -> str:
    cost = "" if report.cost is None else f"${report.cost:.4f}, "
    return f"{cost}{report.unscored} unscored, {report.in_flight} under way"
