"""What λ reached is made of: sums over a completion's states, and the curve of the divergence between nodes.

With s = log π_T − log π_B and Z_μ = Σ_a π_B(a) · exp(μ · s(a)),

    KL(π_S ‖ π_μ) = E_S[log π_S − log π_B] − μ · E_S[s] + log Z_μ.

log Z is measured at `NODES` with its slope E_μ[s] and curvature Var_μ[s]. Between two nodes it is taken for
the quintic with the values, slopes and curvatures there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import FloatArray

NODES: tuple[float, ...] = (
    *(-2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    *(2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0),
)
"""Values of μ at which log Z, its slope and curvature are measured."""
ELSEWHERE: Final = "elsewhere"
"""Role of the positions behind the token that breaks the contract or ends the answer."""
ROUNDING: Final = 1e-6
"""What single precision leaves of logits of some tens, in nats a token."""
ARRAYS: Final = ("log_partition", "slope", "curvature")
"""Fields of `LineSums` that have a value at every node."""
_HALVINGS = 50
_CHUNK = 1 << 22
_NODES = np.array(NODES)
# Coefficients of the quintic on [0, 1], lowest first, by value, slope and curvature at its left and right.
_QUINTIC = np.array(
    [
        *([1.0, 0.0, 0.0, -10.0, 15.0, -6.0], [0.0, 0.0, 0.0, 10.0, -15.0, 6.0]),
        *([0.0, 1.0, 0.0, -6.0, 8.0, -3.0], [0.0, 0.0, 0.0, -4.0, 7.0, -3.0]),
        *([0.0, 0.0, 0.5, -1.5, 1.5, -0.5], [0.0, 0.0, 0.0, 0.5, -1.0, 0.5]),
    ]
)


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
        roles: the same over the tokens that stand at each role; empty where roles weren't told apart.
    """

    tokens: int
    gain: float
    excess: float
    log_partition: FloatArray
    slope: FloatArray
    curvature: FloatArray
    roles: Mapping[str, LineSums] = field(default_factory=dict)

    @classmethod
    def of_columns(cls, columns: FloatArray, roles: Sequence[str] = ()) -> LineSums:
        """Add up what was measured at single tokens.

        Args:
            columns: [tokens, 2 + 3 · nodes] of E_S[s], E_S[log π_S − log π_B], then by node of log Z,
                E_μ[s] and Var_μ[s].
            roles: [tokens] of each, or none.
        """
        named = np.array(roles)
        apart = {name: cls._added(columns[named == name]) for name in dict.fromkeys(roles) if len(roles) > 0}
        return cls._added(columns, apart)

    @classmethod
    def _added(cls, columns: FloatArray, roles: Mapping[str, LineSums] | None = None) -> LineSums:
        total = columns.sum(axis=0)
        partition, slope, curvature = np.split(total[2:], len(ARRAYS))
        return cls(len(columns), float(total[0]), float(total[1]), partition, slope, curvature, roles or {})


