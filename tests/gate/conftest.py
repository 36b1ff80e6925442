"""The stored runs that the tests of verdicts share."""

from pathlib import Path

import pytest

from harness.runs import Run
from tests.gate.gate_runs import make_run, write_tasks
from tests.gate.stored_runs import TASKS, mixed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return write_tasks(folder / "tasks.jsonl", TASKS, uninformative=10)


@pytest.fixture(scope="module")
def one(folder: Path, data: Path) -> Run:
    return make_run(folder / "one", mixed(1), data=data)


@pytest.fixture(scope="module")
def two(folder: Path, data: Path) -> Run:
    return make_run(folder / "two", mixed(2), data=data)


@pytest.fixture(scope="module")
def several(folder: Path, data: Path) -> Run:
    return make_run(folder / "several", mixed(3, samples=3), data=data)
