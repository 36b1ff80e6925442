"""What lies in a run's directory: the cliff's verdict, stored intervals, locks, spoilt files."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import DataError, HarnessError, IncompleteError
from harness.gate import GateFailure, check, decide, open_run
from harness.runs import Run, load
from tests.gate.stored_runs import copy_of, only, policy, with_cliff
from tests.report.report_runs import with_cliff as measured
from tests.resealing import change_rows


@pytest.mark.parametrize(
    ("metric", "row"),
    [
        ("parse_validity.strict", '{"n": 120, "estimate": NaN, "low": 0.1, "high": 0.2, "method": "wilson"}'),
        ("parse_validity.strict", '{"n": 120, "estimate": 1.0, "low": -Infinity, "high": 1, "method": "w"}'),
        ("parse_validity.strict", '{"n": "many", "estimate": 1.0, "low": 1, "high": 1, "method": "wilson"}'),
        ("parse_validity.strict", '{"n": 119, "estimate": 1.0, "low": 1, "high": 1, "method": "wilson"}'),
        ("ndcg_at_1.all", '{"n": 110, "estimate": NaN, "low": 0.1, "high": 0.2, "method": "x"}'),
        ("ndcg_at_1.all", '{"n": 110, "estimate": 0.999, "low": 0.1, "high": 0.2, "method": "x"}'),
    ],
)
def test_metrics_that_cannot_be_are_refused(one: Run, tmp_path: Path, metric: str, row: str) -> None:
    path = copy_of(one, tmp_path / "copy")
    metrics = json.loads((path / "metrics.json").read_text())
    text = json.dumps(metrics | {metric: "HERE"}).replace('"HERE"', row)
    (path / "metrics.json").write_text(text)
    with pytest.raises(DataError, match="harness rescore") as error:
        decide(load(path), policy(f"{metric} >= 0.5"))
    assert "\n" not in str(error.value)


def test_a_score_that_is_no_number_is_refused(one: Run, tmp_path: Path) -> None:
    path = copy_of(one, tmp_path / "copy")
    nothing = {"ndcg_at_1": math.nan, "ndcg_at_k": 1.0}
    change_rows(path / "samples.jsonl", lambda rows: rows[0].update(scores=nothing))
    with pytest.raises(DataError, match="harness rescore"):
        decide(load(path), policy("ndcg_at_1.parsed >= 0.5"))


@pytest.mark.parametrize(
    ("word", "allowed", "verdict"),
    [
        ("left", "left", "pass"),
        ("on_cliff", "left, on_cliff", "pass"),
        ("right", "left", "fail"),
        ("left", "right", "fail"),
        ("on_cliff", "left", "inconclusive"),
        ("out_of_scope", "left", "inconclusive"),
        ("undecided", "left", "inconclusive"),
        ("undecided", "left, undecided", "pass"),
    ],
)
def test_the_side_of_the_cliff(one: Run, tmp_path: Path, word: str, allowed: str, verdict: str) -> None:
    run = with_cliff(one, tmp_path / "copy", json.dumps({"verdict": word, "observed": None}))
    assert only(run, f"cliff.verdict in [{allowed}]").verdict == verdict


def test_a_side_that_fails_claims_no_collapse(one: Run, tmp_path: Path) -> None:
    run = with_cliff(one, tmp_path / "copy", json.dumps({"verdict": "right", "observed": "right"}))
    assert "none of this project's five locked sweeps" in only(run, "cliff.verdict in [left]").why
    assert "locked sweeps" not in only(run, "cliff.observed in [left]").why


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("undecided", "too few tasks carry the tail"),
        ("on_cliff", "between the bounds of λ*"),
        ("out_of_scope", "don't meet"),
    ],
)
@pytest.mark.parametrize("tasks", [140, None])
def test_an_open_side_says_how_many_tasks_would_do(
    one: Run, tmp_path: Path, word: str, advice: str, tasks: int | None
) -> None:
    content = {"verdict": word, "observed": None, "more": {"tasks": tasks, "rollouts": tasks}}
    result = only(with_cliff(one, tmp_path / "copy", json.dumps(content)), "cliff.verdict in [left]")
    assert result.verdict == "inconclusive"
    assert advice in result.why
    assert ("about 140 more tasks would do" in result.why) is (tasks is not None)


def test_a_run_out_of_scope_says_what_puts_it_there(one: Run, tmp_path: Path) -> None:
    asked = [
        {"name": "no_role_moves_out", "met": False, "detail": "λ = 2 takes `list_close` to 0.025"},
        {"name": "parse_headroom", "met": True, "detail": "the base fails"},
        {"name": "enough_rollouts", "met": False, "detail": "6 tasks carry the tail"},
    ]
    content = {"verdict": "out_of_scope", "observed": None, "preconditions": asked}
    result = only(with_cliff(one, tmp_path / "copy", json.dumps(content)), "cliff.verdict in [left]")
    assert result.verdict == "inconclusive"
    assert result.why == "what λ* asks for isn't met: λ = 2 takes `list_close` to 0.025"


def test_no_student_no_observed_side(one: Run, tmp_path: Path) -> None:
    run = with_cliff(one, tmp_path / "copy", json.dumps({"verdict": "left", "observed": None}))
    assert only(run, "cliff.observed in [left]").verdict == "inconclusive"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"verdict": 1}'])
def test_a_broken_cliff_is_one_line(one: Run, tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"cliff\.json") as error:
        only(with_cliff(one, tmp_path / "copy", content), "cliff.verdict in [left]")
    assert "\n" not in str(error.value)


def test_no_cliff_is_said(one: Run) -> None:
    with pytest.raises(DataError, match="teacher and a base"):
        only(one, "cliff.verdict in [left]")


def test_a_stored_interval_is_exact_at_its_own_level(one: Run, tmp_path: Path) -> None:
    """A 95 % interval refutes exactly the bars outside it at one-sided 2.5 %."""
    run = measured(load(copy_of(one, tmp_path / "copy")), 1.2)
    star = run.metrics["cliff.lambda_star"]
    assert star.low is not None
    assert star.high is not None
    bars = ((star.low, -1, "pass"), (star.low, 1, "inconclusive"))
    for end, side, verdict in (*bars, (star.high, -1, "inconclusive"), (star.high, 1, "fail")):
        assert only(run, f"cliff.lambda_star >= {end + side * 1e-4:.6f}", alpha=0.025).verdict == verdict


def test_a_run_being_written_is_left_alone(one: Run, tmp_path: Path) -> None:
    path = copy_of(one, tmp_path / "copy")
    code = (
        "import sys\nfrom pathlib import Path\nfrom harness.runs import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(IncompleteError, match="still being written"):
        open_run(path)
    holder.kill()
    holder.communicate()
    assert decide(open_run(path), policy("parse_validity.strict >= 0.5")).verdict == "pass"


def test_a_gate_holds_no_lock(one: Run) -> None:
    """Two gates at once, or a gate and an evaluation, don't get in each other's way."""
    import fcntl

    lock = os.open(one.path / "run.lock", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    open_run(one.path)
    os.close(lock)


def test_check_passes_quietly_and_fails_with_the_table(one: Run, two: Run, tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text("rules:\n  - parse_validity.strict >= baseline - 0.5\n")
    assert check(one.path, policy=path, baseline=two.path).verdict == "pass"
    with pytest.raises(GateFailure) as failure:
        check(str(one.path), policy=policy("parse_validity.strict >= 0.99", "truncation_rate <= 0.5"))
    assert isinstance(failure.value, AssertionError)
    lines = str(failure.value).splitlines()
    assert [line.split()[0] for line in lines] == ["gate:", "FAIL", "PASS"]
    assert "is shown to be below 0.99" in lines[1]


def test_check_treats_inconclusive_as_the_policy_says(one: Run) -> None:
    rules = policy("parse_validity.strict >= 0.8")
    with pytest.raises(GateFailure, match="INCONCLUSIVE"):
        check(one.path, policy=rules)
    assert check(one.path, policy=rules.model_copy(update={"on_inconclusive": "pass"})).exit_code == 0


def test_files_that_do_not_belong_together(one: Run, tmp_path: Path) -> None:
    path = copy_of(one, tmp_path / "copy")
    lines = (path / "tasks.jsonl").read_text().splitlines(keepends=True)
    (path / "tasks.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match="belong together"):
        decide(load(path), policy("ndcg_at_1.all >= 0.5"))


def test_more_samples_than_planned(one: Run, tmp_path: Path) -> None:
    path = copy_of(one, tmp_path / "copy")
    [first, *_] = one.iter_samples()
    with (path / "samples.jsonl").open("ab") as file:
        file.write(replace(first, key="again").to_line())
    with pytest.raises(DataError, match=r"holds sample 'again' .* twice"):
        decide(load(path), policy("ndcg_at_1.all >= 0.5"))


def test_a_broken_task_row_is_one_line(one: Run, tmp_path: Path) -> None:
    path = copy_of(one, tmp_path / "copy")
    (path / "tasks.jsonl").write_text('{"task_id": 3}\n')
    with pytest.raises(HarnessError, match=r"tasks\.jsonl") as error:
        decide(load(path), policy("ndcg_at_1.all >= 0.5"))
    assert "\n" not in str(error.value)
