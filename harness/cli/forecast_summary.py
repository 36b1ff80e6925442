"""The tables that `harness forecast` prints."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.cli.consoles import line
from harness.forecast import FirstLook, Forecast
from harness.report.forecast_words import break_lines, gain_sentence, placed, sentence, star_sentence
from harness.stats import Estimate

_BAR_WIDTH = 5


def print_look(looked: FirstLook, folder: Path, console: Console) -> None:
    """A row for each λ, with how many answers count there."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("λ", justify="right")
    table.add_column("strict validity")
    for heading in ("95 %", "effective", "unseen", "from λ"):
        table.add_column(heading, justify="right", no_wrap=True)
    for point in looked.points:
        rate = point.parse_validity
        table.add_row(
            f"{point.lam:g}",
            line(f"not told: {point.refused}") if rate.estimate is None else f"{rate.estimate:.1%}",
            _interval(rate),
            f"{point.effective:.0f} of {rate.n}",
            "–" if point.unseen is None else f"{point.unseen:.1%}",
            f"{point.drawn_at:g}",
        )
    masked = f", extrapolated where plausible ({looked.plausible:g})" if looked.plausible else ""
    console.print(f"first look at the target of {looked.teacher} and {looked.base}{masked}: nothing drawn")
    console.print(table)
    console.print(
        "unseen: share of the target's answers that are unlike any of the run's; they count as failing. "
        "Where no number stands, or one decides, draw: the same command without --from"
    )
    console.print(f"first look: {folder / 'first-look.json'}")


def print_forecast(found: Forecast, folder: Path, console: Console) -> None:
    """A row for each λ, then where the format falls."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("λ", justify="right")
    table.add_column("strict validity")
    quality = found.quality
    for heading in ("95 %", "curve", *(() if quality is None else (quality, "of all"))):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("fails with")
    for point in found.points:
        rate = point.parse_validity.estimate or 0.0
        worst = next(iter(point.failure_codes.items()), None)
        table.add_row(
            f"{point.lam:g}",
            "█" * round(rate * _BAR_WIDTH) + "·" * (_BAR_WIDTH - round(rate * _BAR_WIDTH)) + f" {rate:6.1%}",
            _interval(point.parse_validity),
            "" if point.curve is None else f"{_percent(point.curve.estimate)} {_interval(point.curve)}",
            *map(_value, point.quality or ()),
            "" if worst is None else line(f"{worst[0]} {worst[1]:.0%}"),
        )
    masked = f", extrapolated where plausible ({found.plausible:g})" if found.plausible else ""
    console.print(f"target of {found.teacher} and {found.base}{masked}")
    console.print(table)
    both = "" if quality is None else f"; {quality} on what parses, and of all with failures as 0"
    console.print(f"{_curve(found)}{both}")
    console.print(sentence(found))
    if found.breaks is not None:
        for said in break_lines(found.breaks):
            console.print(said)
    if (gain := gain_sentence(found)) is not None:
        console.print(gain)
    if found.lambda_star is not None:
        console.print(star_sentence(found.lambda_star))
    for note in found.notes:
        console.print(f"note: {note}")
    for student in found.students:
        console.print(placed(student))
    console.print(f"forecast: {folder / 'forecast.json'}")


def _curve(found: Forecast) -> str:
    """What the column of that name shows: a curve takes two λ from the teacher's on."""
    if sum(point.lam >= 1.0 for point in found.points) > 1:
        return "curve: falls from λ = 1 on, and all its intervals hold at once"
    if len(found.points) > 1:
        return "curve: as it was drawn (a fall takes two λ from 1 on); all its intervals hold at once"
    return "curve: as it was drawn (a fall takes two λ from 1 on)"


def _value(estimate: Estimate) -> str:
    return "–" if estimate.estimate is None else f"{estimate.estimate:.3f}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{_percent(estimate.low)}–{_percent(estimate.high)}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100.0 * share:.1f}"
