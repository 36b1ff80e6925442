"""What pydantic found wrong, as the one line that a command prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from pydantic import ValidationError


def first_problem(error: ValidationError) -> HarnessError:
    """The first problem with its place: `endpoint: must be a URL such as …`."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return HarnessError(f"{where}: {reason}" if where else reason)
