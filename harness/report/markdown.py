"""A short Markdown summary for a pull request."""

from __future__ import annotations

from harness.metrics.table import RUBRIC_PREFIX
from harness.report.content import Content
from harness.report.metrics import MetricLine, compared_lines, metric_groups
from harness.report.reading import RunFacts
from harness.report.text import probability
from harness.runs.text import escape
from harness.stats import Estimate


def render_markdown(content: Content) -> str:
    """Sentences, the few numbers that decide, and the differences to the baseline."""
    groups = metric_groups(content.runs)
    lines = [line for group in groups for line in group.metrics if line.brief]
    parts = [f"### {escape(content.title)}", "", *_sentences(content), "", *_table(content, lines)]
    names = [name for one in content.comparisons for name in one.differences]
    compared = [line for line in compared_lines(groups, names) if line in lines]
    if compared:
        parts += ["", *_differences(content, compared)]
    parts += ["", *_notes(content)]
    return "\n".join(parts).rstrip() + "\n"


def _sentences(content: Content) -> list[str]:
    found = []
    for decided in content.decided:
        gate = "no gate" if decided.gate is None else f"gate: {decided.gate}"
        clauses = "; ".join(
            f"**{escape(one.claim)}**" + (f" ({escape(one.detail)})" if one.detail else "")
            for one in decided.clauses
        )
        found.append(f"- {escape(decided.run)} [{gate}]: {clauses}.")
    return found


def _table(content: Content, lines: list[MetricLine]) -> list[str]:
    head = "| metric | " + " | ".join(escape(facts.name) for facts in content.runs) + " |"
    rows = [head, "|---|" + "--:|" * len(content.runs)]
    for line in lines:
        cells = [_cell(facts, line) for facts in content.runs]
        rows.append(f"| {escape(line.group)}: {escape(line.label)} | " + " | ".join(cells) + " |")
    return rows


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
            rows.append(
                f"| {escape(line.group)}: {escape(line.label)} | {escape(comparison.candidate)} | "
                f"{_with_interval(estimate, line, change=True)} | {escape(p)} | {estimate.n} | {one.word} |"
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
    if content.comparisons:
        notes.append(
            f"- Rates in percentage points; equivalent means within ±{content.config.margin:g} at 5 %, "
            "better or worse p ≤ 0.05 after Holm's correction."
        )
    return notes
