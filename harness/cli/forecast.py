"""`harness forecast`: where the format falls, before any training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.eval_options import eval_config, eval_options
from harness.cli.options import Command, GroupedOption, flags_of, json_option, options_of, settings_from

if TYPE_CHECKING:
    from harness.cliff import CliffResult
    from harness.forecast import ForecastConfig
    from harness.progress import OnProgress

_DEFAULT_LIMIT = 128
_OWN = (
    *("teacher", "base", "stored", "bar", "students", "plausible", "teacher_device", "base_device", "clip"),
    "points",
)
# Of a forecast that draws: the answers of a stored run were drawn as they were.
_OF_DRAWING = (
    *("bar", "students", "clip", "points", "data", "split", "limit", "samples", "temperature", "top_p"),
    *("max_tokens", "contract", "skip_bad_rows"),
)
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
    "fields",
    "target_plausible",
    "target_teacher_device",
    "target_base_device",
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
@click.pass_context
def forecast_command(
    context: click.Context, /, as_machine: bool, lambdas: str | None, out: Path, **options: Any
) -> None:
    """Draw from the extrapolated target over a grid of λ, and say where its format falls.

    The target π_λ ∝ π_T^λ · π_B^(1−λ) is where distillation with reward extrapolation leads; drawing from it
    takes no training. Without --lambdas the grid is refined around the fall. The folder gets forecast.json,
    forecast.svg and a run for each λ.

    With --from RUN nothing is drawn: answers of a run of the base, the teacher or their target are weighted
    as if each λ had drawn them, for as long as enough of them count. The folder gets first-look.json.
    """
    from harness import files
    from harness.cli import consoles, output
    from harness.cli.forecast_summary import print_forecast, print_look
    from harness.cli.listening import listening
    from harness.forecast import ForecastConfig, first_look, forecast
    from harness.report.forecast_figure import FIGURE, draw_forecast

    grid = _grid(lambdas)
    evaluation = eval_config({**options, "engine": "auto", "engine_args": (), "fields": ()})
    own = {name: options[name] for name in _OWN}
    config = settings_from(ForecastConfig, own, {"evaluation": evaluation, "lambdas": grid, "out": out})
    if config.stored:
        _require_no_drawing(context)
        with listening(consoles.errors()) as on_progress:
            looked = first_look(config, on_progress)
        if as_machine:
            output.document(looked.to_dict())
        else:
            print_look(looked, out, consoles.results())
        return
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


def _grid(given: str | None) -> tuple[float, ...]:
    """The λ of --lambdas; empty where none is given.

    Raises:
        HarnessError: something else than numbers from 0 on.
    """
    from harness.errors import HarnessError

    try:
        grid = () if given is None else tuple(float(one) for one in given.split(","))
    except ValueError:
        grid = ()
    if given is not None and not (grid and all(0.0 <= one < math.inf for one in grid)):
        raise HarnessError(f"--lambdas {given}: write numbers from 0 on, such as 1,1.2,1.5")
    return grid


def _require_no_drawing(context: click.Context) -> None:
    """Refuse what only a forecast that draws can heed.

    Raises:
        HarnessError: naming the first that was given.
    """
    from click.core import ParameterSource

    from harness.errors import HarnessError

    for name in _OF_DRAWING:
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise HarnessError(
                f"{flags_of(name)[0]} is for a forecast that draws; with --from the answers are there already"
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
