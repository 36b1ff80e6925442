"""The page's first figure: parse validity against NDCG@1, a point a run with both its intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from harness.metrics.table import CONTRACT, QUALITY_OF_ALL
from harness.report import plots
from harness.report.content import Content
from harness.report.reading import RunFacts
from harness.report.text import Shown, decimal, percent
from harness.stats import Estimate

Side = Literal["right", "left", "above", "below"]

_WIDTH, _HEIGHT = 280.0, 260.0
"""The plot on the narrowest page, in pixels: names that don't collide there don't anywhere."""
_CHARACTER, _LINE, _GAP = 6.6, 13.0, 9.0
_LONGEST = 28
_ALL_NAMED = 12
"""Runs that are all named, whatever their names lie on; of more, those are that fit."""


@dataclass(frozen=True, slots=True)
class Point:
    """A run in the figure.

    Attributes:
        run: its name.
        x: parse validity.
        y: NDCG@1 of all answers.
        baseline: whether it is the baseline.
        label: what stands beside it, empty where there is no room.
        side: where that stands.
    """

    run: str
    x: Estimate
    y: Estimate
    baseline: bool
    label: str
    side: Side = "right"

    @property
    def words(self) -> str:
        """The point as a sentence."""
        return f"{self.run}: strict {_with_ends(self.x, percent)}, NDCG@1 {_with_ends(self.y, decimal)}"


@dataclass(frozen=True, slots=True)
class Scatter:
    """The figure.

    Attributes:
        points: a run each, the baseline last, so that it lies on top.
        x: axis of parse validity.
        y: axis of NDCG@1, failures as 0.
        ceiling: ends of the line on which every parsed answer ranks perfectly; None where it isn't in sight,
            or where tasks that can't rank make it no line.
        left_out: names of runs without both numbers.
    """

    points: tuple[Point, ...]
    x: plots.Axis
    y: plots.Axis
    ceiling: tuple[float, float] | None
    left_out: tuple[str, ...]


def scatter_of(content: Content, short: dict[str, str]) -> Scatter | None:
    """The figure, None where no run has both numbers.

    Args:
        content: what the report says.
        short: what a run is called in the figure, where not by its name.
    """
    points, left_out = [], []
    for facts in content.runs:
        found = _point(facts, facts is content.baseline, short.get(facts.name, facts.name))
        if found is None:
            left_out.append(facts.name)
        else:
            points.append(found)
    if not points:
        return None
    x, y = plots.estimates(*(one.x for one in points)), plots.estimates(*(one.y for one in points))
    ends = (max(x.low, y.low), min(x.high, y.high, 1.0))
    alike = all(one.x.n == one.y.n for one in points)
    ordered = sorted(_labelled(points, x, y), key=lambda one: one.baseline)
    return Scatter(tuple(ordered), x, y, ends if alike and ends[0] < ends[1] else None, tuple(left_out))


def _point(facts: RunFacts, baseline: bool, label: str) -> Point | None:
    x, y = (facts.run.metrics.get(name) for name in (CONTRACT, QUALITY_OF_ALL))
    if x is None or y is None or x.estimate is None or y.estimate is None:
        return None
    short = label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
    return Point(facts.name, x, y, baseline, short)


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle in pixels of the narrowest plot."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def _labelled(points: Sequence[Point], x: plots.Axis, y: plots.Axis) -> list[Point]:
    """Every point with its name where it covers least; a name seen already isn't said again."""
    taken = [box for one in points for box in _marks(one, x, y)]
    found, said = [], set()
    for one in points:
        sides: tuple[Side, ...] = get_args(Side)
        boxes = {side: _box(one, side, x, y) for side in sides}
        cost = {side: _cost(box, taken) for side, box in boxes.items()}
        side = min(sides, key=lambda side: cost[side])
        if one.label in said or (len(points) > _ALL_NAMED and cost[side] > 1):
            found.append(replace(one, label=""))
            continue
        said.add(one.label)
        taken.append(boxes[side])
        found.append(replace(one, side=side))
    return found


def _cost(box: _Box, taken: Sequence[_Box]) -> float:
    outside = box.left < -4 or box.right > _WIDTH + 8 or box.top < -8 or box.bottom > _HEIGHT
    return sum(box.meets(other) for other in taken) + 100.0 * outside


def _middle(one: Point, x: plots.Axis, y: plots.Axis) -> tuple[float, float]:
    assert one.x.estimate is not None
    assert one.y.estimate is not None
    return _WIDTH * x.at(one.x.estimate) / 100, _HEIGHT * (1 - y.at(one.y.estimate) / 100)


def _marks(one: Point, x: plots.Axis, y: plots.Axis) -> list[_Box]:
    """Dot and whiskers."""
    across, down = _middle(one, x, y)
    boxes = [_Box(across - 5, down - 5, across + 5, down + 5)]
    if one.x.low is not None and one.x.high is not None:
        boxes.append(
            _Box(_WIDTH * x.at(one.x.low) / 100, down - 1, _WIDTH * x.at(one.x.high) / 100, down + 1)
        )
    if one.y.low is not None and one.y.high is not None:
        top, bottom = (_HEIGHT * (1 - y.at(end) / 100) for end in (one.y.high, one.y.low))
        boxes.append(_Box(across - 1, top, across + 1, bottom))
    return boxes


def _box(one: Point, side: Side, x: plots.Axis, y: plots.Axis) -> _Box:
    """Where a name would lie; beside a dot it is lifted off the whisker."""
    across, down = _middle(one, x, y)
    width = _CHARACTER * len(one.label)
    if side == "right":
        return _Box(across + _GAP, down - 4 - _LINE, across + _GAP + width, down - 3)
    if side == "left":
        return _Box(across - _GAP - width, down - 4 - _LINE, across - _GAP, down - 3)
    above = side == "above"
    top = down - _GAP - _LINE if above else down + _GAP
    return _Box(across - width / 2, top, across + width / 2, top + _LINE)


def _with_ends(estimate: Estimate, shown: Shown) -> str:
    assert estimate.estimate is not None
    if estimate.low is None or estimate.high is None:
        return shown(estimate.estimate)
    return f"{shown(estimate.estimate)} ({shown(estimate.low)} … {shown(estimate.high)})"
