"""Reading a run for analysis: `harness.runs.load(path)`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.tasks import RankingTask
from harness.errors import DataError
from harness.runs.directory import METRICS, SAMPLES, read_manifest, read_tasks
from harness.runs.manifest import Manifest
from harness.runs.samples import Sample, read_samples
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
    """

    path: Path
    manifest: Manifest
    metrics: dict[str, Estimate]

    def iter_samples(self) -> Iterator[Sample]:
        """Stream the samples in the order they finished."""
        return read_samples(self.path / SAMPLES)

    def tasks(self) -> Iterator[RankingTask]:
        """Stream the evaluated tasks in dataset order."""
        return read_tasks(self.path)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """All samples as a frame: one row a sample, ordered by task and sample index.

        Columns: key, task_id, sample_index, text, finish_reason, prompt_tokens, completion_tokens, tier,
        code, path, message, ranking, and one column a score.
        """
        import pandas as pd

        order = {task.task_id: position for position, task in enumerate(self.tasks())}
        samples = sorted(self.iter_samples(), key=lambda sample: (order[sample.task_id], sample.sample_index))
        rows = [
            {
                "key": sample.key,
                "task_id": sample.task_id,
                "sample_index": sample.sample_index,
                "text": sample.text,
                "finish_reason": sample.finish_reason,
                "prompt_tokens": sample.prompt_tokens,
                "completion_tokens": sample.completion_tokens,
                "tier": sample.parse.tier,
                "code": sample.parse.code,
                "path": sample.parse.path,
                "message": sample.parse.message,
                "ranking": sample.parse.ranking,
                **sample.scores,
            }
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
    try:
        rows = json.loads((folder / METRICS).read_bytes())
        metrics = {name: Estimate(**row) for name, row in rows.items()}
    except FileNotFoundError:
        metrics = {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder / METRICS} can't be read ({error}); `harness rescore {folder}` makes it anew"
        ) from error
    return Run(path=folder, manifest=manifest, metrics=metrics)
