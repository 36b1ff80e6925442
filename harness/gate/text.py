"""A gate's result as plain text; everything that comes from a run is made harmless first."""

from __future__ import annotations

from harness.plain_text import plain
from harness.runs.gate_record import GateResult, RuleResult


def headline(result: GateResult) -> str:
    """One line: verdict, checkpoint, dataset."""
    subject = result.subject
    against = f", against {subject.baseline}" if subject.baseline else ""
    return plain(
        f"gate: {result.verdict.upper()} (exit code {result.exit_code}): {subject.checkpoint} on "
        f"{subject.dataset}, {subject.samples} of {subject.planned} samples{against}"
    )


def interval(rule: RuleResult) -> str:
    """`0.9542 … 0.9814`, or nothing."""
    estimate = rule.estimate
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{_show(rule, estimate.low)} … {_show(rule, estimate.high)}"


def value(rule: RuleResult) -> str:
    """The estimate, with its sign where it is a difference."""
    if rule.estimate is None or rule.estimate.estimate is None:
        return "–"
    return _show(rule, rule.estimate.estimate)


def count(rule: RuleResult) -> str:
    """n behind the estimate."""
    return "" if rule.estimate is None else str(rule.estimate.n)


def savings(result: GateResult) -> str | None:
    """What a live gate drew and saved, in one line."""
    live = result.live
    if live is None:
        return None
    ended = "stopped early" if live.stopped_early else "used its budget"
    return (
        f"live: {ended} after {live.tasks_used} of {live.tasks} tasks; {live.samples_drawn} samples drawn, "
        f"{live.samples_saved} saved"
    )


def as_text(result: GateResult) -> str:
    """The whole result, one line a rule."""
    lines = [headline(result)]
    for rule in result.rules:
        numbers = value(rule)
        if limits := interval(rule):
            numbers += f" ({limits})"
        if rule.estimate is not None:
            numbers += f", n = {count(rule)}"
        lines.append(plain(f"  {rule.verdict.upper():<12} {rule.rule}: {numbers}: {rule.why}"))
    lines += [plain(f"  note: {note}") for note in remarks(result)]
    return "\n".join(lines)


def remarks(result: GateResult) -> list[str]:
    """Notes, what a live gate saved first."""
    saved = savings(result)
    return [*([] if saved is None else [saved]), *result.notes]


def _show(rule: RuleResult, number: float) -> str:
    return f"{number:+z.4f}" if rule.is_difference else f"{number:z.4f}"
