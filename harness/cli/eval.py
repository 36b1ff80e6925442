"""`harness eval`: evaluate a checkpoint into a run directory."""

from __future__ import annotations

from typing import Any

import click

from harness.cli.cliff_options import eval_cliff_options, split_cliff_options
from harness.cli.eval_judge import eval_judge_options, split_judge_options
from harness.cli.eval_options import eval_config, eval_options, settle_engine


@click.command(
    name="eval",
    epilog="\b\nExample: harness eval --ckpt zoo:base --data fashion-mini --split test --limit 64",
)
@eval_options
@eval_cliff_options
@eval_judge_options
@click.option("--json", "as_machine", is_flag=True, help="Print JSON instead of tables.")
def eval_command(as_machine: bool, **options: Any) -> None:
    """Generate listwise JSON from a checkpoint; measure parse validity and NDCG@1 apart from each other.

    Killed or interrupted, the same command goes on where it stopped and gives the same numbers.

    With --teacher, --base, --lambda and --clip (or --clip-from, --ratios) the checkpoint is also placed on
    its side of the extrapolation cliff, as by `harness cliff`, and the run gets a `cliff.json`. With --judge
    gemini and --rubric its parsed rankings are graded too, as by `harness judge`.
    """
    from rich.console import Console

    from harness.cli.cliff_options import cliff_for_evaluation
    from harness.cli.cliff_summary import print_cliff
    from harness.cli.eval_judge import judge_evaluated, judge_for_evaluation
    from harness.cli.judge_summary import print_judged
    from harness.cli.listening import error_console, listening
    from harness.cli.summary import as_json, print_run
    from harness.evaluate import evaluate
    from harness.measure import evaluate_with_cliff
    from harness.runs import load

    console = error_console()
    options, cliff_options = split_cliff_options(options)
    options, judge_options = split_judge_options(options)
    judging = judge_for_evaluation(judge_options)
    config = eval_config(options)
    if config.engine.engine == "auto":
        config = settle_engine(config, console)
    cliff = cliff_for_evaluation(config, cliff_options)
    with listening(console) as on_progress:
        if cliff is None:
            run, report = evaluate(config, on_progress), None
        else:
            run, report = evaluate_with_cliff(cliff, on_progress)
    judged = None if judging is None else judge_evaluated(judging, run.path, console)
    if as_machine:
        click.echo(as_json(load(run.path), None if report is None else report.to_dict()))
        return
    print_run(run, Console())
    if report is not None:
        print_cliff(report, Console())
    if judging is not None and judged is not None:
        print_judged(judged.run, judging.rubric.name, judged, Console())
