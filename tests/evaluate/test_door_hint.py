"""A run whose answers are all wrong in one way says what would take them, in the summary and the report."""

from __future__ import annotations

import json
import random
from io import StringIO
from pathlib import Path

from rich.console import Console

from harness.cli.summary import print_run
from harness.contract import Contract
from harness.engines.config import EngineConfig
from harness.evaluate import EvalConfig, evaluate
from harness.report import ReportConfig, report
from harness.runs import Run
from harness.runs.diagnosis import same_mistake

K, TASKS = 4, 12


def run_of(folder: Path, name: str, contract: Contract) -> Run:
    """Answers that rank item ids in an object with a reason."""
    folder.mkdir(exist_ok=True)
    rng = random.Random(1)
    tasks, answers = [], []
    for number in range(TASKS):
        ids = [f"B{number}-{place}" for place in range(K)]
        candidates = [{"item_id": item_id, "title": "x"} for item_id in ids]
        tasks.append({"task_id": f"t{number}", "candidates": candidates, "relevance": [1, 0, 0, 0]})
        text = json.dumps({"reason": "\x1b[2J", "ranking": rng.sample(ids, K)})
        answers.append({"task_id": f"t{number}", "text": text})
    for file, rows in (("tasks", tasks), ("answers", answers)):
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = EngineConfig(engine="replay", replay=folder / "answers.jsonl")
    data = str(folder / "tasks.jsonl")
    return evaluate(EvalConfig(engine=engine, data=data, out=folder / name, contract=contract))


def test_the_hint_is_printed_and_true(tmp_path: Path) -> None:
    run = run_of(tmp_path, "wrong", Contract())
    hint = same_mistake(run)
    assert hint is not None
    assert "`contract='{ids: item_id, extra_keys: true}'` takes them" in hint
    out = StringIO()
    print_run(run, Console(width=400, file=out))
    assert "hint: nearly all answers (12 looked at) give item ids" in out.getvalue()
    assert (
        ": --contract '{ids: item_id, extra_keys: true}' takes them (then 100% are valid)" in out.getvalue()
    )
    assert "ids: item_id, extra_keys: true" in report(ReportConfig(runs=(run.path,))).document
    right = run_of(tmp_path, "right", Contract(ids="item_id", extra_keys=True))
    assert right.metrics["parse_validity.strict"].estimate == 1.0
    assert same_mistake(right) is None
