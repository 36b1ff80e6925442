"""What is measured of a run: parse validity and ranking quality, side by side, never blended."""

from harness.metrics.columns import Columns, TaskTable
from harness.metrics.ranking import chance_ndcg, has_relevant, is_all_tied, ndcg_at
from harness.metrics.summary import summarise
from harness.metrics.table import METRICS, Metric, SampleMetric, TaskMetric, can_rank

__all__ = [
    "METRICS",
    "Columns",
    "Metric",
    "SampleMetric",
    "TaskMetric",
    "TaskTable",
    "can_rank",
    "chance_ndcg",
    "has_relevant",
    "is_all_tied",
    "ndcg_at",
    "summarise",
]
