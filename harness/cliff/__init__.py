"""The extrapolation cliff: λ*(p, b, c), the fixed point behind it, and its estimation from class masses.

Stable API: `lambda_star` and `fixed_point`. Rules only: no torch, no files.
"""

from harness.cliff.clip import ClipDemand, ClipEstimate, clip_demand, estimate_clip, known_clip
from harness.cliff.domain import CliffDomainError
from harness.cliff.estimate import estimate_calibration, estimate_cliff
from harness.cliff.explain import NOT_CONFIRMED
from harness.cliff.masses import ClassMass, MassBounds, PositionRecords
from harness.cliff.preconditions import Limits, MoreData, Precondition
from harness.cliff.results import (
    Calibration,
    CalibrationEstimate,
    CliffEstimate,
    LambdaStarEstimate,
    RoleEstimate,
)
from harness.cliff.switch import (
    ASSUMED,
    RunRatio,
    Switches,
    SwitchStatus,
    fixed_point_log_tail,
    run_ratio,
    switches_from_log_tails,
)
from harness.cliff.threshold import (
    Thresholds,
    ThresholdStatus,
    fixed_point,
    lambda_star,
    thresholds,
    thresholds_from_log_tails,
)
from harness.cliff.verdict import SIDES, CliffResult, Side, assess, decide, observed_side

__all__ = [
    "ASSUMED",
    "NOT_CONFIRMED",
    "SIDES",
    "Calibration",
    "CalibrationEstimate",
    "ClassMass",
    "CliffDomainError",
    "CliffEstimate",
    "CliffResult",
    "ClipDemand",
    "ClipEstimate",
    "LambdaStarEstimate",
    "Limits",
    "MassBounds",
    "MoreData",
    "PositionRecords",
    "Precondition",
    "RoleEstimate",
    "RunRatio",
    "Side",
    "SwitchStatus",
    "Switches",
    "ThresholdStatus",
    "Thresholds",
    "assess",
    "clip_demand",
    "decide",
    "estimate_calibration",
    "estimate_cliff",
    "estimate_clip",
    "fixed_point",
    "fixed_point_log_tail",
    "known_clip",
    "lambda_star",
    "observed_side",
    "run_ratio",
    "switches_from_log_tails",
    "thresholds",
    "thresholds_from_log_tails",
]
