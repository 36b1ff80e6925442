"""`harness cliff`: on which side of λ* does a run sit?"""

from __future__ import annotations

from typing import Any

import click

from harness.cli.cliff_options import cliff_config, cliff_options
from harness.cli.eval_options import eval_config, eval_options

_DEFAULT_LIMIT = 64
# Set by the job, or named by model here.
_NOT_SHARED = ("ckpt", "replay", "temperature", "top_p", "constrained", "base_urls", "k")


def _shared_options() -> list[click.Parameter]:
    parameters = click.command()(eval_options(lambda: None)).params
    for parameter in parameters:
        if isinstance(parameter, click.Option) and parameter.name == "limit":
            parameter.default, parameter.show_default = _DEFAULT_LIMIT, True
    return [parameter for parameter in parameters if parameter.name not in _NOT_SHARED]


@click.command(
    name="cliff",
    params=_shared_options(),
    # \b keeps click from wrapping it: a wrapped line can't be copied into a shell.
    epilog="\b\nExample: harness cliff --teacher zoo:teacher --base zoo:base --student zoo:listopd \\\n"
    "    --lambda 1.1 --clip 5",
)
@cliff_options
@click.option("--student", help="Checkpoint of the student; rollouts come from the base without one.")
@click.option("--student-url", "student_urls", multiple=True, help="Server of the student (openai).")
@click.option("--json", "as_machine", is_flag=True, help="Print JSON instead of tables.")
def cliff(as_machine: bool, **options: Any) -> None:
    """Estimate λ* from teacher and base, and say on which side of it the run's λ lies.

    Rollouts are drawn from the student (or the base) at T = 1 and scored under all models. The run
    directory of the rollouts gets `cliff.json`; the same command goes on with the rollouts there are.
    """
    import json

    from rich.console import Console

    from harness.cli.cliff_summary import print_cliff
    from harness.cli.listening import error_console, listening
    from harness.measure import measure_cliff, settle_engine

    shared = {parameter.name for parameter in _shared_options()}
    evaluation = {name: value for name, value in options.items() if name in shared}
    config = cliff_config(
        eval_config(evaluation | {"temperature": 1.0}),
        {name: value for name, value in options.items() if name not in shared},
    )
    console = error_console()
    if config.evaluation.engine.engine == "auto":
        config, reason = settle_engine(config)
        console.print(f"engine: {reason}", highlight=False)
    with listening(console) as on_progress:
        report = measure_cliff(config, on_progress)
    if as_machine:
        document = {"run": str(report.path)} | report.to_dict() | {"costs": report.costs()}
        click.echo(json.dumps(document, indent=1, allow_nan=False))
    else:
        print_cliff(report, Console())
