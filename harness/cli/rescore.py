"""`harness rescore`: parse and score a stored run again."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import json_option
from harness.runs.text import plain


@click.command(epilog="\b\nExample: harness rescore demo/listopd\n(a run that harness demo makes)")
@click.argument("run", type=click.Path(path_type=Path))
@json_option
def rescore(run: Path, as_machine: bool) -> None:
    """Parse and score every stored text of RUN with today's code; no engine is needed."""
    from rich.console import Console

    from harness.cli.listening import error_console, listening
    from harness.cli.summary import as_json, print_run
    from harness.evaluate import rescore as rescore_run

    remarks: list[str] = []
    with listening(error_console()) as on_progress:
        done = rescore_run(run, on_progress, remarks.append)
    for remark in remarks:
        click.echo(f"harness: note: {plain(remark)}", err=True)
    if as_machine:
        click.echo(as_json(done))
    else:
        print_run(done, Console())
