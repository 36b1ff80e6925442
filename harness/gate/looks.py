"""How much of alpha a look at a run may spend, so that all looks together keep the promise of one.

Gating a run, adding samples where it was inconclusive and gating again is several tests of one statement:
each at alpha would let a bad checkpoint pass two and three times as often. So alpha is spent over looks
(Bonferroni over looks; Lan & DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70,
1983, for the idea of spending). A look at the same samples again is the same look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.gate.policy import Policy
from harness.runs.gate_record import Look, LookKind, StreamPlace
from harness.runs.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Spending:
    """What a look has of alpha.

    Attributes:
        share: of the policy's alpha that this look has, in [0, 1].
        left: share that later looks at a grown run have together.
        number: which look it is, from 1.
        kind: of the look.
    """

    share: float
    left: float
    number: int
    kind: LookKind


@dataclass(frozen=True, slots=True)
class Levels:
    """Error rates of one look.

    Attributes:
        passing: level of the tests by which rules pass, in [0, 0.5); 0 where nothing is left of alpha.
        interval: level at each end of the intervals that are shown: that of passing where it isn't 0.
        failing: of those by which they fail, before the correction for several rules.
        later: of passing, at the next look that is likely to be taken.
        power: wanted of the advice on further samples.
    """

    passing: float
    interval: float
    failing: float
    later: float
    power: float


def levels_of(policy: Policy, spending: Spending, place: StreamPlace | None = None) -> Levels:
    """Levels of a look.

    Args:
        policy: with alpha.
        spending: the look's share.
        place: of the checkpoint in a stream, whose share of alpha is for passing alone: failing isn't shared.
    """
    alpha, stream = policy.alpha, 1.0 if place is None else place.share
    later = spending.left if spending.left > 0.0 else spending.share
    passing = alpha * spending.share * stream
    return Levels(
        passing=passing,
        interval=passing or alpha,
        failing=alpha * spending.share,
        later=alpha * later * stream,
        power=policy.power,
    )


def spend(
    earlier: Sequence[Look], drawn_sha256: str, kind: LookKind, *, whole: bool, planned: int | None = None
) -> Spending:
    """The share of alpha of a look.

    A fixed look at part of the tasks takes half of what is left, one at all there are everything that is
    left; with a planned number of looks each takes an equal share, and those beyond have none. A test that
    may be looked at any time takes what looks of other kinds left, once for all of its looks.

    Args:
        earlier: looks at the run so far.
        drawn_sha256: of what the engine has said by now; a look at the same is the same look.
        kind: of this look.
        whole: whether no task of the dataset is left to add.
        planned: number of fixed looks that the policy plans; None doesn't plan.
    """
    others = [look for look in earlier if (look.kind, look.drawn_sha256) != (kind, drawn_sha256)]
    fixed = {look.drawn_sha256: look.share for look in others if look.kind == "fixed"}
    following = {look.kind: look.share for look in others if look.kind not in ("fixed", kind)}
    left = max(0.0, 1.0 - sum(fixed.values()) - sum(following.values()))
    number = len({look.drawn_sha256 for look in others}) + 1
    if kind != "fixed":
        return Spending(left, left, number, kind)
    if planned is not None:
        share = min(left, 1.0 / planned) if len(fixed) < planned else 0.0
        return Spending(share, left - share, number, kind)
    share = left if whole else 0.5 * left
    return Spending(share, left - share, number, kind)


def kind_of(earlier: Sequence[Look], *, continued: bool) -> LookKind:
    """The kind of a look at a stored run: a test that may be looked at any time goes on, once begun."""
    begun = [look.kind for look in earlier if look.kind != "fixed"]
    return begun[-1] if begun else ("continued" if continued else "fixed")


def tasks_left(manifest: Manifest) -> int | None:
    """Tasks that the dataset has beyond those of the run; None where nobody counted."""
    if manifest.dataset.rows is None:
        return 0 if manifest.config.get("limit") is None else None
    return manifest.dataset.rows_left


def notes(spending: Spending, place: StreamPlace | None, policy: Policy) -> list[str]:
    """What a reader must know of the level; nothing where this look had all of alpha to itself."""
    told = []
    level, number = policy.alpha * spending.share, spending.number
    if spending.share == 0.0:
        told.append(
            f"look {number}: alpha is used up by earlier looks, so that nothing can be shown; evaluate into "
            "another folder, or plan `looks` beforehand"
        )
    elif number == 1 and spending.left and spending.kind == "fixed":
        told.append(
            f"judged at alpha = {level:.3g}: the rest is kept for looks at more tasks; `looks: 1` in the "
            "policy spends all on this one"
        )
    elif spending.share < 1.0:
        told.append(f"look {number} at this run, judged at alpha = {level:.3g}: earlier ones spent the rest")
    if place is not None:
        of = "" if policy.checkpoints is None else f" of {policy.checkpoints}"
        told.append(
            f"checkpoint {place.place}{of} of the stream {place.stream}: rules pass at "
            f"{place.share * level:.3g}, so that the chance of any false pass in the stream is at most "
            f"{policy.alpha:g}"
        )
    return told
