"""Did students of a sweep leave the clip-safe region, at the role that binds, and did the contract break?

λ* is where the extrapolated fixed point leaves the region 1 − q ≥ (1 − p)/c. Collapse is what is said to
follow. The training logs hold q, so the two can be looked at apart. This table wasn't locked: it was thought
of after the runs.

Examples:
    python benchmarks/cliff_mechanism.py                    the stored readings of one-class
    python benchmarks/cliff_mechanism.py one-class-long     of another sweep
    python benchmarks/cliff_mechanism.py --export FOLDER    read a sweep's logs, and store them
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from harness.sweep.folder import LOCK, SweepFolder, read_record
from harness.sweep.prereg.lock_file import read_lock
from harness.sweep.results import read_results

STORED = Path(__file__).parent / "results" / "cliff-measured"
FILE = "binding.csv"


@dataclass(frozen=True, slots=True)
class Reading:
    """The last logged class masses of a run at the binding role, and how the run ended."""

    arm: str
    lam: float
    seed: int
    clip: float
    step: int
    role: str
    p: float
    b: float
    q: float
    clipped: float
    strict: float

    @property
    def room(self) -> float:
        """log of the student's tail mass over the edge (1 − p)/c; below 0 it is outside."""
        return math.log((1.0 - self.q) * self.clip / (1.0 - self.p))


def readings(folder: Path) -> list[Reading]:
    """From the training logs of all runs that are done."""
    lock, sweep = read_lock(folder / LOCK), SweepFolder(folder)
    binding = {one.clip: one.binding for one in lock.predictions}
    by_name = {(run.arm, run.lam, run.seed): run for run in read_record(sweep).plan.runs()}
    found = []
    for result in read_results(folder):
        log = sweep.run(by_name[result.arm, result.lam, result.seed]) / "train" / "train.jsonl"
        steps = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        assert result.clip is not None
        assert result.strict is not None
        role = binding[result.clip]
        # Where a student has collapsed, no rollout may reach the role any more: the last that did.
        last = [step for step in steps if role in (step["roles"] or {})][-1]
        masses = last["roles"][role]
        found.append(
            Reading(
                result.arm,
                result.lam,
                result.seed,
                result.clip,
                last["step"],
                role,
                masses["p"],
                masses["b"],
                masses["q"],
                steps[-1]["clipped"],
                result.strict,
            )
        )
    return sorted(found, key=astuple)


def store(rows: list[Reading], file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(field.name for field in fields(Reading))
        writer.writerows(astuple(row) for row in rows)


def stored(file: Path) -> list[Reading]:
    with file.open(encoding="utf-8", newline="") as stream:
        return [
            Reading(
                **{
                    field.name: {"int": int, "float": float, "str": str}[str(field.type)](row[field.name])
                    for field in fields(Reading)
                }
            )
            for row in csv.DictReader(stream)
        ]


def show(rows: list[Reading], console: Console) -> None:
    table = Table("arm", "λ", "runs", "p", "b", "q", "tail / edge", "outside", "clipped", "strict", box=None)
    for arm, lam in sorted({(row.arm, row.lam) for row in rows}):
        cell = [row for row in rows if (row.arm, row.lam) == (arm, lam)]
        mean = {
            name: float(np.mean([getattr(row, name) for row in cell]))
            for name in ("p", "b", "clipped", "strict")
        }
        rooms = np.array([row.room for row in cell])
        table.add_row(
            arm,
            f"{lam:g}",
            str(len(cell)),
            f"{mean['p']:.5f}",
            f"{mean['b']:.3f}",
            f"{1 - math.exp(np.mean([math.log(1 - row.q) for row in cell])):.5f}",
            f"{math.exp(rooms.mean()):.3g} ({math.exp(rooms.min()):.3g} … {math.exp(rooms.max()):.3g})",
            f"{int((rooms < 0).sum())}/{len(cell)}",
            f"{mean['clipped']:.3f}",
            f"{mean['strict']:.2f}",
        )
    console.print(table)
    console.print("tail / edge: (1 − q) over (1 − p)/c, geometric mean over seeds, lowest … highest")
    console.print("outside: seeds whose tail lies below the edge")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", default="one-class", help="of a stored sweep")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="of that sweep, with its logs")
    given = parser.parse_args()
    file = STORED / given.name / FILE
    if given.export is not None:
        store(readings(given.export), file)
    show(stored(file), Console(width=116))


if __name__ == "__main__":
    main()
