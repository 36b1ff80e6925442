"""Geometry of the plots: places along an axis in percent, so that a plot stretches and its text doesn't."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from harness.stats.estimate import Estimate

_CHARACTER, _BETWEEN = 6.2, 7.0
"""Width of a digit at 11 pixels, and the least room between two labels."""
_MOST_DIGITS = 13
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

    def tick(self, value: float, *, percent: bool = False, signed: bool = False) -> str:
        """A tick's label, with the digits that tell it from the next."""
        step = min((b - a for a, b in pairwise(self.ticks)), default=1.0) * (100 if percent else 1)
        scaled = (step * 10**digits for digits in range(_MOST_DIGITS))
        digits = next((n for n, one in enumerate(scaled) if one > 0.5 and abs(one - round(one)) < 1e-6), 0)
        shown = f"{value * (100 if percent else 1):{'+' if signed and value else ''}.{digits}f}"
        return shown.replace("-", "−")

    def labelled(self, pixels: float, *, percent: bool = False, signed: bool = False) -> tuple[float, ...]:
        """Ticks whose labels don't run into each other on an axis so long, 0 among them if it is a tick."""
        longest = max((len(self.tick(one, percent=percent, signed=signed)) for one in self.ticks), default=0)
        apart = 100 * (_CHARACTER * longest + _BETWEEN) / pixels
        first = self.ticks.index(0.0) if 0.0 in self.ticks else 0
        found = self.ticks
        for stride in range(1, len(self.ticks) + 1):
            found = self.ticks[first % stride :: stride]
            if all(self.at(b) - self.at(a) >= apart for a, b in pairwise(found)):
                break
        return found

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high


UNIT = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))


def over(*values: float | None, within: tuple[float, float] = (-math.inf, math.inf)) -> Axis:
    """An axis that holds all values, with a margin and some four ticks.

    Args:
        values: those known count; without any the axis is [0, 1].
        within: least and largest possible value; no tick lies outside.
    """
    known = [value for value in values if value is not None] or [0.0, 1.0]
    low, high = min(known), max(known)
    size = max(abs(low), abs(high), 1.0)
    # What differs by less than can be told apart in a sum of such numbers is one value.
    margin = 0.06 * (high - low) if high - low > 1e-9 * size else 0.05 * size
    low, high = low - margin, high + margin
    step = _rounded_up((high - low) / 5)
    first = math.ceil(max(low, within[0]) / step - 1e-9)
    last = math.floor(min(high, within[1]) / step + 1e-9)
    return Axis(low, high, tuple(round(place * step, 10) for place in range(first, last + 1)))


def estimates(*found: Estimate | None, within: tuple[float, float] = (0.0, 1.0)) -> Axis:
    """An axis that holds estimates and their intervals."""
    known = [one for one in found if one is not None]
    return over(*(end for one in known for end in (one.estimate, one.low, one.high)), within=within)


def _rounded_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(round(step * power, 12) for step in _STEPS if step * power >= value * (1 - 1e-9))
