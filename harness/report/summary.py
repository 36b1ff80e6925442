"""What a report says, for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from harness.metrics.stopped import STOPPED_EARLY
from harness.report.comparison import Comparison
from harness.report.content import Content
from harness.report.distributions import outcome_counts


def as_dict(content: Content) -> dict[str, Any]:
    """The sentences, and every difference to the baseline."""
    baseline = content.baseline
    return {
        "title": content.title,
        "baseline": None if baseline is None else baseline.name,
        "runs": [
            {
                "name": facts.name,
                "path": str(facts.run.path),
                "baseline": decided.baseline,
                "gate": decided.gate,
                "gate_stale": list(decided.stale),
                "gate_unchecked": decided.unchecked,
                "stopped_early": STOPPED_EARLY if decided.stopped else None,
                "parameters": facts.run.manifest.engine.parameters,
                "sentence": decided.sentence,
                "clauses": [asdict(clause) for clause in decided.clauses],
                "missing": list(decided.missing),
                "notes": list(decided.notes),
                "outcomes": {} if baseline is None or facts is baseline else outcome_counts(facts, baseline),
            }
            for facts, decided in zip(content.runs, content.decided, strict=True)
        ],
        "comparisons": [_comparison(one) for one in content.comparisons],
        "forecasts": [one.to_dict() for one in content.forecasts],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "run": comparison.candidate,
        "baseline": comparison.baseline,
        "unpaired": comparison.unpaired,
        "cautions": list(comparison.cautions),
        "pairs": comparison.pairs,
        "differences": {
            name: {
                "difference": asdict(one.comparison.difference),
                "p_value": one.comparison.p_value,
                "p_holm": one.p_holm,
                "test": one.comparison.test,
                "equivalence_p": None if one.equivalence is None else one.equivalence.p_pass,
                "candidate_mean": None if one.means is None else one.means[0],
                "baseline_mean": None if one.means is None else one.means[1],
                "pairs_of": one.of,
                "verdict": one.word,
                "against": one.against,
                "note": one.note,
            }
            for name, one in comparison.differences.items()
        },
    }
