"""`harness eval --judge gemini`: one command from a checkpoint's outputs to all three scores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.data.writing import write_tasks
from harness.evaluate import rescore
from harness.runs import load
from harness.runs.seals import opened_line, sealed_line
from tests.judge.fake_gemini import FakeGemini
from tests.judge.judge_runs import make_tasks

NAME = "listwise-relevance"
TASKS = 12


@pytest.fixture
def recorded(tmp_path: Path) -> list[str]:
    """Options of an evaluation of recorded outputs, of which one in four doesn't parse."""
    tasks = make_tasks(TASKS)
    write_tasks(tmp_path / "tasks.jsonl", tasks)
    rows = [
        {"task_id": task.task_id, "text": "no" if place % 4 == 0 else '{"ranking": [2, 1, 3, 4, 5, 6]}'}
        for place, task in enumerate(tasks)
    ]
    (tmp_path / "outputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        *("--data", str(tmp_path / "tasks.jsonl"), "--engine", "replay"),
        *("--replay", str(tmp_path / "outputs.jsonl"), "--out", str(tmp_path / "run")),
    ]


def harness_eval(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", "eval", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_judge_follows_the_evaluation(any_client: str, recorded: list[str], tmp_path: Path) -> None:
    with FakeGemini() as fake:
        judging = ["--judge", "gemini", "--rubric", NAME, "--endpoint", fake.url]
        done = harness_eval(*recorded, *judging)
        sent = len(fake.arrivals)
        again = harness_eval(*recorded, *judging)
        assert len(fake.arrivals) == sent
    assert (done.returncode, again.returncode) == (0, 0), done.stderr
    assert "parse_validity.strict" in done.stdout
    assert "Score, 0 to 1" in done.stdout
    metrics = load(tmp_path / "run").metrics
    assert metrics[f"rubric.{NAME}"].n == TASKS * 3 // 4
    assert metrics["parse_validity.strict"].n == TASKS


def test_rescoring_judges_nothing_and_loses_nothing(
    any_client: str, recorded: list[str], tmp_path: Path
) -> None:
    with FakeGemini() as fake:
        done = harness_eval(*recorded, "--judge", "gemini", "--rubric", NAME, "--endpoint", fake.url)
    assert done.returncode == 0, done.stderr
    before = load(tmp_path / "run").metrics
    assert rescore(tmp_path / "run").metrics == before
    # A sample that another parser wouldn't take any more: its score goes, the others' stay.
    samples = tmp_path / "run" / "samples.jsonl"
    first, second, *rest = samples.read_bytes().splitlines(keepends=True)
    row = opened_line(second)
    assert row is not None
    samples.write_bytes(b"".join([first, sealed_line(row.replace(b"[2, 1,", b"[2, 2,")), *rest]))
    assert rescore(tmp_path / "run").metrics[f"rubric.{NAME}"].n == TASKS * 3 // 4 - 1


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--judge", "gemini"], {}, "needs --rubric"),
        (["--rubric", NAME], {}, "goes with --judge gemini"),
        (["--max-cost", "1"], {}, "--max-cost goes with --judge gemini"),
        (["--judge", "gemini", "--rubric", "nonsense"], {}, "neither a file nor a bundled rubric"),
        (["--judge", "gemini", "--rubric", NAME], {"GEMINI_API_KEY": ""}, "GEMINI_API_KEY or GOOGLE_API_KEY"),
        (["--judge", "gemini", "--rubric", NAME, "--endpoint", "ftp://x"], {}, "endpoint"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_anything_runs(
    any_client: str,
    recorded: list[str],
    tmp_path: Path,
    arguments: list[str],
    environment: dict[str, str],
    message: str,
) -> None:
    done = harness_eval(*recorded, *arguments, **environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
