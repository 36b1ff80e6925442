"""`harness gate` as CI runs it: exit codes, files and one-line errors."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from harness.cli import main
from harness.runs import Run, load
from tests.gate.gate_runs import answers, make_run, write_outputs, write_tasks

TASKS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return write_tasks(folder / "tasks.jsonl", TASKS)


@pytest.fixture(scope="module")
def good_run(folder: Path, data: Path) -> Run:
    return make_run(folder / "good", answers(198)(TASKS, 1), data=data)


@pytest.fixture(scope="module")
def bad_run(folder: Path, data: Path) -> Run:
    return make_run(folder / "bad", answers(68)(TASKS, 1), data=data)


@pytest.fixture(scope="module")
def middle_run(folder: Path, data: Path) -> Run:
    return make_run(folder / "middle", answers(192)(TASKS, 1), data=data)


def harness(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def fails(capsys: pytest.CaptureFixture[str], code: int, says: str, *arguments: str | Path) -> None:
    assert harness(*arguments) == code
    captured = capsys.readouterr()
    errors = captured.err.splitlines()
    assert errors[-1].startswith("harness: error: ")
    assert sum(line.startswith("harness: error: ") for line in errors) == 1
    assert says in errors[-1]
    assert captured.out == ""


def test_exit_codes(good_run: Run, bad_run: Run, middle_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert [harness("gate", run.path) for run in (good_run, bad_run, middle_run)] == [0, 1, 4]
    shown = capsys.readouterr().out
    assert "gate: PASS (exit code 0)" in shown
    assert "0.34 is shown to be below 0.95 (p < 0.0001)" in shown
    assert "can't be told from 0.95" in shown


def test_a_log_has_one_line_a_rule(good_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "gate.yaml"
    policy.write_text("rules:\n  - parse_validity.strict >= 0.9\n  - ndcg_at_1.all >= baseline - 0.05\n")
    assert harness("gate", good_run.path, "--policy", policy, "--baseline", good_run.path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["rule", "parse_validity.strict", "ndcg_at_1.all"]
    assert len(lines) == 5


def test_reports_are_written(
    bad_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    junit, summary = tmp_path / "made" / "junit.xml", tmp_path / "summary.md"
    assert harness("gate", bad_run.path, "--junit", junit, "--summary", summary, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["verdict"], document["exit_code"]) == ("fail", 1)
    assert document["rules"][0]["estimate"]["n"] == TASKS
    assert Xml.parse(junit).getroot().attrib["failures"] == "1"
    assert summary.read_text().strip() == (tmp_path / "step.md").read_text().strip()
    stored = json.loads((bad_run.path / "gate.json").read_text())
    assert stored["verdict"] == "fail"
    assert stored["rules"] == document["rules"]


def test_an_error_leaves_no_green_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text("<testsuites/>")
    fails(capsys, 2, "isn't a run", "gate", tmp_path, "--junit", junit, "--summary", tmp_path / "s.md")
    assert Xml.parse(junit).getroot().attrib["errors"] == "1"
    assert "no verdict" in (tmp_path / "s.md").read_text()


def test_a_verdict_can_be_kept_out_of_the_run(good_run: Run, tmp_path: Path) -> None:
    before = sorted(path.name for path in good_run.path.iterdir() if path.name != "gate.json")
    (good_run.path / "gate.json").unlink(missing_ok=True)
    assert harness("gate", good_run.path, "--no-record") == 0
    assert sorted(path.name for path in good_run.path.iterdir()) == before


def test_a_verdict_does_not_spoil_the_run(
    good_run: Run, data: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`harness eval` and `harness rescore` go on with a directory that holds a gate.json."""
    assert harness("gate", good_run.path) == 0
    evaluation = ["--replay", folder / "good" / "outputs.jsonl", "--data", data, "--out", good_run.path]
    assert harness("eval", *evaluation) == 0
    assert harness("rescore", good_run.path) == 0
    assert load(good_run.path).metrics == good_run.metrics


def test_init_writes_a_policy_that_works(
    good_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert harness("gate", "--init") == 0
    assert "gate.yaml" in capsys.readouterr().out
    assert harness("gate", good_run.path, "--policy", "gate.yaml") == 0
    capsys.readouterr()
    fails(capsys, 2, "exists already", "gate", "--init")


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("- parse_validity.strct >= 0.95", "did you mean parse_validity.strict"),
        ("- parse_validity.strict > 0.95", "write `>=`"),
        ("- ndcg_at_1.all >= baseline", "--baseline RUN"),
        ("- cliff.verdict in [left]", "teacher and a base"),
        ("- rubric.helpful >= 0.5", "harness judge"),
    ],
)
def test_a_bad_policy(
    good_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], rules: str, says: str
) -> None:
    policy = tmp_path / "gate.yaml"
    policy.write_text(f"rules:\n  {rules}\n")
    fails(capsys, 2, says, "gate", good_run.path, "--policy", policy)


def test_usage(good_run: Run, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, 2, "give a RUN", "gate")
    fails(capsys, 2, "--limit is for a live gate", "gate", good_run.path, "--limit", "3")
    fails(capsys, 2, "--ckpt is for a live gate", "gate", good_run.path, "--ckpt", "x")
    fails(capsys, 2, "--max-tasks is for a live gate", "gate", good_run.path, "--max-tasks", "3")
    fails(capsys, 2, "isn't a run", "gate", good_run.path, "--baseline", tmp_path)
    typo = good_run.path.with_name("rnu")
    fails(capsys, 2, f"no such folder; did you mean {good_run.path}?", "gate", typo)
    fails(capsys, 2, "a baseline is given as --baseline RUN", "gate", good_run.path, tmp_path)
    outputs = write_outputs(tmp_path / "o.jsonl", answers(100)(TASKS, 1))
    live = ["gate", "--replay", outputs, "--data", data, "--out", tmp_path / "run"]
    fails(capsys, 2, "--allow-incomplete", *live, "--allow-incomplete")


def test_live_then_eval_then_stored(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = write_outputs(tmp_path / "o.jsonl", answers(68)(TASKS, 1))
    evaluation = ["--replay", outputs, "--data", data, "--out", tmp_path / "run"]
    assert harness("gate", *evaluation) == 1
    assert "stopped early" in capsys.readouterr().out
    stored = json.loads((tmp_path / "run" / "gate.json").read_text())
    assert stored["live"]["samples_saved"] > TASKS - 20
    fails(capsys, 3, "finish it with the same `harness eval`", "gate", tmp_path / "run")
    # A live gate goes on as one: its verdict stands, whatever a test for a fixed size would say.
    assert harness("gate", tmp_path / "run", "--allow-incomplete") == 1
    assert harness("eval", *evaluation) == 0
    assert harness("gate", tmp_path / "run") == 1


def test_a_run_being_written(good_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom harness.runs import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(good_run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    fails(capsys, 3, "still being written", "gate", good_run.path)
    fails(capsys, 3, "still being written", "gate", good_run.path, "--baseline", good_run.path)
    holder.kill()
    holder.communicate()
