"""`harness rescore`: parse and score a stored run again."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import json_option


@click.command(epilog="\b\nExample: harness rescore demo/listopd\n(a run that harness demo makes)")
@click.argument("run", type=click.Path(path_type=Path))
@json_option
def rescore(run: Path, as_machine: bool) -> None:
    """Parse and score every stored text of RUN with today's code; no engine is needed."""
    from harness.cli import consoles, output
    from harness.cli.listening import listening
    from harness.cli.summary import as_document, print_run
    from harness.evaluate import rescore as rescore_run

    remarks: list[str] = []
    with listening(consoles.errors()) as on_progress:
        done = rescore_run(run, on_progress, remarks.append)
    for remark in remarks:
        output.remark(f"harness: note: {remark}")
    if as_machine:
        output.document(as_document(done))
    else:
        print_run(done, consoles.results())
