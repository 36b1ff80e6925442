"""`harness report`: compare runs in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.report import Report, ReportConfig


@click.command(
    epilog="\b\nExample: harness report demo/listopd demo/large --baseline large -o report.html\n"
    "(runs that harness demo makes)"
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN [RUN ...]")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="File to write; Markdown and --json need none.",
)
@click.option(
    "--baseline", metavar="NAME", help="Run that the others are compared with; the first by default."
)
@click.option("--title", help="Title of the page.")
@click.option(
    "--max-samples",
    type=click.IntRange(min=0),
    metavar="N",
    help="Rows of the samples viewer; 10,000, or as many as keep the file small, by default.",
)
@click.option(
    "--redact", type=click.Choice(["titles"]), help="Hide catalogue titles and mask the words of outputs."
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.02,
    show_default=True,
    help="Largest difference that counts as none.",
)
@click.option(
    "--x", type=click.Choice(["lambda"]), help="Plot against λ, also where fewer than three runs have one."
)
@click.option(
    "--lambda", "lambdas", multiple=True, metavar="NAME=VALUE", help="λ of a run that doesn't say it."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "md"]),
    default="html",
    show_default=True,
    help="A page, or a short summary for a pull request.",
)
@click.option("--json", "as_machine", is_flag=True, help="Print JSON instead of text.")
def report(
    runs: tuple[Path, ...],
    out: Path | None,
    lambdas: tuple[str, ...],
    form: Literal["html", "md"],
    as_machine: bool,
    **options: Any,
) -> None:
    """Compare runs in one self-contained file: decision, numbers, plots, samples, provenance.

    Every run is compared with the baseline on the samples that both have. Runs of different datasets stand
    side by side and are not compared.
    """
    from harness.report import report as make_report
    from harness.report import write_document

    if form == "html" and out is None and not as_machine:
        raise HarnessError("an HTML report needs a file; give -o FILE")
    made = make_report(_config(runs, lambdas, options), form)
    if out is not None:
        write_document(out, made)
    if as_machine:
        from harness.report.summary import as_dict

        click.echo(json.dumps(as_dict(made, out), indent=1, allow_nan=False))
    elif out is None:
        click.echo(made.document, nl=False)
    else:
        _say(made, out)


def _config(runs: tuple[Path, ...], lambdas: tuple[str, ...], options: dict[str, Any]) -> ReportConfig:
    from pydantic import ValidationError

    from harness.report import ReportConfig

    try:
        return ReportConfig(runs=runs, lambdas=dict(map(_lambda, lambdas)), **options)
    except ValidationError as error:
        raise HarnessError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from error


def _lambda(given: str) -> tuple[str, float]:
    name, sign, value = given.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = None
    if not sign or not name or number is None:
        raise HarnessError(f"--lambda {given!r} isn't NAME=VALUE, such as student=1.2")
    return name, number


def _say(made: Report, out: Path) -> None:
    from rich.console import Console
    from rich.text import Text

    from harness.report.text import visible

    console = Console()
    for decided in made.content.decided:
        gate = "no gate" if decided.gate is None else f"gate: {decided.gate}"
        console.print(Text(visible(f"{decided.sentence} [{gate}]")), soft_wrap=True)
    rows = f", {made.rows} samples" if made.rows else ""
    console.print(Text(f"{out}: {len(made.encoded) / 1e6:.2f} MB{rows}"), soft_wrap=True)
