"""The README's first command, as a user runs it; HARNESS_DEMO is a folder where it ran already."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.demo import SHOWN, TASKS
from harness.runs import load

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("HARNESS_DEMO")
    return Path(given) if given else tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def printed(folder: Path) -> dict[str, Any]:
    result = CliRunner().invoke(cli, ["demo", "--out", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def test_every_number_it_says_is_in_a_run(printed: dict[str, Any]) -> None:
    assert [one["checkpoint"] for one in printed["checkpoints"]] == [f"zoo:{name}" for name in SHOWN]
    for one in printed["checkpoints"]:
        run = load(one["run"])
        assert run.manifest.status == "complete"
        strict = run.metrics["parse_validity.strict"]
        assert strict.n == TASKS
        assert one["metrics"]["parse_validity.strict"]["estimate"] == strict.estimate


def test_the_gate_tells_the_base_from_the_larger_one_and_distilling_helps(printed: dict[str, Any]) -> None:
    verdicts = {one["checkpoint"]: one["gate"] for one in printed["checkpoints"]}
    assert verdicts["zoo:base"] == "fail"
    assert verdicts["zoo:large"] == "pass"
    strict = {
        one["checkpoint"]: one["metrics"]["parse_validity.strict"]["estimate"]
        for one in printed["checkpoints"]
    }
    assert strict["zoo:base"] < strict["zoo:listopd"]


def test_lambda_star_comes_with_its_interval_and_a_verdict(printed: dict[str, Any], folder: Path) -> None:
    cliff = printed["cliff"]
    assert cliff["lambda_star"] > 1
    assert cliff["low"] <= cliff["lambda_star"]
    assert cliff["verdict"] == json.loads((folder / "listopd" / "cliff.json").read_text())["verdict"]


def test_the_report_is_one_offline_file(printed: dict[str, Any], folder: Path) -> None:
    page = Path(printed["report"]).read_text()
    assert Path(printed["report"]) == folder / "report.html"
    assert 'src="http' not in page
    assert all(name in page for name in SHOWN)


def test_run_again_it_samples_nothing_anew(printed: dict[str, Any], folder: Path) -> None:
    before = {name: (folder / name / "samples.jsonl").read_bytes() for name in SHOWN}
    result = CliRunner().invoke(cli, ["demo", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    assert "report.html" in result.stdout
    assert before == {name: (folder / name / "samples.jsonl").read_bytes() for name in SHOWN}
