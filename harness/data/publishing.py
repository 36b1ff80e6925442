"""A prepared dataset's folder: its splits and its card come all at once or not at all."""

from __future__ import annotations

import errno
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.data.locate import SPLIT_ORDER
from harness.errors import DataError
from harness.files import move

CARD_NAME = "README.md"


def require_free(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds splits already.

    Raises:
        DataError: it does, and they aren't to be replaced.
    """
    there = [split for split in SPLIT_ORDER if (out / f"{split}.jsonl").exists()]
    if there and not overwrite:
        raise DataError(
            f"{out}: holds {there[0]}.jsonl already; choose another folder or pass `overwrite=True`"
        )


@contextmanager
def working_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out`, on the same disk, gone afterwards whatever happens.

    Raises:
        DataError: the disk can't be written, or is full.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
            yield Path(folder)
    except (OSError, sqlite3.OperationalError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "disk is full" in str(error)
        todo = "free some space or choose another `out=`" if full else "choose another `out=`"
        raise DataError(f"{out}: can't be written ({error}); {todo}") from error


def publish(folder: Path, out: Path) -> None:
    """Move the splits and the card of a working folder to `out`, in place of those that are there."""
    out.mkdir(exist_ok=True)
    names = [*(f"{split}.jsonl" for split in SPLIT_ORDER), CARD_NAME]
    # All of the old files go before the first new one comes: splits of two preparations may share users.
    for name in names:
        (out / name).unlink(missing_ok=True)
    for name in names:
        # An empty split is no file: loading it would be an error.
        if (folder / name).stat().st_size:
            move(folder / name, out / name)
