"""Lines of JSON that a measurement keeps in a run directory as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from harness.errors import DataError
from harness.files import LineLog, resumable, whole_lines

Row = TypeVar("Row")


def kept_rows(file: Path, read: Callable[[Any], Row]) -> Iterator[Row]:
    """What was kept, line by line; a torn last line is dropped.

    Args:
        file: that an earlier process may have left.
        read: makes a row of a line's JSON; raises ValueError, KeyError, TypeError or AttributeError for what
            isn't one.

    Raises:
        DataError: a line before the last can't be read.
    """
    for number, line in whole_lines(file):
        try:
            row = read(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file}:{number}: {error!r}; delete this line, and the same command makes it again"
            ) from error
        yield row


class RowLog(Generic[Row]):
    """Rows by key in a file of a run directory, whose lock must be held; use as a context manager.

    Args:
        file: where they are.
        maker: identifies all that decides a row; rows of others are left alone.
        read: makes a row of its JSON object, see `kept_rows`.
        write: makes the object of a row.
        owner: field that says whose a row is.
    """

    def __init__(
        self,
        file: Path,
        maker: str,
        read: Callable[[Mapping[str, Any]], Row],
        write: Callable[[Row], Mapping[str, Any]],
        owner: str = "maker",
    ) -> None:
        self._file, self._maker, self._read, self._write, self._owner = file, maker, read, write, owner
        self.known: dict[str, Row] = {}

    def __enter__(self) -> Self:
        """Read what there is and open the file for appending.

        Raises:
            DataError: a line before the last can't be read.
            IncompleteError: the disk is full or gone.
        """
        with resumable(self._file.parent):
            self._log = LineLog(self._file)
        self.known = dict(one for one in kept_rows(self._file, self._mine) if one is not None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()

    def append(self, key: str, row: Row) -> None:
        """Add one; what is known is what would be read back.

        Raises:
            IncompleteError: the disk is full or gone; what was written before is kept.
        """
        told = {self._owner: self._maker, "key": key, **self._write(row)}
        with resumable(self._file.parent):
            self._log.append(json.dumps(told, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n")
        self.known[key] = self._read(told)

    def _mine(self, row: Mapping[str, Any]) -> tuple[str, Row] | None:
        return (str(row["key"]), self._read(row)) if row[self._owner] == self._maker else None
