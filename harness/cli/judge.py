"""`harness judge`: grade a run's parsed rankings with a rubric and Gemini."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.text import Text

from harness.cli import consoles, output
from harness.cli.listening import listening
from harness.cli.options import Command, json_option, options_of, settings_from
from harness.cli.tables import metric_table
from harness.errors import DataError, HarnessError, IncompleteError, Interrupted
from harness.judge import (
    Forecast,
    JudgeConfig,
    JudgeProgress,
    JudgeResult,
    advice,
    check_rubric,
    findings,
    forecast_judging,
    judge,
    load_rubric,
    pairwise_others,
)
from harness.judge.answer import PASSING, PERHAPS_PAID
from harness.judge.config import OnJudgeProgress
from harness.judge.cost import Price
from harness.metrics.table import JUDGE_PREFIXES, RUBRIC_PREFIX
from harness.progress import Progress
from harness.runs import Run, load
from harness.stats import Estimate

_PERCENT = ("coverage", "unscored", "position_bias", "rate", "preference", "inconsistent")


def _options() -> list[click.Option]:
    return options_of(
        JudgeConfig,
        leave_out=("run", "attempts", "retry"),
        rubric={"required": False},
        pairwise={"metavar": "RUN_B"},
        labels={"metavar": "CSV"},
        max_cost={"metavar": "USD"},
        price={"type": (float, float), "metavar": "IN OUT"},
        endpoint={"metavar": "URL"},
    )


@click.command(
    name="judge",
    cls=Command,
    settings=_options,
    epilog="\b\nExample: harness judge demo/listopd --rubric listwise-relevance --dry-run\n"
    "(a run that harness demo makes)",
)
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--lint", type=click.Path(path_type=Path), metavar="FILE", help="Check a rubric file, judge nothing."
)
@click.option("--dry-run", is_flag=True, help="Estimate tokens and cost, judge nothing.")
@click.option("--model", help="Another judge than the rubric's.")
@json_option
def judge_command(
    run: Path | None, lint: Path | None, dry_run: bool, as_machine: bool, **options: Any
) -> int:
    """Grade the strictly parsed rankings of RUN by a rubric; the score comes with the judge's own exposure.

    The key is read from GEMINI_API_KEY or GOOGLE_API_KEY. Stopped by a cap, a kill or a quota, the same
    command goes on; no question that was answered is paid for twice. Exit code 3 also where judgements are
    left unscored for a reason that says nothing about them, such as a service that gave no answer.
    """
    if lint is not None:
        _lint(lint, as_machine)
        return 0
    if run is None or not options["rubric"]:
        raise HarnessError("give a run and --rubric NAME|FILE, or --lint FILE to check a rubric")
    config = _config(run, options)
    if dry_run:
        _dry_run(config, as_machine)
        return 0
    return IncompleteError.exit_code if _judge(config, as_machine).open else 0


def _judge(config: JudgeConfig, as_machine: bool) -> JudgeResult:
    console = consoles.errors()
    if config.endpoint and config.endpoint.startswith("http://") and not _is_local(config.endpoint):
        console.print(f"{config.endpoint} isn't encrypted: the key and the titles travel in the clear")
    with listening_to_judge(console) as on_progress:
        try:
            result = judge(config, on_progress)
        except (IncompleteError, Interrupted):
            # What there is so far is in the metrics; the error then says why it isn't all.
            _show(load(config.run), config, None, as_machine)
            raise
    _show(result.run, config, result, as_machine)
    return result


def _is_local(endpoint: str) -> bool:
    return urlsplit(endpoint).hostname in ("localhost", "127.0.0.1", "::1")


def _show(run: Run, config: JudgeConfig, result: JudgeResult | None, as_machine: bool) -> None:
    name = config.rubric.name
    if not as_machine:
        print_judged(run, name, result, consoles.results())
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
        "unscored": None if result is None else dict(result.unscored),
        "open": None if result is None else result.open,
        "metrics": {
            metric: asdict(value)
            for metric, value in run.metrics.items()
            if metric.startswith(JUDGE_PREFIXES)
        },
        "advice": advice(run.metrics, name),
        "findings": [asdict(finding) for finding in findings(run.metrics, name)],
    }
    output.document(document)


def _dry_run(config: JudgeConfig, as_machine: bool) -> None:
    expected = forecast_judging(config)
    if as_machine:
        output.document(asdict(expected))
    else:
        print_forecast(expected, config.rubric.model.name, consoles.results())


def _lint(path: Path, as_machine: bool) -> None:
    rubric, problems = check_rubric(path)
    if as_machine:
        document = {
            "file": str(path),
            "digest": None if rubric is None else rubric.digest,
            "problems": [asdict(problem) for problem in problems],
        }
        output.document(document)
    elif rubric is not None:
        output.result(f"{path}: {rubric.name} version {rubric.version} is fine (digest {rubric.digest})")
    else:
        for problem in problems:
            output.result(f"{path}: {problem}")
    if problems:
        raise DataError(f"{path} has {len(problems)} problem{'s' if len(problems) > 1 else ''}; see above")


def _config(run: Path, options: dict[str, Any]) -> JudgeConfig:
    rubric = load_rubric(options["rubric"])
    if options["model"] is not None:
        rubric = rubric.with_model(options["model"])
    price = None if options["price"] is None else Price(*options["price"])
    return settings_from(JudgeConfig, options, {"run": run, "rubric": rubric, "price": price})


@contextmanager
def listening_to_judge(console: Console) -> Iterator[OnJudgeProgress]:
    """A listener for a judging's progress, drawn on `console`."""
    with listening(console) as on_progress:

        def on_judging(report: JudgeProgress) -> None:
            total = report.total or None
            on_progress(Progress(report.stage, report.done, total, report.resumed, _details(report)))

        yield on_judging


