"""The picture of a forecast: parse validity and NDCG@1 over λ, each student at its λ reached."""

from __future__ import annotations

from harness.report.figure import Column, Envelope, Figure, Line, draw
from harness.runs.forecast_record import Forecast, Student
from harness.stats import Estimate

FIGURE = "forecast.svg"
_STRICT = "strict parse validity"
_LONGEST = 44
"""Characters of a headline that the picture has room for."""


def draw_forecast(found: Forecast, marks: str = "mark") -> str | None:
    """The picture as SVG; None where fewer than two λ were drawn.

    Args:
        found: the forecast.
        marks: what ids in it begin with.
    """
    if len(found.points) < 2:
        return None
    masked = f", extrapolated where plausible ({found.plausible:g})" if found.plausible else ""
    target = Line(
        f"the target, before training{masked}",
        tuple((one.lam, (one.parse_validity, *(one.quality or ())[:1])) for one in found.points),
    )
    panels = (_STRICT,) if found.quality is None else (_STRICT, f"{found.quality} on parsed")
    lines = [target, *(line for line in map(_student, found.students) if line is not None)]
    notes = [("rule", f"{found.bar:.0%} of answers valid; bars: 95 % intervals, each its own")]
    curve = tuple((one.lam, one.curve) for one in found.points if one.lam >= 1.0 and one.curve is not None)
    if len(curve) > 1:
        notes.append(("curve", "falling curve, limits that hold together for all λ"))
    largest, bands = found.largest_lambda, []
    if largest.low is not None:
        bands.append((largest.low, largest.high))
        notes.append(("band", "in here the target falls below that, at 95 %"))
    title = f"{found.teacher} and {found.base}"
    column = Column("", tuple(range(len(lines))), tuple(bands))
    return draw(
        Figure(
            title=title if len(title) <= _LONGEST else "",
            panels=panels,
            columns=(column,),
            lines=tuple(lines),
            rules=((_STRICT, False, found.bar),),
            notes=tuple(notes),
            envelopes=(Envelope(_STRICT, curve),) if len(curve) > 1 else (),
            marks=marks,
            described=f"{' and '.join(panels)} of the target of {title} over λ",
        )
    )


def _student(student: Student) -> Line | None:
    """A point at its λ reached; None where it lies beyond what is looked at."""
    reached: Estimate = student.lambda_reached
    if reached.estimate is None:
        return None
    quality = student.match_exact if student.ndcg_at_1_parsed is None else student.ndcg_at_1_parsed
    values = (student.parse_validity,) if quality is None else (student.parse_validity, quality)
    point = (max(reached.estimate, 0.0), values)
    return Line(f"{student.checkpoint}, at its λ reached", (point,))
