"""What a report says, for machines."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.report.comparison import Comparison
from harness.report.distributions import outcome_counts
from harness.report.job import Report


def as_dict(made: Report, out: Path | None) -> dict[str, Any]:
    """Where the report lies, the sentences, and every difference to the baseline."""
    content = made.content
    baseline = content.baseline
    return {
        "report": None if out is None else str(out),
        "bytes": len(made.encoded),
        "rows": made.rows,
        "title": content.title,
        "baseline": None if baseline is None else baseline.name,
        "runs": [
            {
                "name": facts.name,
                "path": str(facts.run.path),
                "gate": decided.gate,
                "sentence": decided.sentence,
                "clauses": [asdict(clause) for clause in decided.clauses],
                "notes": list(decided.notes),
                "outcomes": {} if baseline is None or facts is baseline else outcome_counts(facts, baseline),
            }
            for facts, decided in zip(content.runs, content.decided, strict=True)
        ],
        "comparisons": [_comparison(one) for one in content.comparisons],
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
                "verdict": one.word,
            }
            for name, one in comparison.differences.items()
        },
    }
