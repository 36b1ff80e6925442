"""Readings per role and the guard's limit, on masses that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.cliff import (
    MassBounds,
    PositionRecords,
    estimate_calibration,
    known_clip,
    lambda_star,
    run_ratio,
)

pytest.importorskip("torch")
from harness.opd.loop.guard import GuardReading, LambdaGuard, binding_role, read_roles
from tests.cliff.position_records import exact

ROLES = ("open", "key", "end")
CLIP = 2.0


def records(
    rng: np.random.Generator, tasks: int = 40, p: Any = (0.99, 0.9), b: Any = (0.6, 0.5)
) -> PositionRecords:
    """Two of three roles, every task at both; tails vary by task around their means."""
    task = np.repeat(np.arange(tasks), 2)
    role = np.tile([0, 1], tasks)

    def masses(means: Any) -> MassBounds:
        tail = (1 - np.array(means))[role] * rng.uniform(0.5, 1.5, role.size)
        return exact(tail)

    return PositionRecords(
        roles=ROLES,
        task=task,
        rollout=np.zeros_like(task),
        role=role,
        index=np.zeros_like(task),
        teacher=masses(p),
        base=masses(b),
    )


def guard(kind: Any, lam: float, clip: float | None = CLIP, epsilon: float = 0.1) -> LambdaGuard:
    return LambdaGuard(kind, lam, clip, epsilon, 0.95, seed=0)


def test_roles_are_means_of_masses_and_lambda_star_is_theirs() -> None:
    found = records(np.random.default_rng(0))
    roles = read_roles(found, CLIP, student=found.base.low)
    assert list(roles) == ["open", "key"]
    for place, name in enumerate(roles):
        own = found.role == place
        p = float(np.exp(found.teacher.low.log_mass[own]).mean())
        b = float(np.exp(found.base.low.log_mass[own]).mean())
        assert roles[name].p == pytest.approx(p)
        assert roles[name].b == roles[name].q == pytest.approx(b)
        assert roles[name].lambda_star == pytest.approx(float(lambda_star(p, b, CLIP)), rel=1e-9)
    assert binding_role(roles) == min(roles, key=lambda name: roles[name].lambda_star or np.inf)


def test_readings_agree_with_the_estimator_of_harness_cliff() -> None:
    found = records(np.random.default_rng(1))
    expected = estimate_calibration("role", found, known_clip(CLIP), resamples=100)
    roles = read_roles(found, CLIP)
    assert expected.first is not None
    assert binding_role(roles) == expected.first.role
    assert roles[expected.first.role].lambda_star == pytest.approx(expected.lambda_star.value)


def test_no_clip_and_no_extrapolation_away_from_the_base_have_no_lambda_star() -> None:
    rng = np.random.default_rng(2)
    assert binding_role(read_roles(records(rng), None)) is None
    assert binding_role(read_roles(records(rng, p=(0.5, 0.4), b=(0.9, 0.8)), CLIP)) is None


def test_the_limit_is_the_lower_bound_less_epsilon() -> None:
    found = records(np.random.default_rng(3))
    low = estimate_calibration("role", found, known_clip(CLIP), resamples=500).lambda_star.low
    assert low is not None
    held = guard("enforce", 9.0).hold(found)
    assert held.limit == pytest.approx(0.9 * low)
    assert held.lam == held.limit
    assert held.exceeded
    warned = guard("warn", 9.0).hold(found)
    assert (warned.lam, warned.exceeded, warned.limit) == (9.0, True, held.limit)
    below = guard("enforce", 0.5 * low).hold(found)
    assert (below.lam, below.exceeded) == (0.5 * low, False)


def test_off_and_unbounded_leave_lambda_alone() -> None:
    rng = np.random.default_rng(4)
    assert guard("off", 9.0).hold(records(rng)).lam == 9.0
    assert guard("off", 9.0, clip=None).hold(records(rng)).limit is None
    free = guard("enforce", 9.0).hold(records(rng, p=(0.5, 0.4), b=(0.9, 0.8)))
    assert free.lam == 9.0 or (free.limit is not None and free.lam == free.limit)


def test_a_guard_taken_up_goes_on_like_one_that_never_stopped(tmp_path: Any) -> None:
    rng = np.random.default_rng(5)
    rounds = [records(rng) for _ in range(4)]
    whole = guard("enforce", 9.0)
    readings = [whole.hold(one) for one in rounds]
    stopped = guard("enforce", 9.0)
    for one in rounds[:2]:
        stopped.hold(one)
    stopped.save(tmp_path / "guard.npz")
    again = guard("enforce", 9.0)
    again.restore(tmp_path / "guard.npz", ROLES)
    assert [again.hold(one) for one in rounds[2:]] == readings[2:]


def test_more_rounds_narrow_the_limit() -> None:
    """The lower bound rises towards λ* as rollouts gather; it doesn't jump about with each round."""
    rng = np.random.default_rng(6)
    watching = guard("warn", 9.0, epsilon=0.0)
    limits = [watching.hold(records(rng, tasks=12)).limit for _ in range(12)]
    joined = PositionRecords.concat(watching.window)
    star = read_roles(joined, CLIP)[binding_role(read_roles(joined, CLIP)) or ""].lambda_star
    assert star is not None
    assert limits[0] is not None
    assert limits[-1] is not None
    assert limits[0] < limits[-1] < star


