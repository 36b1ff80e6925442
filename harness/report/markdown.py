"""A short Markdown summary for a pull request."""

from __future__ import annotations

from harness.cliff.placement import Placement
from harness.metrics.table import METRICS, RUBRIC_PREFIX
from harness.report.against import alike_comparisons
from harness.report.comparison import number_of_tests
from harness.report.content import Content
from harness.report.forecasts import Foreseen
from harness.report.groups import groups_of
from harness.report.metrics import MetricLine, alike_tiers, compared_lines, metric_groups
from harness.report.reading import RunFacts
from harness.report.text import decimal, probability
from harness.runs.text import escape
from harness.stats import Estimate

_MOST_ACROSS = 6
"""Runs that stand across a table; of more, each has a row."""


def render_markdown(content: Content) -> str:
    """Sentences, the few numbers that decide, and the differences to the baseline."""
    groups = metric_groups(content.runs)
    alike = alike_tiers(content.runs)
    lines = [line for group in groups for line in group.metrics if line.brief and line.name not in alike]
    parts = [f"### {escape(content.title)}", "", *_sentences(content), "", *_table(content, lines)]
    names = [name for one in content.comparisons for name in one.differences]
    few = len(content.runs) <= _MOST_ACROSS
    compared = [
        line for line in compared_lines(groups, names) if line.brief or (few and _against(content, line))
    ]
    if compared:
        parts += ["", *_differences(content, compared)]
    for one in content.forecasts:
        parts += ["", *_forecast(one)]
    for facts in content.runs:
        if facts.place is not None and facts.place.reached_by_role:
            parts += ["", *_roles(facts.name, facts.place)]
    parts += ["", *_notes(content)]
    return "\n".join(parts).rstrip() + "\n"


def _forecast(one: Foreseen) -> list[str]:
    """Its table and sentences."""
    found = one.forecast
    title = f"**Forecast {escape(one.name)}**, target of {escape(found.teacher)} and {escape(found.base)}"
    if one.stale:
        return [f"{title}: not shown, {escape(one.refusal)}"]
    across = one.headings[1:]
    down, cells = [row[0] for row in one.rows], [[escape(cell) for cell in row[1:]] for row in one.rows]
    said = [f"- {escape(sentence)}" for sentence in one.sentences]
    return [title, "", *_rows("λ", across, down, cells), "", *said]


def _roles(name: str, place: Placement) -> list[str]:
    """λ reached by role; where the run as a whole lies is in its sentence."""
    roles = sorted(place.reached_by_role, key=lambda one: -one.tokens)
    cells = [[f"{one.tokens:,}", _reached(one.lambda_reached), _reached(one.off_the_line)] for one in roles]
    across = ["tokens", "λ reached", "nats a token off the line"]
    return [
        f"**{escape(name)}** on the line from its base past its teacher",
        "",
        *_rows("role", across, [escape(one.role) for one in roles], cells),
    ]


def _reached(estimate: Estimate) -> str:
    if estimate.estimate is None:
        return escape(estimate.method)
    low, high = ("…" if end is None else decimal(end) for end in (estimate.low, estimate.high))
    bounded = estimate.low is not None or estimate.high is not None
    return decimal(estimate.estimate) + (f" ({low} … {high})" if bounded else "")


def _against(content: Content, line: MetricLine) -> bool:
    """Whether it went against any run and isn't said by the row of strict parse validity."""
    named = line.name not in alike_comparisons(content.comparisons)
    return named and any(one.differences[line.name].against for one in content.comparisons if one.differences)


def _sentences(content: Content) -> list[str]:
    found = []
    for group in groups_of(content):
        if group.label:
            found.append(f"- **{escape(group.label)}**, {escape(group.summary)}")
            continue
        for decided in group.decided:
            clauses = "; ".join(
                f"**{escape(one.claim)}**" + (f" ({escape(one.detail)})" if one.detail else "")
                for one in decided.clauses
            )
            found.append(f"- {escape(decided.who)}: {clauses}. [{escape(decided.gate_words)}]")
    return found


