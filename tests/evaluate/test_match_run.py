"""Tool calls with known right answers: evaluated, gated (stored, live, paired), reported, rescored."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.cli.summary import print_run
from harness.contract import Contract
from harness.engines.config import EngineConfig
from harness.errors import HarnessError
from harness.evaluate import EvalConfig, evaluate, rescore
from harness.gate import Policy, decide
from harness.gate.expression import PolicyError
from harness.gate.live import decide_live
from harness.judge.config import JudgeConfig
from harness.judge.plan import Plan
from harness.judge.rubric_file import load_rubric
from harness.report import ReportConfig, report
from harness.runs import Run, load
from harness.runs.integrity import require_sound

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "city": {"type": "string"}, "days": {"type": "number"}},
    "required": ["name", "city"],
    "additionalProperties": False,
}
TASKS = 30


def expected(number: int) -> dict[str, Any]:
    days = {"days": number} if number % 2 else {}
    return {"name": "weather", "city": f"town {number}"} | days


def answer(number: int, broken: int) -> str:
    """Every third city is wrong, numbers are spelled as floats, and the first `broken` break the schema."""
    right = expected(number)
    if number < broken:
        return json.dumps(right | {"more": 1})
    if "days" in right:
        right["days"] = float(right["days"])
    return json.dumps(right | ({"city": "elsewhere"} if number % 3 == 0 else {}), indent=1)


def settings(folder: Path, name: str, broken: int) -> EvalConfig:
    """Thirty tasks with a right answer, and two without."""
    folder.mkdir(exist_ok=True)
    tasks: list[dict[str, Any]] = [
        {"task_id": f"t{number}", "prompt": f"Weather in town {number}?", "expected": expected(number)}
        for number in range(TASKS)
    ]
    tasks += [{"task_id": f"open{number}", "prompt": "Any weather?"} for number in range(2)]
    answers = [{"task_id": f"t{number}", "text": answer(number, broken)} for number in range(TASKS)]
    answers += [{"task_id": f"open{number}", "text": answer(2, 0)} for number in range(2)]
    for file, rows in (("tasks", tasks), (f"{name}-answers", answers)):
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = EngineConfig(engine="replay", replay=folder / f"{name}-answers.jsonl")
    contract = Contract(kind="schema", schema=SCHEMA)
    return EvalConfig(engine=engine, data=str(folder / "tasks.jsonl"), out=folder / name, contract=contract)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return evaluate(settings(tmp_path_factory.mktemp("match"), "one", 6))


@pytest.fixture(scope="module")
def other(run: Run) -> Run:
    return evaluate(settings(run.path.parent, "other", 0))


def test_each_number_by_hand(run: Run) -> None:
    found = {name: (one.n, one.estimate) for name, one in run.metrics.items() if "match" in name}
    assert found == {
        "match.exact": (24, pytest.approx(16 / 24)),
        "match.exact.all": (30, pytest.approx(16 / 30)),
        "match.field.city": (24, pytest.approx(16 / 24)),
        "match.field.city.all": (30, pytest.approx(16 / 30)),
        "match.field.days": (12, 1.0),
        "match.field.days.all": (15, pytest.approx(12 / 15)),
        "match.field.name": (24, 1.0),
        "match.field.name.all": (30, pytest.approx(24 / 30)),
    }
    validity = run.metrics["parse_validity.strict"]
    assert (validity.n, validity.estimate) == (32, pytest.approx(26 / 32))
    assert not [name for name in run.metrics if "ndcg" in name or "task_rate" in name]


def test_rescored_and_loaded_it_says_the_same(run: Run) -> None:
    assert rescore(run.path).metrics == run.metrics == load(run.path).metrics
    require_sound(load(run.path))


def test_a_gate_counts_failures_where_it_is_told_to(run: Run, other: Run) -> None:
    def verdict(rule: str, baseline: Run | None = None) -> tuple[str, int]:
        [result] = decide(run, Policy(rules=(rule,)), baseline).rules
        assert result.estimate is not None
        return result.verdict, result.estimate.n

    assert verdict("match.field.name >= 0.85") == ("pass", 24)
    assert verdict("match.field.name.all >= 0.95") == ("fail", 30)
    assert verdict("match.exact.all <= 0.9") == ("pass", 30)
    assert verdict("match.exact.all >= baseline - 0.5", other) == ("pass", 30)
    assert verdict("match.field.days.all >= baseline + 0.3", other) == ("fail", 15)
    with pytest.raises(PolicyError, match=r"field\.cty .*no such metric .*did you mean match\.field\.city"):
        verdict("match.field.cty >= 0.5")
    with pytest.raises(PolicyError, match=r"ndcg_at_1\.parsed .*no such metric in this run"):
        verdict("ndcg_at_1.parsed >= 0.5")
    with pytest.raises(PolicyError, match=r"match\.exact\.all lies between 0 and 1; write 80 % as 0\.8"):
        verdict("match.exact.all >= 80")


def test_a_live_gate_follows_them(tmp_path: Path) -> None:
    config = settings(tmp_path / "live", "one", 6)
    result, drawn = decide_live(config, Policy(rules=("match.field.name >= 0.3", "match.exact.all >= 0.05")))
    assert result.verdict == "pass"
    assert all(rule.estimate is not None and rule.estimate.n <= TASKS for rule in result.rules)
    assert drawn.manifest.planned == TASKS + 2
    for rule in ("match.field.cty >= 0.5", "ndcg_at_1.all >= 0.5"):
        with pytest.raises(PolicyError, match="no task of these data"):
            decide_live(config.changed(out=tmp_path / "none"), Policy(rules=(rule,)))


def test_a_report_and_a_summary_show_them(run: Run, other: Run) -> None:
    page = report(ReportConfig(runs=(run.path, other.path))).document
    for name in ("match.exact", "match.exact.all", "match.field.city"):
        assert f'data-metric="{name}"' in page, name
    assert "NDCG@1 by chance" not in page
    assert "Expected answer: " in page
    assert "right answers among all " in page
    assert "of all answers, failures as wrong" in page
    assert "town 7" not in report(ReportConfig(runs=(run.path,), redact="titles")).document
    out = StringIO()
    print_run(run, Console(width=200, file=out))
    assert "match.field.days.all" in out.getvalue()
    assert "ndcg" not in out.getvalue()


def test_a_judge_says_that_it_grades_rankings(run: Run) -> None:
    with pytest.raises(HarnessError, match="has no rankings to grade"):
        Plan(JudgeConfig(run=run.path, rubric=load_rubric("listwise-relevance")))
