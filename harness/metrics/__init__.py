"""What is measured of a run: parse validity and ranking quality, side by side, never blended."""

from harness.metrics.ranking import chance_ndcg, has_relevant, is_all_tied, ndcg_at
from harness.metrics.summary import NO_CODE, TIERS, SampleTable, summarise

__all__ = [
    "NO_CODE",
    "TIERS",
    "SampleTable",
    "chance_ndcg",
    "has_relevant",
    "is_all_tied",
    "ndcg_at",
    "summarise",
]
