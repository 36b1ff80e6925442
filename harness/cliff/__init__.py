"""The extrapolation cliff: λ*(p, b, c), the dynamics behind it, and its estimation from class masses.

Stable API: `lambda_star` and `fixed_point`. Rules only: no torch, no files.
"""

from harness.cliff.clip import ClipDemand, ClipEstimate, clip_demand, estimate_clip, known_clip
from harness.cliff.domain import CliffDomainError
from harness.cliff.dynamics import bifurcation, crossing_time, onset_for_budget, simulate
from harness.cliff.estimate import estimate_calibration, estimate_cliff
from harness.cliff.inverse import clip_for, teacher_log_odds_for, teacher_mass_for
from harness.cliff.masses import ClassMass, MassBounds, PositionRecords
from harness.cliff.preconditions import Limits, MoreData, Precondition
from harness.cliff.region import clip_boundary_log_odds, clip_safe, fixed_point, fixed_point_log_odds
from harness.cliff.results import (
    Calibration,
    CalibrationEstimate,
    CliffEstimate,
    LambdaStarEstimate,
    RoleEstimate,
)
from harness.cliff.threshold import (
    Thresholds,
    ThresholdStatus,
    lambda_star,
    lambda_star_from_log_odds,
    lambda_star_from_log_tails,
    thresholds,
    thresholds_from_log_odds,
    thresholds_from_log_tails,
)
from harness.cliff.verdict import SIDES, CliffResult, Side, assess, decide, observed_side

__all__ = [
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
    "Side",
    "ThresholdStatus",
    "Thresholds",
    "assess",
    "bifurcation",
    "clip_boundary_log_odds",
    "clip_demand",
    "clip_for",
    "clip_safe",
    "crossing_time",
    "decide",
    "estimate_calibration",
    "estimate_cliff",
    "estimate_clip",
    "fixed_point",
    "fixed_point_log_odds",
    "known_clip",
    "lambda_star",
    "lambda_star_from_log_odds",
    "lambda_star_from_log_tails",
    "observed_side",
    "onset_for_budget",
    "simulate",
    "teacher_log_odds_for",
    "teacher_mass_for",
    "thresholds",
    "thresholds_from_log_odds",
    "thresholds_from_log_tails",
]
