"""A `cliff.json` counts in the run that it was written into and in no other."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DataError
from harness.evaluate import rescore
from harness.gate import Policy, decide
from harness.runs import Run, load
from harness.runs.directory import CLIFF
from harness.runs.integrity import read_cliff
from tests.gate.gate_runs import answers, make_run, write_tasks
from tests.report.report_runs import with_cliff
from tests.resealing import change_document

SIDE = Policy(rules=("cliff.verdict in [left]",))


@pytest.fixture
def measured(tmp_path: Path) -> Run:
    run = make_run(tmp_path / "measured", answers(18)(20, 1))
    return with_cliff(run, 1.01)


@pytest.fixture
def other(tmp_path: Path) -> Run:
    """A complete run of another checkpoint on other tasks."""
    data = write_tasks(tmp_path / "other.jsonl", 12)
    return make_run(tmp_path / "other", answers(11)(12, 1), data=data)


def rollouts_gone(run: Run) -> Run:
    """The run as it is where its rollouts were drawn into a folder that wasn't passed on with it."""
    change_document(run.path / CLIFF, lambda cliff: cliff["source"].update(run="rollouts"))
    return run


def refused(run: Path) -> None:
    for read in (lambda: decide(load(run), SIDE), lambda: rescore(run)):
        with pytest.raises(DataError, match=r"is that of another run: it is about .*; measure") as error:
            read()
        assert "\n" not in str(error.value)
        assert error.value.exit_code == 2


def test_its_own_run_reads_it(measured: Run) -> None:
    assert decide(measured, SIDE).verdict == "pass"
    assert "cliff.lambda_star" in rescore(measured.path).metrics


def test_the_run_may_be_moved(measured: Run, tmp_path: Path) -> None:
    assert decide(load(measured.path.rename(tmp_path / "moved")), SIDE).verdict == "pass"


@pytest.mark.parametrize("gone", [False, True])
def test_another_run_s_is_refused(measured: Run, other: Run, gone: bool) -> None:
    source = rollouts_gone(measured) if gone else measured
    shutil.copy(source.path / CLIFF, other.path / CLIFF)
    refused(other.path)


def test_before_it_named_its_run_the_weights_tell(measured: Run, other: Run) -> None:
    shutil.copy(rollouts_gone(measured).path / CLIFF, other.path / CLIFF)
    drew = {"roles": ["student"], "checkpoint": "theirs"}

    def drawn_by(weights: str | None) -> None:
        def change(cliff: dict[str, Any]) -> None:
            cliff["source"].pop("belongs_to", None)
            cliff |= {"rollouts": {"from": "student"}, "models": [{**drew, "weights_sha256": weights}]}

        change_document(other.path / CLIFF, change)

    for own in (other.manifest.engine.weights_sha256, None):
        drawn_by(own)
        assert read_cliff(other.path)["verdict"] == "left"
    drawn_by("b" * 64)
    refused(other.path)
