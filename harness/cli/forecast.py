"""`harness forecast`: where the format falls, before any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.eval_options import eval_config, eval_options
from harness.cli.options import Command, GroupedOption, json_option, options_of, settings_from

if TYPE_CHECKING:
    from rich.console import Console

    from harness.cliff import CliffResult
    from harness.forecast import Forecast, ForecastConfig, Student
    from harness.forecast.result import Gain, Star
    from harness.progress import OnProgress
    from harness.stats import Estimate

_DEFAULT_LIMIT = 128
_BAR_WIDTH = 10
_OWN = ("teacher", "base", "students", "bar", "plausible", "clip", "points")
# Set by the job, or of engines that hold one model alone.
_NOT_SHARED = (
    "engine",
    "ckpt",
    "tokenizer",
    "replay",
    "out",
    "constrained",
    "k",
    "base_urls",
    "concurrency",
    "retry_seconds",
    "request_seconds",
    "request_tries",
    "allow_missing",
    "served_model",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "engine_args",
    "target_plausible",
)


def _options() -> list[click.Option]:
    from harness.forecast.config import ForecastConfig

    limit = {"default": _DEFAULT_LIMIT, "show_default": True}
    one = {"default": 1.0, "show_default": True}
    grid = GroupedOption(
        ["--lambdas"],
        group="Forecast",
        metavar="1,1.2,…",
        help="λ to draw at; by default a grid from 0 to 8, refined around the fall.",
    )
    return [
        grid,
        *options_of(
            ForecastConfig,
            only=ForecastConfig.model_fields,
            leave_out=("evaluation", "lambdas"),
            students={"metavar": "CKPT"},
        ),
        *eval_options(_NOT_SHARED, limit=limit, temperature=one),
    ]


@click.command(
    name="forecast",
    cls=Command,
    settings=_options,
    epilog="\b\nExample: harness forecast --teacher zoo:teacher --base zoo:base --split validation \\\n"
    "    --lambdas 1,1.6,2 --limit 32 --out runs/forecast",
)
@json_option
def forecast_command(as_machine: bool, lambdas: str | None, out: Path, **options: Any) -> None:
    """Draw from the extrapolated target over a grid of λ, and say where its format falls.

    The target π_λ ∝ π_T^λ · π_B^(1−λ) is where distillation with reward extrapolation leads; drawing from it
    takes no training. Without --lambdas the grid is refined around the fall. The folder gets forecast.json,
    forecast.svg and a run for each λ.
    """
    from harness import files
    from harness.cli import consoles, output
    from harness.cli.forecast_figure import FIGURE, draw_forecast
    from harness.cli.listening import listening
    from harness.errors import HarnessError
    from harness.forecast import ForecastConfig, forecast

    try:
        grid = tuple(float(one) for one in (lambdas or "").split(",") if one.strip())
    except ValueError:
        raise HarnessError(f"--lambdas {lambdas}: write numbers such as 1,1.2,1.5") from None
    evaluation = eval_config({**options, "engine": "auto", "engine_args": ()})
    own = {name: options[name] for name in _OWN}
    config = settings_from(ForecastConfig, own, {"evaluation": evaluation, "lambdas": grid, "out": out})
    with listening(consoles.errors()) as on_progress:
        found = forecast(config, on_progress, _star)
    picture = draw_forecast(found)
    if picture is not None:
        with files.resumable(out):
            files.write_text(out / FIGURE, picture)
    if as_machine:
        output.document(found.to_dict())
    else:
        print_forecast(found, out, consoles.results())


def print_forecast(found: Forecast, folder: Path, console: Console) -> None:
    """A row for each λ, then where the format falls."""
    from rich.table import Table

    from harness.cli import consoles

    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("λ", justify="right")
    table.add_column("strict validity")
    for heading in ("95 %", "NDCG@1 parsed", "NDCG@1 all"):
        table.add_column(heading, justify="right")
    table.add_column("fails with")
    for point in found.points:
        rate = point.parse_validity.estimate or 0.0
        worst = next(iter(point.failure_codes.items()), None)
        table.add_row(
            f"{point.lam:g}",
            "█" * round(rate * _BAR_WIDTH) + "·" * (_BAR_WIDTH - round(rate * _BAR_WIDTH)) + f" {rate:6.1%}",
            _interval(point.parse_validity),
            _value(point.ndcg_at_1_parsed),
            _value(point.ndcg_at_1_all),
            "" if worst is None else consoles.line(f"{worst[0]} {worst[1]:.0%}"),
        )
    masked = f", extrapolated where plausible ({found.plausible:g})" if found.plausible else ""
    console.print(f"target of {found.teacher} and {found.base}{masked}")
    console.print(table)
    console.print(sentence(found))
    if found.gain is not None:
        console.print(gain_sentence(found.gain))
    if found.lambda_star is not None:
        console.print(star_sentence(found.lambda_star))
    for note in found.notes:
        console.print(f"note: {note}")
    for student in found.students:
        console.print(_placed(student))
    console.print(f"forecast: {folder / 'forecast.json'}")


def sentence(found: Forecast) -> str:
    """Up to which λ the format holds, as far as it is known."""
    largest = found.largest_lambda
    shown = "at no λ drawn" if largest.low is None else f"up to λ = {largest.low:g}"
    below = "at none" if largest.high is None else f"from λ = {largest.high:g} on"
    about = (
        f"about {largest.estimate:.3g}" if largest.estimate is not None else f"not found: {largest.reason}"
    )
    return (
        f"largest λ with strict validity of at least {found.bar:.0%}: {about}; shown to be at least that "
        f"{shown}, and below {below}"
    )


def _star(config: ForecastConfig, clip: float, on_progress: OnProgress) -> CliffResult:
    """λ* of the pair; no run's λ is asked about, so that of plain distillation stands for it."""
    from harness.measure import CliffConfig, measure_cliff

    cliff = CliffConfig(
        evaluation=config.of_base,
        teacher=config.teacher,
        base=config.base,
        lam=1.0,
        clip=clip,
        token_level="skip",
    )
    return measure_cliff(cliff, on_progress).result


