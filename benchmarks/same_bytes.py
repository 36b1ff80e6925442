"""Do two states of the code give the same bytes? Samples, metrics, verdicts, λ*, weights, locks.

    git worktree add ../before COMMIT && python benchmarks/same_bytes.py --before ../before
    python benchmarks/same_bytes.py --before ../before --engine vllm --only eval

Every scenario runs in both checkouts, each in a folder of its own, with the same environment but the code.
What says when, how long, on which machine and by which code (`VOLATILE`) is left out of the comparison;
everything else has to be equal. Exit code 1 where something differs.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("ppo-clip", "mask", "mask-fine", "one-class", "one-class-long")
VOLATILE = {
    *(
        "decided",
        "created",
        "started",
        "finished",
        "seconds",
        "sessions",
        "host",
        "git",
        "packages",
        "machine",
    ),
    *("harness_version", "format_version", "training_code", "analysis_code", "source", "path", "out"),
}
ANSWERS = (
    '{"ranking": [1, 2, 3, 4, 5, 6, 7, 8]}',
    ' {"ranking":[8,7,6,5,4,3,2,1]}\n',
    '```json\n{"ranking": [1, 3, 2, 4, 5, 6, 7, 8]}\n```',
    'The ranking is {"ranking": [2, 1, 3, 4, 5, 6, 7, 8]}.',
    '{"ranking": [1, 2, 3, 4, 5, 6, 7]}',
    '{"ranking": [1, 2, 3, 4, 5, 6, 7, 7]}',
    '{"ranking": [1, 2, 3, 4, 5, 6, 7, 9]}',
    '{"ranking": [1, 2, 3, 4, 5, 6, 7, 8.0]}',
    '{"ranking": "1, 2, 3"}',
    '{"rank": [1, 2, 3, 4, 5, 6, 7, 8]}',
    '{"ranking": [1, 2, 3, 4, 5, 6, 7, 8], "why": "because"}',
    '{"ranking": [1], "ranking": [1, 2, 3, 4, 5, 6, 7, 8]}',
    '{"ranking": [1, 2, 3, 4, 5, 6, 7',
    "{'ranking': [1, 2, 3, 4, 5, 6, 7, 8]}",
    "I'd rather not say.",
    "",
)
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
ROUNDING = 1e-12
"""What another library's arithmetic may move a number by."""
Outputs = dict[str, str]


@dataclass(frozen=True)
class Checkout:
    """A state of the code, and the folder its outputs go to."""

    code: Path
    folder: Path

    def harness(self, *arguments: str) -> str:
        """Run a command; what it printed, its exit code first."""
        done = subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.code), "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1, 3, 4):
            print(done.stderr[-2000:], file=sys.stderr)
        return f"exit {done.returncode}\n{done.stdout}"


def plain(text: str) -> str:
    """JSON or JSON lines without what differs from run to run; other text as it is."""
    try:
        return json.dumps(_stripped(json.loads(text)), indent=1, ensure_ascii=False)
    except ValueError:
        pass
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.dumps(_stripped(json.loads(line)), ensure_ascii=False))
        except ValueError:
            lines.append(line)
    return "\n".join(lines)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _stripped(inner) for name, inner in value.items() if not _volatile(name)}
    return [_stripped(inner) for inner in value] if isinstance(value, list) else value


def _volatile(name: str) -> bool:
    return name in VOLATILE or "second" in name or "memory" in name


def _read(folder: Path, *names: str) -> Outputs:
    """Files as they are compared: samples and metrics byte for byte (samples in any order)."""
    outputs = {}
    for name in names:
        file = folder / name
        if not file.exists():
            outputs[f"{folder.name}/{name}"] = "missing"
        elif file.suffix == ".safetensors":
            outputs[f"{folder.name}/{name}"] = hashlib.sha256(file.read_bytes()).hexdigest()
        elif name == "samples.jsonl":
            outputs[f"{folder.name}/{name}"] = "\n".join(
                sorted(file.read_text(encoding="utf-8").splitlines())
            )
        elif name == "metrics.json":
            outputs[f"{folder.name}/{name}"] = file.read_text(encoding="utf-8")
        else:
            outputs[f"{folder.name}/{name}"] = plain(file.read_text(encoding="utf-8"))
    return outputs


RUN = ("samples.jsonl", "tasks.jsonl", "metrics.json")


