"""`harness sweep`: where along λ do runs collapse?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.options import json_option

_EPILOG = """\b
Example: harness sweep plan.yaml --out runs/sweep --jobs 4
         harness sweep --teacher zoo:teacher --base zoo:base --lambda 1 --lambda 1.2 --lambda 1.5 \\
                       --clip 1.5 --seeds 4 --steps 60 --out runs/small

\b
A plan is YAML; every field but the first four has a default:
  teacher: zoo:teacher
  base: zoo:base
  seeds: [0, 1, 2, 3]
  arms:
    - {name: small-clip, clip: 1.5, lambdas: [1, 1.1, 1.2, 1.4]}
    - {name: paper-clip, clip: 5, lambdas: [1, 1.2, 1.5, 2, 3], learning_rate: 0.0005, steps: 120}
  training: {data: fashion-mini, split: train, batch_size: 64, rollout_batch: 1024}
  evaluation: {split: validation, limit: 128, temperature: 0}
  analysis: {collapse_fraction: 0.5, ndcg_margin: 0.05}
"""


@click.command(name="sweep", epilog=_EPILOG)
@click.argument("plan_file", metavar="[PLAN]", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the sweep.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Worker processes.")
@click.option("--only", metavar="RUN", help="Make one run, named ARM/lambda-L/seed-S.")
@click.option(
    "--allow-code-change",
    is_flag=True,
    help="Where code isn't that of the sweep's beginning or lock, say what and go on.",
)
@click.option("--print-commands", is_flag=True, help="Print one command a missing run, for a scheduler.")
@click.option("--teacher", help="Without PLAN: checkpoint of the teacher.")
@click.option("--base", help="Without PLAN: checkpoint of the base.")
@click.option("--lambda", "lambdas", type=float, multiple=True, help="Without PLAN: a λ of the grid; repeat.")
@click.option("--clip", "clips", type=float, multiple=True, help="Without PLAN: c; repeat for more arms.")
@click.option("--learning-rate", "rates", type=float, multiple=True, help="Without PLAN: repeat likewise.")
@click.option("--seeds", type=click.IntRange(min=1), help="Without PLAN: seeds 0 … N−1.")
@click.option("--steps", type=click.IntRange(min=1), help="Without PLAN: optimizer steps.")
@click.option("--staleness", type=click.Choice(["fixed", "fresh"]), help="Without PLAN: of the rollouts.")
@click.option("--revision", help="Without PLAN: hub revision of teacher and base, where they name none.")
@click.option(
    "--trust-remote-code", is_flag=True, help="Without PLAN: run Python code that comes with a checkpoint."
)
@json_option
def sweep(
    plan_file: Path | None,
    out: Path,
    jobs: int,
    only: str | None,
    allow_code_change: bool,
    print_commands: bool,
    as_machine: bool,
    **options: Any,
) -> None:
    """Train and evaluate a student at every λ and seed of a plan, and estimate where they collapse.

    Runs that are done are never made again: the same command goes on after a kill. With fixed rollouts all
    runs of a seed share one set of them. The base's evaluation, results.csv, analysis.json and sweep.svg are
    written into the folder. A lock in it (harness prereg lock) is held to.
    """
    from harness import files
    from harness.cli import consoles, output
    from harness.cli.listening import listening, on_code_change
    from harness.cli.sweep_figure import draw_sweep
    from harness.cli.sweep_tables import print_analysis
    from harness.errors import HarnessError
    from harness.sweep.folder import SweepFolder
    from harness.sweep.job import commands, run_sweep
    from harness.sweep.onsets import LEAST_SEEDS
    from harness.sweep.plan import read_plan

    if plan_file is None:
        plan = _plan_of(options)
    elif given := [name for name, value in options.items() if value not in (None, (), False)]:
        raise HarnessError(f"`{given[0]}=` goes without a plan file; write it into {plan_file}")
    else:
        plan = read_plan(plan_file)
    if print_commands:
        if plan_file is None:
            raise HarnessError("--print-commands needs a plan file, which the commands name")
        lines = commands(plan, plan_file, out, ["--allow-code-change"] if allow_code_change else [])
        output.commands(lines, as_machine=as_machine)
        return
    console = consoles.errors()
    if len(plan.seeds) < LEAST_SEEDS:
        console.print(f"seeds: {len(plan.seeds)}; from fewer than {LEAST_SEEDS} no onset will be given")
    tell = on_code_change(console, allowed=allow_code_change)
    with listening(console) as on_progress:
        analysis = run_sweep(plan, out, jobs=jobs, only=only, on_code_change=tell, on_progress=on_progress)
    if analysis is None:
        folder = SweepFolder(out)
        done, total = folder.finished(plan), sum(1 for _ in plan.runs())
        output.either({"done": done, "runs": total}, f"{done} of {total} runs done", as_machine=as_machine)
        return
    with files.resumable(out):
        files.write_text(out / "sweep.svg", draw_sweep(analysis))
    if as_machine:
        output.document({"sweep": str(out)} | analysis.to_dict())
    else:
        print_analysis(analysis, consoles.results())
        output.result(f"sweep: {out}, picture: {out / 'sweep.svg'}")


def _plan_of(options: dict[str, Any]) -> Any:
    """A plan from options: one arm for each pair of c and learning rate."""
    from harness.cli.train import at_revision
    from harness.errors import HarnessError
    from harness.sweep.plan import parse_plan

    for name in ("teacher", "base", "lambdas"):
        if not options[name]:
            raise HarnessError(f"a sweep needs a plan file, or `{name}=`; see harness sweep --help")
    shared = {name: options[name] for name in ("steps", "staleness") if options[name] is not None}
    arms = [
        {
            "name": f"c{clip:g}" + (f"-lr{rate:g}" if rate else ""),
            "clip": clip,
            "lambdas": sorted(options["lambdas"]),
            **({"learning_rate": rate} if rate else {}),
            **shared,
        }
        for clip in options["clips"] or (5.0,)
        for rate in options["rates"] or (None,)
    ]
    seeds = list(range(options["seeds"] or 4))
    named = at_revision(options, ("teacher", "base"))
    plan: dict[str, Any] = {**named, "seeds": seeds, "arms": arms}
    if options["trust_remote_code"]:
        plan["training"] = {"trust_remote_code": True}
    return parse_plan(plan, "options")
