"""The files of a run directory, and how its manifest and its tasks are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from harness.data.tasks import Task, read_task
from harness.errors import DataError, nearest
from harness.files import read_whole
from harness.runs.manifest import Manifest
from harness.runs.seals import opened_document, sealed_lines

MANIFEST = "manifest.json"
SAMPLES = "samples.jsonl"
METRICS = "metrics.json"
TASKS = "tasks.jsonl"
CLIFF = "cliff.json"
GATE = "gate.json"
JUDGE_LOG = "judge.jsonl"
LOCK = "run.lock"
REJUDGE = "delete this line and run the same `harness judge` again"
REWRITE_TASKS = "run the same `harness eval` again to have it written anew"


def read_manifest(path: Path) -> Manifest:
    """The manifest of a run.

    Raises:
        DataError: there is none, or it can't be read.
    """
    try:
        content, has_seal = opened_document(read_whole(path / MANIFEST))
        manifest = Manifest.model_validate_json(json.dumps(content))
        if manifest.sealed and not has_seal:
            raise ValueError("it has no seal: it was changed by hand, or damaged")
        return manifest
    except (FileNotFoundError, NotADirectoryError):
        raise _no_run(path) from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path / MANIFEST} can't be read ({reason}); restore it or use another run"
        ) from error


def _no_run(path: Path) -> DataError:
    if path.exists():
        return DataError(f"{path} isn't a run: it has no {MANIFEST}")
    runs = [str(path.parent / manifest.parent.name) for manifest in path.parent.glob(f"*/{MANIFEST}")]
    return DataError(f"{path} isn't a run: there is no such folder{nearest(str(path), sorted(runs))}")


def task_lines(path: Path, *, sealed: bool) -> Iterator[tuple[int, bytes]]:
    """Number and JSON of each row of a run's `tasks.jsonl`.

    Args:
        path: the run directory.
        sealed: whether every row must have a checksum (`Manifest.sealed`).

    Raises:
        DataError: the file is absent, or a row isn't what was written.
    """
    if not (path / TASKS).exists():
        raise DataError(f"{path} has no {TASKS} any more; {REWRITE_TASKS}")
    yield from sealed_lines(path / TASKS, required=sealed, remedy=f"remove {TASKS} and {REWRITE_TASKS}")


def read_tasks(path: Path, *, sealed: bool) -> Iterator[Task]:
    """The tasks of a run, in the order they were evaluated.

    Args:
        path: the run directory.
        sealed: as in `task_lines`.

    Raises:
        DataError: the file is absent or a row can't be read.
    """
    for number, row in task_lines(path, sealed=sealed):
        try:
            yield read_task(json.loads(row))
        except ValueError as error:
            raise bad_task_row(path, number, error) from error


def bad_task_row(path: Path, number: int, error: Exception) -> DataError:
    """The error that says that a row of a run's tasks can't be read."""
    reason = str(error).splitlines()[0]
    return DataError(f"{path / TASKS}:{number} can't be read: {reason}; remove {TASKS} and {REWRITE_TASKS}")
