"""Where the checkpoint that drew rollouts stands on the line of its teacher and base."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from harness.cliff.reached import LineSums, Reached, lambda_reached
from harness.engines import ScoreRequest
from harness.engines.hf_line import line_sums
from harness.progress import OnProgress, Progress, ignore
from harness.rollouts.rollout import Rollout

STAGE = "placing it on the line"


@dataclass(frozen=True, slots=True)
class Trio:
    """Three causal models of one vocabulary, in memory together.

    Attributes:
        student: drew the rollouts at T = 1.
        teacher: π_T.
        base: π_B.
    """

    student: Any
    teacher: Any
    base: Any


def place(
    rollouts: Mapping[str, Rollout],
    load: Callable[[], Trio],
    *,
    plausible: float = 0.0,
    seed: int = 0,
    known: Mapping[str, LineSums] = MappingProxyType({}),
    keep: Callable[[str, LineSums], None] = lambda key, sums: None,
    on_progress: OnProgress = ignore,
) -> Reached:
    """λ reached and off the line, over the states of the rollouts.

    Args:
        rollouts: at least one, by key.
        load: gives the one that drew them, teacher and base; asked only if some rollout isn't known.
        plausible: mask of the line, see `TargetConfig`.
        seed: of the bootstrap over tasks.
        known: sums of some of the rollouts, by key.
        keep: told those of every other one.
        on_progress: told where it stands.

    Raises:
        TooLittleMemoryError: a device ran out of memory.
    """
    # Another rollout that was drawn under the same key since is seldom as long.
    sums = {
        key: known[key]
        for key, one in rollouts.items()
        if key in known and known[key].tokens == len(one.token_ids)
    }
    requests = [
        ScoreRequest(key, one.prompt_ids, one.token_ids) for key, one in rollouts.items() if key not in sums
    ]
    if requests:
        models, resumed = load(), len(sums)
        on_progress(Progress(STAGE, resumed, len(rollouts), resumed))
        for key, found in line_sums(
            models.student, models.teacher, models.base, requests, plausible=plausible
        ):
            sums[key] = found
            keep(key, found)
            on_progress(Progress(STAGE, len(sums), len(rollouts), resumed))
    return lambda_reached([one.task for one in rollouts.values()], [sums[key] for key in rollouts], seed=seed)
