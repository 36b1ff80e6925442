"""`line.jsonl`: what λ reached is made of, a line a rollout, kept as it comes beside `scores.jsonl`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.cliff.line_sums import ARRAYS, NODES, LineSums
from harness.runs.kept_rows import RowLog

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


class LineSumsLog(RowLog[LineSums]):
    """Sums stored in a run directory, whose lock must be held; use as a context manager.

    Args:
        path: the run directory.
        placer: see `placer_of`; sums of others are left alone.
    """

    def __init__(self, path: Path, placer: str) -> None:
        super().__init__(path / LINE, placer, _read, _row, owner="placer")


def _row(sums: LineSums) -> dict[str, Any]:
    return _told(sums) | {"roles": {name: _told(one) for name, one in sums.roles.items()}}


def _told(sums: LineSums) -> dict[str, Any]:
    arrays = {name: getattr(sums, name).tolist() for name in ARRAYS}
    return {"tokens": sums.tokens, "gain": sums.gain, "excess": sums.excess} | arrays


def _read(row: Mapping[str, Any]) -> LineSums:
    # Earlier versions didn't tell roles apart.
    roles = {str(name): _sums(one, {}) for name, one in row.get("roles", {}).items()}
    return _sums(row, roles)


def _sums(row: Mapping[str, Any], roles: Mapping[str, LineSums]) -> LineSums:
    partition, slope, curvature = (np.array(row[name], dtype=np.float64) for name in ARRAYS)
    numbers = int(row["tokens"]), float(row["gain"]), float(row["excess"])
    return LineSums(*numbers, partition, slope, curvature, roles)