def star_sentence(star: Star) -> str:
    """λ*, and how far it can be believed."""
    value = star.status.replace("_", " ") if star.value is None else f"{star.value:.3g}"
    high = "∞" if star.high is None else f"{star.high:.3g}"
    interval = "" if star.low is None else f" [{star.low:.3g}, {high}]"
    unmet = f"; not met: {'; '.join(star.unmet)}" if star.unmet else ""
    return (
        f"λ* at c = {star.clip:g}: {value}{interval}, binding {star.role or 'no role'}; it takes the role "
        f"for a coin and a ratio to the teacher, and none of five locked sweeps found its onset there{unmet}"
    )


def gain_sentence(gain: Gain) -> str:
    """Whether there is anything to gain from λ above 1."""
    low, high = gain.difference.low, gain.difference.high
    interval = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
    told = f"λ = {gain.lam:g} {gain.difference.estimate or 0.0:+.3f}{interval} NDCG@1 of all answers"
    if low is not None and low > 0.0:
        return f"ranks better than the teacher: {told}"
    return f"no λ above 1 is shown to rank better than the teacher; at best {told}"


def _placed(student: Student) -> str:
    reached, off = student.lambda_reached, student.off_the_line
    where = f"λ reached {reached.method}"
    if reached.estimate is not None:
        where = f"λ reached {reached.estimate:.2f}"
        if reached.low is not None and reached.high is not None:
            where += f" [{reached.low:.2f}, {reached.high:.2f}]"
    there = "" if student.forecast_there is None else f", forecast there {student.forecast_there:.1%}"
    valid = student.parse_validity.estimate or 0.0
    return f"{student.checkpoint}: {where}, off the line {off.estimate:.3f} nats; strict {valid:.1%}{there}"


def _value(estimate: Estimate) -> str:
    return "–" if estimate.estimate is None else f"{estimate.estimate:.3f}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.1%} … {estimate.high:.1%}"
