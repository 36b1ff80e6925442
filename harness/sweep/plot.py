"""A sweep as one SVG: collapse, parse validity and NDCG@1 over λ, with λ* drawn in. No library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from harness.stats.estimate import Estimate
from harness.sweep.analysis import ArmAnalysis, LambdaRow, SweepAnalysis
from harness.sweep.prereg.lock_file import ClipPrediction

_COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#525252")
_MARKS = ("circle", "square", "diamond", "circle", "square")
_PANEL_WIDTH, _PANEL_HEIGHT = 330, 128
_LEFT, _TOP, _GAP_X, _GAP_Y = 62, 46, 34, 16
_TEXT = "#1f2937"
_PANELS: tuple[tuple[str, Callable[[LambdaRow], Estimate]], ...] = (
    ("P(collapse)", lambda row: row.collapse),
    ("strict parse validity", lambda row: row.strict),
    ("NDCG@1 on parsed", lambda row: row.ndcg_parsed),
)


@dataclass(frozen=True, slots=True)
class _Frame:
    """One panel: maps λ and a share in [0, 1] to the picture."""

    left: float
    top: float
    lowest: float
    highest: float
    unit: float

    def x(self, lam: float) -> float:
        inside = min(max(lam, self.lowest), self.highest)
        whole = self._stretch(self.highest)
        return self.left + 14 + (_PANEL_WIDTH - 28) * self._stretch(inside) / whole

    def y(self, share: float) -> float:
        return self.top + _PANEL_HEIGHT * (1.0 - share)

    def _stretch(self, lam: float) -> float:
        """Linear below one unit, logarithmic beyond: grids double their distance from 1."""
        return math.log1p((lam - self.lowest) / self.unit)


def draw_sweep(analysis: SweepAnalysis, predictions: Sequence[ClipPrediction] = (), title: str = "") -> str:
    """The picture: a column a clip strength, a line an arm, three panels; λ* bands shaded where given.

    Args:
        analysis: of the sweep.
        predictions: λ* at its clip strengths; without, nothing is shaded.
        title: headline, none if empty.

    Returns:
        An SVG document.
    """
    clips = list(dict.fromkeys(arm.clip for arm in analysis.arms))
    width = _LEFT + len(clips) * _PANEL_WIDTH + (len(clips) - 1) * _GAP_X + 16
    legend_top = _TOP + len(_PANELS) * (_PANEL_HEIGHT + _GAP_Y) + 38
    height = legend_top + 18 * (len(analysis.arms) + (2 if predictions else 1)) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="{_TEXT}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    if title:
        parts.append(_text(_LEFT, 18, title, weight="bold", size=14))
    for column, clip in enumerate(clips):
        arms = [arm for arm in analysis.arms if arm.clip == clip]
        prediction = next((one for one in predictions if one.clip == clip), None)
        left = _LEFT + column * (_PANEL_WIDTH + _GAP_X)
        name = "no clip" if clip is None else f"c = {clip:g}"
        parts.append(_text(left + _PANEL_WIDTH / 2, _TOP - 8, name, anchor="middle", weight="bold"))
        parts += _column(analysis, arms, prediction, left, labelled=column == 0)
    parts += _legend(analysis, bool(predictions), legend_top)
    return "\n".join([*parts, "</svg>", ""])


def _column(
    analysis: SweepAnalysis,
    arms: Sequence[ArmAnalysis],
    prediction: ClipPrediction | None,
    left: float,
    *,
    labelled: bool,
) -> list[str]:
    lambdas = sorted({row.lam for arm in arms for row in arm.rows})
    unit = lambdas[1] - lambdas[0]
    parts = []
    for number, (heading, reading) in enumerate(_PANELS):
        top = _TOP + number * (_PANEL_HEIGHT + _GAP_Y)
        frame = _Frame(left, top, lambdas[0], lambdas[-1], unit)
        parts += _box(frame, prediction)
        if heading.startswith("strict"):
            parts.append(_rule(frame, analysis.base_strict, "2 3", "#6b7280"))
            parts.append(_rule(frame, analysis.threshold, "6 3", "#b91c1c"))
        for arm in arms:
            parts += _line(frame, arm, reading, analysis.arms.index(arm))
        if labelled:
            parts += [
                _text(left - 6, frame.y(share) + 4, f"{share:g}", anchor="end") for share in (0, 0.5, 1)
            ]
            middle = top + _PANEL_HEIGHT / 2
            parts.append(
                f'<text x="{left - 40}" y="{middle}" text-anchor="middle" '
                f'transform="rotate(-90 {left - 40} {middle})">{heading}</text>'
            )
    parts += _ticks(frame, lambdas)
    return parts


def _box(frame: _Frame, prediction: ClipPrediction | None) -> list[str]:
    parts = [
        f'<rect x="{frame.left}" y="{frame.top}" width="{_PANEL_WIDTH}" height="{_PANEL_HEIGHT}" '
        'fill="#f9fafb" stroke="#d1d5db"/>'
    ]
    if prediction is not None:
        for window, colour in ((prediction.band, "#fde68a"), (prediction.binding_window, "#f59e0b")):
            high = frame.highest if window.high is None else window.high
            start, end = frame.x(window.low), frame.x(high)
            if window.low <= frame.highest:
                parts.append(
                    f'<rect x="{start:.1f}" y="{frame.top}" width="{max(end - start, 1.5):.1f}" '
                    f'height="{_PANEL_HEIGHT}" fill="{colour}" fill-opacity="0.6"/>'
                )
    return parts


def _line(
    frame: _Frame, arm: ArmAnalysis, reading: Callable[[LambdaRow], Estimate], number: int
) -> list[str]:
    colour, shape = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
    # Arms of a column stand beside each other, so that their bars can be told apart.
    shift = 3.0 * (number % 3 - 1)
    points, parts = [], []
    for row in arm.rows:
        estimate = reading(row)
        if estimate.estimate is None:
            continue
        x, y = frame.x(row.lam) + shift, frame.y(estimate.estimate)
        points.append(f"{x:.1f},{y:.1f}")
        if estimate.low is not None and estimate.high is not None:
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(estimate.low):.1f}" '
                f'y2="{frame.y(estimate.high):.1f}" stroke="{colour}" stroke-opacity="0.45"/>'
            )
        parts.append(_mark(shape, x, y, colour))
    return [f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}"/>', *parts]


def _mark(shape: str, x: float, y: float, colour: str) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{colour}"/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if shape == "diamond" else ""
    return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{colour}"{turn}/>'


def _rule(frame: _Frame, share: float, dashes: str, colour: str) -> str:
    y = frame.y(share)
    return (
        f'<line x1="{frame.left}" x2="{frame.left + _PANEL_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" '
        f'stroke="{colour}" stroke-dasharray="{dashes}"/>'
    )


def _ticks(frame: _Frame, lambdas: Sequence[float]) -> list[str]:
    parts, last = [], -math.inf
    bottom = frame.top + _PANEL_HEIGHT
    for lam in lambdas:
        x = frame.x(lam)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}" stroke="{_TEXT}"/>')
        if x - last >= 34:
            parts.append(_text(x, bottom + 17, f"{lam:.4g}", anchor="middle", size=11))
            last = x
    parts.append(_text(frame.left + _PANEL_WIDTH / 2, bottom + 33, "λ", anchor="middle"))
    return parts


def _legend(analysis: SweepAnalysis, shaded: bool, top: float) -> list[str]:
    parts = []
    for number, arm in enumerate(analysis.arms):
        y = top + 18 * number + 8
        colour, shape = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
        runs = sum(row.runs for row in arm.rows)
        clip = "no clip" if arm.clip is None else f"c = {arm.clip:g}"
        words = (
            f"{arm.arm}: {clip}, learning rate {arm.learning_rate:g}, {arm.steps} steps, "
            f"{arm.staleness} rollouts, {runs} runs"
        )
        parts += [_mark(shape, _LEFT + 6, y, colour), _text(_LEFT + 18, y + 4, words)]
    y = top + 18 * len(analysis.arms) + 8
    parts.append(
        f'<line x1="{_LEFT}" x2="{_LEFT + 12}" y1="{y}" y2="{y}" stroke="#b91c1c" stroke-dasharray="6 3"/>'
    )
    words = "below: collapsed; dotted: the base; bars: 95 % intervals over seeds"
    parts.append(_text(_LEFT + 18, y + 4, words))
    if shaded:
        y += 18
        parts.append(f'<rect x="{_LEFT}" y="{y - 6}" width="12" height="12" fill="#fde68a"/>')
        parts.append(f'<rect x="{_LEFT + 4}" y="{y - 6}" width="4" height="12" fill="#f59e0b"/>')
        words = "λ* predicted from teacher and base: binding role (dark), band of roles (light)"
        parts.append(_text(_LEFT + 18, y + 4, words))
    return parts


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal", size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'font-size="{size}">{escape(words)}</text>'
    )
