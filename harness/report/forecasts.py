"""The forecasts that lie in the folders of a report's runs, or around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.cliff.placement import Placement
from harness.errors import HarnessError
from harness.report import text
from harness.report.forecast_figure import draw_forecast
from harness.report.forecast_words import gain_sentence, place_words, placed, sentence, star_sentence
from harness.report.reading import RunFacts
from harness.runs import source_of
from harness.runs.forecast_record import FORECAST, Forecast, Point, read_forecast
from harness.stats import Estimate


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A forecast as a report shows it.

    Attributes:
        folder: that it lies in, resolved.
        forecast: what `forecast.json` says.
        stale: λ whose answers aren't those any more that it was made from: nothing of it is shown then.
        number: of the report's forecasts, from 0.
        show_texts: whether answers may be shown.
    """

    folder: Path
    forecast: Forecast
    stale: tuple[float, ...]
    number: int
    show_texts: bool

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.folder.name

    @property
    def picture(self) -> Markup:
        """The figure, empty where one λ was drawn."""
        # Made by the project's own template, which escapes what comes from outside.
        return Markup(draw_forecast(self.forecast, f"forecast{self.number}-") or "")

    @property
    def sentences(self) -> list[str]:
        """What it says in words."""
        found = self.forecast
        said = [sentence(found)]
        if (gain := gain_sentence(found)) is not None:
            said.append(gain)
        if found.lambda_star is not None:
            said.append(star_sentence(found.lambda_star))
        return [*said, *(f"note: {note}" for note in found.notes), *map(placed, found.students)]

    @property
    def headings(self) -> list[str]:
        """Of the columns of `rows`."""
        quality = self.forecast.quality
        both = [] if quality is None else [f"{quality} on parsed", f"{quality}, failures as 0"]
        return ["λ", "strict validity, its own 95 %", "curve, all λ together", *both, "fails with"]

    @property
    def rows(self) -> list[list[str]]:
        """λ, strict validity and the curve with their intervals, quality both ways, the commonest failure."""
        return [
            [
                f"{one.lam:g}",
                _shown(one.parse_validity, text.percent),
                "–" if one.curve is None else _shown(one.curve, text.percent),
                *(_shown(quality, text.decimal) for quality in one.quality or ()),
                commonest(one) or "–",
            ]
            for one in self.forecast.points
        ]

    @property
    def refusal(self) -> str:
        """Why nothing of it is shown."""
        lams = ", ".join(f"{lam:g}" for lam in self.stale)
        return f"made from other answers than there are now (λ = {lams}); forecast again"

    def to_dict(self) -> dict[str, Any]:
        """For machines; without the answers where those may not be shown."""
        if self.stale:
            return {"folder": self.name, "stale": list(self.stale)}
        found = self.forecast
        if found.breaks is not None and not self.show_texts:
            ways = tuple(replace(way, examples=()) for way in found.breaks.ways)
            found = replace(found, breaks=replace(found.breaks, ways=ways))
        return {"folder": self.name, "stale": [], **found.to_dict()}


def find_forecasts(runs: Sequence[RunFacts], *, show_texts: bool = True) -> tuple[Foreseen, ...]:
    """Forecasts in the folders named, and in those that a run lies in.

    Args:
        runs: of the report.
        show_texts: whether answers may be shown.

    Raises:
        DataError: a `forecast.json` that can't be read.
    """
    folders = dict.fromkeys(
        place.expanduser().resolve()
        for facts in runs
        for place in (facts.folder, facts.run.path.expanduser().resolve().parent)
        if place is not None
    )
    holding = [folder for folder in folders if (folder / FORECAST).is_file()]
    return tuple(_foreseen(folder, number, show_texts) for number, folder in enumerate(holding))


def with_place(facts: RunFacts, forecasts: Sequence[Foreseen]) -> RunFacts:
    """A run with the place that a forecast gives it, where it is the rollouts of one of its students."""
    path = facts.run.path.expanduser().resolve()
    for one in forecasts:
        found = one.forecast
        student = next((own for own in found.students if one.folder / own.run == path), None)
        if facts.place is None and student is not None and not one.stale:
            place = Placement(
                None,
                found.plausible,
                student.lambda_reached,
                student.off_the_line,
                student.along_the_line,
                place_words(student),
            )
            return replace(facts, place=place)
    return facts


def _foreseen(folder: Path, number: int, show_texts: bool) -> Foreseen:
    found = read_forecast(folder)
    stale = tuple(point.lam for point in found.points if not _is_current(folder, point))
    return Foreseen(folder, found, stale, number, show_texts)


def _is_current(folder: Path, point: Point) -> bool:
    try:
        return source_of(folder / point.run).drawn_sha256 == point.source
    except (HarnessError, OSError):
        # Gone, or no run any more.
        return False


def commonest(point: Point) -> str:
    """The commonest failure, with its share of all answers; empty where nothing fails."""
    return next((f"{code} {text.percent(share)}" for code, share in point.failure_codes.items()), "")


def _shown(estimate: Estimate, shown: text.Shown) -> str:
    if estimate.estimate is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return shown(estimate.estimate)
    return f"{shown(estimate.estimate)} ({shown(estimate.low)} … {shown(estimate.high)})"