@dataclass(frozen=True, slots=True, eq=False)
class TaskCurves:
    """Sums of T tasks, and the divergence of any weighting of them as a function of μ.

    Attributes:
        tokens: [T] how many.
        gain: [T] of E_S[s].
        excess: [T] of E_S[log π_S − log π_B].
        log_partition: [T, nodes].
        slope: [T, nodes].
        curvature: [T, nodes].
    """

    tokens: FloatArray
    gain: FloatArray
    excess: FloatArray
    log_partition: FloatArray
    slope: FloatArray
    curvature: FloatArray

    @classmethod
    def collect(cls, task: Sequence[int], sums: Sequence[LineSums]) -> TaskCurves:
        """Add up the completions of each task.

        Args:
            task: [R] of each completion, any numbers.
            sums: [R] theirs, at least one.
        """
        _, group = np.unique(np.asarray(task), return_inverse=True)
        tasks = int(group.max()) + 1

        def by_task(values: FloatArray) -> FloatArray:
            added = np.zeros((tasks, *values.shape[1:]))
            np.add.at(added, group, values)
            return added

        return cls(
            by_task(np.array([float(one.tokens) for one in sums])),
            by_task(np.array([one.gain for one in sums])),
            by_task(np.array([one.excess for one in sums])),
            *(by_task(np.stack([getattr(one, name) for one in sums])) for name in ARRAYS),
        )

    @property
    def count(self) -> int:
        """T."""
        return len(self.tokens)

    def nearest(self, weights: FloatArray) -> FloatArray:
        """[B] the μ of least divergence by row of weights [B, T]; an end of `NODES` where it lies beyond."""
        return _place(
            weights @ self.log_partition,
            weights @ self.slope,
            weights @ self.curvature,
            weights @ self.gain,
        )

    def apart(self) -> float:
        """KL(π_T ‖ π_B) over these states, in nats a token."""
        at = NODES.index(1.0)
        return float((self.slope[:, at] - self.log_partition[:, at]).sum() / self.tokens.sum())

    def blur(self) -> tuple[float, float]:
        """How far λ reached and off the line of all tasks may be wrong by arithmetic, whatever the sample.

        Once by twice how far the quintic between the nodes is, where it is farthest, from the cubics through
        slopes and curvatures, and through values and slopes, alone: what such different curves agree on isn't
        wrong by much more than they differ. And once by `ROUNDING`.
        """
        one = np.ones((1, self.count))
        place, tokens = self.nearest(one), float(self.tokens.sum())
        right = int(_right(one @ self.slope - self.gain.sum())[0])
        width, t = _NODES[right] - _NODES[right - 1], np.linspace(0.0, 1.0, 9)
        value, slope, _ = (found.sum(axis=1) for found in self._at(_NODES[right - 1] + width * t))
        ends = slice(right - 1, right + 1)
        values, slopes, curvatures = (
            getattr(self, name)[:, ends].sum(axis=0) * width**power for power, name in enumerate(ARRAYS)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            bent = max(float(self._at(place)[2].sum()), 0.0)
            apart = np.abs(_cubic(t, slopes, curvatures) / width - slope).max()
            blur = np.float64(2.0 * apart + ROUNDING * tokens) / bent
        off = 2.0 * np.abs(_cubic(t, values, slopes) - value).max() / tokens + ROUNDING
        return float(blur), float(off)

    def farthest(self, place: float, off: float) -> tuple[float, float, float]:
        """How far the most extreme task pulls λ reached down and up, and off the line up; all ≥ 0.

        Args:
            place: λ reached of all tasks.
            off: off the line of all.
        """
        value, slope, curvature = (one[0] for one in self._at(np.array([place])))
        with np.errstate(divide="ignore", invalid="ignore"):
            pull = (self.gain - slope) / max(float(curvature.sum()), 0.0)
        rest = self.excess + value - place * self.gain - off * self.tokens
        most = float(rest.max() / self.tokens.sum())
        return max(-float(pull.min()), 0.0), max(float(pull.max()), 0.0), max(most, 0.0)

    def spread(self, weights: FloatArray, place: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Standard errors of λ reached, off the line, and standard errors of that.

        λ reached solves Σ_t w_t · (gain_t − slope_t(μ)) = 0: its error is that of an M-estimator with tasks
        as units. Off the line is a ratio of sums, in which μ, being at the minimum, counts for nothing.

        Args:
            weights: [B, T].
            place: [B] λ reached of each row of weights.
        """
        parts = max(1, _CHUNK // self.count)
        found = [
            self._spread(weights[at : at + parts], place[at : at + parts])
            for at in range(0, len(place), parts)
        ]
        error, off, error_off = (np.concatenate(column) for column in zip(*found, strict=True))
        return error, off, error_off

    def _spread(self, weights: FloatArray, place: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        value, slope, curvature = self._at(place)
        few = np.sqrt(self.count / max(1, self.count - 1))
        miss = self.gain - slope
        with np.errstate(divide="ignore", invalid="ignore"):
            error = few * np.sqrt((weights * miss**2).sum(axis=1)) / (weights * curvature).sum(axis=1)
            rest = self.excess + value - place[:, None] * self.gain
            total = weights @ self.tokens
            off = (weights * rest).sum(axis=1) / total
            residual = rest - off[:, None] * self.tokens
            error_off = few * np.sqrt((weights * residual**2).sum(axis=1)) / total
        return error, off, error_off

    def _at(self, place: FloatArray) -> list[FloatArray]:
        """[B, T] log Z of every task, its slope and curvature, at each of B values of μ."""
        left = np.clip(np.searchsorted(_NODES, place), 1, len(NODES) - 1) - 1
        width = _NODES[left + 1] - _NODES[left]
        t = (place - _NODES[left]) / width
        scale = width[:, None] ** np.array([0, 0, 1, 1, 2, 2])
        powers = np.arange(6)
        found = []
        for order in range(3):
            # The order-th derivative of t^k is k!/(k − order)! · t^(k − order).
            factor = np.prod([powers - less for less in range(order)], axis=0) if order else np.ones(6)
            basis = (factor * t[:, None] ** np.maximum(powers - order, 0)) @ _QUINTIC.T
            coefficients = basis * scale / width[:, None] ** order
            values = np.empty((len(place), self.count))
            for at in np.unique(left):
                rows = left == at
                known = [
                    one[:, side]
                    for one in (self.log_partition, self.slope, self.curvature)
                    for side in (at, at + 1)
                ]
                values[rows] = coefficients[rows] @ np.stack(known)
            found.append(values)
        return found


def _right(rise: FloatArray) -> npt.NDArray[np.int64]:
    """[B] the node at the right of the least of each row, by slopes [B, nodes], which rise."""
    return np.asarray(np.clip((rise < 0.0).sum(axis=1), 1, len(NODES) - 1))


def _place(partition: FloatArray, slope: FloatArray, curvature: FloatArray, gain: FloatArray) -> FloatArray:
    """[B] where log Z(μ) − μ · gain is least, row by row; arrays [B, nodes], and gain [B]."""
    value, rise = partition - _NODES * gain[:, None], slope - gain[:, None]
    right = _right(rise)
    row, left = np.arange(len(gain)), right - 1
    width = _NODES[right] - _NODES[left]
    start, end = rise[row, left] * width, rise[row, right] * width
    bend, unbend = curvature[row, left] * width**2, curvature[row, right] * width**2
    step = value[row, right] - value[row, left]
    third = 10.0 * step - 6.0 * start - 4.0 * end - 1.5 * bend + 0.5 * unbend
    fourth = -15.0 * step + 8.0 * start + 7.0 * end + 1.5 * bend - unbend
    fifth = 6.0 * step - 3.0 * (start + end) - 0.5 * (bend - unbend)
    t = _root(start, bend, 3.0 * third, 4.0 * fourth, 5.0 * fifth)
    t = np.where(end < 0.0, 1.0, np.where(start >= 0.0, 0.0, t))
    return np.asarray(_NODES[left] + width * t)


def _cubic(t: FloatArray, ends: FloatArray, slopes: FloatArray) -> FloatArray:
    """[B] at places [B] in [0, 1] the cubic with these two values and slopes at its ends."""
    step = ends[1] - ends[0]
    bend, fourth = 3.0 * step - 2.0 * slopes[0] - slopes[1], slopes[0] + slopes[1] - 2.0 * step
    return np.asarray(ends[0] + t * (slopes[0] + t * (bend + t * fourth)))


def _root(start: FloatArray, *more: FloatArray) -> FloatArray:
    """[B] where a rising polynomial on [0, 1] crosses 0; its coefficients [B], lowest first."""
    low, high = np.zeros_like(start), np.ones_like(start)
    for _ in range(_HALVINGS):
        t = 0.5 * (low + high)
        value = np.zeros_like(start)
        for coefficient in reversed((start, *more)):
            value = value * t + coefficient
        low, high = np.where(value < 0.0, t, low), np.where(value < 0.0, high, t)
    return np.asarray(0.5 * (low + high))
