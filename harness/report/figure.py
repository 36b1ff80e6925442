"""A picture of its own: panels of lines over λ, each point with its interval, as one SVG document."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.plots import UNIT, Axis
from harness.report.templating import environment
from harness.stats.estimate import Estimate

_WIDTH, _INSET, _LABEL = 330, 14, 34


@dataclass(frozen=True, slots=True)
class Line:
    """One line through all panels of a column.

    Attributes:
        label: what the legend says of it.
        points: λ, and an estimate in [0, 1] for each panel.
    """

    label: str
    points: tuple[tuple[float, tuple[Estimate, ...]], ...]


@dataclass(frozen=True, slots=True)
class Column:
    """Panels below each other.

    Attributes:
        heading: of the column.
        lines: places of its lines in the figure's.
        bands: stretches of λ to shade, the widest first; no end is None.
    """

    heading: str
    lines: tuple[int, ...]
    bands: tuple[tuple[float, float | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Envelope:
    """A curve with limits that hold together, behind the points of one panel.

    Attributes:
        panel: name of the panel.
        points: λ, and the curve there.
    """

    panel: str
    points: tuple[tuple[float, Estimate], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A whole picture.

    Attributes:
        title: headline, none if empty.
        panels: what each panel shows, from the top.
        columns: from the left; each has at least two values of λ.
        lines: in the order of the legend.
        rules: horizontal lines: name of the panel, dotted (else dashed), and the share where it lies.
        notes: further lines of the legend, each with its sign: `rule`, `band` or `curve`.
        envelopes: curves, in every column.
        marks: what ids in the document begin with; another one for each of several in one page.
        described: what a reader who can't see it is told.
    """

    title: str
    panels: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    rules: tuple[tuple[str, bool, float], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    envelopes: tuple[Envelope, ...] = ()
    marks: str = "mark"
    described: str = ""


def draw(figure: Figure) -> str:
    """The picture as an SVG document."""
    axes = [_axis(figure, column) for column in figure.columns]
    labelled = [_labelled(axis) for axis in axes]
    outlines = [[_outline(envelope, axis) for envelope in figure.envelopes] for axis in axes]
    template = environment().get_template("figure.svg.j2")
    return template.render(figure=figure, axes=axes, labelled=labelled, outlines=outlines)


def _axis(figure: Figure, column: Column) -> Axis:
    ticks = sorted({lam for line in column.lines for lam, _ in figure.lines[line].points})
    # Grids double their distance from 1: linear below one step, logarithmic beyond.
    return Axis(ticks[0], ticks[-1], tuple(ticks), unit=ticks[1] - ticks[0])


def _outline(envelope: Envelope, axis: Axis) -> str:
    """Corners of the area between the limits, in hundredths of the panel."""
    known = [(lam, one.low, one.high) for lam, one in envelope.points]
    above = [(lam, high) for lam, _, high in known if high is not None]
    below = [(lam, low) for lam, low, _ in known if low is not None]
    corners = [*above, *reversed(below)]
    return " ".join(f"{axis.at(lam):g},{100.0 - UNIT.at(share):g}" for lam, share in corners)


def _labelled(axis: Axis) -> list[float]:
    """Ticks whose labels don't run into each other."""
    found: list[float] = []
    for tick in axis.ticks:
        if not found or (axis.at(tick) - axis.at(found[-1])) / 100 * (_WIDTH - 2 * _INSET) >= _LABEL:
            found.append(tick)
    return found
