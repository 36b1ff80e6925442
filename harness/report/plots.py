"""Geometry of the plots: places along an axis in percent, so that a plot stretches and its text doesn't."""

from __future__ import annotations

import math
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis, linear or logarithmic.

    Attributes:
        low: value at its beginning.
        high: value at its end, above `low`.
        ticks: values to mark.
        unit: None is linear; else it is nearly linear for one unit and logarithmic beyond.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    unit: float | None = None

    def at(self, value: float) -> float:
        """Place of a value in percent, held inside the axis."""
        share, whole = (min(max(one, self.low), self.high) - self.low for one in (value, self.high))
        if self.unit is not None:
            share, whole = math.log1p(share / self.unit), math.log1p(whole / self.unit)
        return round(100.0 * share / whole, 3)

    def span(self, low: float, high: float) -> float:
        """Length between two values in percent, never below a hair."""
        return round(max(0.15, self.at(high) - self.at(low)), 3)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high


UNIT = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))


def around_zero(*values: float | None) -> Axis:
    """A symmetric axis that holds all values."""
    reach = max((abs(value) for value in values if value is not None), default=0.0)
    top = _rounded_up(max(reach, 1e-3))
    return Axis(-top, top, (-top, -top / 2, 0.0, top / 2, top))


def over(*values: float | None) -> Axis:
    """An axis that holds all values, with a margin and some four ticks."""
    known = [value for value in values if value is not None] or [0.0, 1.0]
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 0.05 * max(abs(high), 1.0)
    low, high = low - margin, high + margin
    step = _rounded_up((high - low) / 5)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(round(place * step, 10) for place in range(first, last + 1)))


def _rounded_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(round(step * power, 12) for step in _STEPS if step * power >= value * (1 - 1e-9))