def _details(report: JudgeProgress) -> str:
    cost = "" if report.cost is None else f"${report.cost:.4f}, "
    return f"{cost}{report.unscored} unscored, {report.in_flight} under way"


def print_judged(run: Run, rubric: str, result: JudgeResult | None, console: Console) -> None:
    """Scores and exposure of one rubric, with what speaks against relying on it.

    Args:
        run: the judged run.
        rubric: its name.
        result: of the judging; None when it stopped half-way.
        console: where to.
    """
    score = f"{RUBRIC_PREFIX}{rubric}"
    sections = {f"Score, 0 to 1, of parsed rankings: {score}": _below(run, score)}
    sections[f"Exposure: judge.{rubric}"] = _below(run, f"judge.{rubric}")
    for other in pairwise_others(run.metrics, rubric):
        prefix = f"pairwise.{rubric}.{other}"
        sections[f"Side by side: {prefix}"] = _below(run, prefix)
    if not any(sections.values()):
        console.print(f"{run.path}: not judged by {rubric}")
        return
    for title, rows in sections.items():
        if rows:
            console.print(metric_table(title, rows, _is_share))
    against = findings(run.metrics, rubric)
    if against:
        console.print(Text("Against relying on this judge:", style="bold"))
        for finding in against:
            console.print(f"  {finding.code}: {finding.message}", soft_wrap=True)
    else:
        console.print(Text("These checks found nothing against this judge; at a larger n they may."))
    if (more := advice(run.metrics, rubric)) is not None:
        console.print(f"{more[0].upper()}{more[1:]}.", soft_wrap=True)
    if result is not None:
        console.print(_spent(result), soft_wrap=True)
        for line in _left_open(result):
            console.print(line, soft_wrap=True)


def _left_open(result: JudgeResult) -> Iterator[str]:
    """What has no score for a reason that says nothing about it, and what to do."""
    for reasons, what, remedy in (
        (PASSING, "for want of a reply", "run the same command again"),
        (PERHAPS_PAID, "and perhaps paid for all the same", "--ask-again asks them again"),
    ):
        found = {reason: count for reason, count in result.unscored.items() if reason in reasons}
        if found:
            named = ", ".join(f"{reason} {count}" for reason, count in sorted(found.items()))
            yield f"unscored {what}: {sum(found.values())} ({named}); {remedy}"


def _below(run: Run, prefix: str) -> dict[str, Estimate]:
    """The metrics under a prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix).removeprefix(".") or "all criteria, weighted": estimate
        for name, estimate in run.metrics.items()
        if name == prefix or name.startswith(f"{prefix}.")
    }


def print_forecast(expected: Forecast, model: str, console: Console) -> None:
    """What a judging will take, and where the numbers come from."""
    lines = [
        f"{expected.judgements} judgements, {expected.done} of them there already",
        f"requests       {expected.requests} to {model}",
        f"tokens         {expected.tokens.prompt} in, {expected.tokens.output} out, by {expected.basis}",
    ]
    if expected.cost is None or expected.highest_cost is None:
        lines.append("cost           unknown: give the price with --price INPUT OUTPUT")
    else:
        lines.append(
            f"cost           ${expected.cost:.4f} expected, ${expected.highest_cost:.4f} at the very most"
        )
    lines.append("Failed requests that are sent again are not included; nothing was sent that is charged.")
    for line in lines:
        console.print(line, soft_wrap=True)


def _is_share(metric: str) -> bool:
    return any(word in metric for word in _PERCENT)


def _spent(result: JudgeResult) -> str:
    spent = result.spent
    line = f"{spent.requests} requests, {spent.tokens.prompt} tokens in and {spent.tokens.output} out"
    line += ", price unknown" if result.cost is None else f", ${result.cost:.4f}"
    if spent.in_doubt:
        line += f"; {spent.in_doubt} more in doubt"
        line += "" if result.in_doubt_cost is None else f", at most ${result.in_doubt_cost:.4f}"
    return f"{line}; {result.from_cache} judgements from the cache"
