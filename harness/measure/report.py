"""What the job hands on, and `cliff.json`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.cliff import CliffResult, MassBounds, thresholds_from_log_tails
from harness.cliff.placement import Placement
from harness.metrics.table import CLIFF_PREFIXES
from harness.rollouts import Positions
from harness.runs import Run, RunDirectory, load
from harness.runs.integrity import require_sound
from harness.stats.estimate import Estimate

_OF_THIS_PROCESS = ("scored_now", "load_seconds", "score_seconds")


@dataclass(frozen=True, slots=True)
class ModelCost:
    """A model that scored the rollouts, and what that took.

    Attributes:
        roles: `teacher`, `base`, `student`; several where one checkpoint has several parts.
        checkpoint: as the user named it.
        weights_sha256: None where the weights can't be seen.
        engine: its name.
        engine_version: version of the library or server behind it.
        dtype: of the weights, None where the engine doesn't say.
        exact: whether class masses are exact, and not bounds.
        largest_top_k: most tokens a position that bounds rest on, 0 where exact.
        tokens_read: prompt and completion tokens that went through the model.
        positions: structural positions scored.
        scored_now: rollouts scored by this process; the others' scores were there.
        load_seconds: until the model was ready; 0 where it was already.
        score_seconds: after that.
    """

    roles: tuple[str, ...]
    checkpoint: str
    weights_sha256: str | None
    engine: str
    engine_version: str
    dtype: str | None
    exact: bool
    largest_top_k: int
    tokens_read: int
    positions: int
    scored_now: int
    load_seconds: float
    score_seconds: float


@dataclass(frozen=True, slots=True)
class StripToken:
    """One token of the example.

    Attributes:
        text: its bytes as text, broken characters replaced.
        role: of its position.
        member: whether it keeps the contract.
        p: teacher's class mass there (the middle of its bounds).
        b: base's.
        lambda_star: λ* of this position alone; None where it has no finite value.
    """

    text: str
    role: str
    member: bool
    p: float
    b: float
    lambda_star: float | None


@dataclass(frozen=True, slots=True)
class CliffReport:
    """A verdict with all it rests on.

    Attributes:
        path: the run directory that holds `cliff.json`.
        rollouts: the run directory of the rollouts, often the same.
        rollouts_from: the model that drew them.
        drawn: number of rollouts.
        strict: share of them that keep the contract.
        clip_source: where c comes from, in words.
        result: the verdict.
        models: what was scored and at what cost.
        strip: one example, token by token.
        unsaid: what of the contract the classes of tokens leave out: p and b count it as kept.
    """

    path: Path
    rollouts: Path
    rollouts_from: str
    drawn: int
    strict: float
    clip_source: str
    result: CliffResult
    models: tuple[ModelCost, ...]
    strip: tuple[StripToken, ...]
    unsaid: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The content of `cliff.json`: that of `CliffResult`, and what it was made from.

        What differs from one process to the next (times) is left out: a job that was killed and went on
        writes the same file as one that wasn't.
        """
        beside = {"classes_leave_out": list(self.unsaid)} if self.unsaid else {}
        return (
            self.result.to_dict()
            | beside
            | {
                "clip_source": self.clip_source,
                "rollouts": _rollouts(self.rollouts, self.path, self.rollouts_from, self.drawn, self.strict),
                "models": [
                    {name: value for name, value in asdict(model).items() if name not in _OF_THIS_PROCESS}
                    for model in self.models
                ],
                "strip": [asdict(token) for token in self.strip],
            }
        )

    def costs(self) -> list[dict[str, Any]]:
        """What this process spent on each model."""
        kept = ("roles", *_OF_THIS_PROCESS)
        return [{name: getattr(model, name) for name in kept} for model in self.models]

    def write(self, run: Run) -> Run:
        """Put `cliff.json` and the `cliff.…` metrics into the run at `path`; returns it with them."""
        return write_measured(run, self.path, self.rollouts, self.to_dict(), self.result.metrics())


@dataclass(frozen=True, slots=True)
class PlaceReport:
    """A checkpoint's place on the line with all it rests on.

    Attributes:
        path: the run directory that holds `cliff.json`.
        rollouts: the run directory of the rollouts, often the same.
        drawn: number of rollouts.
        strict: share of them that keep the contract.
        placement: the place.
        models: names and digests of student, teacher and base.
    """

    path: Path
    rollouts: Path
    drawn: int
    strict: float
    placement: Placement
    models: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The content of `cliff.json`."""
        return self.placement.to_dict() | {
            "rollouts": _rollouts(self.rollouts, self.path, "student", self.drawn, self.strict),
            "models": list(self.models),
        }

    def write(self, run: Run) -> Run:
        """Put `cliff.json` and the `reached.…` metrics into the run at `path`; returns it with them."""
        return write_measured(run, self.path, self.rollouts, self.to_dict(), self.placement.metrics())


def write_measured(
    run: Run, path: Path, rollouts: Path, content: dict[str, Any], measured: Mapping[str, Estimate]
) -> Run:
    """Put what was measured into a run: `cliff.json`, and its numbers among the metrics.

    Args:
        run: as it was loaded.
        path: its directory.
        rollouts: the run that holds the rollouts, perhaps this one.
        content: of `cliff.json`.
        measured: metrics of `CLIFF_PREFIXES`, in place of those that are there.
    """
    with RunDirectory(path) as directory:
        # Read under the lock, and without what an earlier estimate (of another λ or c) left.
        stored = load(path)
        known = stored.metrics
        kept = {name: one for name, one in known.items() if not name.startswith(CLIFF_PREFIXES)}
        require_sound(stored, kept)
        metrics = kept | dict(measured)
        if len(kept) < len(known):
            # Killed between the two files, a run must not hold one estimate in each.
            directory.write_metrics(kept)
        directory.write_cliff(content, rollouts)
        directory.write_metrics(metrics)
    return replace(run, metrics=metrics)


def _rollouts(rollouts: Path, path: Path, role: str, drawn: int, strict: float) -> dict[str, Any]:
    return {"run": os.path.relpath(rollouts, path), "from": role, "drawn": drawn, "strict": strict}


def token_strip(
    positions: Positions,
    masses: tuple[MassBounds, MassBounds],
    c: float,
    contents: Sequence[bytes | None],
) -> tuple[StripToken, ...]:
    """One example token by token: the first rollout that keeps the contract, else the one that gets furthest.

    Args:
        positions: of all rollouts.
        masses: of the classes at every position, under teacher and base.
        c: clip strength, > 1.
        contents: bytes of each token id.
    """
    valid = [number for number, rollout in enumerate(positions.rollouts) if rollout.strict]
    lengths = [len(walk.roles) for walk in positions.walks]
    chosen = valid[0] if valid else int(np.argmax(lengths))
    first = sum(lengths[:chosen])
    part = slice(first, first + lengths[chosen])
    teacher, base = (one.middle() for one in masses)
    stars = thresholds_from_log_tails(teacher.log_tail[part], base.log_tail[part], np.log(c)).value
    walk = positions.walks[chosen]
    return tuple(
        StripToken(
            text=(contents[token_id] or b"").decode("utf-8", "replace"),
            role=walk.roles[t],
            member=walk.members[t],
            p=float(np.exp(teacher.log_mass[first + t])),
            b=float(np.exp(base.log_mass[first + t])),
            lambda_star=float(stars[t]) if np.isfinite(stars[t]) else None,
        )
        for t, token_id in enumerate(positions.rollouts[chosen].token_ids[: lengths[chosen]])
    )
