"""The job behind `harness cliff`: rollouts → class masses under teacher, base, student → λ* and verdict;
and the student's place on the line of its teacher and base.
"""

from harness.measure.config import CliffConfig, LineConfig
from harness.measure.job import (
    check_cliff,
    cliff_of_run,
    evaluate_with_cliff,
    measure_cliff,
    settle_engine,
)
from harness.measure.placing import check_models, evaluate_with_place
from harness.measure.report import CliffReport, ModelCost, PlaceReport, StripToken
from harness.runs.directory import CLIFF

__all__ = [
    "CLIFF",
    "CliffConfig",
    "CliffReport",
    "LineConfig",
    "ModelCost",
    "PlaceReport",
    "StripToken",
    "check_cliff",
    "check_models",
    "cliff_of_run",
    "evaluate_with_cliff",
    "evaluate_with_place",
    "measure_cliff",
    "settle_engine",
]
