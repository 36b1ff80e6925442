"""λ reached: where a checkpoint lies on the line of the extrapolated targets, and how far off that line.

For a student π_S and its own visited states, λ reached is the μ that minimises the mean of KL(π_S ‖ π_μ),
π_μ ∝ π_T^μ · π_B^(1−μ). With s = log π_T − log π_B and Z_μ = Σ_a π_B(a) · exp(μ · s(a)),

    KL(π_S ‖ π_μ) = E_S[log π_S − log π_B] − μ · E_S[s] + log Z_μ,

convex in μ, with E_S[s] = E_μ[s] at the minimum. What is left there is *off the line*: no extrapolation.
Where extrapolation is masked, s is 0 outside the mask and log π_B becomes log π_T − s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.cliff.domain import FloatArray
from harness.stats.bootstrap import percentile_limits
from harness.stats.estimate import Estimate

NODES: tuple[float, ...] = (
    *(-2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    *(2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0),
)
"""Values of μ at which log Z and its slope are measured; between them the curve is their cubic."""


@dataclass(frozen=True, slots=True)
class LineSums:
    """Sums over the tokens of one completion.

    Attributes:
        tokens: how many.
        gain: of E_S[s].
        excess: of E_S[log π_S − log π_B].
        log_partition: [nodes] of log Z at each of `NODES`.
        slope: [nodes] of E_μ[s], its derivative.
    """

    tokens: int
    gain: float
    excess: float
    log_partition: FloatArray
    slope: FloatArray


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a checkpoint stands.

    Attributes:
        lambda_reached: the nearest μ; None, with the end it lies beyond in `method`, outside of `NODES`.
        off_the_line: the KL that is left there, in nats a token.
        tokens: visited states behind both.
    """

    lambda_reached: Estimate
    off_the_line: Estimate
    tokens: int


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
    weights = np.ones((1, tasks))
    if tasks > 1:
        rng = np.random.default_rng(seed)
        weights = np.concatenate([weights, rng.multinomial(tasks, np.full(tasks, 1.0 / tasks), size=draws)])
    total = weights @ tokens
    place, least = _minimum(weights @ partition, weights @ slope, weights @ gain)
    off = ((weights @ excess) + least) / total
    return Reached(
        _estimate(place, tasks, confidence, edge=True),
        _estimate(np.maximum(off, 0.0), tasks, confidence, edge=False),
        int(tokens.sum()),
    )


def _minimum(partition: FloatArray, slope: FloatArray, gain: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Place and value of the least of log Z(μ) − μ · gain, row by row; the ends where it lies beyond them.

    Args:
        partition: [rows, nodes] log Z.
        slope: [rows, nodes] its derivative, which rises.
        gain: [rows].
    """
    nodes = np.array(NODES)
    value, rise = partition - nodes * gain[:, None], slope - gain[:, None]
    right = np.clip((rise < 0.0).sum(axis=1), 1, len(nodes) - 1)
    row = np.arange(len(gain))
    left = right - 1
    width = nodes[right] - nodes[left]
    start, end = rise[row, left] * width, rise[row, right] * width
    step = value[row, right] - value[row, left]
    # Hermite's cubic p(t), t in [0, 1]: p' = start + 2·a·t + 3·b·t².
    a, b = 3.0 * step - 2.0 * start - end, start + end - 2.0 * step
    root = np.sqrt(np.maximum(a * a - 3.0 * b * start, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(a + root == 0.0, 0.0, -start / (a + root))
    t = np.clip(np.nan_to_num(t), 0.0, 1.0)
    least = value[row, left] + start * t + a * t**2 + b * t**3
    return nodes[left] + width * t, least


def _estimate(values: FloatArray, tasks: int, confidence: float, *, edge: bool) -> Estimate:
    method = "bootstrap-percentile, by task"
    low, high = (None, None) if len(values) == 1 else percentile_limits(values[1:], confidence)
    if edge and not NODES[0] < values[0] < NODES[-1]:
        end = NODES[0] if values[0] <= NODES[0] else NODES[-1]
        return Estimate(tasks, None, None, None, f"beyond {end:g}, the end of what is looked at")
    return Estimate(tasks, float(values[0]), low, high, method)
