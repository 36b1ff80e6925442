"""Opening data files: plain or gzip, refusing what only looks like data."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from harness.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
LFS_HEAD = b"version https://git-lfs.github.com/spec/"
UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is no row; reading it whole would cost memory without bound."""


@dataclass(frozen=True, slots=True)
class Source:
    """An open data file.

    Attributes:
        path: where it lies.
        stream: its bytes, decompressed.
        size: bytes on disk.
        raw: the file under the decompressor.
    """

    path: Path
    stream: BinaryIO
    size: int
    raw: BinaryIO

    def position(self) -> int:
        """Bytes of the file on disk that have been read."""
        return self.raw.tell()


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a plain or gzip file, told apart by content and not by name.

    Raises:
        DataError: missing, a directory, unreadable, empty, a Git LFS pointer, UTF-16, or damaged gzip
            (the last also while the caller reads).
    """
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a directory, not a file; name the file in it")
        with path.open("rb") as raw:
            head = raw.read(len(LFS_HEAD))
            _refuse_by_head(path, head)
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if head.startswith(GZIP_MAGIC) else raw
            yield Source(path, cast(BinaryIO, stream), path.stat().st_size, raw)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged or cut off gzip data ({error}); fetch the file again") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); check its permissions") from error


def _refuse_by_head(path: Path, head: bytes) -> None:
    if not head:
        raise DataError(f"{path}: the file is empty")
    if head.startswith(LFS_HEAD):
        raise DataError(
            f"{path}: is a Git LFS pointer, not the data; run `git lfs pull` or download the file itself"
        )
    if head.startswith(UTF16_BOMS):
        raise DataError(f"{path}: is UTF-16 text; save it as UTF-8")


def read_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield (line number from 1, line) of a byte stream, None for a line over `MAX_LINE_BYTES`."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
            yield number, None
        else:
            yield number, line
