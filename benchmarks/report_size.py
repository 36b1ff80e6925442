"""What a report costs: build time, size of the file, time until the page answers, and how they grow.

python benchmarks/report_size.py [--samples 10000] [--titles fashion-mini|random]

Two runs are made from recorded answers of a simulated student and baseline on generated fashion-mini tasks,
evaluated by the real job; then `harness report` is run on them as a whole process, and the page is opened
in a headless Chromium (without one, the last column stays empty). `--titles random` replaces every title by
words that don't repeat, the worst that a catalogue can do to the compression.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from harness.data.fashion_mini import generate_tasks
from harness.data.tasks import Item, RankingTask
from harness.engines.config import EngineConfig
from harness.evaluate import EvalConfig, evaluate

Answer = Callable[[RankingTask, random.Random], str]
ROOT = Path(__file__).parents[1]


def ranked(task: RankingTask, rng: random.Random, skill: float) -> list[int]:
    """A ranking that follows the labels as far as `skill` in [0, 1] goes."""
    return sorted(
        range(1, task.k + 1),
        key=lambda number: -(skill * task.relevance[number - 1] / 3 + (1 - skill) * rng.random()),
    )


def answer(valid: float, skill: float) -> Answer:
    """Answers of which a share `valid` keep the contract and the rest break it in the usual ways."""

    def write(task: RankingTask, rng: random.Random) -> str:
        ids = ranked(task, rng, skill)
        if rng.random() < valid:
            return json.dumps({"ranking": ids})
        kind = rng.choices(("duplicate", "short", "prose", "cut", "unknown"), (5, 3, 2, 1, 1))[0]
        if kind == "duplicate":
            ids[rng.randrange(1, task.k)] = ids[0]
        elif kind == "short":
            ids.pop()
        elif kind == "unknown":
            ids[rng.randrange(task.k)] = task.k + rng.randint(1, 4)
        text = json.dumps({"ranking": ids})
        if kind == "prose":
            title = task.candidates[ids[0] - 1].title
            return f"Sure! The best match is “{title}”.\n```json\n{text}\n```"
        return text[: rng.randint(12, len(text) - 2)] if kind == "cut" else text

    return write


def make_run(folder: Path, tasks: Sequence[RankingTask], name: str, write: Answer, seed: int) -> Path:
    """Evaluate recorded answers into `folder/name`."""
    rng = random.Random(seed)
    data, outputs = folder / "tasks.jsonl", folder / f"{name}.jsonl"
    if not data.exists():
        data.write_text("".join(task.model_dump_json() + "\n" for task in tasks), encoding="utf-8")
    with outputs.open("w", encoding="utf-8") as file:
        for task in tasks:
            file.write(json.dumps({"task_id": task.task_id, "text": write(task, rng)}) + "\n")
    engine = EngineConfig(engine="replay", replay=outputs)
    evaluate(EvalConfig(engine=engine, data=str(data), out=folder / name))
    return folder / name


def make_runs(folder: Path, samples: int, *, random_titles: bool = False) -> list[Path]:
    """A baseline that often breaks the contract, and a student that seldom does."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = list(generate_tasks("test", samples, 7))
    if random_titles:
        rng = random.Random(0)
        tasks = [with_random_titles(task, rng) for task in tasks]
    return [
        make_run(folder, tasks, "sft-8b", answer(0.335, 0.62), 1),
        make_run(folder, tasks, "listopd-1.7b", answer(0.948, 0.6), 2),
    ]


def with_random_titles(task: RankingTask, rng: random.Random) -> RankingTask:
    """The task with titles of twelve words that were drawn letter by letter."""

    def renamed(items: Sequence[Item]) -> tuple[Item, ...]:
        words = ("".join(rng.choices(ascii_lowercase, k=rng.randint(2, 9))) for _ in range(12 * len(items)))
        return tuple(
            item.model_copy(update={"title": " ".join(next(words) for _ in range(12))}) for item in items
        )

    return task.model_copy(update={"history": renamed(task.history), "candidates": renamed(task.candidates)})


@dataclass(frozen=True, slots=True)
class Built:
    """A report that was made."""

    rows: int
    seconds: float
    size: int
    ready: int | None


def build(runs: Sequence[Path], out: Path, rows: int | None, tab: Any) -> Built:
    """Make a report as a user does, by the command; `tab` opens it."""
    command = [sys.executable, "-m", "harness", "report", *map(str, runs), "-o", str(out), "--json"]
    if rows is not None:
        command += ["--max-samples", str(rows)]
    started = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    seconds = time.monotonic() - started
    ready = None
    if tab is not None:
        tab.open(out)
        ready = tab.ready()
    return Built(json.loads(done.stdout)["rows"], seconds, out.stat().st_size, ready)


def measure(folder: Path, samples: int, titles: str, tab: Any) -> None:
    """Print a line for each number of rows; the first one is what a user gets who asks for none."""
    runs = make_runs(folder, samples, random_titles=titles == "random")
    print(f"2 runs × {samples:,} samples, {titles} titles")
    print(f"{'rows asked for':>16} {'rows':>7} {'built, s':>9} {'file, MB':>9} {'interactive, ms':>16}")
    build(runs, folder / "report.html", 50, tab)  # files are in the cache from here on, for every line alike
    steps = [None, *(step for step in (500, 1000, 2000, 5000, 10_000) if step <= samples)]
    for rows in steps:
        made = build(runs, folder / "report.html", rows, tab)
        asked = "default" if rows is None else f"{rows:,}"
        ready = "" if made.ready is None else f"{made.ready}"
        print(f"{asked:>16} {made.rows:>7,} {made.seconds:>9.2f} {made.size / 1e6:>9.3f} {ready:>16}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--titles", choices=("fashion-mini", "random"), default="fashion-mini")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "report"))
    chromium = import_module("chromium")
    opened = nullcontext() if chromium.executable() is None else chromium.browser()
    with tempfile.TemporaryDirectory() as folder, opened as tab:
        measure(Path(folder), options.samples, options.titles, tab)


if __name__ == "__main__":
    main()
