"""Class masses under the extrapolated target, at the positions of the rollouts: `odds.jsonl`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.cliff import MassBounds
from harness.cliff.token_level import LAMBDAS, NOT_MEASURED, TargetMasses, masses_of_odds
from harness.engines import IN_MEMORY, ScoreRequest
from harness.engines.hf_engine import HfEngine
from harness.engines.hf_line import TooLittleMemoryError
from harness.engines.hf_target import target_odds
from harness.errors import EngineUnavailableError
from harness.measure.config import CliffConfig
from harness.measure.kept_rows import RowLog
from harness.progress import OnProgress, Progress
from harness.rollouts import Positions

ODDS = "odds.jsonl"
_STAGE = "the target, token by token"
_DIGITS = 7
"""Of odds that come from float32."""

FloatArray = npt.NDArray[np.float64]


def target_masses(
    config: CliffConfig,
    positions: Positions,
    requests: Sequence[ScoreRequest],
    classes: str,
    folder: Path,
    on_progress: OnProgress,
) -> TargetMasses:
    """Class mass of every decision under the target, with teacher and base in memory together.

    Args:
        config: of the measurement.
        positions: of the rollouts.
        requests: theirs, with classes, in the same order.
        classes: identifies the classes.
        folder: of their run, whose lock is held.
        on_progress: told where it stands.
    """
    if config.token_level == "skip":
        return NOT_MEASURED
    pair = [config.models()[role] for role in ("teacher", "base")]
    if any(one.engine != IN_MEMORY for one in pair):
        return TargetMasses(
            missing="it takes whole distributions of teacher and base, which the engine hf alone gives"
        )
    lambdas = sorted({*LAMBDAS, config.lam})
    with ExitStack() as stack:
        teacher = stack.enter_context(closing(HfEngine(pair[0])))
        base = teacher if pair[0] == pair[1] else stack.enter_context(closing(HfEngine(pair[1])))
        maker = _maker(config, (teacher, base), lambdas, classes)
        log = stack.enter_context(RowLog(folder / ODDS, maker, _read, _written))
        # Another rollout that was drawn under the same key since is seldom as long.
        done = {one.key for one in requests if len(log.known.get(one.key, ())) == len(one.classes)}
        try:
            if len(done) < len(requests):
                on_progress(Progress("loading teacher and base side by side"))
                teacher.start()
                base.start()
                resumed = len(done)
                for key, odds in target_odds(
                    teacher.model, base.model, requests, lambdas, plausible=config.plausible, done=set(done)
                ):
                    log.append(key, odds)
                    done.add(key)
                    on_progress(Progress(_STAGE, len(done), len(requests), resumed))
        except (EngineUnavailableError, TooLittleMemoryError) as error:
            return TargetMasses(missing=str(error))  # each of them has been loaded alone
        every = np.concatenate([log.known[one.key] for one in requests])
    return TargetMasses(
        {
            lam: positions.merged(MassBounds.exact(masses_of_odds(every[:, place]))).low
            for place, lam in enumerate(lambdas)
        }
    )


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
