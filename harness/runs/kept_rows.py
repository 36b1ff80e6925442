"""Lines of JSON that a measurement keeps in a run directory as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import DataError
from harness.files import whole_lines

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
