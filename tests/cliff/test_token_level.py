"""The fixed point token by token: brute force on small vocabularies, and what is reported of it by role."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cliff import ClassMass, CliffDomainError, CliffResult, assess, estimate_cliff, known_clip
from harness.cliff.readings import resampling
from harness.cliff.switch import ASSUMED, RunRatio, fixed_point_log_tail, run_ratio
from harness.cliff.token_level import TargetMasses, fixed_points, masses_of_odds
from tests.cliff.position_records import constant, exact, records

SETTINGS = resampling(known_clip(5.0), 0.95, 200, 0)


def renyi(order: float, t: np.ndarray, u: np.ndarray) -> float:
    """D_order(t ‖ u) of two distributions, order ≠ 1."""
    return float(np.log(np.sum(t**order * u ** (1 - order))) / (order - 1))


@given(st.integers(0, 10**6), st.floats(0.2, 6.0).filter(lambda lam: abs(lam - 1) > 1e-3))
@settings(max_examples=50)
def test_the_target_s_odds_are_the_coin_s_times_the_divergences(seed, lam):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(4, 30))
    teacher, base = (rng.dirichlet(np.full(size, 0.7)) + 1e-9 for _ in range(2))
    teacher, base = teacher / teacher.sum(), base / base.sum()
    member = np.arange(size) < rng.integers(2, size - 1)
    target = teacher**lam * base ** (1 - lam)
    brute = math.log(target[~member].sum() / target[member].sum())
    p, b = teacher[member].sum(), base[member].sum()
    coin = float(fixed_point_log_tail(lam, math.log1p(-p), math.log1p(-b)))
    gap = renyi(lam, teacher[~member] / (1 - p), base[~member] / (1 - b))
    gap -= renyi(lam, teacher[member] / p, base[member] / b)
    assert math.isclose(brute, coin - math.log(-math.expm1(coin)) + (lam - 1) * gap, abs_tol=1e-8)


def at(mapping: dict[float, float], size: int) -> TargetMasses:
    """One tail for all decisions at each λ."""
    return TargetMasses({lam: exact(np.full(size, tail)).low for lam, tail in mapping.items()})


def test_odds_become_masses_that_keep_their_digits():
    masses = masses_of_odds(np.array([-50.0, 0.0, 60.0, -1e9, 1e9]))
    assert masses.log_tail[:3] == pytest.approx([-50.0, math.log(0.5), 0.0])
    assert masses.log_mass[2] == pytest.approx(-60.0)
    assert np.isfinite(masses.log_tail).all()


def test_a_role_has_its_coin_its_target_its_edge_and_where_that_is_reached():
    data = constant((1e-3, 2e-3, 1e-4), (0.1, 0.2, 0.3))
    tails = {1.0: 2e-3, 1.5: 1e-3, 3.0: 3e-4, 12.0: 9e-4}
    found = fixed_points(data, 1.5, SETTINGS, target=at(tails, data.task.size))
    middle = found.at("separator")
    assert middle.n == 36
    assert middle.edge == pytest.approx(2e-3 / 5)
    coin = math.exp(fixed_point_log_tail(1.5, math.log(2e-3), math.log(0.2)))
    assert middle.coin_tail == pytest.approx(coin)
    assert middle.times == pytest.approx(1e-3 / coin)
    assert middle.target_tail.estimate == pytest.approx(1e-3)
    assert (middle.beyond, middle.reached_at) == (False, 3.0)
    assert middle.closest == pytest.approx(3e-4 / 4e-4)
    # The first role's edge, 2e-4, is passed by none of them; the last one's, 2e-5, neither.
    assert (found.at("open").reached_at, found.at("close").beyond) == (None, False)
    assert found.lambdas == (1.0, 1.5, 3.0, 12.0)
    assert found.at("key") is None


def test_beyond_is_told_by_the_interval_of_tail_over_edge():
    rng = np.random.default_rng(3)
    rows = [(task, 0, 0, 0, 1e-3, 0.1) for task in range(60)]
    data = records(rows, roles=("open",))

    def told(mean: float) -> bool | None:
        tails = mean * np.exp(0.8 * rng.standard_normal(60) - 0.32)
        target = TargetMasses({2.0: exact(tails).low})
        return fixed_points(data, 2.0, SETTINGS, target=target).roles[0].beyond

    assert [told(mean) for mean in (1e-3, 2e-4, 2e-5)] == [False, None, True]


@pytest.mark.parametrize(
    ("ratio", "edge", "status"),
    [
        (ASSUMED, 1e-3 / 5, "finite"),
        (run_ratio("student/behaviour", "fixed"), 0.1 / 5, "always_right"),
        (run_ratio("student/behaviour", "fresh"), None, "no_edge"),
        (run_ratio("student/teacher", "fixed", ratio_gradient="truncated"), None, "no_edge"),
        (RunRatio("other", "other"), None, "no_edge"),
    ],
)
def test_the_edge_is_that_of_the_run_s_ratio(ratio, edge, status):
    data = constant((1e-3, 2e-3, 1e-4), (0.1, 0.2, 0.3))
    found = fixed_points(data, 1.1, SETTINGS, ratio=ratio, target=at({1.1: 1e-3}, data.task.size))
    first = found.at("open")
    assert first.edge == (None if edge is None else pytest.approx(edge))
    assert first.switch_status == status
    assert first.target_tail.estimate == pytest.approx(1e-3)
    if edge is None:
        assert (first.beyond, first.reached_at, first.switch) == (None, None, None)


def test_where_nothing_was_measured_the_reason_stands_and_the_coin_is_told():
    data = constant((1e-3, 2e-3, 0.0), (0.1, 0.2, 0.3))
    found = fixed_points(data, 1.1, SETTINGS, target=TargetMasses(missing="no engine could"))
    assert (found.missing, found.lambdas) == ("no engine could", ())
    assert found.at("open").target_tail is None
    assert found.at("open").coin_tail > 0
    assert found.at("close").coin_tail is None  # the teacher has no tail there
    result = assess(estimate_cliff(data, known_clip(5.0), resamples=100), 1.1, fixed_points=found)
    assert "The fixed point token by token: no engine could." in result.explanation


def test_masses_of_other_decisions_are_refused():
    data = constant((1e-3, 2e-3, 1e-4), (0.1, 0.2, 0.3))
    short = TargetMasses({1.1: ClassMass(np.zeros(1), np.full(1, -np.inf))})
    for target in (short, at({2.0: 1e-3}, data.task.size)):
        with pytest.raises(CliffDomainError):
            fixed_points(data, 1.1, SETTINGS, target=target)


def test_the_text_says_how_far_the_coin_is_off_and_what_the_run_s_ratio_is():
    data = constant((1e-3, 2e-3, 1e-4), (0.1, 0.2, 0.3))
    estimate = estimate_cliff(data, known_clip(5.0), resamples=100)

    def text(ratio: RunRatio, source: str) -> str:
        tails = at({1.1: 1e-3, 3.0: 3e-4}, data.task.size)
        found = fixed_points(data, 1.1, SETTINGS, ratio=ratio, ratio_source=source, target=tails)
        result = assess(estimate, 1.1, fixed_points=found)
        assert CliffResult.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False))) == result
        return result.explanation

    assumed = text(ASSUMED, "assumed")
    assert "The run's ratio is assumed." in assumed
    assert "beyond the edge at no role" in assumed
    assert "it doesn't get there at `open` and `close` with any λ looked at, up to 3" in assumed
    fixed = text(run_ratio("student/behaviour", "fixed"), "given")
    assert "the edge is (1 − b)/c" in fixed
    assert "the coin is beyond at every λ ≥ 1" in fixed
    assert "beyond the edge at `open`, `separator` and `close`" in fixed
    fresh = text(run_ratio("student/behaviour", "fresh"), "read from runs/opd")
    assert "Of the run (read from runs/opd): its rollouts are the student's own" in fresh
    assert "nothing switches" in fresh
