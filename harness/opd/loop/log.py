"""One line of `train.jsonl`: what a step did, read from its tokens."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import files
from harness.cliff.reached import Reached
from harness.opd.loop.guard import RoleReading, binding_role
from harness.stats.estimate import Estimate

LOG = "train.jsonl"
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

Floats = npt.NDArray[np.floating[Any]]


@dataclass(slots=True)
class TokenColumns:
    """Arrays over the tokens of a step, filled forward pass by forward pass.

    Attributes:
        loss: [N] terms, before weights.
        weight: [N] their weights.
        advantage: [N] A.
        ratio: [N] r before clipping.
        clipped: [N] whether r lies outside the clip region.
        kl: [N] log π_S − log π_T.
        entropy: [N] of the student.
        structural: [N] whether the contract alone decides there.
    """

    loss: list[Floats] = field(default_factory=list)
    weight: list[Floats] = field(default_factory=list)
    advantage: list[Floats] = field(default_factory=list)
    ratio: list[Floats] = field(default_factory=list)
    clipped: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    kl: list[Floats] = field(default_factory=list)
    entropy: list[Floats] = field(default_factory=list)
    structural: list[npt.NDArray[np.bool_]] = field(default_factory=list)

    def stacked(self) -> dict[str, Floats]:
        """Each column as one array."""
        return {one.name: np.concatenate(getattr(self, one.name)) for one in fields(self)}


@dataclass(frozen=True, slots=True)
class OPDStep:
    """What one optimizer step did.

    Attributes:
        step: counted from 1.
        round: of rollouts, counted from 1.
        loss: weighted sum of the terms −clip(r)·A; a surrogate, so not to be compared between steps.
        reverse_kl: mean over tokens of log π_S − log π_T; estimates KL(π_S‖π_T) while the rollouts are the
            student's own, and drifts from it with stale ones.
        lam: λ used.
        learning_rate: of this step.
        gradient_norm: before clipping by length.
        advantage: its quantiles at `QUANTILES`, and the mean.
        ratio: likewise, before clipping; None for what overflows.
        clipped: share of tokens whose ratio lies outside the clip region.
        entropy_structural: mean entropy where the contract alone decides, in nats; None without such tokens.
        entropy_other: elsewhere: which id comes next, and whatever follows a broken contract.
        role: binding role; None where none has a finite λ*.
        p: teacher's class mass there.
        b: base's.
        lambda_star: λ* there.
        roles: all roles, on steps where the student's masses were read.
        guard_limit: λ the guard would allow, None where it is off or nothing bounds λ.
        guard_exceeded: whether the λ asked for is above it.
        guard_kept: strict validity that the rollouts had surely reached before the round; None before that,
            or where the guard doesn't watch it.
        guard_evidence: log of the guard's evidence of a fall, up to and with the round; None likewise.
        parse_validity: strict, of the round's rollouts.
        truncated: share of them that met the token limit.
        tokens: completion tokens trained on.
        seconds: wall-clock time of the step, drawing and scoring of a new round included.
        tokens_per_second: completion tokens by the time of the step without drawing and scoring.
        lambda_reached: where the student stood before the step on the line of its teacher and base, on steps
            that begin a round in which it is read; else None.
        off_the_line: what of it was no extrapolation, in nats a token; likewise.
        reached: that in words, or why it can't be known, on steps where it would be read.
    """

    step: int
    round: int
    loss: float
    reverse_kl: float
    lam: float
    learning_rate: float
    gradient_norm: float
    advantage: dict[str, float | None]
    ratio: dict[str, float | None]
    clipped: float
    entropy_structural: float | None
    entropy_other: float | None
    role: str | None
    p: float | None
    b: float | None
    lambda_star: float | None
    roles: dict[str, RoleReading] | None
    guard_limit: float | None
    guard_exceeded: bool
    guard_kept: float | None
    guard_evidence: float | None
    parse_validity: float
    truncated: float
    tokens: int
    seconds: float
    tokens_per_second: float
    lambda_reached: Estimate | None = None
    off_the_line: Estimate | None = None
    reached: str | None = None

    def line(self) -> bytes:
        """As it stands in `train.jsonl`."""
        return f"{json.dumps(asdict(self), allow_nan=False)}\n".encode()


def token_fields(columns: dict[str, Floats]) -> dict[str, Any]:
    """The fields of `OPDStep` that are read from tokens."""
    structural = columns["structural"].astype(bool)
    return {
        "loss": float((columns["loss"] * columns["weight"]).sum()),
        "reverse_kl": float(columns["kl"].mean()),
        "advantage": _spread(columns["advantage"]),
        "ratio": _spread(columns["ratio"]),
        "clipped": float(columns["clipped"].mean()),
        "entropy_structural": _mean(columns["entropy"][structural]),
        "entropy_other": _mean(columns["entropy"][~structural]),
        "tokens": int(columns["loss"].size),
    }


def line_fields(found: Reached | str | None, lam: float, strict: float) -> dict[str, Any]:
    """The fields of `OPDStep` about the student's place on the line.

    Args:
        found: that place, why it isn't known, or None where nobody looked.
        lam: λ of the step.
        strict: share of the round's rollouts that keep the contract.
    """
    if found is None:
        return {}
    if isinstance(found, str):
        return {"reached": f"not placed on the line: {found}"}
    return {
        "lambda_reached": found.lambda_reached,
        "off_the_line": found.off_the_line,
        "reached": found.words(lam, strict),
    }


def role_fields(roles: dict[str, RoleReading]) -> dict[str, Any]:
    """The fields of `OPDStep` about the binding role."""
    name = binding_role(roles)
    if name is None:
        return {"role": None, "p": None, "b": None, "lambda_star": None}
    found = roles[name]
    return {"role": name, "p": found.p, "b": found.b, "lambda_star": found.lambda_star}


def keep_until(path: Path, step: int) -> None:
    """Cut a log back to the steps a saved state has seen; a torn last line goes with what comes after."""
    if not path.is_file():
        return
    kept = []
    for _, line in files.whole_lines(path):
        if json.loads(line)["step"] > step:
            break
        kept.append(line)
    files.write_bytes(path, b"".join(kept))


def _spread(values: Floats) -> dict[str, float | None]:
    names = [*(f"q{round(100 * share)}" for share in QUANTILES), "mean"]
    found = [*np.quantile(values.astype(np.float64), QUANTILES), values.mean(dtype=np.float64)]
    return {name: float(one) if np.isfinite(one) else None for name, one in zip(names, found, strict=True)}


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None
