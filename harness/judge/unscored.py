"""How often, and why, a judge gave no score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.judge.answer import UNSCORED_REASONS
from harness.stats import Estimate, wilson_clustered


def unscored_rates(name: str, reasons: Sequence[str | None], tasks: Sequence[int]) -> dict[str, Estimate]:
    """Shares of judgements without a score: in all, and for each reason that occurred.

    Args:
        name: prefix of the metrics' names.
        reasons: of each judgement, None when it has a score.
        tasks: task of each judgement.
    """
    total = Counter(tasks)
    order = sorted(total)

    def rate(wanted: frozenset[str]) -> Estimate:
        hits = Counter(task for task, reason in zip(tasks, reasons, strict=True) if reason in wanted)
        return wilson_clustered([hits[task] for task in order], [total[task] for task in order])

    metrics = {f"{name}.unscored": rate(frozenset(UNSCORED_REASONS))}
    for reason in UNSCORED_REASONS:
        if reason in reasons:
            metrics[f"{name}.unscored.{reason}"] = rate(frozenset({reason}))
    return metrics
