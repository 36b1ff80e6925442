"""λ reached: where a checkpoint lies on the line of the extrapolated targets, and how far off that line.

For a student π_S and its own visited states, λ reached is the μ that minimises the mean of KL(π_S ‖ π_μ),
π_μ ∝ π_T^μ · π_B^(1−μ); `harness.cliff.line_sums` says what it is made of. The divergence is convex in μ,
with E_S[s] = E_μ[s] at the minimum, s = log π_T − log π_B. What is left there is *off the line*, no
extrapolation. Where extrapolation is masked, s is 0 outside the mask and log π_B becomes log π_T − s.

The targets are an exponential family, so that KL(π_S ‖ π_0) = KL(π_S ‖ π_μ) + KL(π_μ ‖ π_0), the last over
the student's states: a student's way from its base is one part along the line and one off it.

Intervals are by the bootstrap of t over tasks (Efron and Tibshirani, An Introduction to the Bootstrap,
chapter 12) with the standard error of an M-estimator, wider by one more task like the most extreme one: those
of percentiles miss too often, and on one side, where few tasks carry most (`benchmarks/reached_planted.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from harness.cliff.domain import FloatArray
from harness.cliff.line_sums import NODES, LineSums, TaskCurves
from harness.cliff.resample import MIN_TASKS
from harness.stats.bootstrap import percentile_limits
from harness.stats.estimate import Estimate

Standing = Literal["no_line", "at_base", "before", "short", "at", "past", "on", "off"]
LEAST_WAY: Final = 0.005
"""KL from the base, in nats a token, below which a student has hardly moved and no direction is told."""
MOSTLY: Final = 0.5
"""Share of the way that must lie along the line for λ reached to be what became of the student."""
COLLAPSED: Final = 0.5
"""Strict validity below which a student is called collapsed."""
LEAST_APART: Final = 1e-5
"""KL(π_T ‖ π_B), in nats a token, below which teacher and base are alike to single precision."""
METHOD: Final = "bootstrap-t, by task"
_NO_SPREAD = 1e-12
_TOLD: Final[dict[Standing, str]] = {
    "no_line": "teacher and base are alike, so there is no line to be on",
    "at_base": "it has hardly left its base",
    "off": "mostly not by extrapolation",
    "before": "on the line and before its base, away from its teacher: are teacher and base swapped?",
    "short": "on the line and short of {}",
    "past": "on the line and past {}",
    "at": "on the line at about {}",
    "on": "on the line; no interval tells on which side of {}",
}


@dataclass(frozen=True, slots=True)
class RoleReached:
    """Where a student stands at the positions of one role.

    Attributes:
        role: its name; `elsewhere` is behind the token that breaks the contract or ends the answer.
        tokens: how many stand there.
        lambda_reached: the nearest μ for these positions alone; None, with the reason in `method`, where few
            tasks come there, teacher and base are alike there, or it lies beyond what is looked at.
        off_the_line: the KL that is left there, in nats a token of the role.
    """

    role: str
    tokens: int
    lambda_reached: Estimate
    off_the_line: Estimate


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a checkpoint stands.

    Attributes:
        lambda_reached: the nearest μ; None, with the end it lies beyond in `method`, outside of `NODES`.
        off_the_line: the KL that is left there, in nats a token.
        along_the_line: share of KL(π_S ‖ π_0), the way from its base, that isn't left; None where that way is
            below `LEAST_WAY`.
        tokens: visited states behind all.
        beyond: the end of `NODES` that λ reached lies beyond, None where it has a value.
        roles: the same by the role of the position; empty where roles weren't told apart.
        masked: whether the line is one of extrapolation where plausible, on which the base doesn't lie.
    """

    lambda_reached: Estimate
    off_the_line: Estimate
    along_the_line: Estimate
    tokens: int
    beyond: float | None = None
    roles: tuple[RoleReached, ...] = ()
    masked: bool = False

    def standing(self, lam: float) -> Standing:
        """`at_base`, `off` the line, or on it and `short` of λ, `past` it or `at` it, by the interval.

        `before` where the interval ends below 0, `on` where there is none, and `no_line` where teacher and
        base are alike.

        Args:
            lam: what λ reached is held against.
        """
        along, reached = self.along_the_line.estimate, self.lambda_reached
        if reached.estimate is None and self.beyond is None:
            return "no_line"
        if along is None:
            return "at_base"
        if along < MOSTLY:
            return "off"
        if self.beyond is not None:
            return "past" if self.beyond > 0.0 else "before"
        if reached.high is not None and reached.high < 0.0:
            return "before"
        return _side(reached.low, reached.high, lam)

    def _holds(self, lam: float) -> bool:
        low, high = self.lambda_reached.low, self.lambda_reached.high
        return low is not None and high is not None and low <= lam <= high

    def words(self, lam: float | None, strict: float | None) -> str:
        """One sentence on where the student stands: the same wherever one is told.

        Args:
            lam: λ of its run; None holds λ reached against the teacher, λ = 1.
            strict: share of its rollouts that keep the contract, None where nobody looked.
        """
        off, where = self.off_the_line, f"λ reached {_shown(self.lambda_reached)}"
        where += f", off the line {_shown(off)} nats a token ({off.n} task{'' if off.n == 1 else 's'})"
        standing = self.standing(1.0 if lam is None else lam)
        if standing == "no_line":
            return _TOLD[standing]
        collapsed = standing == "off" and strict is not None and strict < COLLAPSED
        if self.masked and self.standing(1.0) != "past" and not self._holds(1.0):
            told = "short of its teacher, from which a line with a mask goes on"
        elif collapsed:
            told, where = "collapsed, but not by extrapolation", f"{where}: look at the optimiser"
        else:
            told = _TOLD[standing].format("its teacher, λ = 1" if lam is None else f"λ = {lam:g}")
        return f"{told}: {where}"


