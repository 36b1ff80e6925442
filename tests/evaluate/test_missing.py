"""Samples that can't be had: named, left out where that is allowed, never judged as if they were there."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")

from harness.cli import main
from harness.errors import IncompleteError
from harness.evaluate import rescore
from harness.gate import Policy, decide
from harness.runs import load
from tests.engines.faulty_server import Fault
from tests.engines.ranking_server import Ranking, task_of, write_tasks

TASKS, POISON = 12, ("t3", "t7")
Eval = Callable[..., int]


@pytest.fixture
def server() -> Iterator[Ranking]:
    server = Ranking(lambda _, body: Fault(500, "no such luck") if task_of(body) in POISON else None)
    yield server
    server.close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def evaluate(server: Ranking, run: Path, tmp_path: Path) -> Eval:
    data = write_tasks(tmp_path / "tasks.jsonl", TASKS)

    def call(*more: str, command: str = "eval") -> int:
        where = [command, "--base-url", server.url, "--data", str(data), "--out", str(run)]
        return main([*where, "--request-tries", "1", "--retry-seconds", "5", "--concurrency", "3", *more])

    return call


def test_what_always_fails_is_named_and_can_be_left_out(
    evaluate: Eval, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate() == 3
    [line] = [one for one in capsys.readouterr().err.splitlines() if one.startswith("harness: error: ")]
    assert "2 of 12 samples" in line
    assert all(task in line for task in (*POISON, "no such luck", "--allow-missing 2"))
    assert load(run).manifest.status == "incomplete"
    assert evaluate("--allow-missing", "1") == 3
    assert evaluate("--allow-missing", "2") == 0
    said = capsys.readouterr().out
    assert "2 of 12 samples couldn't be had" in said
    stored = load(run)
    assert stored.manifest.status == "complete"
    assert sorted(one.task_id for one in stored.manifest.missing) == list(POISON)
    assert stored.metrics["parse_validity.strict"].n == 10


def test_a_finished_run_is_left_alone_until_nothing_may_be_missing(
    evaluate: Eval, server: Ranking, run: Path
) -> None:
    assert evaluate("--allow-missing", "2") == 0
    asked = len(server.bodies)
    assert evaluate("--allow-missing", "5") == 0
    assert len(server.bodies) == asked
    server.script = lambda *_: None
    assert evaluate() == 0
    assert len(server.bodies) == asked + len(POISON)
    assert load(run).manifest.missing == ()
    assert load(run).metrics["parse_validity.strict"].n == TASKS


def test_nothing_at_all_is_no_run(evaluate: Eval, server: Ranking) -> None:
    server.script = lambda _, body: None if task_of(body) is None else Fault(500)
    assert evaluate("--allow-missing", "12") == 3


def test_a_key_that_expires_half_way_is_incomplete_and_at_the_start_an_error(
    evaluate: Eval, server: Ranking, run: Path
) -> None:
    server.script = lambda n, _: Fault(401)
    assert evaluate() == 2
    server.bodies.clear()
    server.script = lambda n, _: Fault(401) if n >= 5 else None
    assert evaluate("--allow-missing", "12") == 3
    server.script = lambda *_: None
    assert evaluate() == 0
    assert load(run).manifest.missing == ()


def test_the_gate_counts_what_is_missing_at_its_worst_and_at_its_best(evaluate: Eval, run: Path) -> None:
    assert evaluate("--allow-missing", "2") == 0
    stored = load(run)
    share = stored.metrics["parse_validity.strict"].estimate
    assert share is not None
    there = round(share * 10)
    policy = Policy(rules=(f"parse_validity.strict >= {there / TASKS + 0.01:.3f}",), scope="list")
    result = decide(stored, policy)
    # What is there passes by itself, and the worst of what is missing doesn't.
    assert share > there / TASKS + 0.01
    assert result.verdict == "inconclusive"
    assert any("2 of 12 samples" in note and "worst" in note for note in result.notes)
    floor = Policy(rules=(f"parse_validity.strict >= {there / TASKS:.6f}",), scope="list")
    assert decide(stored, floor).verdict == "pass"


def test_what_is_lost_later_is_not_what_could_not_be_had(evaluate: Eval, run: Path) -> None:
    assert evaluate("--allow-missing", "2") == 0
    rescore(run)
    lines = (run / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (run / "samples.jsonl").write_bytes(b"".join(lines[:-1]))
    with pytest.raises(IncompleteError, match="lost since: of 't"):
        decide(load(run))
    with pytest.raises(IncompleteError):
        rescore(run)


def test_a_live_gate_goes_on_behind_what_is_missing(evaluate: Eval, run: Path, tmp_path: Path) -> None:
    policy = tmp_path / "gate.yaml"
    policy.write_text("rules: ['parse_validity.strict >= 0.75']\n")
    assert evaluate("--policy", str(policy), command="gate") == 3
    assert evaluate("--policy", str(policy), "--allow-missing", "2", command="gate") == 4
    live: dict[str, Any] = json.loads((run / "gate.json").read_text())["live"]
    assert live["tasks_used"] == live["tasks"] == TASKS


def test_a_replay_may_lack_rows(evaluate: Eval, run: Path, tmp_path: Path) -> None:
    rows = [{"task_id": f"t{number}", "text": '{"ranking": [1, 2, 3, 4]}'} for number in range(TASKS - 1)]
    replay = tmp_path / "rows.jsonl"
    replay.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["eval", "--replay", str(replay), "--data", str(tmp_path / "tasks.jsonl"), "--out", str(run)]
    assert main(command) == 2
    assert main([*command, "--allow-missing", "1"]) == 0
    assert [one.task_id for one in load(run).manifest.missing] == ["t11"]


def test_whoever_allows_it_later_goes_on_with_the_same_run(
    tmp_path: Path, evaluate: Eval, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    replay = tmp_path / "rows.jsonl"
    replay.write_text(json.dumps({"task_id": "t0", "text": "{}"}) + "\n")
    for allowed in ("11", "12"):
        command = ["eval", "--replay", "rows.jsonl", "--data", "tasks.jsonl", "--allow-missing", allowed]
        assert main(command) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_report_says_what_is_missing(evaluate: Eval, run: Path, tmp_path: Path) -> None:
    assert evaluate("--allow-missing", "2") == 0
    page, text = tmp_path / "page.html", tmp_path / "page.md"
    assert main(["report", str(run), "-o", str(page)]) == 0
    assert main(["report", str(run), "--format", "md", "-o", str(text)]) == 0
    for written in (page, text):
        assert "2 of 12 samples couldn" in written.read_text()
