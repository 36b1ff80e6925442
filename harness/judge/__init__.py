"""A rubric graded by Gemini on parsed rankings, with the exposure that says how far to trust it."""

from harness.judge.config import JudgeConfig, JudgeProgress
from harness.judge.findings import Finding, findings, pairwise_others, remarks
from harness.judge.forecast import Forecast
from harness.judge.job import JudgeResult, forecast_judging, judge
from harness.judge.judged import require_same_rubric, rubric_of, rubric_table
from harness.judge.metrics import merge_rubric_metrics, rubric_metrics
from harness.judge.rubric import Rubric
from harness.judge.rubric_file import check_rubric, load_rubric

__all__ = [
    "Finding",
    "Forecast",
    "JudgeConfig",
    "JudgeProgress",
    "JudgeResult",
    "Rubric",
    "check_rubric",
    "findings",
    "forecast_judging",
    "judge",
    "load_rubric",
    "merge_rubric_metrics",
    "pairwise_others",
    "remarks",
    "require_same_rubric",
    "rubric_metrics",
    "rubric_of",
    "rubric_table",
]
