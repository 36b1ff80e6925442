"""Runs of a sweep by their λ, so that a page of forty runs says what each λ did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.metrics.table import CONTRACT, QUALITY_OF_ALL
from harness.report.against import NOT_COMPARED, OTHER_PROMPTS
from harness.report.content import Content
from harness.report.decision import Decided
from harness.report.reading import RunFacts
from harness.report.text import decimal, percent

_LEAST_RUNS = 3


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that stand together.

    Attributes:
        label: `λ = 1.1`; empty where they are all the runs there are.
        summary: what they come to together, empty without a label.
        decided: their sentences.
    """

    label: str
    summary: str
    decided: tuple[Decided, ...]


def groups_of(content: Content) -> list[Group]:
    """One group, or one for each λ where the runs come from a folder; the baseline first."""
    sweep, decided = content.sweep, {one.run: one for one in content.decided}
    from_folder = sum(facts.folder is not None for facts in content.runs)
    if sweep is None or from_folder < _LEAST_RUNS:
        return [Group("", "", content.decided)]
    by_lambda: dict[float, list[RunFacts]] = {}
    for lam, facts in sweep.points:
        if facts is not content.baseline:
            by_lambda.setdefault(lam, []).append(facts)
    placed = {facts.name for runs in by_lambda.values() for facts in runs}
    others = tuple(one for name, one in decided.items() if name not in placed)
    found = [Group("", "", others)] if others else []
    for lam, runs in by_lambda.items():
        own = tuple(decided[facts.name] for facts in runs)
        found.append(Group(f"λ = {lam:g}", _summary(runs, own), own))
    return found


def lines(content: Content) -> list[str]:
    """What a terminal shows: a line a run, or a line a λ of a sweep."""
    found = []
    for group in groups_of(content):
        if group.label:
            found.append(f"{group.label}, {group.summary}")
        else:
            found += [one.line for one in group.decided]
    return found


def _summary(runs: Sequence[RunFacts], decided: Sequence[Decided]) -> str:
    parts = [f"{len(runs)} run{'s' if len(runs) != 1 else ''}: strict {_range(runs, CONTRACT, percent)}"]
    parts[0] += f", NDCG@1 with failures as 0 {_range(runs, QUALITY_OF_ALL, decimal)}"
    said = Counter(
        clause.claim.partition(" by ")[0].rstrip(",").partition(" within ")[0]
        for one in decided
        for clause in one.clauses
        if clause.subject == "contract" or (clause.metrics and clause.kind in ("bad", "against"))
    )
    parts += [f"{claim} in {count} of {len(runs)}" for claim, count in said.items()]
    gates = Counter(one.gate for one in decided if one.gate not in (None, "pass"))
    parts += [f"gate {verdict} in {count} of {len(runs)}" for verdict, count in gates.items()]
    for claim in (NOT_COMPARED, OTHER_PROMPTS):
        if count := sum(clause.claim == claim for one in decided for clause in one.clauses):
            parts.append(f"{claim} in {count} of {len(runs)}")
    stopped = sum(one.stopped for one in decided)
    if stopped:
        parts.append(f"{stopped} stopped early by the gate")
    return "; ".join(parts) + "."


def _range(runs: Sequence[RunFacts], metric: str, shown: Callable[[float], str]) -> str:
    values = [
        stored.estimate
        for facts in runs
        if (stored := facts.run.metrics.get(metric)) is not None and stored.estimate is not None
    ]
    if not values:
        return "unknown"
    low, high = shown(min(values)), shown(max(values))
    span = low if low == high else f"{low.removesuffix(' %')} … {high}"
    return span if len(values) == len(runs) else f"{span} (unknown of {len(runs) - len(values)})"
