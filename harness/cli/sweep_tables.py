"""The tables of `harness sweep` and `harness prereg`."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.consoles import line as cell
from harness.cli.tables import titled
from harness.plain_text import plain
from harness.stats.estimate import Estimate
from harness.stats.onset import OnsetEstimate
from harness.sweep.analysis import ArmAnalysis, LambdaRow, SweepAnalysis
from harness.sweep.onsets import seeds_note
from harness.sweep.prereg.check import PreregReport
from harness.sweep.prereg.lock_file import ClipPrediction, PreregLock, Window
from harness.sweep.prereg.severity import expected_hits, severity

_OUTCOME_STYLE = {"hit": "green", "miss": "red", "open": "yellow", "not_testable": "yellow", "not_run": "dim"}


def print_analysis(analysis: SweepAnalysis, console: Console) -> None:
    """One table an arm, then where its onset lies."""
    console.print(
        f"{analysis.finished} of {analysis.planned} runs; a run has collapsed below "
        f"{analysis.threshold:.1%} strict validity (base: {analysis.base_strict:.1%})"
    )
    for arm in analysis.arms:
        console.print(_arm_table(arm))


def print_lock(lock: PreregLock, console: Console) -> None:
    """What is predicted, and from what."""
    console.print(
        f"locked {lock.locked} from {lock.rollouts} rollouts of the base; strict validity of the base "
        f"{lock.base_strict:.1%}, of the teacher {lock.teacher_strict:.1%}; collapsed below "
        f"{lock.threshold:.1%}"
    )
    for prediction in lock.predictions:
        console.print(_prediction_table(prediction))
    table = titled("Tests")
    for heading in ("test", "arm", "window", "question"):
        table.add_column(heading, no_wrap=heading in ("test", "window"))
    for test in lock.tests:
        table.add_row(*map(cell, (test.name, test.arm, _window(test.window), test.question)))
    console.print(table)
    _print_severity(lock, console)


def print_report(report: PreregReport, console: Console) -> None:
    """Results, then hit or miss per test; a miss is a result like any other."""
    print_analysis(report.analysis, console)
    table = titled(f"Locked {report.lock.locked}, first run {report.first_run or 'none yet'}")
    # Questions stand below the table: beside five columns a terminal of 80 has no room for words.
    for heading in ("test", "arm", "window", "measured", "outcome"):
        table.add_column(heading, no_wrap=True)
    for outcome in report.outcomes:
        test = outcome.test
        table.add_row(
            cell(test.name),
            cell(test.arm if test.against is None else f"{test.arm} / {test.against}"),
            _window(test.window),
            "–" if outcome.measured is None else onset_text(outcome.measured),
            Text(_words(outcome.outcome), style=_OUTCOME_STYLE[outcome.outcome]),
        )
    console.print(table)
    for name, question in dict.fromkeys((one.test.name, one.test.question) for one in report.outcomes):
        console.print(f"{name}: {question}")
    _print_severity(report.lock, console)
    # An older lock is held to the rules of its day; what today's would say of it is said beside.
    for outcome in report.outcomes:
        if outcome.today != outcome.outcome:
            console.print(
                f"{outcome.test.name}, {outcome.test.arm}: {_words(outcome.outcome)} by the rules of the "
                f"lock, {_words(outcome.today)} by today's (docs/prereg.md)"
            )


def _words(outcome: str) -> str:
    return outcome.replace("_", " ")


def _print_severity(lock: PreregLock, console: Console) -> None:
    """How easily each window is hit by an onset that knows nothing of λ*, and all of them together."""
    for test in lock.tests:
        found = severity(lock.plan, test)
        line = f"{test.name}, {test.arm}: the window covers {found.share:.0%} of the grid"
        if found.gaps is not None:
            line += f"; {found.gaps_inside} of its {found.gaps} gaps lie wholly in it"
        console.print(line)
    count = len(lock.tests)
    console.print(
        f"{count} test{'s' if count > 1 else ''}, each judged alone: onsets that know nothing of λ*, "
        f"spread over the grids, hit up to {expected_hits(lock.plan, lock.tests):.1f} of them on average"
    )


def onset_text(onset: OnsetEstimate) -> str:
    """Point and interval; what the grid leaves open stays open."""
    if onset.least == 0 and onset.most is None:
        return "no bound"
    if math.isinf(onset.least):
        return "∞"
    if onset.value is not None:
        point = f"{onset.value:.3g}"
    else:
        point = f"> {onset.least:.3g}" if onset.most is None else f"≤ {onset.most:.3g}"
    return f"{point} [{onset.low:.3g}, {'∞' if onset.high is None else f'{onset.high:.3g}'}]"


def _arm_table(arm: ArmAnalysis) -> Table:
    clip = "none" if arm.clip is None else f"{arm.clip:g}"
    table = titled(
        f"{arm.arm}: c = {clip}, learning rate {arm.learning_rate:g}, {arm.steps} steps, "
        f"{arm.staleness} rollouts"
    )
    for heading in ("λ", "runs", "P(collapse)", "strict", "NDCG@1 parsed", "its change"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in arm.rows:
        table.add_row(*_cells(row))
    none = "no onset" if arm.onset is None else "by today's rules no onset"
    lines = [plain(f"{none}: {doubt.message}") for doubt in arm.doubts]
    if arm.onset is not None and arm.change_point is not None:
        lines += [
            f"onset (half collapse): {onset_text(arm.onset)}, {arm.onset.method}",
            f"onset (validity steps down): {onset_text(arm.change_point)}, {arm.change_point.method}",
        ]
    if (note := seeds_note(arm.onset)) is not None:
        lines.append(note)
    lines.append(f"NDCG@1 on parsed outputs over λ: {_flatness(arm)}")
    table.caption, table.caption_justify = "\n".join(lines), "left"
    return table


def _flatness(arm: ArmAnalysis) -> str:
    if arm.flatness not in ("flat", "flat_where_tested") or not arm.untested:
        return arm.flatness.replace("_", " ")
    above = len(arm.rows) - 1
    untested = ", ".join(f"{lam:g}" for lam in arm.untested)
    return f"flat on {above - len(arm.untested)} of {above} λ above the lowest, untested: {untested}"


def _cells(row: LambdaRow) -> tuple[str, ...]:
    change = "" if row.flatness is None else row.flatness.replace("_", " ")
    if row.ndcg_change is not None and row.ndcg_change.estimate is not None:
        change = f"{row.ndcg_change.estimate:+z.3f} {change}"
    runs = str(row.runs) + (f", {row.diverged} NaN" if row.diverged else "")
    return (
        f"{row.lam:g}",
        runs,
        _interval(row.collapse),
        _interval(row.strict),
        _interval(row.ndcg_parsed),
        change,
    )


def _prediction_table(prediction: ClipPrediction) -> Table:
    table = titled(
        f"c = {prediction.clip:g}: binding {prediction.binding} {_window(prediction.binding_window)}, "
        f"band {_window(prediction.band)}"
    )
    for heading in ("role", "n", "p", "b", "λ*", "tail"):
        table.add_column(heading, justify="left" if heading == "role" else "right", no_wrap=True)
    for role in prediction.roles:
        star = role.status if role.lambda_star is None else f"{role.lambda_star:.3f}"
        if role.low is not None:
            star += f" {_window(Window(low=role.low, high=role.high))}"
        table.add_row(
            role.role,
            str(role.positions),
            "–" if role.p is None else f"{role.p:.5f}",
            "–" if role.b is None else f"{role.b:.5f}",
            star,
            f"{role.teacher_tail_share:.0%}",
        )
    if prediction.unmet:
        table.caption = "\n".join(plain(f"precondition not met: {detail}") for detail in prediction.unmet)
        table.caption_justify = "left"
    return table


def _window(window: Window) -> str:
    return f"[{window.low:.3f}, {'∞' if window.high is None else f'{window.high:.3f}'}]"


def _interval(estimate: Estimate) -> str:
    if estimate.estimate is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.estimate:z.2f}"
    return f"{estimate.estimate:z.2f} {estimate.low:z.2f}–{estimate.high:z.2f}"