def _table(content: Content, lines: list[MetricLine]) -> list[str]:
    """Metrics down and runs across; of many runs the other way round."""
    names = [_heading(facts) for facts in content.runs]
    labels = [f"{escape(line.group)}: {escape(line.label)}" for line in lines]
    if len(names) <= _MOST_ACROSS:
        rows = [[_cell(facts, line) for facts in content.runs] for line in lines]
        return _rows("metric", names, labels, rows)
    return _rows("run", labels, names, [[_cell(facts, line) for line in lines] for facts in content.runs])


def _rows(corner: str, across: list[str], down: list[str], cells: list[list[str]]) -> list[str]:
    found = [f"| {corner} | " + " | ".join(across) + " |", "|---|" + "--:|" * len(across)]
    return found + [f"| {name} | " + " | ".join(row) + " |" for name, row in zip(down, cells, strict=True)]


def _heading(facts: RunFacts) -> str:
    return escape(facts.name) + (" (stopped early)" if facts.stopped else "")


def _cell(facts: RunFacts, line: MetricLine) -> str:
    estimate = facts.run.metrics.get(line.name)
    if estimate is None:
        return "not judged" if line.name.startswith(RUBRIC_PREFIX) else "–"
    return f"{_with_interval(estimate, line)}, n {estimate.n}"


def _with_interval(estimate: Estimate, line: MetricLine, *, change: bool = False) -> str:
    shown = line.change if change else line.shown
    if estimate.estimate is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return shown(estimate.estimate)
    return f"{shown(estimate.estimate)} ({shown(estimate.low)} … {shown(estimate.high)})"


def _differences(content: Content, lines: list[MetricLine]) -> list[str]:
    assert content.baseline is not None
    rows = [
        f"| difference to {escape(content.baseline.name)} | run | 95 % interval | p (Holm) | pairs | "
        "verdict |",
        "|---|---|--:|--:|--:|---|",
    ]
    for line in lines:
        for comparison in content.comparisons:
            one = comparison.differences.get(line.name)
            if one is None:
                continue
            p = "–" if one.p_holm is None else probability(one.p_holm)
            estimate = one.comparison.difference
            word = f"{one.word} {one.note}".rstrip()
            pairs = f"{estimate.n:,}" if one.of is None else f"{estimate.n:,} of {one.of:,}"
            rows.append(
                f"| {escape(line.group)}: {escape(line.label)} | {escape(comparison.candidate)} | "
                f"{_with_interval(estimate, line, change=True)} | {escape(p)} | {pairs} | {escape(word)} |"
            )
    return rows


def _notes(content: Content) -> list[str]:
    notes = [f"- {escape(one.run)}: {escape(note)}" for one in content.decided for note in one.notes]
    for comparison in content.comparisons:
        names = f"{escape(comparison.candidate)} and {escape(comparison.baseline)}"
        if comparison.unpaired:
            notes.append(f"- {names}: {escape(comparison.unpaired)}")
        if comparison.cautions:
            listed = escape("; ".join(comparison.cautions))
            notes.append(f"- {names} differ in more than the checkpoint (baseline → run): {listed}")
    if alike := alike_tiers(content.runs):
        labels = " and ".join(escape(METRICS[name].label) for name in alike)
        notes.append(f"- {labels} say the same as strict in every run")
    for kind, names_of in content.missing.items():
        which = "all runs" if len(names_of) == len(content.runs) > 1 else ", ".join(map(escape, names_of))
        notes.append(f"- {kind}: {which}")
    if content.comparisons:
        tests = number_of_tests({one.candidate: one for one in content.comparisons})
        notes.append(
            f"- Rates in percentage points; p after Holm's correction for {tests} comparisons, better or "
            f"worse at p ≤ 0.05; equivalent within ±{content.config.margin:g} at 5 %; intervals uncorrected."
        )
    return notes