def _side(low: float | None, high: float | None, lam: float) -> Standing:
    if low is None and high is None:
        return "on"
    if high is not None and high < lam:
        return "short"
    return "past" if low is not None and low > lam else "at"


def lambda_reached(
    task: Sequence[int],
    sums: Sequence[LineSums],
    *,
    seed: int,
    confidence: float = 0.95,
    draws: int = 1000,
    masked: bool = False,
) -> Reached:
    """The point of the line nearest to a checkpoint, with intervals by bootstrap over tasks.

    Args:
        task: [R] of each completion; completions of one task are drawn together.
        sums: [R] theirs.
        seed: of the bootstrap.
        confidence: two-sided level, in (0, 1).
        draws: bootstrap resamples.
        masked: whether the sums are of a line with a mask.

    Raises:
        ValueError: no completion, or lists of different lengths.
    """
    if not sums or len(task) != len(sums):
        raise ValueError(f"{len(task)} tasks for {len(sums)} completions; there must be one each")
    whole = _Placed(TaskCurves.collect(task, sums), seed, confidence, draws)
    names = dict.fromkeys(name for one in sums for name in one.roles)
    roles = []
    for name in names:
        own = [(number, one.roles[name]) for number, one in zip(task, sums, strict=True) if name in one.roles]
        roles.append(_at_role(name, *zip(*own, strict=True), seed=seed, confidence=confidence, draws=draws))
    if whole.curves.apart() < LEAST_APART:
        nothing = Estimate(whole.curves.count, None, None, None, "teacher and base are alike")
        tokens = int(whole.curves.tokens.sum())
        return Reached(nothing, nothing, nothing, tokens, None, tuple(roles), masked)
    return Reached(
        whole.lambda_reached(),
        whole.off_the_line(),
        whole.along_the_line(),
        int(whole.curves.tokens.sum()),
        whole.beyond,
        tuple(roles),
        masked,
    )


def _at_role(
    name: str, task: Sequence[int], sums: Sequence[LineSums], *, seed: int, confidence: float, draws: int
) -> RoleReached:
    curves = TaskCurves.collect(task, sums)
    tokens, tasks = int(curves.tokens.sum()), curves.count
    why = None
    if tasks < MIN_TASKS:
        why = f"too few: {tasks} task{'' if tasks == 1 else 's'} of at least {MIN_TASKS}"
    elif curves.apart() < LEAST_APART:
        why = "teacher and base are alike there"
    if why is not None:
        nothing = Estimate(tasks, None, None, None, why)
        return RoleReached(name, tokens, nothing, nothing)
    placed = _Placed(curves, seed, confidence, draws)
    return RoleReached(name, tokens, placed.lambda_reached(), placed.off_the_line())


