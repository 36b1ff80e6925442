"""Shows a job's progress: a bar on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from harness.cli.consoles import lines_beside
from harness.errors import RunMismatchError
from harness.plain_text import plain
from harness.progress import OnProgress
from harness.progress import Progress as Report

_SECONDS_BETWEEN_LINES = 10.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


@contextmanager
def listening(console: Console) -> Iterator[OnProgress]:
    """A listener for a job's progress reports, drawn on `console`."""
    if console.is_terminal:
        with _bar(console) as on_progress:
            yield on_progress
    else:
        yield _Lines(console)


@contextmanager
def _bar(console: Console) -> Iterator[OnProgress]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Lines of others are led past the bar by `lines_beside`, which makes them plain; rich would not.
    drawn = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    with drawn as progress, lines_beside(console):
        bar = progress.add_task("starting", total=None)
        stage = ""

        def on_progress(report: Report) -> None:
            nonlocal stage
            if report.stage != stage:
                # A new stage is a new clock: its rate counts neither loading nor an earlier session.
                stage = report.stage
                progress.reset(bar, total=report.total, completed=report.done, description=plain(stage))
            else:
                described = f"{stage}, {report.note}" if report.note else stage
                progress.update(bar, total=report.total, completed=report.done, description=plain(described))

        yield on_progress


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._began = self._said = time.monotonic()

    def __call__(self, report: Report) -> None:
        moment = time.monotonic()
        if report.stage != self._stage:
            self._stage, self._began = report.stage, moment
        elif moment - self._said < _SECONDS_BETWEEN_LINES and report.done != report.total:
            return
        self._said = moment
        self._console.print(self._line(report, moment - self._began))

    def _line(self, report: Report, seconds: float) -> str:
        if report.total is None:
            return report.stage
        line = f"{report.stage}: {report.done}/{report.total}"
        fresh = report.done - report.resumed
        if fresh > 0 and seconds > 0:
            rate = fresh / seconds
            line += f", {rate:.1f}/s, {(report.total - report.done) / rate:.0f} s left"
        return f"{line}, {report.note}" if report.note else line


def on_code_change(console: Console, *, allowed: bool) -> Callable[[str], None]:
    """What is done with a change of code: said on `console` where it is allowed, else refused."""

    def tell(change: str) -> None:
        if not allowed:
            raise RunMismatchError(f"{change}; use the same code, or go on with --allow-code-change")
        console.print(f"warning: {change}", soft_wrap=True)

    return tell
