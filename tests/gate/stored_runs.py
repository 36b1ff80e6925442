"""Stored runs of random answers, whole, cut or spoilt, and one rule's verdict on them."""

import random
from pathlib import Path

import numpy as np

from harness.gate import Policy, RuleResult, decide
from harness.runs import Run, load
from tests.gate.gate_runs import BAD, good
from tests.resealing import change_document

TASKS = 120


def policy(*rules: str, **changes: object) -> Policy:
    return Policy(rules=rules, **changes)  # type: ignore[arg-type]


def only(run: Run, rule: str, baseline: Run | None = None, **changes: object) -> RuleResult:
    [result] = decide(run, policy(rule, **changes), baseline).rules
    return result


def shifted(rule: str, shift: float) -> str:
    return f"{rule} >= baseline {'-' if shift < 0 else '+'} {abs(shift):.6f}"


def mixed(seed: int, tasks: int = TASKS, samples: int = 1) -> list[list[str]]:
    """Answers of random quality, a fifth of them invalid."""
    rng = random.Random(seed)
    return [
        [BAD if rng.random() < 0.2 else good(rng.choice([1, 1, 1, 2, 3])) for _ in range(samples)]
        for _ in range(tasks)
    ]


def column(run: Run, name: str) -> np.ndarray:
    """One value a sample in task order; NaN where it has none."""
    frame = run.samples
    if name == "strict":
        return (frame["tier"] == "strict").to_numpy(dtype=float)
    return frame[name].to_numpy(dtype=float)


def copy_of(run: Run, folder: Path) -> Path:
    folder.mkdir()
    for path in run.path.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def cut(run: Run, folder: Path, keep: int, status: str = "incomplete") -> Run:
    """The run as a kill left it after `keep` samples."""
    path = copy_of(run, folder)
    lines = (path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (path / "samples.jsonl").write_bytes(b"".join(lines[:keep]))
    change_document(path / "manifest.json", lambda manifest: manifest.update(status=status))
    if status != "complete":
        (path / "metrics.json").unlink()
    return load(path)


def with_cliff(run: Run, folder: Path, content: str) -> Run:
    path = copy_of(run, folder)
    (path / "cliff.json").write_text(content)
    return load(path)
