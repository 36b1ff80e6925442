"""The verdict: on which side of λ* a run sits, by prediction and by the student itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from harness.cliff.below_base import largest_kept_lambda
from harness.cliff.clip import ClipDemand, ClipEstimate
from harness.cliff.domain import require
from harness.cliff.explain import explain
from harness.cliff.preconditions import Limits, MoreData, Precondition, check_preconditions, more_data
from harness.cliff.reached import RoleReached
from harness.cliff.results import Calibration, CliffEstimate, LambdaStarEstimate, RoleEstimate
from harness.cliff.token_level import FixedPoints
from harness.errors import DataError
from harness.settings import first_problem
from harness.stats.estimate import Estimate

Side = Literal["left", "right", "on_cliff", "undecided", "out_of_scope"]

SIDES: Final[tuple[Side, ...]] = get_args(Side)


@dataclass(frozen=True, slots=True)
class CliffResult:
    """Everything `cliff.json` holds.

    Attributes:
        lam: the run's λ.
        verdict: the side predicted from λ and the bounds of λ*.
        observed: the side by the student's own tail mass at the binding role; None without a student or
            where it can't be told.
        agree: whether the two are the same; None unless both are `left` or `right`.
        largest_safe_lambda: every λ below it is called left, though none of them is shown to be safe. None
            without a bound, or out of scope.
        calibration: the calibration the verdict uses.
        lambda_star: λ* of the binding role under it, at the measured b, with its sampling interval. Where
            only a lower bound of c is known, λ* has no upper end. (In results of earlier versions the
            smallest λ* of all roles.)
        lambda_star_half: λ* of the binding role at b = 1/2; None without a binding role.
        binding: the role that holds most of the teacher's tail, None where it has no λ*.
        clip: what is known of c.
        clip_demand: teacher-to-student ratios on off-class tokens, where they were measured.
        preconditions: all of them, met or not.
        more: how much data is missing to a verdict, or to a side.
        limits: what the preconditions were checked against.
        estimate: every role under all three calibrations.
        explanation: one paragraph in plain words.
        right_above: every λ above it is called right; None where nothing bounds λ* above, or out of scope.
        lambda_reached: where the student lies on the line of the targets, see `harness.cliff.reached`; None
            without a student, or where it wasn't measured.
        off_the_line: what of it is no extrapolation, in nats a token; likewise.
        along_the_line: share of its way from the base that is; likewise.
        reached: that in words, or why it wasn't measured; empty without a student.
        fixed_points: where the fixed point of λ lies at each role, as a coin and token by token, and the edge
            of the run's own ratio; None in results of earlier versions.
        reached_by_role: λ reached and off the line by the role of the position; empty without a student, and
            in results of earlier versions.
    """

    lam: float
    verdict: Side
    observed: Side | None
    agree: bool | None
    largest_safe_lambda: float | None
    calibration: Calibration
    lambda_star: LambdaStarEstimate
    lambda_star_half: LambdaStarEstimate | None
    binding: RoleEstimate | None
    clip: ClipEstimate
    clip_demand: ClipDemand | None
    preconditions: tuple[Precondition, ...]
    more: MoreData
    limits: Limits
    estimate: CliffEstimate
    explanation: str
    right_above: float | None = None
    lambda_reached: Estimate | None = None
    off_the_line: Estimate | None = None
    along_the_line: Estimate | None = None
    reached: str = ""
    fixed_points: FixedPoints | None = None
    reached_by_role: tuple[RoleReached, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, without NaN or infinity."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> CliffResult:
        """Read back what `to_dict` gave, also after a round through JSON.

        Raises:
            DataError: anything else.
        """
        try:
            return _ADAPTER.validate_python(data)
        except ValidationError as error:
            raise DataError(f"this is no cliff result: {first_problem(error)}") from error

    def metrics(self) -> dict[str, Estimate]:
        """The numbers for `metrics.json`; the verdict itself is a word and not among them."""
        star, tasks = self.lambda_star, 0 if self.binding is None else self.binding.n_tasks
        method = self.estimate.method
        numbers = {
            "cliff.lambda_star": Estimate(tasks, star.value, star.low, star.high, method),
            "cliff.largest_safe_lambda": Estimate(tasks, self.largest_safe_lambda, None, None, method),
        }
        if self.binding is not None and self.lambda_star_half is not None:
            half = self.lambda_star_half
            numbers["cliff.lambda_star_half"] = Estimate(tasks, half.value, half.low, half.high, method)
            numbers["cliff.p"] = self.binding.p
            numbers["cliff.b"] = self.binding.b
            if self.binding.clip_margin is not None:
                numbers["cliff.clip_margin"] = self.binding.clip_margin
        if self.lambda_reached is not None and self.off_the_line is not None:
            numbers |= reached_metrics(self.lambda_reached, self.off_the_line)
        return numbers


def reached_metrics(lambda_reached: Estimate, off_the_line: Estimate) -> dict[str, Estimate]:
    """Where a student stands, as it stands in `metrics.json`."""
    return {"reached.lambda": lambda_reached, "reached.off_line": off_the_line}


_ADAPTER: TypeAdapter[CliffResult] = TypeAdapter(CliffResult)


def decide(
    lam: float, bounds: tuple[float | None, float | None], preconditions: Sequence[Precondition]
) -> Side:
    """Which side of the cliff λ lies on.

    A side rests on the bounds alone, which hold at any number of tasks: no width is asked of them, since
    asking for narrow ones would select those that are too narrow. Between them it is `on_cliff` where enough
    tasks carry the tail to say so.

    Args:
        lam: the run's λ, finite, > 0.
        bounds: below the first λ is called left, above the second right; None is no such bound.
        preconditions: `enough_rollouts` tells `undecided` from `on_cliff`; `no_role_moves_out` leaves `right`
            as it is; any other that is unmet puts the run out of scope.

    Returns:
        `left` below the bounds, `right` above them, `on_cliff` or `undecided` between them and on them.

    Raises:
        CliffDomainError: λ ≤ 0 or not finite, or bounds in the wrong order.
    """
    low, high = bounds
    unmet = {p.name for p in preconditions if not p.met}
    require(math.isfinite(lam) and lam > 0, f"λ must be finite and above 0, not {lam}")
    require(low is None or high is None or low <= high, "the bounds of λ* are in the wrong order")
    if unmet - {"enough_rollouts", "no_role_moves_out"}:
        return "out_of_scope"
    if high is not None and lam > high:
        return "right"
    if "no_role_moves_out" in unmet:
        return "out_of_scope"
    if low is not None and lam < low:
        return "left"
    return "on_cliff" if low is not None and not unmet else "undecided"


def observed_side(binding: RoleEstimate | None, clip: ClipEstimate) -> Side | None:
    """The side the student is on already: is its tail mass at the binding role under (1 − p)/c?

    Args:
        binding: the binding role, None where there is none.
        clip: what is known of c; with a lower bound only, `right` can't be told from `on_cliff`.

    Returns:
        `left` where the interval of (1 − q)·c/(1 − p) lies at or above 1, `right` where it lies below,
        `on_cliff` where it holds 1; None without a student or an interval.
    """
    margin = None if binding is None else binding.clip_margin
    if margin is None or margin.low is None:
        return None
    if margin.low >= 1:
        return "left"
    return "right" if clip.saturated and margin.high is not None and margin.high < 1 else "on_cliff"


def assess(
    estimate: CliffEstimate,
    lam: float,
    *,
    calibration: Calibration = "role",
    limits: Limits | None = None,
    clip_demand: ClipDemand | None = None,
    fixed_points: FixedPoints | None = None,
) -> CliffResult:
    """Put the estimates, the preconditions and the run's λ together.

    Args:
        estimate: λ* under all calibrations.
        lam: the run's λ, finite, > 0.
        calibration: the one the verdict uses.
        limits: where preconditions count as met; defaults of `Limits` otherwise.
        clip_demand: teacher-to-student ratios on off-class tokens.
        fixed_points: of this λ, by role.

    Raises:
        CliffDomainError: λ ≤ 0 or not finite.
    """
    limits = limits or Limits()
    measured = estimate.under(calibration)
    preconditions = check_preconditions(lam, estimate, measured, limits)
    asked, binding = measured.dominant(), measured.binding
    star, half = asked.lambda_star, None if binding is None else binding.lambda_star_half
    bounds = (None, None) if binding is None else (binding.left_below, binding.right_above)
    if not estimate.clip.saturated:
        star, half = _without_upper_end(star), None if half is None else _without_upper_end(half)
        bounds = (bounds[0], None)
    kept = largest_kept_lambda(limits.most_lost_below_base, measured.roles, estimate.n_rollouts)
    if kept is not None and bounds[0] is not None:
        bounds = (min(bounds[0], kept), bounds[1])
    verdict = decide(lam, bounds, preconditions)
    if verdict == "out_of_scope":
        bounds = (None, None)  # a side that isn't given has no ends
    observed = observed_side(binding, estimate.clip)
    told = verdict in ("left", "right") and observed in ("left", "right")
    more = more_data(lam, verdict, estimate, binding, limits)
    return CliffResult(
        lam=float(lam),
        verdict=verdict,
        observed=observed,
        agree=observed == verdict if told else None,
        largest_safe_lambda=bounds[0],
        calibration=calibration,
        lambda_star=star,
        lambda_star_half=half,
        binding=binding,
        clip=estimate.clip,
        clip_demand=clip_demand,
        preconditions=preconditions,
        more=more,
        limits=limits,
        estimate=estimate,
        explanation=explain(
            lam, (verdict, observed), bounds, estimate, calibration, preconditions, more, fixed_points
        ),
        right_above=bounds[1],
        fixed_points=fixed_points,
    )


def _without_upper_end(star: LambdaStarEstimate) -> LambdaStarEstimate:
    """λ* from a lower bound of c: a lower bound itself."""
    return LambdaStarEstimate(
        status=star.status,
        value=star.value,
        low=star.low,
        high=None,
        identified_low=star.identified_low,
        identified_high=None,
    )
