"""Contracts and prompts of one's own, end to end on tiny models: train, evaluate, λ*, forecast, gate, report.

`shelf` ranks four items by their own ids, in objects that give a reason each. `tools` answers a request with
one of three tool calls under a JSON Schema, and has the expected call. A teacher and a warm start of each are
fine-tuned from a checkpoint of the zoo, which has seen neither prompt nor contract.

Examples:
    python benchmarks/own_contract.py make --out runs/own
    python benchmarks/own_contract.py run shelf --out runs/own
    python benchmarks/own_contract.py run tools --out runs/own
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import files
from harness.data.fashion_mini import Split, generate_tasks

SPLITS: dict[Split, int] = {"train": 12_000, "test": 256}
CODES = ["Ba", "Ce", "Do", "Fi"]
"""Ids that all tasks share, each time of other items: models this small learn no copying."""

SHELF_CONTRACT = """\
kind: listwise
ranking: $.results
ids: item_id
id_field: id
schema:
  properties:
    results:
      items:
        properties:
          reason: {enum: [fits, close, other]}
        required: [reason]
instruction: |
  Answer with JSON: {"results": [{"id": …, "reason": …}, …]}, all {{ k }} items, best first.
"""
SHELF_PROMPT = """\
messages:
  - role: system
    content: You sort a shelf for a shopper.
  - role: user
    content: |
      Bought: {% for item in history %}{{ item.title }}; {% endfor %}

      {% for item in candidates %}{{ item.item_id }}: {{ item.title }}
      {% endfor %}{{ contract.instruction }}
"""
TOOLS_CONTRACT = """\
kind: schema
schema:
  type: object
  properties:
    tool: {enum: [set_timer, play, weather]}
    arguments: {type: object}
  required: [tool, arguments]
  additionalProperties: false
  oneOf:
    - properties:
        tool: {const: set_timer}
        arguments:
          properties: {minutes: {type: integer, minimum: 1, maximum: 99}}
          required: [minutes]
          additionalProperties: false
    - properties:
        tool: {const: play}
        arguments:
          properties: {artist: {type: string, minLength: 1}}
          required: [artist]
          additionalProperties: false
    - properties:
        tool: {const: weather}
        arguments:
          properties:
            city: {type: string, minLength: 1}
            day: {enum: [today, tomorrow]}
          required: [city, day]
          additionalProperties: false
