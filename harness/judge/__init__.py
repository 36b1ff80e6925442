"""A rubric graded by Gemini on parsed rankings, with the exposure that says how far to trust it."""

from harness.judge.config import JudgeConfig, JudgeProgress, OnJudgeProgress
from harness.judge.cost import Price
from harness.judge.findings import Finding, advice, findings, pairwise_others, remarks
from harness.judge.forecast import Forecast
from harness.judge.job import JudgeResult, forecast_judging, judge
from harness.judge.judged import pairwise_table, require_same_rubric, rubric_of, rubric_table
from harness.judge.key import KEY_VARIABLES, key_from_environment
from harness.judge.libraries import installed_clients
from harness.judge.metrics import merge_rubric_metrics, rubric_metrics
from harness.judge.rubric import Rubric
from harness.judge.rubric_file import check_rubric, load_rubric

__all__ = [
    "KEY_VARIABLES",
    "Finding",
    "Forecast",
    "JudgeConfig",
    "JudgeProgress",
    "JudgeResult",
    "OnJudgeProgress",
    "Price",
    "Rubric",
    "advice",
    "check_rubric",
    "findings",
    "forecast_judging",
    "installed_clients",
    "judge",
    "key_from_environment",
    "load_rubric",
    "merge_rubric_metrics",
    "pairwise_others",
    "pairwise_table",
    "remarks",
    "require_same_rubric",
    "rubric_metrics",
    "rubric_of",
    "rubric_table",
]