def evaluations(one: Checkout, engine: str) -> Outputs:
    """Evaluations by engine, greedy and sampled, then gate, rescore, report on them."""
    outputs: Outputs = {}
    for name, options in (
        ("greedy", ("--ckpt", "zoo:base", "--limit", "64")),
        ("better", ("--ckpt", "zoo:listopd", "--limit", "64")),
        (
            "drawn",
            ("--ckpt", "zoo:listopd", "--limit", "32", "--samples", "2", "--temperature", "1", "--seed", "3"),
        ),
        ("constrained", ("--ckpt", "zoo:base", "--limit", "24", "--constrained")),
    ):
        one.harness("eval", "--engine", engine, "--dtype", "float32", "--out", name, *options)
        outputs |= _read(one.folder / name, *RUN)
    return outputs | _on_runs(one, "greedy", "better")


def replay(one: Checkout, _: str) -> Outputs:
    """Recorded outputs of every kind of failure, and everything made from them."""
    rows = [json.loads(line) for line in _tasks(one)][:128]
    for name, shift in (("replayed", 0), ("other", 5)):
        file = one.folder / f"{name}.jsonl"
        with file.open("w", encoding="utf-8") as out:
            for i, row in enumerate(rows):
                text = ANSWERS[(i * i + shift) % len(ANSWERS)] if i % 3 else ANSWERS[0]
                out.write(json.dumps({"task_id": row["task_id"], "text": text}) + "\n")
        one.harness("eval", "--replay", file.name, "--limit", "128", "--out", name)
    outputs = _read(one.folder / "replayed", *RUN) | _read(one.folder / "other", *RUN)
    return outputs | _on_runs(one, "replayed", "other")


def _tasks(one: Checkout) -> list[str]:
    file = one.code / "datasets" / "fashion-mini" / "test.jsonl"
    return file.read_text(encoding="utf-8").splitlines()


