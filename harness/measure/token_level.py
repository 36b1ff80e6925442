"""Class masses under the extrapolated target, at the positions of the rollouts: `odds.jsonl`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.cliff import MassBounds
from harness.cliff.token_level import LAMBDAS, NOT_MEASURED, TargetMasses, masses_of_odds
from harness.engines import IN_MEMORY
from harness.engines.hf_engine import HfEngine
from harness.engines.hf_line import TooLittleMemoryError
from harness.engines.hf_target import target_odds
from harness.errors import EngineUnavailableError
from harness.measure.config import CliffConfig
from harness.measure.placing import SideBySide
from harness.measure.scoring import Scoring
from harness.progress import Progress
from harness.rollouts import Positions
from harness.runs.kept_rows import RowLog

ODDS = "odds.jsonl"
_STAGE = "the target, token by token"
_DIGITS = 7
"""Of odds that come from float32."""

FloatArray = npt.NDArray[np.float64]


def target_masses(
    config: CliffConfig, models: SideBySide, positions: Positions, scoring: Scoring, folder: Path
) -> TargetMasses:
    """Class mass of every decision under the target, with teacher and base in memory together.

    Args:
        config: of the measurement.
        models: its.
        positions: of the rollouts.
        scoring: theirs.
        folder: of their run, whose lock is held.
    """
    if config.token_level == "skip":
        return NOT_MEASURED
    known = config.models()
    if any(known[role].engine != IN_MEMORY for role in ("teacher", "base")):
        return TargetMasses(
            missing="not measured with this engine; only hf sees whole distributions of teacher and base"
        )
    teacher, base = models["teacher"], models["base"]
    lambdas, requests = sorted({*LAMBDAS, config.lam}), scoring.requests
    maker = _maker(config, (teacher, base), lambdas, scoring.classes)
    with RowLog(folder / ODDS, maker, _read, _written) as log:
        # Another rollout that was drawn under the same key since is seldom as long.
        done = {one.key for one in requests if len(log.known.get(one.key, ())) == len(one.classes)}
        try:
            if len(done) < len(requests):
                _measure(config, (teacher, base), lambdas, scoring, done, log)
        except (EngineUnavailableError, TooLittleMemoryError) as error:
            return TargetMasses(missing=str(error))  # each of them has been loaded alone
        every = np.concatenate([log.known[one.key] for one in requests])
    return TargetMasses(
        {
            lam: positions.merged(MassBounds.exact(masses_of_odds(every[:, place]))).low
            for place, lam in enumerate(lambdas)
        },
        plausible=config.plausible,
    )


def _measure(
    config: CliffConfig,
    pair: tuple[HfEngine, HfEngine],
    lambdas: Sequence[float],
    scoring: Scoring,
    done: set[str],
    log: RowLog[FloatArray],
) -> None:
    """Add what is missing to the log and to what is done."""
    scoring.on_progress(Progress("loading teacher and base side by side"))
    for one in pair:
        one.start()
    resumed, total = len(done), len(scoring.requests)
    teacher, base = (one.model for one in pair)
    found = target_odds(
        teacher,
        base,
        scoring.requests,
        lambdas,
        plausible=config.plausible,
        done=frozenset(done),
    )
    for key, odds in found:
        log.append(key, odds)
        done.add(key)
        scoring.on_progress(Progress(_STAGE, len(done), total, resumed))


def _maker(config: CliffConfig, pair: Sequence[HfEngine], lambdas: Sequence[float], classes: str) -> str:
    """Hash of all that decides the odds beside the rollout itself."""
    info = [one.info() for one in pair]
    decides = [
        [[one.weights_sha256, one.options.get("dtype")] for one in info],
        config.plausible,
        list(lambdas),
        classes,
    ]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


def _read(row: Mapping[str, Any]) -> FloatArray:
    odds = np.array(row["odds"], dtype=np.float64)
    if odds.ndim != 2:
        raise ValueError("odds must have a row a token")
    return odds


def _written(odds: FloatArray) -> dict[str, Any]:
    return {"odds": [[float(f"{x:.{_DIGITS}g}") for x in row] for row in odds.tolist()]}
