"""Opening data files: plain or gzip, refusing what only looks like data."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from harness.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BLOCK = 128 * 1024
GZIP_MAGIC = b"\x1f\x8b"
LFS_HEAD = b"version https://git-lfs.github.com/spec/"
UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is no row; reading it whole would cost memory without bound."""
MAX_RATIO = 250
"""Rows pack to a tenth or a twentieth; what packs to so little is one thing over and over."""
RATIO_COUNTS_FROM = 2 * 1024 * 1024
"""Unpacked bytes up to which any ratio will do: reading them costs nothing."""
MAX_IDLE_LINES = 1_000_000
"""Lines in a row that hold nothing: a file of these is no data, however long it goes on."""


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
        DataError: missing, a directory, unreadable, empty, a Git LFS pointer, UTF-16, damaged gzip, or gzip
            that unpacks to hundreds of times its size (the last two also while the caller reads).
    """
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a directory, not a file; name the file in it")
        with path.open("rb") as raw:
            head = raw.read(len(LFS_HEAD))
            _refuse_by_head(path, head)
            raw.seek(0)
            packed = head.startswith(GZIP_MAGIC)
            stream = io.BufferedReader(_Unpacking(path, raw), _BLOCK) if packed else raw
            yield Source(path, cast(BinaryIO, stream), path.stat().st_size, raw)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged or cut off gzip data ({error}); fetch the file again") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); check its permissions") from error


class _Unpacking(io.RawIOBase):
    """What a gzip file unpacks to, as long as that stays in proportion."""

    def __init__(self, path: Path, raw: BinaryIO) -> None:
        self._path, self._raw, self._gzip = path, raw, gzip.GzipFile(fileobj=raw)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._gzip.seek(offset, whence)

    def tell(self) -> int:
        return self._gzip.tell()

    def readinto(self, buffer: Buffer) -> int:
        read = self._gzip.readinto(buffer)
        unpacked, packed = self._gzip.tell(), self._raw.tell()
        if unpacked > max(RATIO_COUNTS_FROM, MAX_RATIO * packed):
            raise DataError(
                f"{self._path}: its first {packed:,} bytes unpack to over {unpacked:,}, one thing over and "
                "over and no rows of data; give the file itself, unpacked if it is right as it is"
            )
        return read


def _refuse_by_head(path: Path, head: bytes) -> None:
    if not head:
        raise DataError(f"{path}: the file is empty")
    if head.startswith(LFS_HEAD):
        raise DataError(
            f"{path}: is a Git LFS pointer, not the data; run `git lfs pull` or download the file itself"
        )
    if head.startswith(UTF16_BOMS):
        raise DataError(f"{path}: is UTF-16 text; save it as UTF-8")


def read_lines(source: Source) -> Iterator[tuple[int, bytes | None]]:
    """Yield (line number from 1, line) of the lines that aren't blank; None for one over `MAX_LINE_BYTES`.

    A byte-order mark before the first is no part of it.

    Raises:
        DataError: blank lines go on and on.
    """
    stream = source.stream
    number = last = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        if number == 1:
            line = line.removeprefix(UTF8_BOM)
        if not line.strip() and len(line) < MAX_LINE_BYTES:
            if number - last > MAX_IDLE_LINES:
                raise idle(source.path, "blank lines")
            continue
        last = number
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
            yield number, None
        else:
            yield number, line


def idle(path: Path, what: str) -> DataError:
    """The error that says that a file goes on and on with what holds nothing.

    Args:
        path: the file.
        what: lies there, in the plural.
    """
    return DataError(
        f"{path}: {MAX_IDLE_LINES:,} {what} one after the other; it isn't what it is taken for, or damaged: "
        "look into it or fetch it again"
    )
