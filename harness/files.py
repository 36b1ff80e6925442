"""The one room that writes files, and the few ways to do it that survive a crash.

A file is replaced whole or not at all; a log grows by whole lines, and a line that a crash tore is dropped; a
folder appears when all of it is there; a lock lets one process in. Below every layer, so that whoever has
something to write finds it here.

What the operating system refuses is an `OSError` here. A caller knows whose file it is, and says so with
`resumable` (state of a job that can go on: exit code 3) or `output` (a path that somebody chose: 2).
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from harness.errors import DataError, HarnessError, IncompleteError, RunMismatchError

_DRAFT = ".draft-"
# What a user mends by another path or other rights. Anything else (a full disk, a lost mount, a broken pipe)
# may be gone at the next attempt.
_NEVER = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
        *(errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP),
    )
)

# Of a network file system without its lock service, and of others that never had locks.
_WITHOUT_LOCKS = frozenset((errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL))


class LockedError(RunMismatchError):
    """Another process holds a lock. Exit code 2."""


@contextlib.contextmanager
def resumable(path: Path) -> Iterator[None]:
    """The block writes the state of a job that can go on.

    Raises:
        IncompleteError: in place of an `OSError`; one line that names `path`.
    """
    try:
        yield
    except OSError as error:
        remedy = "put that right" if error.errno in _NEVER else "make room"
        raise IncompleteError(
            f"can't write to {path}: {reason(error)}; {remedy} and run the same command to go on"
        ) from error


@contextlib.contextmanager
def output(path: Path | str, remedy: str) -> Iterator[None]:
    """The block writes what somebody asked for at `path`.

    Args:
        path: as the error names it.
        remedy: what to do where it can't be written, such as `choose another file`.

    Raises:
        HarnessError: in place of an `OSError`; one line.
    """
    try:
        yield
    except OSError as error:
        raise HarnessError(f"{path} can't be written ({reason(error)}); {remedy}") from error


def explained(error: OSError) -> HarnessError | None:
    """An error of the operating system that nobody foresaw, as one of ours; None where it isn't the system's.

    `IncompleteError` for what may be gone at the next attempt, such as a full disk.
    """
    if error.errno is None:
        return None
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in _NEVER:
        return HarnessError(f"{place}{reason(error)}; choose another path or change its permissions")
    return IncompleteError(f"{place}{reason(error)}; put that right and run the same command again")


def reason(error: OSError) -> str:
    """What the system says, on one line."""
    return " ".join(str(error.strerror or error).split())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """What the block writes takes the place of `path` in one step, or is gone if the block fails.

    Parents are made. A link stays one: the file it means is replaced. A device or a pipe (`/dev/stdout`)
    can't be replaced and is written to.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        with path.open("wb") as stream:
            yield stream
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not named after the file: two processes may write it at once, and its name may be as long as names go.
    draft = path.with_name(f"{_DRAFT}{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        move(draft, path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def move(source: Path, path: Path) -> None:
    """Let a finished file take the place of another on the same disk, in one step."""
    os.replace(source, path)
    _sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step; see `replacing`."""
    with replacing(path) as stream:
        stream.write(content)


def write_text(path: Path, content: str) -> None:
    """Replace a file by UTF-8 text in one step; see `replacing`."""
    write_bytes(path, content.encode("utf-8"))


def is_draft(path: Path) -> bool:
    """Whether a file is one that `replacing` hadn't finished when its process was killed."""
    return path.name.startswith(_DRAFT)


def clear_drafts(folder: Path) -> None:
    """Remove what killed writers left in a folder; the caller holds its lock."""
    for entry in folder.iterdir():
        if is_draft(entry):
            with contextlib.suppress(OSError):
                entry.unlink()


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, made with its parents when absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with child_log(path) as stream:
        stream.write(content)


def child_log(path: Path, mode: int = 0o666) -> BinaryIO:
    """A stream that appends, such as a child process takes for its output.

    Args:
        path: the file, made when absent.
        mode: its permissions then, less the umask.
    """
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, mode))


class LineLog:
    """A file that grows by whole lines; opening it drops a last line that a crash tore.

    Use as a context manager, or close it.

    Args:
        path: the file, made when absent.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.ftruncate(self._file, _end_of_last_line(path))
        except OSError:
            os.close(self._file)
            raise

    def append(self, line: bytes) -> None:
        """Add a line, its end included; it is with the operating system when this returns.

        Raises:
            OSError: no room for all of it, and then none of it is there.
        """
        written = os.write(self._file, line)
        if written != len(line):
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Wait until all lines are on the disk: before something is written that rests on them."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> LineLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_whole(path: Path) -> bytes:
    """The content of a file that may be absent.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is a link to nothing: whoever made it meant a file to be there.
        OSError: it can't be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise ValueError("it is a link to a file that isn't there") from None
        raise


def whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file and their numbers, from 1; a last line without an end was torn and is left out.

    Raises:
        DataError: it can't be read.
    """
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.endswith(b"\n"):
                    yield number, line
    except OSError as error:
        raise DataError(f"{path} can't be read: {reason(error)}") from error


def _end_of_last_line(path: Path, block: int = 1 << 16) -> int:
    """Offset after the last newline of a file: what follows it was torn by a crash."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - block)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def lock(path: Path, *, wait: bool = False) -> AbstractContextManager[object]:
    """Take a lock, which the operating system frees if the process dies.

    Args:
        path: the lock's file, made when absent, in a folder that exists.
        wait: until whoever has it lets go.

    Returns:
        Taken already; leaving it lets go.

    Raises:
        LockedError: another process has it.
        HarnessError: the file system has no locks.
    """
    import filelock

    # A lock that is only a file outlives its process; newer versions fall back on one.
    real = {"fallback_to_soft": False}
    known = inspect.signature(filelock.FileLock.__init__).parameters
    options: dict[str, Any] = real if "fallback_to_soft" in known else {}
    try:
        return filelock.FileLock(str(path), **options).acquire(blocking=wait)
    except filelock.Timeout:
        raise LockedError(
            f"{path.parent} is being written by another process; wait for it or choose another folder"
        ) from None
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _WITHOUT_LOCKS:
            raise
        raise HarnessError(f"the file system of {path} has no locks; choose a folder on another") from error


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock; takes none that another reader would see.

    Where the system has no `flock` the answer is no.
    """
    try:
        import fcntl
    except ImportError:
        return False
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False  # never locked, or not ours to read: then nobody on this machine holds it as us
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks: whoever writes there was refused
    finally:
        os.close(file)
    return False


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` that takes its name if the block ends well and is removed if it doesn't.

    Always of one name, so that what a killed process left is cleared away by the next: a checkpoint is large.
    """
    draft = empty_draft(path)
    try:
        yield draft
        keep(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def empty_draft(path: Path) -> Path:
    """Make the empty folder that `keep` gives its name; what a killed process left in it is gone."""
    draft = draft_of(path)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft


def draft_of(path: Path) -> Path:
    """Where a folder is while it is being made: its name with a suffix."""
    return path.with_name(f"{path.name}.unfinished")


def keep(draft: Path, path: Path) -> None:
    """Give a folder its name, with all that is in it on the disk; `path` doesn't exist."""
    for entry in draft.rglob("*"):
        if entry.is_file():
            with entry.open("rb+") as stream:
                os.fsync(stream.fileno())
        elif entry.is_dir():
            _sync_folder(entry)
    _sync_folder(draft)
    draft.rename(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    """Wait until a folder's names are on the disk; not every system can."""
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
