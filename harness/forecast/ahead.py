"""`ahead.jsonl`: completions of further λ that were drawn in one batch with those of the λ asked for.

Kept until the run of their λ has taken them, so that a killed forecast draws nothing twice.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.files import LineLog, resumable
from harness.runs.kept_rows import kept_rows

AHEAD = "ahead.jsonl"


class AheadLog:
    """See `harness.engines.target_engine.Ahead`; use as a context manager.

    Args:
        folder: of the forecast.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, array[int]] = {}

    def __enter__(self) -> AheadLog:
        """Read what there is and open the file for appending.

        Raises:
            DataError: a line before the last can't be read.
            IncompleteError: the disk is full or gone.
        """
        file = self._folder / AHEAD
        with resumable(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = LineLog(file)
        self._known |= kept_rows(file, _read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def get(self, mark: str) -> tuple[int, ...] | None:
        """The completion of a mark, None where it wasn't drawn yet."""
        found = self._known.get(mark)
        return None if found is None else tuple(found)

    def keep(self, marks: Sequence[str], completions: Sequence[tuple[int, ...]]) -> None:
        """Add completions; they are with the operating system when this returns.

        Raises:
            IncompleteError: the disk is full or gone; what was written before is kept.
        """
        lines = [json.dumps([*one]) + "\n" for one in zip(marks, completions, strict=True)]
        with resumable(self._folder):
            for line in lines:
                self._file.append(line.encode("ascii"))
        self._known |= {mark: array("l", one) for mark, one in zip(marks, completions, strict=True)}


def done_with(folder: Path) -> None:
    """All runs have taken what was theirs."""
    with resumable(folder):
        (folder / AHEAD).unlink(missing_ok=True)


def _read(row: Any) -> tuple[str, array[int]]:
    mark, completion = row
    return str(mark), array("l", completion)
