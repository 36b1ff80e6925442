"""A gate's result as a GitHub job summary."""

from __future__ import annotations

import os
from pathlib import Path

from harness import files
from harness.gate.text import count, interval, remarks, value
from harness.runs.gate_record import GateResult, Verdict
from harness.runs.text import escape, level

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
_SIGNS: dict[Verdict, str] = {"pass": "✅ pass", "fail": "❌ fail", "inconclusive": "❔ inconclusive"}


def summary(result: GateResult) -> str:
    """Markdown: verdict, table of rules, notes."""
    subject = result.subject
    facts = [
        f"**Checkpoint** {escape(subject.checkpoint)}",
        f"**Dataset** {escape(subject.dataset)}",
        f"**Samples** {subject.samples} of {subject.planned}",
    ]
    if subject.baseline:
        facts.append(f"**Baseline** {escape(subject.baseline)}")
    lines = [
        f"### harness gate: {_SIGNS[result.verdict]}",
        "",
        " · ".join(facts),
        "",
        f"| rule | verdict | estimate | {level(result.alpha)}% interval | n | why |",
        "|---|---|--:|--:|--:|---|",
    ]
    for rule in result.rules:
        cells = [
            escape(rule.rule),
            _SIGNS[rule.verdict],
            value(rule),
            interval(rule),
            count(rule),
            escape(rule.why),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {escape(note)}" for note in remarks(result))]
    return "\n".join(lines).rstrip() + "\n"


def summary_of_error(error: BaseException) -> str:
    """Markdown of a gate that couldn't decide."""
    return f"### harness gate: no verdict\n\n{escape(str(error))}\n"


def append_job_summary(text: str) -> None:
    """Append to GitHub's job summary, where there is one.

    Raises:
        HarnessError: it can't be written.
    """
    target = os.environ.get(SUMMARY_VARIABLE)
    if not target:
        return
    with files.output(f"${SUMMARY_VARIABLE}", "point it at another file, or unset it"):
        files.append(Path(target), f"{text}\n".encode())
