"""Where the checkpoint that drew rollouts stands on the line of its teacher and base."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from harness.cliff.line_sums import ELSEWHERE, LineSums
from harness.cliff.reached import Reached, lambda_reached
from harness.engines import ScoreRequest
from harness.engines.hf_line import line_sums
from harness.progress import OnProgress, Progress, ignore
from harness.rollouts.positions import Positions
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


class SumsLog(Protocol):
    """Keeps sums of rollouts by key."""

    known: dict[str, LineSums]
    """Those of earlier calls."""

    def append(self, key: str, sums: LineSums) -> None:
        """Keep those of one more rollout."""


def place(
    rollouts: Mapping[str, Rollout],
    load: Callable[[], Trio],
    *,
    plausible: float = 0.0,
    seed: int = 0,
    confidence: float = 0.95,
    roles: Mapping[str, Sequence[str]] = MappingProxyType({}),
    log: SumsLog | None = None,
    on_progress: OnProgress = ignore,
) -> Reached:
    """λ reached and off the line, over the states of the rollouts.

    Args:
        rollouts: at least one, by key.
        load: gives the one that drew them, teacher and base; asked only if some rollout isn't known.
        plausible: mask of the line, see `TargetConfig`.
        seed: of the bootstrap over tasks.
        confidence: two-sided level of the intervals.
        roles: by key, of each token, see `token_roles`; without them none are told apart.
        log: what is known of some of them and is told of every other one; sums without roles are made anew
            where roles are wanted.
        on_progress: told where it stands.

    Raises:
        TooLittleMemoryError: a device ran out of memory.
    """
    known = {} if log is None else log.known
    # Another rollout that was drawn under the same key since is seldom as long.
    sums = {
        key: known[key]
        for key, one in rollouts.items()
        if key in known
        and known[key].tokens == len(one.token_ids)
        and (bool(known[key].roles) or key not in roles)
    }
    requests = [
        ScoreRequest(key, one.prompt_ids, one.token_ids) for key, one in rollouts.items() if key not in sums
    ]
    if requests:
        models, resumed = load(), len(sums)
        on_progress(Progress(STAGE, resumed, len(rollouts), resumed))
        for key, found in line_sums(
            models.student, models.teacher, models.base, requests, roles=roles, plausible=plausible
        ):
            sums[key] = found
            if log is not None:
                log.append(key, found)
            on_progress(Progress(STAGE, len(sums), len(rollouts), resumed))
    return lambda_reached(
        [one.task for one in rollouts.values()],
        [sums[key] for key in rollouts],
        seed=seed,
        confidence=confidence,
        masked=plausible > 0.0,
    )


def token_roles(positions: Positions) -> list[tuple[str, ...]]:
    """Role of each token of each rollout; `elsewhere` behind the one that breaks the contract or ends it."""
    return [
        (*walk.roles, *(ELSEWHERE for _ in one.token_ids[len(walk.roles) :]))
        for one, walk in zip(positions.rollouts, positions.walks, strict=True)
    ]
