"""The job behind `harness cliff`: rollouts → class masses under teacher, base, student → λ* and verdict."""

from harness.measure.config import CliffConfig
from harness.measure.job import (
    check_cliff,
    cliff_of_run,
    evaluate_with_cliff,
    measure_cliff,
    settle_engine,
)
from harness.measure.report import CliffReport, ModelCost, StripToken
from harness.runs.directory import CLIFF

__all__ = [
    "CLIFF",
    "CliffConfig",
    "CliffReport",
    "ModelCost",
    "StripToken",
    "check_cliff",
    "cliff_of_run",
    "evaluate_with_cliff",
    "measure_cliff",
    "settle_engine",
]