"""
TOOLS_SYSTEM = """\
Answer with one JSON object: {"tool": …, "arguments": {…}}. Tools: set_timer(minutes), play(artist), \
weather(city, day)."""
NAMES = ["Arden", "Bellmoor", "Corvo", "Duskin", "Elowen", "Fjara", "Halden", "Isolde", "Marlowe", "Quillan"]


def shelf_rows(split: Split, n: int) -> Iterator[tuple[dict[str, Any], object]]:
    draw = random.Random(f"shelf {split}")
    for task in generate_tasks(split, n, k=4):
        codes = draw.sample(CODES, task.k)
        items = [
            {"item_id": code, "title": one.title} for code, one in zip(codes, task.candidates, strict=True)
        ]
        row = {
            "task_id": task.task_id,
            "history": [{"item_id": one.item_id, "title": one.title} for one in task.history],
            "candidates": items,
            "relevance": task.relevance,
        }
        best = sorted(range(task.k), key=lambda place: (-task.relevance[place], place))
        reason = {0: "other", 1: "other", 2: "close", 3: "fits"}
        yield row, {"results": [{"id": codes[i], "reason": reason[int(task.relevance[i])]} for i in best]}


def tools_rows(split: Split, n: int) -> Iterator[tuple[dict[str, Any], object]]:
    draw = random.Random(f"tools {split}")
    for number in range(n):
        name, minutes = draw.choice(NAMES), draw.randint(1, 99)
        day = draw.choice(["today", "tomorrow"])
        request, tool, arguments = draw.choice(
            [
                (f"Wake me in {minutes} minutes", "set_timer", {"minutes": minutes}),
                (f"Set a timer: {minutes} min", "set_timer", {"minutes": minutes}),
                (f"Play {name}", "play", {"artist": name}),
                (f"Put on songs by {name}", "play", {"artist": name}),
                (f"Weather in {name} {day}?", "weather", {"city": name, "day": day}),
                (f"Is it warm {day} in {name}?", "weather", {"city": name, "day": day}),
            ]
        )
        expected = {"tool": tool, "arguments": arguments}
        yield (
            {
                "task_id": f"tools-{split}-{number:05d}",
                "messages": [{"role": "user", "content": request}],
                "expected": expected,
            },
            expected,
        )


def make(out: Path) -> None:
    for name, rows, contract in (
        ("shelf", shelf_rows, SHELF_CONTRACT),
        ("tools", tools_rows, TOOLS_CONTRACT),
    ):
        folder = out / name
        (folder / "data").mkdir(parents=True, exist_ok=True)
        files.write_text(folder / "contract.yaml", contract)
        for split, n in SPLITS.items():
            made = list(rows(split, n))
            told = [json.dumps(row, ensure_ascii=False) for row, _ in made]
            answers = [
                json.dumps({"task_id": row["task_id"], "text": json.dumps(answer)}) for row, answer in made
            ]
            files.write_text(folder / "data" / f"{split}.jsonl", "\n".join(told) + "\n")
            files.write_text(folder / f"answers-{split}.jsonl", "\n".join(answers) + "\n")
    files.write_text(out / "shelf" / "prompt.yaml", SHELF_PROMPT)


def harness(*arguments: object) -> int:
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    print("\n$ harness", *command[3:], flush=True)
    return subprocess.run(command, check=False).returncode


def run(name: str, out: Path, steps: int, tasks: int, lam: float) -> None:
    """Teacher and base, then all that is asked of a checkpoint; stops where a command ends as it may not."""
    folder = out / name
    asked: tuple[object, ...] = ("--contract", folder / "contract.yaml")
    asked += ("--system", TOOLS_SYSTEM) if name == "tools" else ("--prompt", folder / "prompt.yaml")
    test = ("--data", folder / "data", "--split", "test", "--limit", tasks, *asked)
    teacher, base = folder / "teacher", folder / "base"
    for made, start, longer, seed in ((teacher, "zoo:teacher", steps, 1), (base, "zoo:base", steps // 3, 2)):
        if made.exists():
            continue
        sft = ("--ckpt", start, "--out", made, "--data", folder / "data", "--split", "train", *asked)
        sft += ("--answers", folder / "answers-train.jsonl", "--steps", longer, "--batch-size", 16)
        sft += (
            "--lr",
            2e-3,
            "--warmup-steps",
            20,
            "--final-fraction",
            0.02,
            "--seed",
            seed,
            "--device",
            "cpu",
        )
        if harness("train", "sft", *sft):
            raise SystemExit(f"{made} wasn't trained")
    hf = ("--engine", "hf", "--device", "cpu")
    policy = folder / "gate.yaml"
    match = "match.exact.all" if name == "tools" else "ndcg_at_1.all"
    files.write_text(policy, f"rules:\n  - parse_validity.strict >= 0.9\n  - {match} >= baseline - 0.1\n")
    for command, may in (
        (("eval", "--ckpt", teacher, "--out", folder / "run-teacher", *hf, *test), {0}),
        (("eval", "--ckpt", base, "--out", folder / "run-base", *hf, *test), {0}),
        (("cliff", "--teacher", teacher, "--base", base, "--lambda", lam, "--clip", 5, *hf, *test,
          "--out", folder / "run-cliff"), {0}),
        (("forecast", "--teacher", teacher, "--base", base, "--lambdas", "0,1,2,4", *test, "--device", "cpu",
          "--out", folder / "forecast"), {0}),
        (("gate", folder / "run-teacher", "--policy", policy, "--baseline", folder / "run-base"), {0, 1, 4}),
        (("report", folder / "run-teacher", folder / "run-base", "-o", folder / "report.html"), {0}),
    ):  # fmt: skip
        if (code := harness(*command)) not in may:
            raise SystemExit(f"exit code {code}")
    print(f"\n{name}: every command ended as it may")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["make", "run"])
    parser.add_argument("name", nargs="?", choices=["shelf", "tools"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600, help="of the teacher; the base has a third")
    parser.add_argument("--tasks", type=int, default=128)
    parser.add_argument("--lambda", dest="lam", type=float, default=1.5)
    given = parser.parse_args()
    if given.what == "make":
        make(given.out)
    else:
        run(given.name, given.out, given.steps, given.tasks, given.lam)


if __name__ == "__main__":
    main()
