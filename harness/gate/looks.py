"""How much of alpha a look at a run may spend, so that all looks together keep the promise of one.

Gating a run, adding samples where it was inconclusive and gating again is several tests of one statement:
each at alpha would let a bad checkpoint pass two and three times as often. So alpha is spent over looks
(Bonferroni over looks; Lan & DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70,
1983, for the idea of spending). A look at the same samples again is the same look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.gate.expression import PolicyError
from harness.gate.policy import Policy
from harness.runs.gate_record import Look, LookKind, StreamPlace
from harness.runs.manifest import Manifest

_NOTHING = 1e-9
"""What rounding may leave of alpha."""


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
    earlier: Sequence[Look],
    state: str,
    kind: LookKind,
    alpha: float,
    *,
    whole: bool,
    planned: int | None = None,
) -> Spending:
    """The share of alpha of a look.

    A fixed look at part of the tasks takes half of what is left, one at all there are everything that is
    left; with a planned number of looks each takes an equal share, and those beyond have none. A test that
    may be looked at any time takes what looks of other kinds left, once for all of its looks. A state that
    was judged by several policies has spent the most that any of them had.

    Args:
        earlier: looks so far, at this run or at others of the same checkpoint.
        state: digest of what is judged; a look at the same is the same look.
        kind: of this look.
        alpha: of the policy, in (0, 0.5).
        whole: whether no task of the dataset is left to add.
        planned: number of fixed looks that the policy plans; None doesn't plan.
    """
    others = [look for look in earlier if (look.kind, look.drawn_sha256) != (kind, state)]
    fixed: dict[str, float] = {}
    following: dict[LookKind, float] = {}
    for look in others:
        if look.kind == "fixed":
            fixed[look.drawn_sha256] = max(look.alpha, fixed.get(look.drawn_sha256, 0.0))
        elif look.kind != kind:
            following[look.kind] = max(look.alpha, following.get(look.kind, 0.0))
    left = 1.0 - (sum(fixed.values()) + sum(following.values())) / alpha
    left = left if left > _NOTHING else 0.0
    number = len({look.drawn_sha256 for look in others}) + 1
    if kind != "fixed":
        return Spending(left, left, number, kind)
    if planned is not None:
        share = min(left, 1.0 / planned) if len(fixed) < planned else 0.0
        return Spending(share, left - share, number, kind)
    share = left if whole else 0.5 * left
    return Spending(share, left - share, number, kind)


def require_something(spending: Spending, policy: Policy, folder: Path) -> None:
    """Refuse a look for which nothing is left of alpha: it could neither pass nor fail.

    Raises:
        PolicyError: the message says what may be done.
    """
    # A whole list of tasks is settled by its plain numbers.
    if spending.share == 0.0 and policy.scope == "tasks":
        raise PolicyError(
            f"earlier looks at {folder} have used up alpha, so that nothing can be shown by this one; gate "
            "other tasks, or plan `looks` (or `continued=True`) from the first look on"
        )


def require_one_list(policy: Policy, grown: Sequence[int]) -> None:
    """Refuse to follow a list of tasks that grew: its order isn't a random one of the whole.

    Raises:
        PolicyError: the policy is about this list of tasks alone.
    """
    if policy.scope == "list" and grown:
        raise PolicyError(
            "with `scope: list` a run that grew can't be followed from look to look; complete it and gate it "
            "without `continued=True`, or evaluate into another folder"
        )


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
    if number == 1 and spending.left and spending.kind == "fixed":
        told.append(
            f"judged at alpha = {level:.3g}: the rest is kept for looks at more tasks; `looks: 1` in the "
            "policy spends all on this one"
        )
    elif 0.0 < spending.share < 1.0:
        told.append(f"look {number}, judged at alpha = {level:.3g}: other looks share the rest")
    if place is not None:
        of = "" if policy.checkpoints is None else f" of {policy.checkpoints}"
        told.append(
            f"checkpoint {place.place}{of} of the stream {place.stream}: rules pass at "
            f"{place.share * level:.3g}, so that the chance of any false pass in the stream is at most "
            f"{policy.alpha:g}"
        )
    elif policy.checkpoints is not None:
        told.append(
            f"the policy plans {policy.checkpoints} checkpoints, but no stream counts them: this one is "
            "judged as if it were the only one"
        )
    return told


def weights_unseen(manifest: Manifest) -> list[str]:
    """A remark where samples are known by a name alone, which a retrained checkpoint may bear as well."""
    engine = manifest.config.get("engine") or {}
    if manifest.engine.weights_sha256 is not None or engine.get("replay") is not None:
        return []
    return [
        f"the weights behind {manifest.engine.checkpoint} can't be seen: these samples were begun at "
        f"{manifest.started}, and another checkpoint served under that name since would be taken for it"
    ]