class _Placed:
    """λ reached of some tasks and of resamples of them; row 0 of every array is of the tasks themselves."""

    def __init__(self, curves: TaskCurves, seed: int, confidence: float, draws: int) -> None:
        self.curves, self._confidence = curves, confidence
        tasks = curves.count
        weights = np.ones((1, tasks))
        if tasks >= MIN_TASKS:
            rng = np.random.default_rng(seed)
            weights = np.concatenate([weights, rng.multinomial(tasks, np.full(tasks, 1.0 / tasks), draws)])
        self._place, self._blur = curves.nearest(weights), curves.blur()
        self._error, self._off, self._error_off = curves.spread(weights, self._place)
        # A task as extreme as the most extreme that was seen may be missing; where few tasks carry most, ends
        # without it lie too near.
        self._unseen = curves.farthest(float(self._place[0]), float(self._off[0]))
        self._way = (weights @ (curves.excess + curves.log_partition[:, NODES.index(0.0)])) / (
            weights @ curves.tokens
        )

    @property
    def beyond(self) -> float | None:
        """The end of `NODES` that λ reached lies beyond."""
        place = float(self._place[0])
        return None if NODES[0] < place < NODES[-1] else place

    def lambda_reached(self) -> Estimate:
        """With its interval, which is wider by what the curve between nodes may be wrong by."""
        if (end := self.beyond) is not None:
            reason = f"beyond {end:g}, the end of what is looked at"
            return Estimate(self.curves.count, None, None, None, reason)
        low, high = self._interval(self._place, self._error)
        if low is not None and high is not None:
            low, high = low - self._blur[0] - self._unseen[0], high + self._blur[0] + self._unseen[1]
        return self._estimate(
            float(self._place[0]),
            None if low is None or low <= NODES[0] else low,
            None if high is None or high >= NODES[-1] else high,
        )

    def off_the_line(self) -> Estimate:
        """In nats a token."""
        low, high = self._interval(self._off, self._error_off)
        least = max(float(self._off[0]), 0.0)
        return self._estimate(
            least,
            None if low is None else max(low - self._blur[1], 0.0),
            None if high is None else max(high, 0.0) + self._blur[1] + self._unseen[2],
        )

    def along_the_line(self) -> Estimate:
        """Share of the way from the base; None where there is hardly one."""
        if self._way[0] < LEAST_WAY:
            reason = f"within {LEAST_WAY:g} nats a token of the base"
            return Estimate(self.curves.count, None, None, None, reason)
        share = np.clip(1.0 - np.maximum(self._off, 0.0) / np.maximum(self._way, LEAST_WAY), 0.0, 1.0)
        if len(share) == 1:
            return self._estimate(float(share[0]), None, None)
        low, high = percentile_limits(share[1:], self._confidence)
        return Estimate(self.curves.count, float(share[0]), low, high, "bootstrap-percentile, by task")

    def _interval(self, values: FloatArray, error: FloatArray) -> tuple[float | None, float | None]:
        """Ends by t, or by |t| where that is farther: few tasks may carry what none of the others shows."""
        if len(values) == 1:
            return None, None
        if not error[0] > _NO_SPREAD * max(1.0, abs(values[0])):
            return float(values[0]), float(values[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (values[1:] - values[0]) / error[1:]
        # Without spread of its own a resample that is elsewhere is far out, not missing.
        t = np.where(np.isnan(t), 0.0, t)
        tail = 0.5 * (1.0 - self._confidence)
        either = float(np.quantile(np.abs(t), self._confidence, method="higher"))
        low = max(either, float(np.quantile(t, 1.0 - tail, method="higher")))
        high = max(either, -float(np.quantile(t, tail, method="lower")))
        low, high = float(values[0] - low * error[0]), float(values[0] + high * error[0])
        return low if np.isfinite(low) else None, high if np.isfinite(high) else None

    def _estimate(self, value: float, low: float | None, high: float | None) -> Estimate:
        method = METHOD
        if self.curves.count < MIN_TASKS:
            method = f"fewer than {MIN_TASKS} tasks, no interval"
        return Estimate(self.curves.count, value, low, high, method)


def _shown(estimate: Estimate) -> str:
    if estimate.estimate is None:
        return estimate.method
    digits = 2 if abs(estimate.estimate) >= 0.1 else 3
    shown = f"{estimate.estimate:z.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return shown
    return f"{shown} [{estimate.low:z.{digits}f}, {estimate.high:z.{digits}f}]"
