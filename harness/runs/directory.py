"""Writing a run directory: one writer, atomic files, append-only samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import files
from harness.data.tasks import RankingTask
from harness.errors import DataError, HarnessError, nearest
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
_OWN_FILES = frozenset((LOCK, MANIFEST, SAMPLES, METRICS, TASKS))


class RunDirectory:
    """The writer of a run.

    Use as a context manager: entering takes the lock, which the operating system frees if the process dies.

    Args:
        path: the directory, made when absent.

    Raises:
        RunMismatchError: another process is writing this run.
        HarnessError: the directory can't be made, or holds something that isn't a run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: AbstractContextManager[object] | None = None
        self._samples: files.LineLog | None = None

    def __enter__(self) -> RunDirectory:
        with files.output(self.path, "choose another `out=`"):
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / MANIFEST).exists() and _holds_other_files(self.path):
                raise HarnessError(f"{self.path} isn't empty and isn't a run; choose another `out=`")
            self._lock = files.lock(self.path / LOCK)
            files.clear_drafts(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._samples is not None:
            self._samples.close()
            self._samples = None
        if self._lock is not None:
            self._lock.__exit__(kind, value, trace)

    def read_manifest(self) -> Manifest | None:
        """The manifest, None in a new directory.

        Raises:
            DataError: it can't be read.
        """
        return read_manifest(self.path) if (self.path / MANIFEST).exists() else None

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest in one step."""
        self._write(MANIFEST, manifest.model_dump_json(indent=2) + "\n")

    def write_tasks(self, tasks: Iterable[RankingTask]) -> None:
        """Keep the evaluated rows, so that everything after the raw text can be redone from here."""
        self._write(TASKS, "".join(f"{task.model_dump_json()}\n" for task in tasks))

    def write_metrics(self, metrics: Mapping[str, Estimate]) -> None:
        """Replace `metrics.json` in one step."""
        if self._samples is not None:
            with files.resumable(self.path):
                self._samples.sync()
        rows = {name: asdict(estimate) for name, estimate in metrics.items()}
        self._write(METRICS, json.dumps(rows, indent=1, allow_nan=False) + "\n")

    def write_cliff(self, content: Mapping[str, Any]) -> None:
        """Replace `cliff.json` in one step."""
        self._write(CLIFF, json.dumps(content, indent=1, allow_nan=False) + "\n")

    def drop_metrics(self) -> None:
        """Remove `metrics.json` and `cliff.json`: the samples are about to change under them."""
        with files.resumable(self.path):
            for name in (METRICS, CLIFF):
                (self.path / name).unlink(missing_ok=True)

    def open_samples(self) -> set[str]:
        """Open `samples.jsonl` for appending, drop a torn last line, and return the keys it holds."""
        path = self.path / SAMPLES
        with files.resumable(self.path):
            self._samples = files.LineLog(path)
        return {sample.key for sample in read_samples(path)}

    def append(self, sample: Sample) -> None:
        """Add a finished sample; it is with the operating system when this returns.

        Raises:
            IncompleteError: the disk is full or gone; what was written before is kept.
        """
        assert self._samples is not None, "open_samples comes first"
        with files.resumable(self.path):
            self._samples.append(sample.to_line())

    def replace_samples(self, samples: Iterable[Sample], before: Callable[[], None] = lambda: None) -> None:
        """Write all samples anew, streaming, and swap the file in one step.

        Args:
            samples: all of them.
            before: called when they are written and nothing but the swap is left to do.
        """
        with files.resumable(self.path), files.replacing(self.path / SAMPLES) as out:
            for sample in samples:
                out.write(sample.to_line())
            before()

    @contextmanager
    def unsettled(self, kept: Mapping[str, Estimate]) -> Iterator[Callable[[], None]]:
        """A block that replaces samples and, after them, the metrics that are made from them.

        The two files are one state. From the call of what this yields to the end of the block the manifest
        says `incomplete` and the metrics are those that don't rest on samples, so that a process killed in
        between leaves no run that passes for complete; evaluating or rescoring it again finishes it.

        Args:
            kept: metrics that stay right whatever the samples say.
        """
        text = (self.path / MANIFEST).read_text(encoding="utf-8")
        manifest = read_manifest(self.path)

        def unsettle() -> None:
            self.write_manifest(manifest.model_copy(update={"status": "incomplete"}))
            self.write_metrics(kept)

        yield unsettle
        if manifest.status == "incomplete" and manifest.finished is not None:
            # It was complete before a process was killed in such a block.
            self.write_manifest(manifest.model_copy(update={"status": "complete"}))
        else:
            self._write(MANIFEST, text)

    def _write(self, name: str, text: str) -> None:
        with files.resumable(self.path):
            files.write_text(self.path / name, text)


def read_manifest(path: Path) -> Manifest:
    """The manifest of a run.

    Raises:
        DataError: there is none, or it can't be read.
    """
    try:
        return Manifest.model_validate_json((path / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise _no_run(path) from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path / MANIFEST} can't be read ({reason}); restore it or use another run"
        ) from error


def _no_run(path: Path) -> DataError:
    if path.exists():
        return DataError(f"{path} isn't a run: it has no {MANIFEST}")
    runs = [str(path.parent / manifest.parent.name) for manifest in path.parent.glob(f"*/{MANIFEST}")]
    return DataError(f"{path} isn't a run: there is no such folder{nearest(str(path), sorted(runs))}")


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


def _holds_other_files(path: Path) -> bool:
    return any(entry.name not in _OWN_FILES and not files.is_draft(entry) for entry in path.iterdir())
