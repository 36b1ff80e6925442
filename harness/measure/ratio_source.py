"""What a run's importance ratio is taken to: given, or read from the configuration it was trained with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from harness.cliff import ASSUMED, RunRatio, run_ratio
from harness.cliff.switch import ClipSides, Policy, Ratio, RatioGradient, Staleness, given_ratio
from harness.errors import DataError
from harness.measure.clip_source import is_opd, read_config
from harness.settings import first_problem

if TYPE_CHECKING:
    from harness.measure.config import CliffConfig


def find_ratio(config: CliffConfig) -> tuple[RunRatio, str]:
    """What the run's importance ratio is and, in words, how that is known.

    Raises:
        DataError: a manifest whose options can't be read.
    """
    if config.ratio_to is not None:
        return given_ratio(config.ratio_to), "given"
    if config.clip_from is not None:
        content = read_config(config.clip_from)
        if is_opd(content):
            return _own_ratio(config.clip_from, content), f"read from {config.clip_from}"
        if config.clip_key is None:
            # PPO's minimum and a capped weight keep the gradient of a token whose ratio is small.
            return RunRatio("student", "student", cuts=False), f"as TRL and verl take it, {config.clip_from}"
    return ASSUMED, "assumed to be taken to the teacher, as λ* does"


class _RatioOptions(BaseModel):
    """What an OPD run's manifest says of its ratio; defaults are those of the runs that don't."""

    ratio: Ratio = "student/behaviour"
    staleness: Staleness = "fresh"
    clip_sides: ClipSides = "two"
    ratio_gradient: RatioGradient = "detached"


def _own_ratio(path: Path, content: dict[str, Any]) -> RunRatio:
    try:
        options = _RatioOptions.model_validate(content.get("options") or {})
    except ValidationError as error:
        raise DataError(f"{path} doesn't say what its ratio is: {first_problem(error)}") from error
    return run_ratio(
        options.ratio,
        options.staleness,
        options.clip_sides,
        options.ratio_gradient,
        fixed_from=_drawer(content),
    )


def _drawer(content: dict[str, Any]) -> Policy:
    """Who drew a run's fixed rollouts: the student it began with, unless they are another run's."""
    known = content.get("checkpoints")
    if not isinstance(known, dict) or content.get("rollouts") is not None:
        return "base" if content.get("rollouts") is None else "other"
    hashes = {name: one.get("sha256") for name, one in known.items() if isinstance(one, dict)}
    of_student = hashes.get("student", hashes.get("base"))
    policies: tuple[Policy, ...] = ("base", "teacher")
    return next((name for name in policies if hashes.get(name) == of_student), "other")
