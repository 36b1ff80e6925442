"""What a gate costs: seconds on stored runs, samples on live ones.

Run: python benchmarks/gate_cost.py

Stored: wall time of the whole process `harness gate RUN`, best of several, on runs of 1,000 and more tasks;
every rule reads the samples: a stored number is never believed over them.
Live: the median number of samples that a live gate draws from a recorded checkpoint of known validity before
it stops, over several orders of drawing, and how often each verdict came out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from harness.engines.config import EngineConfig
from harness.evaluate import EvalConfig, evaluate
from harness.gate import Policy
from harness.gate.live import decide_live

K = 8
RULES = {
    "a rate": "parse_validity.strict >= 0.9",
    "a mean": "ndcg_at_1.all >= 0.1",
    "against a baseline": "ndcg_at_1.parsed >= baseline - 0.05",
}


def write_lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_tasks(path: Path, count: int) -> Path:
    candidates = [{"item_id": f"c{place}", "title": f"Thing number {place}"} for place in range(K)]
    labels = [3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    return write_lines(
        path,
        [
            {"task_id": f"t{number}", "history": [], "candidates": candidates, "relevance": labels}
            for number in range(count)
        ],
    )


def write_answers(path: Path, count: int, validity: float, rng: np.random.Generator) -> Path:
    rows: list[dict[str, object]] = []
    for number, valid in enumerate(rng.random(count) < validity):
        ranking = json.dumps({"ranking": [int(place) + 1 for place in rng.permutation(K)]})
        rows.append({"task_id": f"t{number}", "text": ranking if valid else f"Sure! {ranking}"})
    return write_lines(path, rows)


def settings(folder: Path, answers: Path, out: str, seed: int = 0) -> EvalConfig:
    engine = EngineConfig(engine="replay", replay=answers)
    return EvalConfig(engine=engine, data=str(folder / "tasks.jsonl"), out=folder / out, seed=seed)


def seconds(arguments: list[str], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "harness", *arguments], capture_output=True, check=False)
        best = min(best, time.perf_counter() - began)
        if done.returncode not in (0, 1, 4):
            raise RuntimeError(done.stderr.decode())
    return best


def stored(sizes: list[int], repeats: int) -> None:
    print("stored run, whole process, best of", repeats)
    print(f"{'tasks':>10}" + "".join(f"{name:>22}" for name in RULES))
    rng = np.random.default_rng(0)
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_tasks(folder / "tasks.jsonl", size)
            for run in ("candidate", "baseline"):
                answers = write_answers(folder / f"{run}.jsonl", size, 0.95, rng)
                evaluate(settings(folder, answers, run))
            row = []
            for rule in RULES.values():
                policy = folder / "gate.yaml"
                policy.write_text(f"rules:\n  - {rule}\n")
                arguments = ["gate", str(folder / "candidate"), "--policy", str(policy)]
                arguments += ["--baseline", str(folder / "baseline")]
                row.append(seconds(arguments, repeats))
        print(f"{size:>10,}" + "".join(f"{value:>20.2f} s" for value in row))


def live(tasks: int, repeats: int) -> None:
    print(f"\nlive gate, parse_validity.strict >= 0.95, {tasks:,} tasks, {repeats} orders of drawing")
    print(f"{'validity':>10}{'samples drawn (median)':>26}{'saved':>9}   verdicts")
    for validity in (0.34, 0.9, 0.97, 0.98, 0.995):
        drawn, verdicts = [], Counter[str]()
        for seed in range(repeats):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                write_tasks(folder / "tasks.jsonl", tasks)
                rng = np.random.default_rng([seed, round(1000 * validity)])
                answers = write_answers(folder / "answers.jsonl", tasks, validity, rng)
                result, _ = decide_live(settings(folder, answers, "run", seed), Policy())
            assert result.live is not None
            drawn.append(result.live.samples_drawn)
            verdicts[result.verdict] += 1
        median = statistics.median(drawn)
        shown = ", ".join(f"{verdict} {count}" for verdict, count in verdicts.most_common())
        print(f"{validity:>10}{median:>26,.0f}{1 - median / tasks:>9.1%}   {shown}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--tasks", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--orders", type=int, default=20)
    arguments = parser.parse_args()
    stored(arguments.sizes, arguments.repeats)
    live(arguments.tasks, arguments.orders)


if __name__ == "__main__":
    main()
