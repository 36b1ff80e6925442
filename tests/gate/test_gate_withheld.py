"""What a provider withheld is no failure of the model and no success: no gate passes or fails by it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.evaluate import evaluate, rescore
from harness.gate import Policy, decide
from harness.gate.live import decide_live
from harness.report import ReportConfig, report
from harness.runs import Run, load
from harness.runs.gate_record import Verdict
from harness.stats import sample_size_proportion
from tests.gate.gate_runs import BAD, config, good, write_lines, write_tasks
from tests.resealing import change_document

TASKS = 200
VALID, AT_MOST = "parse_validity.strict >= 0.9", "withheld_rate <= 0.1"


def outputs(path: Path, valid: int, broken: int, *, salt: int = 0) -> Path:
    """Answers of which so many keep the contract and so many don't; the rest was filtered."""
    rows: list[dict[str, object]] = []
    for number in range(TASKS):
        # 7 and 200 have no common factor: each place is taken once.
        place = (number * 7 + salt) % TASKS
        row: dict[str, object] = {"text": good() if place < valid else BAD}
        if place >= valid + broken:
            row = {"text": None if place % 2 else '{"ranking": [1', "finish_reason": "SAFETY"}
        rows.append({"task_id": f"t{number}"} | row)
    return write_lines(path, rows)


def run_of(folder: Path, valid: int, broken: int, name: str = "run", salt: int = 0) -> Run:
    data = write_tasks(folder / "tasks.jsonl", TASKS)
    return evaluate(config(data, outputs(folder / f"{name}.jsonl", valid, broken, salt=salt), folder / name))


def verdict(run: Run, rules: Sequence[str], baseline: Run | None = None) -> Verdict:
    return decide(run, Policy(rules=tuple(rules)), baseline).verdict


def test_rates_are_of_what_was_answered(tmp_path: Path) -> None:
    run = run_of(tmp_path, 150, 30)
    metrics = {name: (one.n, one.estimate) for name, one in run.metrics.items()}
    assert metrics["withheld_rate"] == (200, pytest.approx(0.1))
    assert metrics["parse_validity.strict"] == (180, pytest.approx(150 / 180))
    assert metrics["failure_rate.extra_text"] == (180, pytest.approx(30 / 180))
    assert metrics["failure_rate.empty"] == metrics["truncation_rate"] == (180, 0.0)
    assert metrics["ndcg_at_1.all"] == (180, pytest.approx(150 / 180))
    assert metrics["ndcg_at_1.parsed"] == (150, 1.0)
    withheld = [json.loads(line) for line in (run.path / "samples.jsonl").read_text().splitlines()]
    assert sum(row["parse"] is None and row["finish_reason"] == "withheld" for row in withheld) == 20


@pytest.mark.parametrize(
    ("valid", "broken", "rule", "expected"),
    [
        (200, 0, VALID, "pass"),
        (199, 0, VALID, "pass"),  # 199 of 200 at worst
        (180, 0, VALID, "inconclusive"),  # 180 of 180, and 180 of 200 at worst
        (20, 0, VALID, "inconclusive"),  # most of it withheld: a gate must not pass on the rest
        (20, 150, VALID, "fail"),  # 50 of 200 at best
        (150, 30, "failure_rate.extra_text <= 0.2", "inconclusive"),
        (180, 0, "ndcg_at_1.all >= 0.9", "inconclusive"),
        (180, 0, "ndcg_at_1.parsed >= 0.9", "inconclusive"),
        (195, 0, "ndcg_at_1.parsed >= 0.9", "pass"),
        (195, 0, AT_MOST, "pass"),
        (150, 0, AT_MOST, "fail"),
        (180, 0, AT_MOST, "inconclusive"),
    ],
)
def test_a_verdict_holds_whatever_was_withheld(
    tmp_path: Path, valid: int, broken: int, rule: str, expected: Verdict
) -> None:
    run = run_of(tmp_path, valid, broken)
    assert verdict(run, [rule]) == expected
    live, _ = decide_live(
        config(tmp_path / "tasks.jsonl", tmp_path / "run.jsonl", tmp_path / "live"), Policy(rules=(rule,))
    )
    assert live.verdict in (expected, "inconclusive")
    assert any("withheld by the provider" in note for note in decide(run).notes) == (valid + broken < TASKS)


def test_the_whole_list_is_bounded_too(tmp_path: Path) -> None:
    run = run_of(tmp_path, 185, 0)
    for bar, expected in ((0.92, "pass"), (0.95, "inconclusive")):
        policy = Policy(rules=(f"parse_validity.strict >= {bar}",), scope="list")
        assert decide(run, policy).verdict == expected


def test_a_difference_is_bounded_on_both_sides(tmp_path: Path) -> None:
    old = run_of(tmp_path, 200, 0, "old")
    rule = "parse_validity.strict >= baseline - 0.1"
    assert verdict(run_of(tmp_path, 199, 0, "new"), [rule], old) == "pass"
    result = decide(run_of(tmp_path, 150, 0, "filtered"), Policy(rules=(rule,)), old)
    assert result.verdict == "inconclusive"
    assert "50 were withheld" in result.rules[0].why


def test_the_sentence_says_what_was_withheld(tmp_path: Path) -> None:
    (rule,) = decide(run_of(tmp_path, 170, 10), Policy(rules=(VALID,))).rules
    assert "on the 180 of 200 answers with a value (20 were withheld)" in rule.why


def test_advice_counts_what_was_withheld_at_its_worst(tmp_path: Path) -> None:
    """187 valid, 13 withheld: 0.935 at worst, which 0.91 can't be told from by one sample more."""
    (rule,) = decide(run_of(tmp_path, 187, 0), Policy(rules=("parse_validity.strict >= 0.91",))).rules
    assert rule.verdict == "inconclusive"
    assert rule.more is not None
    assert rule.more.likely is not None
    wanted = sample_size_proportion(0.91, 0.935, alpha=0.05, power=0.8) - TASKS
    assert 0.6 * wanted < rule.more.likely < 1.6 * wanted
    assert "as many answers have no value as now" in rule.why


def test_it_stays_so_when_scored_anew_and_resumed(tmp_path: Path) -> None:
    run = run_of(tmp_path, 150, 30)
    before = (run.path / "metrics.json").read_bytes()
    rescore(run.path)
    assert (run.path / "metrics.json").read_bytes() == before
    lines = (run.path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (run.path / "samples.jsonl").write_bytes(b"".join(lines[:90]))
    run_of(tmp_path, 150, 30)
    assert (run.path / "metrics.json").read_bytes() == before


def test_a_run_of_a_version_that_knew_no_withheld_answers_is_read_as_ever(tmp_path: Path) -> None:
    run = run_of(tmp_path, 190, 10)
    change_document(run.path / "metrics.json", lambda rows: rows.pop("withheld_rate"))
    assert "withheld_rate" not in load(run.path).metrics
    assert verdict(load(run.path), [VALID, AT_MOST]) == "pass"
    assert report(ReportConfig(runs=(run.path,))).document
