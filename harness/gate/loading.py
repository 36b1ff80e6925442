"""Opening a run to judge it, unless it is still being written."""

from __future__ import annotations

import json
from pathlib import Path

from harness.errors import DataError, IncompleteError
from harness.files import is_locked
from harness.runs import Run, load
from harness.runs.directory import LOCK

CLIFF = "cliff.json"


def open_run(path: str | Path) -> Run:
    """Load a run that no process is writing.

    Raises:
        DataError: it isn't a run, or a file in it can't be read.
        IncompleteError: a process holds its lock.
    """
    run = load(path)
    if is_locked(run.path / LOCK):
        raise IncompleteError(f"{path} is still being written; wait for the evaluation to end")
    return run


def cliff_word(run: Run, metric: str) -> str | None:
    """`cliff.verdict` or `cliff.observed` of a run; None where the latter isn't known.

    Raises:
        DataError: there is no `cliff.json`, or it can't be read.
    """
    field = metric.partition(".")[2]
    try:
        content = json.loads((run.path / CLIFF).read_bytes())
        word = content[field]
    except FileNotFoundError:
        raise DataError(
            f"{run.path} has no {CLIFF}, which {metric} needs; evaluate it with a teacher and a base"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{run.path / CLIFF} can't be read: {error!r}") from error
    if word is not None and not isinstance(word, str):
        raise DataError(f"{run.path / CLIFF} holds {field} = {word!r}, which is no word")
    return word
