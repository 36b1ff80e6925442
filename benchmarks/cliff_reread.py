"""The old sweeps read again: where on the line of the extrapolated targets did their students end?

Their checkpoints weren't kept, so a part of each locked plan (some λ, some seeds) is trained again with the
code of today, and placed on the line: λ reached and off the line, from rollouts at T = 1. Strict validity of
the old run, of the same plan and seed, stands beside the new one's. Nothing of this was locked; it was
thought of long after the sweeps.

Examples:
    python benchmarks/cliff_reread.py                                  the stored rows
    python benchmarks/cliff_reread.py make --runs runs/reread [--pair runs/one-class] [--only mask]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from harness import files
from harness.engines.config import EngineConfig
from harness.engines.target_engine import TargetEngine
from harness.evaluate.config import EvalConfig
from harness.forecast.config import ForecastConfig
from harness.forecast.students import place_student
from harness.progress import ignore
from harness.sweep.folder import LOCK, SweepFolder
from harness.sweep.job import run_sweep
from harness.sweep.plan import SweepPlan
from harness.sweep.prereg.lock_file import read_lock
from harness.sweep.results import read_results

STORED = Path(__file__).parent / "results" / "cliff-measured"
FILE = "reread.json"
PARTS: dict[str, dict[str, tuple[list[float], int]]] = {
    "mask-fine": {"mask-c5": ([1.0, 4.2], 2)},
    "ppo-clip": {"c5": ([1.0, 4.2], 2), "c1.5": ([1.0, 4.2], 1)},
    "one-class": {"c1.5": ([1.0, 8.0], 1), "c1.5-fresh": ([1.0, 4.2], 1)},
    "mask": {"mask-c1.5": ([1.0, 4.2], 1)},
}
"""Of each sweep: arms, λ of them, how many of the sweep's seeds."""
TASKS, MEASURED_BY = 128, 30_000
Row = dict[str, Any]


def parts(name: str, pair: Path | None) -> Iterator[SweepPlan]:
    """The plans of what is made again, an arm each."""
    plan = read_lock(STORED / name / LOCK).plan
    for arm, (lambdas, seeds) in PARTS[name].items():
        own = plan.arm(arm).changed(lambdas=tuple(lambdas), stage=0)
        told: dict[str, Any] = {"arms": (own,), "seeds": plan.seeds[:seeds], "keep_checkpoints": True}
        if not plan.teacher.startswith("zoo:"):
            assert pair is not None, "give --pair, the folder that benchmarks/cliff_pair.py made"
            told |= {"teacher": str(pair / "teacher"), "base": str(pair / "base")}
        yield plan.changed(**told)


def placed(plan: SweepPlan, folder: SweepFolder, name: str) -> Iterator[Row]:
    """Each student of a sweep that is done, on the line."""
    evaluation = EvalConfig(
        engine=EngineConfig(device="cpu"),
        data=plan.evaluation.data,
        split=plan.evaluation.split,
        limit=TASKS,
        temperature=1.0,
        seed=MEASURED_BY,
    )
    before, now = (
        {(one.arm, one.lam, one.seed): one for one in read_results(place)}
        for place in (STORED / name, folder.path)
    )
    runs = list(plan.runs())
    config = ForecastConfig(
        evaluation=evaluation,
        teacher=plan.teacher,
        base=plan.base,
        students=tuple(str(folder.run(run) / "train" / "checkpoint") for run in runs),
        out=folder.path / "placed",
    )
    with closing(TargetEngine(config.at(1.0).engine)) as engine:
        engine.start()
        for number, run in enumerate(runs):
            found = place_student(config, number, engine, (), ignore)
            old, result = (one[run.arm, run.lam, run.seed] for one in (before, now))
            yield {
                "sweep": name,
                "arm": run.arm,
                "lam": run.lam,
                "seed": run.seed,
                "strict_then": old.strict,
                "strict_now": result.strict,
                "n": found.parse_validity.n,
                "strict_t1": found.parse_validity.estimate,
                **{
                    f"{key}{end}": getattr(getattr(found, value), limit)
                    for key, value in (("reached", "lambda_reached"), ("off", "off_the_line"))
                    for end, limit in (("", "estimate"), ("_low", "low"), ("_high", "high"))
                },
                "along": found.along_the_line.estimate,
            }


def make(name: str, runs: Path, pair: Path | None) -> None:
    """Train, place, store."""
    rows: list[Row] = []
    for plan in parts(name, pair):
        folder = SweepFolder(runs / name / plan.arms[0].name)
        run_sweep(plan, folder.path)
        rows += placed(plan, folder, name)
        text = "[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in rows) + "\n]\n"
        files.write_text(STORED / name / FILE, text)


def table() -> Table:
    """A row an arm and λ: each seed's numbers."""
    shown = Table(box=None, pad_edge=False)
    for heading in ("sweep", "arm", "λ", "strict then", "strict now", "λ reached", "off", "along"):
        shown.add_column(heading, justify="left" if heading in ("sweep", "arm") else "right")
    for name in PARTS:
        file = STORED / name / FILE
        rows = json.loads(file.read_bytes()) if file.exists() else []
        for arm, lam in dict.fromkeys((row["arm"], row["lam"]) for row in rows):
            own = [row for row in rows if (row["arm"], row["lam"]) == (arm, lam)]
            shown.add_row(
                name,
                arm,
                f"{lam:g}",
                _each(own, "strict_then"),
                _each(own, "strict_now"),
                _each(own, "reached"),
                f"{np.mean([row['off'] for row in own]):.2f}",
                _each(own, "along"),
            )
    return shown


def _each(rows: list[Row], name: str) -> str:
    return " ".join("–" if row[name] is None else f"{row[name]:.2f}" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["show", "make"], default="show")
    parser.add_argument("--runs", type=Path, help="where students are trained")
    parser.add_argument("--pair", type=Path, help="folder of the one-class pair's teacher/ and base/")
    parser.add_argument("--only", choices=sorted(PARTS), help="this sweep alone")
    given = parser.parse_args()
    if given.what == "make":
        for name in [given.only] if given.only else PARTS:
            make(name, given.runs, given.pair)
    Console(width=120, highlight=False).print(table())


if __name__ == "__main__":
    main()
