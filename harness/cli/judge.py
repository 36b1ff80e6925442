"""`harness judge`: grade a run's parsed rankings with a rubric and Gemini."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from harness.errors import DataError, HarnessError, IncompleteError

if TYPE_CHECKING:
    from harness.judge import JudgeConfig, JudgeResult
    from harness.runs import Run

_CLIENTS = ("auto", "google-generativeai", "google-genai")


@click.command(
    name="judge",
    epilog="\b\nExample: harness judge demo/listopd --rubric listwise-relevance --dry-run\n"
    "(a run that harness demo makes)",
)
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--rubric", help="Rubric file, or the name of a bundled one.")
@click.option(
    "--lint", type=click.Path(path_type=Path), metavar="FILE", help="Check a rubric file, judge nothing."
)
@click.option(
    "--pairwise", type=click.Path(path_type=Path), metavar="RUN_B", help="Compare with another run."
)
@click.option(
    "--labels", type=click.Path(path_type=Path), metavar="CSV", help="Human scores: task_id, score."
)
@click.option(
    "--repeats", type=click.IntRange(1, 100), default=2, show_default=True, help="Times to judge each."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Judge N tasks, drawn at random.")
@click.option("--dry-run", is_flag=True, help="Estimate tokens and cost, judge nothing.")
@click.option(
    "--max-requests", type=click.IntRange(min=0), help="For this run and rubric, over all sessions."
)
@click.option("--max-cost", type=click.FloatRange(min=0), metavar="USD", help="Likewise, in US dollars.")
@click.option("--price", type=(float, float), metavar="IN OUT", help="US dollars per million tokens.")
@click.option("--model", help="Another judge than the rubric's.")
@click.option("--client", type=click.Choice(_CLIENTS), default="auto", show_default=True)
@click.option("--endpoint", metavar="URL", help="Base URL in place of Google's.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=64, show_default=True, help="At most at once."
)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True)
@click.option("--ask-again", is_flag=True, help="Also ask what a killed session may have paid for.")
@click.option("--cache", "store", type=click.Path(path_type=Path), help="Answers and ledger (sqlite).")
@click.option("--json", "as_machine", is_flag=True, help="Print JSON instead of tables.")
def judge_command(
    run: Path | None, lint: Path | None, dry_run: bool, as_machine: bool, **options: Any
) -> None:
    """Grade the strictly parsed rankings of RUN by a rubric; the score comes with the judge's own exposure.

    The key is read from GEMINI_API_KEY or GOOGLE_API_KEY. Stopped by a cap, a kill or a quota, the same
    command goes on; no question that was answered is paid for twice.
    """
    if lint is not None:
        _lint(lint, as_machine)
        return
    if run is None or not options["rubric"]:
        raise HarnessError("give a run and --rubric NAME|FILE, or --lint FILE to check a rubric")
    config = _config(run, options)
    if dry_run:
        _dry_run(config, as_machine)
    else:
        _judge(config, as_machine)


def _judge(config: JudgeConfig, as_machine: bool) -> None:
    from harness.cli.judge_progress import listening_to_judge
    from harness.cli.listening import error_console
    from harness.judge import judge
    from harness.runs import load

    console = error_console()
    if config.endpoint and config.endpoint.startswith("http://") and not _is_local(config.endpoint):
        console.print(f"{config.endpoint} isn't encrypted: the key and the titles travel in the clear")
    with listening_to_judge(console) as on_progress:
        try:
            result = judge(config, on_progress)
        except IncompleteError:
            # What there is so far is in the metrics; the error then says why it isn't all.
            _show(load(config.run), config, None, as_machine)
            raise
    _show(result.run, config, result, as_machine)


def _is_local(endpoint: str) -> bool:
    return urlsplit(endpoint).hostname in ("localhost", "127.0.0.1", "::1")


def _show(run: Run, config: JudgeConfig, result: JudgeResult | None, as_machine: bool) -> None:
    from rich.console import Console

    from harness.cli.judge_summary import print_judged
    from harness.judge import findings
    from harness.metrics.table import JUDGE_PREFIXES

    name = config.rubric.name
    if not as_machine:
        print_judged(run, name, result, Console())
        return
    document = {
        "run": str(run.path),
        "rubric": name,
        "rubric_digest": config.rubric.digest,
        "model": config.rubric.model.name,
        "spent": None
        if result is None
        else {
            **asdict(result.spent),
            "cost": result.cost,
            "in_doubt_cost": result.in_doubt_cost,
            "from_cache": result.from_cache,
        },
        "metrics": {
            metric: asdict(value)
            for metric, value in run.metrics.items()
            if metric.startswith(JUDGE_PREFIXES)
        },
        "findings": [asdict(finding) for finding in findings(run.metrics, name)],
    }
    click.echo(json.dumps(document, indent=1, allow_nan=False))


def _dry_run(config: JudgeConfig, as_machine: bool) -> None:
    from rich.console import Console

    from harness.cli.judge_summary import print_forecast
    from harness.judge import forecast_judging

    expected = forecast_judging(config)
    if as_machine:
        click.echo(json.dumps(asdict(expected), indent=1, allow_nan=False))
    else:
        print_forecast(expected, config.rubric.model.name, Console())


def _lint(path: Path, as_machine: bool) -> None:
    from harness.judge import check_rubric

    rubric, problems = check_rubric(path)
    if as_machine:
        document = {
            "file": str(path),
            "digest": None if rubric is None else rubric.digest,
            "problems": [asdict(problem) for problem in problems],
        }
        click.echo(json.dumps(document, indent=1))
    elif rubric is not None:
        click.echo(f"{path}: {rubric.name} version {rubric.version} is fine (digest {rubric.digest})")
    else:
        for problem in problems:
            click.echo(f"{path}: {problem}")
    if problems:
        raise DataError(f"{path} has {len(problems)} problem{'s' if len(problems) > 1 else ''}; see above")


def _config(run: Path, options: dict[str, Any]) -> JudgeConfig:
    """The job's configuration from the command line's options.

    Raises:
        HarnessError: options that don't go together; the message names the first.
    """
    from pydantic import ValidationError

    from harness.cli.problems import first_problem
    from harness.judge import JudgeConfig, Price, load_rubric

    given = {name: value for name, value in options.items() if value is not None}
    rubric = load_rubric(given.pop("rubric"))
    try:
        if "model" in given:
            rubric = rubric.with_model(given.pop("model"))
        if "price" in given:
            given["price"] = Price(*given["price"])
        return JudgeConfig(run=run, rubric=rubric, **given)
    except ValidationError as error:
        raise first_problem(error) from error
