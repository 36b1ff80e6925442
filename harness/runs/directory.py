"""Writing a run directory: one writer, atomic files, append-only samples."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import filelock

from harness.data.tasks import RankingTask
from harness.errors import DataError, HarnessError, IncompleteError, RunMismatchError
from harness.runs.manifest import Manifest
from harness.runs.samples import Sample, read_samples
from harness.stats import Estimate

MANIFEST = "manifest.json"
SAMPLES = "samples.jsonl"
METRICS = "metrics.json"
TASKS = "tasks.jsonl"
CLIFF = "cliff.json"
GATE = "gate.json"
JUDGE_LOG = "judge.jsonl"
LOCK = "run.lock"
_OWN_FILES = frozenset(
    [LOCK] + [name + end for name in (MANIFEST, SAMPLES, METRICS, TASKS) for end in ("", ".new")]
)


class RunDirectory:
    """The only writer of a run.

    Use as a context manager: entering takes the lock, which the operating system frees if the process dies.

    Args:
        path: the directory, made when absent.

    Raises:
        RunMismatchError: another process is writing this run.
        HarnessError: the directory can't be made, or holds something that isn't a run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = filelock.FileLock(str(path / LOCK), blocking=False)
        self._samples: int | None = None

    def __enter__(self) -> RunDirectory:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / MANIFEST).exists() and _holds_other_files(self.path):
                raise HarnessError(f"{self.path} isn't empty and isn't a run; choose another --out")
            self._lock.acquire()
        except filelock.Timeout as error:
            raise RunMismatchError(
                f"{self.path} is being written by another process; wait for it or choose another --out"
            ) from error
        except OSError as error:
            raise HarnessError(
                f"can't write to {self.path}: {error.strerror or error}; choose another --out"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._samples is not None:
            os.close(self._samples)
            self._samples = None
        self._lock.release()

    def read_manifest(self) -> Manifest | None:
        """The manifest, None in a new directory.

        Raises:
            DataError: it can't be read.
        """
        return read_manifest(self.path) if (self.path / MANIFEST).exists() else None

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest in one step."""
        _replace(self.path / MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")

    def write_tasks(self, tasks: Iterable[RankingTask]) -> None:
        """Keep the evaluated rows, so that everything after the raw text can be redone from here."""
        rows = b"".join(task.model_dump_json().encode() + b"\n" for task in tasks)
        _replace(self.path / TASKS, rows)

    def write_metrics(self, metrics: Mapping[str, Estimate]) -> None:
        """Replace `metrics.json` in one step."""
        rows = {name: asdict(estimate) for name, estimate in metrics.items()}
        _replace(self.path / METRICS, json.dumps(rows, indent=1, allow_nan=False).encode() + b"\n")

    def drop_metrics(self) -> None:
        """Remove `metrics.json` and `cliff.json`: the samples are about to change under them."""
        for name in (METRICS, CLIFF):
            (self.path / name).unlink(missing_ok=True)

    def open_samples(self) -> set[str]:
        """Open `samples.jsonl` for appending, drop a torn last line, and return the keys it holds."""
        path = self.path / SAMPLES
        with disk_errors(self.path):
            self._samples = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._samples, end_of_last_line(path))
        return {sample.key for sample in read_samples(path)}

    def append(self, sample: Sample) -> None:
        """Add a finished sample; it is with the operating system when this returns.

        Raises:
            IncompleteError: the disk is full or gone; what was written before is kept.
        """
        assert self._samples is not None, "open_samples comes first"
        line = sample.to_line()
        with disk_errors(self.path):
            if os.write(self._samples, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def replace_samples(self, samples: Iterable[Sample]) -> None:
        """Write all samples anew, streaming, and swap the file in one step."""
        draft = self.path / f"{SAMPLES}.new"
        with disk_errors(self.path):
            try:
                with draft.open("wb") as out:
                    for sample in samples:
                        out.write(sample.to_line())
                    out.flush()
                    os.fsync(out.fileno())
                draft.replace(self.path / SAMPLES)
            finally:
                draft.unlink(missing_ok=True)


def read_manifest(path: Path) -> Manifest:
    """The manifest of a run.

    Raises:
        DataError: there is none, or it can't be read.
    """
    try:
        return Manifest.model_validate_json((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} isn't a run: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path / MANIFEST} can't be read ({reason}); restore it or use another run"
        ) from error


def read_tasks(path: Path) -> Iterator[RankingTask]:
    """The tasks of a run, in the order they were evaluated.

    Raises:
        DataError: the file is absent or a row can't be read.
    """
    try:
        with (path / TASKS).open("rb") as rows:
            for row in rows:
                yield RankingTask.model_validate_json(row)
    except (OSError, ValueError) as error:
        raise DataError(f"{path / TASKS} can't be read: {str(error).splitlines()[0]}") from error


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or vanished disk into `IncompleteError`, one line that names `path`."""
    try:
        yield
    except OSError as error:
        raise IncompleteError(
            f"can't write to {path}: {error.strerror or error}; make room and run the same command to go on"
        ) from error


def _holds_other_files(path: Path) -> bool:
    return any(entry.name not in _OWN_FILES for entry in path.iterdir())


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.new")
    with disk_errors(path.parent):
        try:
            with draft.open("wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def end_of_last_line(path: Path, block: int = 1 << 16) -> int:
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
