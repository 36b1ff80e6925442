"""λ reached: where a checkpoint lies on the line of the extrapolated targets, and how far off that line.

For a student π_S and its own visited states, λ reached is the μ that minimises the mean of KL(π_S ‖ π_μ),
π_μ ∝ π_T^μ · π_B^(1−μ). With s = log π_T − log π_B and Z_μ = Σ_a π_B(a) · exp(μ · s(a)),

    KL(π_S ‖ π_μ) = E_S[log π_S − log π_B] − μ · E_S[s] + log Z_μ,

convex in μ, with E_S[s] = E_μ[s] at the minimum. What is left there is *off the line*: no extrapolation.
Where extrapolation is masked, s is 0 outside the mask and log π_B becomes log π_T − s.

The targets are an exponential family, so that KL(π_S ‖ π_0) = KL(π_S ‖ π_μ) + KL(π_μ ‖ π_0), the last over
the student's states: a student's way from its base is one part along the line and one off it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from harness.cliff.domain import FloatArray
from harness.stats.bootstrap import percentile_limits
from harness.stats.estimate import Estimate

NODES: tuple[float, ...] = (
    *(-2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    *(2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0),
)
"""Values of μ at which log Z, its slope and curvature are measured."""
_HALVINGS = 50

Standing = Literal["at_base", "short", "at", "past", "off"]
LEAST_WAY: Final = 0.005
"""KL from the base, in nats a token, below which a student has hardly moved and no direction is told."""
MOSTLY: Final = 0.5
"""Share of the way that must lie along the line for λ reached to be what became of the student."""
COLLAPSED: Final = 0.5
"""Strict validity below which a student is called collapsed."""


@dataclass(frozen=True, slots=True)
class LineSums:
    """Sums over the tokens of one completion.

    Attributes:
        tokens: how many.
        gain: of E_S[s].
        excess: of E_S[log π_S − log π_B].
        log_partition: [nodes] of log Z at each of `NODES`.
        slope: [nodes] of E_μ[s], its derivative.
        curvature: [nodes] of Var_μ[s], the derivative of that.
    """

    tokens: int
    gain: float
    excess: float
    log_partition: FloatArray
    slope: FloatArray
    curvature: FloatArray


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
    """

    lambda_reached: Estimate
    off_the_line: Estimate
    along_the_line: Estimate
    tokens: int
    beyond: float | None = None

    def standing(self, lam: float) -> Standing:
        """`at_base`, `off` the line, or on it and `short` of λ, `past` it or `at` it, by the interval.

        Args:
            lam: what λ reached is held against.
        """
        along, reached = self.along_the_line.estimate, self.lambda_reached
        if along is None:
            return "at_base"
        if along < MOSTLY:
            return "off"
        if self.beyond is not None:
            return "past" if self.beyond > 0.0 else "short"
        if reached.high is not None and reached.high < lam:
            return "short"
        return "past" if reached.low is not None and reached.low > lam else "at"

    def words(self, lam: float, strict: float) -> str:
        """One sentence on where the student stands.

        Args:
            lam: λ of its run.
            strict: share of its rollouts that keep the contract.
        """
        off = self.off_the_line.estimate
        where = (
            f"λ reached {_shown(self.lambda_reached)}, off the line {0.0 if off is None else off:.2g} nats a "
            "token"
        )
        match self.standing(lam):
            case "at_base":
                return f"it has hardly left its base: {where}"
            case "off":
                if strict < COLLAPSED:
                    return f"collapsed, but not by extrapolation: {where}: look at the optimiser"
                return f"mostly not by extrapolation: {where}"
            case "short":
                return f"on the line and short of λ = {lam:g}: {where}"
            case "past":
                return f"on the line and past λ = {lam:g}: {where}"
            case _:
                return f"on the line at about λ = {lam:g}: {where}"


