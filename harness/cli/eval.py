"""`harness eval`: evaluate a checkpoint into a run directory."""

from __future__ import annotations

from typing import Any

import click

from harness.cli.eval_options import eval_config, eval_options, settle_engine


@click.command(
    name="eval",
    epilog="Example: harness eval --ckpt ./my-checkpoint --data fashion-mini --split test --limit 64",
)
@eval_options
@click.option("--json", "as_machine", is_flag=True, help="Print JSON instead of tables.")
def eval_command(as_machine: bool, **options: Any) -> None:
    """Generate listwise JSON from a checkpoint; measure parse validity and NDCG@1 apart from each other.

    Killed or interrupted, the same command goes on where it stopped and gives the same numbers.
    """
    from rich.console import Console

    from harness.cli.listening import error_console, listening
    from harness.cli.summary import as_json, print_run
    from harness.evaluate import evaluate

    console = error_console()
    config = eval_config(options)
    if config.engine.engine == "auto":
        config = settle_engine(config, console)
    with listening(console) as on_progress:
        run = evaluate(config, on_progress)
    if as_machine:
        click.echo(as_json(run))
    else:
        print_run(run, Console())
