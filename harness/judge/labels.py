"""People's labels from a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from harness.errors import DataError

_REQUIRED = ("task_id", "score")


def read_labels(path: Path, sample_keys: Mapping[tuple[str, int], str]) -> dict[str, float]:
    """Scores by sample key from a CSV with columns `task_id`, `score` and, optionally, `sample_index`.

    Several rows on one sample are averaged. Scores may be on any scale that grows with quality.

    Args:
        path: the file, UTF-8.
        sample_keys: (task_id, sample_index) → key of every sample of the run.

    Raises:
        DataError: the file can't be read, or a row is wrong; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in _REQUIRED if name not in (rows.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path} has no column {missing[0]}; it needs task_id, score [, sample_index]"
                )
            found: dict[str, list[float]] = {}
            for row in rows:
                key, score = _read_row(row, f"{path}:{rows.line_num}", sample_keys)
                found.setdefault(key, []).append(score)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}; check `labels=`") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} isn't a CSV file in UTF-8: {error}") from error
    return {key: math.fsum(scores) / len(scores) for key, scores in found.items()}


def _read_row(
    row: Mapping[str, str | None], where: str, sample_keys: Mapping[tuple[str, int], str]
) -> tuple[str, float]:
    text = row["score"] or ""
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f"{where}: score is {text!r}; it must be a number")
    index = row.get("sample_index") or "0"
    if not index.isdecimal():
        raise DataError(f"{where}: sample_index is {index!r}; it must be a whole number, 0 for the first")
    key = sample_keys.get((row["task_id"] or "", int(index)))
    if key is None:
        raise DataError(f"{where}: the run has no sample {index} of task {row['task_id']!r}")
    return key, score
