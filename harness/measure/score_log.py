"""`scores.jsonl`: class masses of a run's rollouts under other models, kept as they come.

Append-only and flushed line by line, like `samples.jsonl`: a killed job goes on with what it has, and a torn
last line is dropped and scored again. Floats are written so that they read back the same to the last bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.cliff import ClassMass, MassBounds
from harness.engines.class_masses import ClassScores
from harness.files import LineLog, resumable
from harness.runs.kept_rows import kept_rows

SCORES = "scores.jsonl"

FloatArray = npt.NDArray[np.float64]


class ScoreLog:
    """The scores stored in a run directory, whose lock must be held.

    Use as a context manager.

    Args:
        path: the run directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: LineLog | None = None
        self._stored: dict[str, dict[str, ClassScores]] = {}

    def __enter__(self) -> ScoreLog:
        """Read what there is and open the file for appending.

        Raises:
            DataError: a line before the last can't be read.
            IncompleteError: the disk is full or gone.
        """
        file = self._path / SCORES
        with resumable(self._path):
            self._file = LineLog(file)
        for scorer, scores in kept_rows(file, _read):
            self._stored.setdefault(scorer, {})[scores.key] = scores
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def empty(self) -> bool:
        """Whether it holds no score of any model."""
        return not self._stored

    def of(self, scorer: str) -> dict[str, ClassScores]:
        """Stored scores of one scorer by sample key.

        Args:
            scorer: identifies the model and everything else that decides its scores.
        """
        return dict(self._stored.get(scorer, {}))

    def append(self, scorer: str, scores: ClassScores) -> None:
        """Add the scores of one rollout; they are with the operating system when this returns.

        Raises:
            IncompleteError: the disk is full or gone; what was written before is kept.
        """
        assert self._file is not None, "enter first"
        row = json.dumps(_row(scorer, scores), separators=(",", ":"), allow_nan=False)
        with resumable(self._path):
            self._file.append(row.encode("ascii") + b"\n")
        self._stored.setdefault(scorer, {})[scores.key] = scores


def _row(scorer: str, scores: ClassScores) -> dict[str, Any]:
    masses = scores.masses
    return {
        "scorer": scorer,
        "key": scores.key,
        "top_k": scores.top_k,
        "logprobs": _numbers(scores.logprobs),
        "low": [_numbers(masses.low.log_mass), _numbers(masses.low.log_tail)],
        "high": None if masses.is_exact else [_numbers(masses.high.log_mass), _numbers(masses.high.log_tail)],
    }


def _read(row: dict[str, Any]) -> tuple[str, ClassScores]:
    low = ClassMass(*map(_array, row["low"]))
    high = row["high"]
    masses = MassBounds.exact(low) if high is None else MassBounds(low, ClassMass(*map(_array, high)))
    return row["scorer"], ClassScores(row["key"], _array(row["logprobs"]), masses, row["top_k"])


def _numbers(values: FloatArray) -> list[float | None]:
    """Logs as JSON numbers; None for −inf, the only one JSON can't say."""
    return [None if np.isneginf(value) else value for value in values.tolist()]


def _array(values: list[float | None]) -> FloatArray:
    return np.array([-np.inf if value is None else value for value in values], dtype=np.float64)
