"""`line.jsonl`: what λ reached is made of, a line a rollout, kept as it comes beside `scores.jsonl`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from harness.cliff.line_sums import ARRAYS, NODES, LineSums
from harness.files import LineLog, resumable
from harness.measure.kept_rows import kept_rows

LINE = "line.jsonl"


def placer_of(weights: Sequence[str | None], dtypes: Sequence[str | None], plausible: float) -> str:
    """Hash of all that decides these sums beside the rollout itself.

    Args:
        weights: digests of student, teacher and base.
        dtypes: of their weights.
        plausible: mask of the line.
    """
    decides = [list(weights), list(dtypes), plausible, list(NODES), list(ARRAYS)]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


class LineSumsLog:
    """Sums stored in a run directory, whose lock must be held; use as a context manager.

    Args:
        path: the run directory.
        placer: see `placer_of`; sums of others are left alone.
    """

    def __init__(self, path: Path, placer: str) -> None:
        self._path, self._placer = path, placer
        self.known: dict[str, LineSums] = {}

    def __enter__(self) -> LineSumsLog:
        """Read what there is and open the file for appending.

        Raises:
            DataError: a line before the last can't be read.
            IncompleteError: the disk is full or gone.
        """
        file = self._path / LINE
        with resumable(self._path):
            self._file = LineLog(file)
        for placer, key, sums in kept_rows(file, _read):
            if placer == self._placer:
                self.known[key] = sums
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, key: str, sums: LineSums) -> None:
        """Add those of one rollout.

        Raises:
            IncompleteError: the disk is full or gone; what was written before is kept.
        """
        roles = {name: _told(one) for name, one in sums.roles.items()}
        told = {"placer": self._placer, "key": key} | _told(sums) | {"roles": roles}
        row = json.dumps(told, separators=(",", ":"))
        with resumable(self._path):
            self._file.append(row.encode("ascii") + b"\n")


def _told(sums: LineSums) -> dict[str, Any]:
    arrays = {name: getattr(sums, name).tolist() for name in ARRAYS}
    return {"tokens": sums.tokens, "gain": sums.gain, "excess": sums.excess} | arrays


def _read(row: Mapping[str, Any]) -> tuple[str, str, LineSums]:
    # Earlier versions didn't tell roles apart.
    roles = {str(name): _sums(one, {}) for name, one in row.get("roles", {}).items()}
    return str(row["placer"]), str(row["key"]), _sums(row, roles)


def _sums(row: Mapping[str, Any], roles: Mapping[str, LineSums]) -> LineSums:
    partition, slope, curvature = (np.array(row[name], dtype=np.float64) for name in ARRAYS)
    numbers = int(row["tokens"]), float(row["gain"]), float(row["excess"])
    return LineSums(*numbers, partition, slope, curvature, roles)
