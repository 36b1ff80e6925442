"""The picture of a sweep: collapse, parse validity and NDCG@1 over λ, with λ* drawn in."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.figure import Column, Figure, Line, draw
from harness.sweep.analysis import ArmAnalysis, SweepAnalysis
from harness.sweep.prereg.lock_file import ClipPrediction

_STRICT = "strict parse validity"


def draw_sweep(analysis: SweepAnalysis, predictions: Sequence[ClipPrediction] = (), title: str = "") -> str:
    """The picture as SVG: a column a clip strength, a line an arm; λ* bands shaded where given.

    Args:
        analysis: of the sweep.
        predictions: λ* at its clip strengths; without, nothing is shaded.
        title: headline, none if empty.
    """
    clips = dict.fromkeys(arm.clip for arm in analysis.arms)
    notes = [("rule", "below: collapsed; dotted: the base; bars: 95 % intervals over seeds")]
    if predictions:
        notes.append(
            ("band", "λ* predicted from teacher and base: binding role (dark), band of roles (light)")
        )
    return draw(
        Figure(
            title=title,
            panels=("P(collapse)", _STRICT, "NDCG@1 on parsed"),
            columns=tuple(_column(analysis, clip, predictions) for clip in clips),
            lines=tuple(_line(arm) for arm in analysis.arms),
            rules=((_STRICT, True, analysis.base_strict), (_STRICT, False, analysis.threshold)),
            notes=tuple(notes),
        )
    )


def _column(analysis: SweepAnalysis, clip: float | None, predictions: Sequence[ClipPrediction]) -> Column:
    found = next((one for one in predictions if one.clip == clip), None)
    windows = () if found is None else (found.band, found.binding_window)
    return Column(
        heading=_clip(clip),
        lines=tuple(place for place, arm in enumerate(analysis.arms) if arm.clip == clip),
        bands=tuple((window.low, window.high) for window in windows),
    )


def _line(arm: ArmAnalysis) -> Line:
    runs = sum(row.runs for row in arm.rows)
    return Line(
        f"{arm.arm}: {_clip(arm.clip)}, learning rate {arm.learning_rate:g}, {arm.steps} steps, "
        f"{arm.staleness} rollouts, {runs} runs",
        tuple((row.lam, (row.collapse, row.strict, row.ndcg_parsed)) for row in arm.rows),
    )


def _clip(clip: float | None) -> str:
    return "no clip" if clip is None else f"c = {clip:g}"
