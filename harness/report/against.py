"""A run against the baseline in words: what changed, by how much, and whether it went against the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.metrics.match import MATCH
from harness.metrics.table import (
    CONTRACT,
    MATCH_OF_ALL,
    METRICS,
    QUALITY,
    QUALITY_OF_ALL,
    RUBRIC_PREFIX,
    metric_named,
)
from harness.report.clause import Clause, Kind
from harness.report.comparison import Comparison, Difference, Word
from harness.report.reading import RunFacts
from harness.report.text import Shown, decimal, parameters, percent, points, probability, share_of, signed

_KINDS: dict[Word, Kind] = {
    "better": "good",
    "worse": "bad",
    "slightly better": "known",
    "slightly worse": "against",
    "equivalent": "good",
    "not settled": "open",
    "not tested": "open",
    "no pairs": "open",
}
_CLAIMS: dict[Word, str] = {
    "better": "{subject} better by {by}",
    "worse": "{subject} worse by {by}",
    "slightly better": "{subject} slightly better, by {by}",
    "slightly worse": "{subject} slightly worse, by {by}",
    "equivalent": "{subject} equivalent within {margin}",
    "not settled": "{subject} not settled",
    "not tested": "{subject} not tested",
    "no pairs": "{subject} can't be compared",
}
_SUBJECTS = {
    CONTRACT: "format",
    QUALITY_OF_ALL: "ranking on all answers",
    QUALITY: "ranking on what both parsed",
    MATCH_OF_ALL: "right answers among all",
    MATCH: "right answers among those both parsed",
    "parse_validity.lenient": "what lenient parsing accepts",
    "parse_validity.repaired": "what repair accepts",
    "truncation_rate": "truncation",
}
_LABELS = {
    CONTRACT: "strict ",
    QUALITY_OF_ALL: "NDCG@1, failures as 0: ",
    QUALITY: "NDCG@1 ",
    MATCH_OF_ALL: "right, failures as wrong: ",
    MATCH: "right ",
}
"""What is always said, in this order, and what its numbers are called."""
_OTHERS = len(_LABELS) + 1


@dataclass(frozen=True, slots=True)
class _Units:
    """How a metric is written: its value, a change of it, the size of a change."""

    value: Shown
    change: Shown
    size: Shown


_RATE = _Units(percent, lambda value: f"{points(value)} points", lambda value: f"{100 * value:.1f} points")
_MEAN = _Units(decimal, signed, decimal)


NOT_COMPARED = "not compared"
"""What is said of a run that asked something else than the baseline."""
OTHER_PROMPTS = "asked by other prompts"
"""Of one whose tasks are the same and whose prompts aren't."""


def clauses_against(
    facts: RunFacts, baseline: RunFacts, comparison: Comparison, margin: float
) -> Iterator[Clause]:
    """Size, format, ranking and rubrics against the baseline, and every other test that went against the run.

    Args:
        facts: the run.
        baseline: what it is compared with.
        comparison: the two side by side.
        margin: of the equivalence.
    """
    size = _size(facts, baseline)
    if size is not None:
        yield size
    if comparison.unpaired is not None:
        yield Clause("ranking", NOT_COMPARED, "open", comparison.unpaired)
        return
    if comparison.asked:
        yield Clause("prompts", OTHER_PROMPTS, "open", comparison.asked)
    alike = alike_comparisons([comparison])
    for name in sorted(comparison.differences, key=_rank):
        difference = comparison.differences[name]
        if name not in alike and (_rank(name) < _OTHERS or difference.against):
            yield _clause(name, difference, margin, alike if name == CONTRACT else ())


def alike_comparisons(comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Tiers of parse validity, other than strict, that differ from it nowhere: one row says all."""

    def same(one: Comparison, name: str) -> bool:
        tier, strict = one.differences.get(name), one.differences.get(CONTRACT)
        if tier is None or strict is None:
            return tier is strict
        return (tier.comparison, tier.means, tier.word) == (strict.comparison, strict.means, strict.word)

    return tuple(
        name
        for name in METRICS
        if name.startswith("parse_validity.")
        and name != CONTRACT
        and comparisons
        and all(same(one, name) for one in comparisons)
    )


def _rank(name: str) -> int:
    """Format, ranking and right answers among all and of what parsed, rubrics, everything else."""
    if name in _LABELS:
        return list(_LABELS).index(name)
    return len(_LABELS) if name.startswith(RUBRIC_PREFIX) else _OTHERS


def _size(facts: RunFacts, baseline: RunFacts) -> Clause | None:
    mine, theirs = (one.run.manifest.engine.parameters for one in (facts, baseline))
    if not mine or not theirs:
        return None
    write = parameters(mine, theirs)
    return Clause("size", share_of(mine / theirs), "known", f"{write(mine)} against {write(theirs)}")


def _clause(name: str, difference: Difference, margin: float, alike: tuple[str, ...]) -> Clause:
    metric = metric_named(name)
    units = _RATE if metric is not None and metric.is_rate else _MEAN
    label = metric.label if metric is not None else name.removeprefix(RUBRIC_PREFIX)
    subject = _SUBJECTS.get(name, f"{label}," if metric is not None else f"rubric {label}")
    estimate = difference.comparison.difference
    if estimate.estimate is None or difference.means is None:
        claim = _CLAIMS["no pairs"].format(subject=subject)
        return Clause(subject, claim, "open", "no task parsed in both", (name,), difference.word)
    within = f"{100 * margin:g} points" if units is _RATE else f"{margin:g}"
    claim = _CLAIMS[difference.word].format(
        subject=subject, by=units.size(abs(estimate.estimate)), margin=within
    )
    mine, theirs = map(units.value, difference.means)
    parts = [f"{_LABELS.get(name, '')}{mine} against {theirs}"]
    if "{by}" not in _CLAIMS[difference.word]:
        parts.append(units.change(estimate.estimate))
    if difference.of is not None:
        parts.append(f"{estimate.n:,} of {difference.of:,} pairs")
    if difference.p_holm is not None and difference.word != "equivalent":
        parts.append(f"p {probability(difference.p_holm)}")
    if difference.word.startswith("slightly"):
        parts.append(f"within {within}")
    if difference.note:
        parts.append(difference.note)
    return Clause(
        subject.rstrip(","), claim, _KINDS[difference.word], ", ".join(parts), (name, *alike), difference.word
    )