def lambda_reached(
    task: Sequence[int], sums: Sequence[LineSums], *, seed: int, confidence: float = 0.95, draws: int = 1000
) -> Reached:
    """The point of the line nearest to a checkpoint, with intervals by bootstrap over tasks.

    Args:
        task: [R] of each completion; completions of one task are drawn together.
        sums: [R] theirs.
        seed: of the bootstrap.
        confidence: two-sided level, in (0, 1).
        draws: bootstrap resamples.

    Raises:
        ValueError: no completion, or lists of different lengths.
    """
    if not sums or len(task) != len(sums):
        raise ValueError(f"{len(task)} tasks for {len(sums)} completions; there must be one each")
    _, group = np.unique(np.asarray(task), return_inverse=True)
    tasks = int(group.max()) + 1

    def by_task(values: FloatArray) -> FloatArray:
        added = np.zeros((tasks, *values.shape[1:]))
        np.add.at(added, group, values)
        return added

    tokens = by_task(np.array([float(one.tokens) for one in sums]))
    gain = by_task(np.array([one.gain for one in sums]))
    excess = by_task(np.array([one.excess for one in sums]))
    partition = by_task(np.stack([one.log_partition for one in sums]))
    slope = by_task(np.stack([one.slope for one in sums]))
    curvature = by_task(np.stack([one.curvature for one in sums]))
    weights = np.ones((1, tasks))
    if tasks > 1:
        rng = np.random.default_rng(seed)
        weights = np.concatenate([weights, rng.multinomial(tasks, np.full(tasks, 1.0 / tasks), size=draws)])
    total = weights @ tokens
    place, least = _minimum(weights @ partition, weights @ slope, weights @ curvature, weights @ gain)
    off = np.maximum(((weights @ excess) + least) / total, 0.0)
    way = ((weights @ excess) + (weights @ partition)[:, NODES.index(0.0)]) / total
    along = Estimate(tasks, None, None, None, f"within {LEAST_WAY:g} nats a token of the base")
    if way[0] >= LEAST_WAY:
        share = np.clip(1.0 - off / np.maximum(way, LEAST_WAY), 0.0, 1.0)
        along = _estimate(share, tasks, confidence, edge=False)
    return Reached(
        _estimate(place, tasks, confidence, edge=True),
        _estimate(off, tasks, confidence, edge=False),
        along,
        int(tokens.sum()),
        None if NODES[0] < place[0] < NODES[-1] else float(place[0]),
    )


def _shown(estimate: Estimate) -> str:
    if estimate.estimate is None:
        return estimate.method
    digits = 2 if abs(estimate.estimate) >= 0.01 else 3
    shown = f"{estimate.estimate:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return shown
    return f"{shown} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def _minimum(
    partition: FloatArray, slope: FloatArray, curvature: FloatArray, gain: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Place and value of the least of log Z(μ) − μ · gain, row by row; the ends where it lies beyond them.

    Between two nodes the curve is the quintic with its values, slopes and curvatures there.

    Args:
        partition: [rows, nodes] log Z.
        slope: [rows, nodes] its derivative, which rises.
        curvature: [rows, nodes] the derivative of that.
        gain: [rows].
    """
    nodes = np.array(NODES)
    value, rise = partition - nodes * gain[:, None], slope - gain[:, None]
    right = np.clip((rise < 0.0).sum(axis=1), 1, len(nodes) - 1)
    row = np.arange(len(gain))
    left = right - 1
    width = nodes[right] - nodes[left]
    start, end = rise[row, left] * width, rise[row, right] * width
    bend, unbend = curvature[row, left] * width**2, curvature[row, right] * width**2
    step = value[row, right] - value[row, left]
    third = 10.0 * step - 6.0 * start - 4.0 * end - 1.5 * bend + 0.5 * unbend
    fourth = -15.0 * step + 8.0 * start + 7.0 * end + 1.5 * bend - unbend
    fifth = 6.0 * step - 3.0 * (start + end) - 0.5 * (bend - unbend)
    low, high = np.zeros_like(start), np.ones_like(start)
    for _ in range(_HALVINGS):
        t = 0.5 * (low + high)
        falls = start + t * (bend + t * (3.0 * third + t * (4.0 * fourth + t * 5.0 * fifth))) < 0.0
        low, high = np.where(falls, t, low), np.where(falls, high, t)
    t = np.where(end < 0.0, 1.0, np.where(start >= 0.0, 0.0, 0.5 * (low + high)))
    least = value[row, left] + t * (start + t * (0.5 * bend + t * (third + t * (fourth + t * fifth))))
    return nodes[left] + width * t, least


def _estimate(values: FloatArray, tasks: int, confidence: float, *, edge: bool) -> Estimate:
    method = "bootstrap-percentile, by task"
    low, high = (None, None) if len(values) == 1 else percentile_limits(values[1:], confidence)
    if edge and not NODES[0] < values[0] < NODES[-1]:
        end = NODES[0] if values[0] <= NODES[0] else NODES[-1]
        return Estimate(tasks, None, None, None, f"beyond {end:g}, the end of what is looked at")
    return Estimate(tasks, float(values[0]), low, high, method)
