"""`harness report` as a command."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from harness.cli import main
from tests.report.page_reader import read_page
from tests.report.report_runs import answers, gated, make_run, tasks


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    rows = tasks(40)
    base = gated(make_run(folder / "sft", rows, answers(0.5), seed=1))
    gated(make_run(folder / "student", rows, answers(0.9), seed=2), base)
    return folder


def fails(capsys: pytest.CaptureFixture[str], code: int, says: str, *arguments: str | Path) -> None:
    assert main(["report", *(str(argument) for argument in arguments)]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("harness: error: ")
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_html(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "report.html"
    arguments = ["report", str(runs / "student"), str(runs / "sft"), "--baseline", "sft", "-o", str(out)]
    assert main([*arguments, "--title", "Ship it?", "--max-samples", "7"]) == 0
    page = read_page(out)
    assert page.title == "Ship it?"
    assert len(page.rows["rows"]) == 7
    assert page.rows["baseline"] == 1
    printed = capsys.readouterr().out
    assert "student against sft: " in printed
    assert "keeps its contract (strict" in printed
    assert "[gate: pass]" in printed
    assert [one.name for one in out.parent.iterdir()] == ["report.html"]


def test_markdown_goes_to_standard_output(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(runs / "student"), str(runs / "sft"), "--format", "md"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("### student against sft")
    assert "| Format: strict |" in printed


def test_json(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    assert main(["report", str(runs / "student"), str(runs / "sft"), "-o", str(out), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["bytes"] == out.stat().st_size
    assert made["baseline"] == "sft"
    gates = [json.loads((runs / name / "gate.json").read_text()) for name in ("student", "sft")]
    assert [one["gate"] for one in made["runs"]] == [gate["verdict"] for gate in gates]
    difference = made["comparisons"][0]["differences"]["parse_validity.strict"]
    metrics = [json.loads((runs / name / "metrics.json").read_text()) for name in ("sft", "student")]
    strict = [one["parse_validity.strict"]["estimate"] for one in metrics]
    assert difference["difference"]["estimate"] == pytest.approx(strict[1] - strict[0])


def test_json_needs_no_file(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(runs / "student"), str(runs / "sft"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] is None


def test_what_is_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sft, student, out = runs / "sft", runs / "student", tmp_path / "report.html"
    fails(capsys, 2, "-o FILE", sft, student)
    fails(capsys, 2, "isn't a run", sft, tmp_path, "-o", out)
    fails(capsys, 2, "named twice", sft, runs / "." / "sft", "-o", out)
    fails(capsys, 2, "no run is called 'nobody'", sft, student, "--baseline", "nobody", "-o", out)
    fails(capsys, 2, "no run says its λ", sft, student, "--x", "lambda", "-o", out)
    fails(capsys, 2, "NAME=VALUE", sft, student, "--lambda", "student", "-o", out)
    fails(capsys, 2, "no run of this report", sft, student, "--lambda", "nobody=1.2", "-o", out)
    fails(capsys, 2, "above 0", sft, student, "--lambda", "student=-1", "-o", out)
    (tmp_path / "file").write_text("")
    fails(capsys, 2, "can't be written", sft, student, "-o", tmp_path / "file" / "report.html")
    assert not out.exists()


@pytest.mark.parametrize("name", ["gate.json", "cliff.json"])
def test_a_file_that_cannot_be_read(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", tasks(10), answers(0.5))
    for content in ("{", "[]", '{"verdict": 3}', "\x00"):
        (run.path / name).write_text(content)
        fails(capsys, 2, f"{name} can't be read", run.path, "-o", tmp_path / "report.html")


def test_a_run_that_is_being_written(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (runs / "sft" / "run.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fails(capsys, 3, "still being written", runs / "sft", "-o", tmp_path / "report.html")
