"""Reading a run for analysis: `harness.runs.load(path)`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contract import ParseResult
from harness.data.tasks import Task
from harness.errors import DataError, IncompleteError
from harness.files import is_locked, read_whole
from harness.metrics.table import JUDGE_PREFIXES
from harness.runs.directory import LOCK, METRICS, SAMPLES, read_manifest, read_tasks
from harness.runs.manifest import Manifest
from harness.runs.samples import Sample, read_samples
from harness.runs.seals import opened_document
from harness.runs.source import SOURCE, Source, read_source
from harness.stats import Estimate

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """A stored run.

    Attributes:
        path: its directory.
        manifest: how it was made.
        metrics: metric name → estimate; empty while the run isn't complete.
        source: digests of what these metrics were made from, as `metrics.json` names it; None where there is
            no such file or an older version wrote it.
    """

    path: Path
    manifest: Manifest
    metrics: dict[str, Estimate]
    source: Source | None = None

    def iter_samples(self) -> Iterator[Sample]:
        """Stream the samples in the order they finished."""
        return read_samples(self.path / SAMPLES, sealed=self.manifest.sealed)

    def tasks(self) -> Iterator[Task]:
        """Stream the evaluated tasks in dataset order."""
        return read_tasks(self.path, sealed=self.manifest.sealed)

    def stored(self, metric: str) -> Estimate:
        """A metric, checked: files are edited by hand and written by other programs.

        Raises:
            DataError: it isn't there, or isn't made of counts and finite numbers.
        """
        estimate = self.metrics.get(metric)
        if estimate is None:
            raise DataError(
                f"{self.path} has no metric {metric}; `harness rescore {self.path}` computes them anew"
            )
        numbers = (estimate.estimate, estimate.low, estimate.high)
        sound = isinstance(estimate.n, int) and not isinstance(estimate.n, bool) and estimate.n >= 0
        if not sound or not all(value is None or _is_finite(value) for value in numbers):
            raise DataError(
                f"{METRICS} of {self.path} holds {metric} = {estimate.estimate} "
                f"[{estimate.low}, {estimate.high}], n = {estimate.n}, which is no measurement; "
                f"`harness rescore {self.path}` computes it anew"
            )
        return estimate

    def require_current(self, metric: str, value: float | None) -> None:
        """Refuse a stored metric that was computed from other samples or judgements than those there are.

        Args:
            metric: its name.
            value: what they give.

        Raises:
            DataError: what is stored is no measurement, or another value.
        """
        stored = self.stored(metric).estimate
        if stored is None or value is None:
            current = stored is None and value is None
        else:
            # Sums of the same values, perhaps in another order.
            current = math.isclose(stored, value, rel_tol=0.0, abs_tol=1e-9)
        if not current:
            raise self.stale(metric)

    def stale(self, metric: str) -> DataError:
        """The error that says that a stored metric isn't that of the run's samples."""
        again = "judge" if metric.startswith(JUDGE_PREFIXES) else "rescore"
        return DataError(
            f"{metric} in {METRICS} of {self.path} isn't what its samples give; "
            f"`harness {again} {self.path}` computes it anew"
        )

    @cached_property
    def samples(self) -> pd.DataFrame:
        """All samples as a frame: one row a sample, ordered by task and sample index.

        Columns: key, task_id, sample_index, text, finish_reason, prompt_tokens, completion_tokens, tier,
        code, path, message, ranking (these None where the answer was withheld), and one column a score.
        """
        import pandas as pd

        order = {task.task_id: position for position, task in enumerate(self.tasks())}
        samples = sorted(self.iter_samples(), key=lambda sample: (order[sample.task_id], sample.sample_index))
        own = [
            name for name in _names(Sample) if name not in ("prompt_sha256", "token_ids", "parse", "scores")
        ]
        rows = [
            {name: getattr(sample, name) for name in own}
            | {name: getattr(sample.parse, name, None) for name in _names(ParseResult)}
            | sample.scores
            for sample in samples
        ]
        return pd.DataFrame(rows)


def load(path: str | Path) -> Run:
    """Open a run directory.

    Raises:
        DataError: it isn't a run, or a file in it can't be read.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    metrics, source = _read_metrics(folder, manifest)
    return Run(path=folder, manifest=manifest, metrics=metrics, source=source)


def _read_metrics(folder: Path, manifest: Manifest) -> tuple[dict[str, Estimate], Source | None]:
    try:
        rows, has_seal = opened_document(read_whole(folder / METRICS))
        if manifest.sealed and not (has_seal and SOURCE in rows):
            raise ValueError("it doesn't say what it was made from: it was changed by hand, or damaged")
        source = read_source(rows.pop(SOURCE)) if SOURCE in rows else None
        return {name: Estimate(**row) for name, row in rows.items()}, source
    except FileNotFoundError:
        return {}, None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{folder / METRICS} can't be read ({reason}); `harness rescore {folder}` makes it anew"
        ) from error


def open_run(path: str | Path) -> Run:
    """Load a run that no process is writing.

    Raises:
        DataError: it isn't a run, or a file in it can't be read.
        IncompleteError: a process holds its lock.
    """
    run = load(path)
    if is_locked(run.path / LOCK):
        raise IncompleteError(f"{path} is still being written; wait for the evaluation to end")
    return run


def _names(record: type) -> list[str]:
    return [field.name for field in fields(record)]


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
