"""Writing a run directory: one writer, atomic files, append-only samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import files
from harness.data.tasks import Task
from harness.errors import HarnessError
from harness.runs.directory import CLIFF, LOCK, MANIFEST, METRICS, SAMPLES, TASKS, read_manifest
from harness.runs.manifest import FORMAT_VERSION, Manifest
from harness.runs.samples import Sample, read_samples
from harness.runs.seals import sealed_document, sealed_line
from harness.runs.source import BELONGS_TO, SOURCE, from_run, owner_of, source_of
from harness.stats import Estimate

_OWN_FILES = frozenset((LOCK, MANIFEST, SAMPLES, METRICS, TASKS))


@dataclass(frozen=True, slots=True)
class Drawn:
    """The samples of a run.

    Attributes:
        keys: of all of them.
        prompt_tokens: of all together, as far as they are known.
        completion_tokens: likewise.
    """

    keys: set[str]
    prompt_tokens: int
    completion_tokens: int


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
        self._write(MANIFEST, sealed_document(json.loads(manifest.model_dump_json()), indent=2))

    def write_tasks(self, tasks: Iterable[Task]) -> None:
        """Keep the evaluated rows, so that everything after the raw text can be redone from here."""
        with files.resumable(self.path):
            lines = (sealed_line(task.model_dump_json().encode()) for task in tasks)
            files.write_bytes(self.path / TASKS, b"".join(lines))

    def write_metrics(self, metrics: Mapping[str, Estimate]) -> None:
        """Replace `metrics.json` in one step; it names the files of the run as they are now as its source.

        Args:
            metrics: made from these files, all of them.
        """
        if self._samples is not None:
            with files.resumable(self.path):
                self._samples.sync()
        rows = {name: asdict(estimate) for name, estimate in metrics.items()}
        self._write(METRICS, sealed_document(rows | {SOURCE: asdict(source_of(self.path))}))

    def write_cliff(self, content: Mapping[str, Any], rollouts: Path) -> None:
        """Replace `cliff.json` in one step; it names this run and its source, the rollouts as they are.

        Args:
            content: what was measured on them.
            rollouts: the run that holds them, perhaps this one.
        """
        source = replace(source_of(rollouts), judge_sha256=None, cliff_sha256=None)
        owner = owner_of(read_manifest(self.path))
        made_from = {"run": from_run(self.path, rollouts), BELONGS_TO: owner, **asdict(source)}
        self._write(CLIFF, sealed_document({**content, SOURCE: made_from}))

    def drop_metrics(self) -> None:
        """Remove `metrics.json` and `cliff.json`: the samples are about to change under them."""
        with files.resumable(self.path):
            for name in (METRICS, CLIFF):
                (self.path / name).unlink(missing_ok=True)

    def open_samples(self) -> Drawn:
        """Open `samples.jsonl` for appending, drop a torn last line, and return what it holds."""
        path = self.path / SAMPLES
        with files.resumable(self.path):
            self._samples = files.LineLog(path)
        earlier = self.read_manifest()
        sealed = earlier is not None and earlier.sealed
        keys, prompt, completion = set(), 0, 0
        for sample in read_samples(path, sealed=sealed):
            keys.add(sample.key)
            prompt += sample.prompt_tokens or 0
            completion += sample.completion_tokens or 0
        return Drawn(keys, prompt, completion)

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
        if manifest.sealed and manifest.status != "incomplete":
            self._write(MANIFEST, text)
            return
        # It was complete before a process was killed in such a block, or is older than checksums.
        status = "complete" if manifest.was_complete else manifest.status
        settled = {"status": status, "format_version": FORMAT_VERSION}
        self.write_manifest(manifest.model_copy(update=settled))

    def _write(self, name: str, text: str) -> None:
        with files.resumable(self.path):
            files.write_text(self.path / name, text)


def _holds_other_files(path: Path) -> bool:
    return any(entry.name not in _OWN_FILES and not files.is_draft(entry) for entry in path.iterdir())
