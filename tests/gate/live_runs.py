"""Live gates on recorded answers to 400 tasks."""

from __future__ import annotations

from pathlib import Path

from harness.gate import GateResult, Policy
from harness.gate.live import LiveOptions, decide_live
from harness.runs import Run
from tests.gate.gate_runs import answers, config, write_outputs

TASKS = 400
VALIDITY = "parse_validity.strict >= 0.95"


def outputs(folder: Path, valid: int, name: str = "outputs") -> Path:
    return write_outputs(folder / f"{name}.jsonl", answers(valid)(TASKS, 1))


def live(
    data: Path,
    answered: Path,
    out: Path,
    *rules: str,
    baseline: Run | None = None,
    options: LiveOptions | None = None,
    scope: str = "tasks",
    **changes: object,
) -> tuple[GateResult, Run]:
    policy = Policy(rules=rules or (VALIDITY,), scope=scope)  # type: ignore[arg-type]
    return decide_live(config(data, answered, out, **changes), policy, baseline, options)