def with_ratio(kind: Any, lam: float, *words: Any, fixed_from: Any = "base") -> LambdaGuard:
    made = guard(kind, lam)
    made.ratio = run_ratio(*words, fixed_from=fixed_from)
    return made


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (("student/behaviour", "fresh"), "nothing switches"),
        (("student/teacher", "fresh", "upper"), "no edge and no switch"),
        (("student/teacher", "fixed", "two", "differentiated"), "no edge and no switch"),
    ],
)
def test_a_run_without_an_edge_says_so_and_keeps_its_lambda(ratio: Any, said: str) -> None:
    found = records(np.random.default_rng(7))
    watching = with_ratio("enforce", 9.0, *ratio)
    note = watching.note(found)
    assert note is not None
    assert said in note
    assert "λ isn't held" in note
    assert "\n" not in note
    held = watching.hold(found)
    assert (held.lam, held.limit, held.exceeded) == (9.0, None, False)
    assert with_ratio("enforce", 9.0, *ratio).note(found) == note
    assert with_ratio("off", 9.0, *ratio).note(found) is None


def test_an_edge_that_plain_distillation_passes_holds_nothing() -> None:
    """p = .99, b = .6, c = 2: λ*_b = (logit .8 − logit .6) / (logit .99 − logit .6), the smallest of both."""
    found = records(np.random.default_rng(8))
    watching = with_ratio("enforce", 9.0, "student/behaviour", "fixed")
    tail = {
        name: [float(np.exp(one.low.log_tail)[found.role == place].mean()) for place in (0, 1)]
        for name, one in (("p", found.teacher), ("b", found.base))
    }

    def logit(tail: float) -> float:
        return float(np.log1p(-tail) - np.log(tail))

    expected = min(
        (logit(b / CLIP) - logit(b)) / (logit(p) - logit(b))
        for p, b in zip(tail["p"], tail["b"], strict=True)
    )
    assert expected < 0.3
    note = watching.note(found)
    assert note is not None
    assert f"passed at λ = {expected:.2g} and so by plain distillation" in note
    assert watching.hold(found) == GuardReading(9.0, None, False, None, None)
    # Drawn by a start that isn't the base: a policy that nobody measures.
    other = with_ratio("enforce", 9.0, "student/behaviour", "fixed", fixed_from="other")
    assert other.hold(found).limit is None
    assert "isn't measured" in (other.note(found) or "")


def test_an_edge_of_the_base_beyond_the_teacher_is_kept_to() -> None:
    """A teacher hardly better than its base is inside (1 − b)/c; its target passes it at some λ above 1."""
    found = records(np.random.default_rng(9), p=(0.7, 0.6), b=(0.6, 0.5))
    watching = with_ratio("enforce", 9.0, "student/base", "fresh")
    held = watching.hold(found)
    assert held.limit is not None
    assert 1.0 < held.limit < 2.5
    assert held.lam == held.limit
    assert with_ratio("warn", 9.0, "student/base", "fresh").hold(found).lam == 9.0
    free = guard("enforce", 1.0)
    free.ratio = watching.ratio
    assert free.hold(found).exceeded is False