def _on_runs(one: Checkout, run: str, baseline: str) -> Outputs:
    """Gate, gate against a baseline, rescore, report."""
    policy = one.folder / "policy.yaml"
    rules: tuple[str, ...] = (
        "parse_validity.strict >= 0.7",
        "ndcg_at_1.all >= 0.4",
        "ndcg_at_1.parsed >= baseline - 0.05",
    )
    rules += ("failure_rate.duplicate_id <= 0.2", "truncation_rate <= 0.02", "ndcg_at_1.chance >= 0.2")
    policy.write_text("alpha: 0.05\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules), encoding="utf-8")
    outputs = {f"gate {run}": plain(one.harness("gate", run, "--json").split("\n", 1)[1])}
    told = one.harness(
        "gate", run, "--baseline", baseline, "--policy", policy.name, "--json", "--junit", "gate.xml"
    )
    outputs[f"gate {run} against {baseline}"] = told.split("\n", 1)[0] + "\n" + plain(told.split("\n", 1)[1])
    outputs |= _read(one.folder / run, "gate.json")
    outputs[f"junit {run}"] = (one.folder / "gate.xml").read_text(encoding="utf-8")
    outputs[f"gate {run}, as text"] = one.harness(
        "gate", run, "--baseline", baseline, "--policy", policy.name
    )
    outputs[f"report {run}"] = one.harness("report", run, baseline, "--format", "md", "-o", "report.md")
    outputs[f"report {run}.md"] = (one.folder / "report.md").read_text(encoding="utf-8")
    shutil.copytree(one.folder / run, one.folder / f"{run}-again")
    outputs[f"rescore {run}"] = one.harness("rescore", f"{run}-again").split("\n", 1)[0]
    return outputs | _read(one.folder / f"{run}-again", *RUN)


def cliff(one: Checkout, _: str) -> Outputs:
    """λ* of the zoo's pair, from its own rollouts and beside an evaluation."""
    pair = ("--teacher", "zoo:teacher", "--base", "zoo:base", "--lambda", "1.1", "--clip", "5")
    told = one.harness(
        "cliff",
        "--engine",
        "hf",
        *pair,
        "--student",
        "zoo:listopd",
        "--limit",
        "64",
        "--out",
        "cliff",
        "--json",
    )
    outputs = {"cliff": plain(told.split("\n", 1)[1])} | _read(one.folder / "cliff", "cliff.json", *RUN)
    one.harness("eval", "--engine", "hf", "--ckpt", "zoo:listopd", *pair, "--limit", "48", "--out", "beside")
    policy = one.folder / "left.yaml"
    policy.write_text("rules:\n  - cliff.verdict in [left]\n  - cliff.lambda_star >= 1.1\n", encoding="utf-8")
    told = one.harness("gate", "beside", "--policy", policy.name, "--json")
    outputs["gate beside"] = plain(told.split("\n", 1)[1])
    return outputs | _read(one.folder / "beside", "cliff.json", *RUN)


def training(one: Checkout, _: str) -> Outputs:
    """Twelve steps of OPD in three settings, and supervised steps: weights and logs."""
    outputs: Outputs = {}
    pair = ("--teacher", "zoo:teacher", "--base", "zoo:base", "--clip", "2", "--steps", "12", "--lr", "1e-3")
    for name, options in (
        ("fixed", ("--lambda", "1.3", "--staleness", "fixed", "--samples", "4", "--rollout-batch", "128")),
        (
            "fresh",
            ("--lambda", "1.1", "--updates-per-rollout", "4", "--guard", "enforce", "--batch-size", "32"),
        ),
        (
            "lora",
            ("--lambda", "1.0", "--lora-rank", "4", "--batch-size", "16", "--ratio-gradient", "truncated"),
        ),
    ):
        one.harness("train", "opd", *pair, *options, "--out", name)
        weights = "adapter_model.safetensors" if name == "lora" else "model.safetensors"
        outputs |= _read(one.folder / name, "train.jsonl", f"checkpoint/{weights}")
    one.harness(
        "train",
        "sft",
        "--ckpt",
        "zoo:base",
        "--out",
        "sft",
        "--steps",
        "8",
        "--lr",
        "1e-4",
        "--batch-size",
        "16",
    )
    return outputs | _read(one.folder / "sft", "train.jsonl", "model.safetensors")


def locks(one: Checkout, _: str) -> Outputs:
    """`prereg check` on the stored sweeps: tests, windows, onsets, hits and misses."""
    outputs = {}
    for name in LOCKS:
        told = one.harness(
            "prereg", "check", str(ROOT / "benchmarks/results/cliff-measured" / name), "--json"
        )
        code, content = told.split("\n", 1)
        outputs[f"prereg check {name}"] = f"{code}\n{plain(content)}"
    return outputs


def sweeps(one: Checkout, _: str) -> Outputs:
    """A small sweep from plan to results."""
    plan = {
        "teacher": "zoo:teacher",
        "base": "zoo:base",
        "seeds": [1],
        "arms": [{"name": "a", "lambdas": [1.0, 2.0], "clip": 1.5, "steps": 4, "learning_rate": 1e-4}],
        "training": {"rollout_batch": 64, "batch_size": 32, "limit": 64},
        "evaluation": {"limit": 32},
    }
    (one.folder / "plan.yaml").write_text(json.dumps(plan), encoding="utf-8")
    one.harness("sweep", "plan.yaml", "--out", "sweep")
    rows = (one.folder / "sweep" / "results.csv").read_text(encoding="utf-8").splitlines()
    names = rows[0].split(",")
    kept = [i for i, name in enumerate(names) if not _volatile(name)]
    return {"sweep": "\n".join(",".join(row.split(",")[i] for i in kept) for row in rows)}


SCENARIOS: dict[str, Callable[[Checkout, str], Outputs]] = {
    "eval": evaluations,
    "replay": replay,
    "cliff": cliff,
    "training": training,
    "locks": locks,
    "sweep": sweeps,
}


def rounding(one: str, other: str) -> float | None:
    """Largest distance of numbers in two texts that are alike otherwise; None where they aren't."""
    if NUMBER.sub("", one) != NUMBER.sub("", other):
        return None
    pairs = zip(map(float, NUMBER.findall(one)), map(float, NUMBER.findall(other)), strict=True)
    return max((abs(mine - theirs) / max(1.0, abs(mine)) for mine, theirs in pairs), default=0.0)


def differences(before: Outputs, after: Outputs) -> Iterator[tuple[str, str]]:
    """Each output that isn't the same, with the first lines that differ, or how far numbers moved."""
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name, "missing"), after.get(name, "missing")
        moved = rounding(one, other) if one != other else None
        if moved is not None and moved < ROUNDING:
            yield name, f"numbers moved by at most {moved:.1g}"
        elif one != other:
            lines = difflib.unified_diff(
                one.splitlines(), other.splitlines(), "before", "after", n=0, lineterm=""
            )
            yield name, "\n".join(line[:400] for _, line in zip(range(14), lines, strict=False))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, required=True, help="checkout of the commit before")
    parser.add_argument("--after", type=Path, default=ROOT, help="checkout of the commit after")
    parser.add_argument("--only", choices=SCENARIOS, action="append")
    parser.add_argument("--engine", choices=("hf", "vllm"), default="hf", help="of the evaluations")
    arguments = parser.parse_args()
    failed = False
    for name in arguments.only or SCENARIOS:
        outputs = []
        for code in (arguments.before.resolve(), arguments.after.resolve()):
            with tempfile.TemporaryDirectory() as folder:
                outputs.append(SCENARIOS[name](Checkout(code, Path(folder)), arguments.engine))
        found = list(differences(*outputs))
        failed |= bool(found)
        print(f"{name}: {len(outputs[0])} outputs compared, {len(found)} differ", flush=True)
        for output, lines in found:
            print(f"-- {output}\n{lines}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
