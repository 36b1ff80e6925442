"""`harness report`: compare runs in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from harness.cli import output
from harness.cli.options import Command, json_option, options_of, settings_from
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.report import Format, Report


def _options() -> list[click.Option]:
    from harness.report.config import Format, ReportConfig

    form = click.Option(
        ["--format", "form"],
        type=click.Choice(get_args(Format)),
        default="html",
        show_default=True,
        help="A page, a short summary for a pull request, or the sentences and differences for machines.",
    )
    settings = options_of(
        ReportConfig,
        leave_out=("runs",),
        baseline={"metavar": "NAME"},
        max_samples={"metavar": "N"},
        lambdas={"multiple": True, "metavar": "NAME=VALUE"},
    )
    return [form, *settings]


@click.command(
    cls=Command,
    settings=_options,
    epilog="\b\nExample: harness report demo/listopd demo/large -o report.html\n"
    "(runs that harness demo makes)",
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN [RUN ...]")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="File to write; Markdown and JSON need none."
)
@json_option
def report(
    runs: tuple[Path, ...],
    out: Path | None,
    form: Format,
    as_machine: bool,
    **options: Any,
) -> None:
    """Compare runs in one self-contained file: decision, numbers, plots, samples, provenance.

    Every run is compared with the baseline, the last one unless --baseline says otherwise, on the samples
    that both have. A folder of runs, such as a sweep's, stands for the runs in it. Runs of different datasets
    stand side by side and are not compared.
    """
    from harness.report import ReportConfig, write_document
    from harness.report import report as make_report

    if form == "html" and out is None and not as_machine:
        raise HarnessError("an HTML report needs a file; give -o FILE")
    told = {"runs": runs, "lambdas": dict(map(_lambda, options["lambdas"]))}
    made = make_report(settings_from(ReportConfig, options, told), form)
    if out is not None:
        write_document(out, made)
    if as_machine:
        from harness.report.summary import as_dict

        where = {"report": None if out is None else str(out), "bytes": len(made.encoded), "rows": made.rows}
        output.document(where | as_dict(made.content))
    elif out is None:
        if form == "json":
            output.document(json.loads(made.document))
        else:
            output.lines(made.document)
    else:
        _say(made, out)


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

    from harness.cli import consoles
    from harness.report.groups import lines

    console = consoles.results()
    for line in lines(made.content):
        console.print(line, soft_wrap=True)
    rows = f", {made.rows} samples" if made.rows else ""
    console.print(f"{out}: {len(made.encoded) / 1e6:.2f} MB{rows}", soft_wrap=True)
