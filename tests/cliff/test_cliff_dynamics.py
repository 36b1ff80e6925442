"""The clipped Bernoulli dynamics: fixed points, the side they end on, and the time they take."""

from __future__ import annotations

import json
import math
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cliff import CliffDomainError
from tests.cliff.dynamics import crossing_time, drift, onset_for_budget, simulate
from tests.cliff.inverse import fixed_point_log_odds, lambda_star_from_log_odds, teacher_log_odds_for
from tests.cliff.planted_cliff import cliff_oracles
from tests.examples import examples

TIMES = json.loads((Path(__file__).parents[1] / "cases" / "cliff_oracles.json").read_text(encoding="utf-8"))[
    "crossing_time"
]
LOG_C = math.log(TIMES["c"])
LOGIT_P = teacher_log_odds_for(TIMES["lambda_star"], 0.0, LOG_C)


def test_simulated_dynamics_change_side_at_lambda_star_for_100_random_cases():
    assert cliff_oracles.bifurcation_distance(np.random.default_rng(4), 100) < 1e-3


@pytest.mark.parametrize("case", TIMES["cases"], ids=str)
def test_crossing_time_meets_the_oracle_to_its_digits(case):
    found = crossing_time(case["lambda"], LOGIT_P, 0.0, LOG_C) / 1000
    assert abs(found - case["value"]) <= 0.5 * 10.0 ** -TIMES["digits"]


def test_crossing_time_agrees_with_the_integrated_dynamics():
    rng = np.random.default_rng(11)
    zb = rng.uniform(-3, 3, 20)
    zp, lc = zb + rng.uniform(0.5, 8, 20), rng.uniform(0.1, 3, 20)
    lam = lambda_star_from_log_odds(zp, zb, lc) + rng.uniform(0.01, 1.0, 20)
    end = simulate(lam, zp, zb, lc)
    assert end.crossed.all()
    np.testing.assert_allclose(end.time, crossing_time(lam, zp, zb, lc), rtol=1e-6)


@pytest.mark.parametrize("detuning", [1e-14, 1e-9, 1e-3, 0.3, 2.0, 40.0])
@pytest.mark.parametrize("start", [-6.0, 0.0, 4.0])
def test_crossing_time_agrees_with_mpmath_quadrature(detuning, start):
    zp, zb, lc = 5.0, 0.5, math.log(3)
    edge = zp + math.log1p((3 - 1) * (1 + math.exp(-zp)))
    lam = 1 + (edge - zp + detuning) / (zp - zb)
    exact_detuning = (lam - 1) * (zp - zb) - (edge - zp)
    with mpmath.workdps(30):
        knots = [start, *(edge - mpmath.mpf(10) ** -k for k in range(16)), edge]
        knots = sorted(k for k in knots if start <= k <= edge)
        exact = mpmath.quad(lambda z: (2 + 2 * mpmath.cosh(z)) / (edge - z + exact_detuning), knots)
    # At 1e-14 the detuning itself is rounded by several per cent, and the time depends on its logarithm.
    tolerance = 0.05 if detuning < 1e-12 else 1e-5 if detuning < 1e-6 else 1e-8
    assert crossing_time(lam, zp, zb, lc, start=start) == pytest.approx(float(exact), rel=tolerance)


def test_nothing_crosses_at_or_below_lambda_star_or_without_a_better_teacher():
    star = lambda_star_from_log_odds(5.0, 0.0, 1.0)
    assert crossing_time([0.5, 1.0, star - 1e-9], 5.0, 0.0, 1.0).tolist() == [math.inf] * 3
    assert crossing_time(3.0, -1.0, 0.0, 1.0) == math.inf


def test_a_start_beyond_the_edge_has_crossed():
    assert crossing_time(1.0, 5.0, 0.0, 1.0, start=9.0) == 0.0
    end = simulate(1.0, 5.0, 0.0, 1.0, start=9.0)
    assert end.crossed
    assert end.time == 0.0


@examples(30)
@given(st.floats(-3, 3), st.floats(0.3, 8), st.floats(0.05, 4), st.floats(0.0, 0.95))
def test_left_of_lambda_star_the_policy_settles_at_the_fixed_point(zb, gap, lc, share):
    zp = zb + gap
    lam = 1 + share * (lambda_star_from_log_odds(zp, zb, lc) - 1)
    end = simulate(lam, zp, zb, lc)
    assert end.settled
    assert not end.crossed
    assert math.isclose(end.log_odds, fixed_point_log_odds(lam, zp, zb), abs_tol=1e-6)


def test_beyond_the_edge_the_drift_never_turns_back():
    zp, zb, lc = 4.0, 0.0, math.log(5)
    lam = lambda_star_from_log_odds(zp, zb, lc) + 0.05
    edge = zp + math.log1p(4 * (1 + math.exp(-zp)))
    assert (drift(np.linspace(edge + 1e-9, edge + 10, 200), lam, zp, zb, lc) > 0).all()


def test_drift_is_the_gradient_of_the_advantages():
    q, lam, p, b = 0.8, 1.3, 0.95, 0.6
    z, zp, zb = (math.log(x / (1 - x)) for x in (q, p, b))
    mode = lam * math.log(p) - math.log(q) - (lam - 1) * math.log(b)
    tail = lam * math.log(1 - p) - math.log(1 - q) - (lam - 1) * math.log(1 - b)
    assert drift(z, lam, zp, zb, math.log(5)) == pytest.approx(q * (1 - q) * (mode - tail))
    # Ratio (1 − q)/(1 − p) = 4 is above 1/c; at q = 0.995 it is 0.1 and the tail's gradient is cut.
    z = math.log(0.995 / 0.005)
    mode = lam * math.log(p) - math.log(0.995) - (lam - 1) * math.log(b)
    assert drift(z, lam, zp, zb, math.log(5)) == pytest.approx(0.995 * 0.005 * mode)


def test_a_budget_stops_the_run_before_it_crosses():
    needed = crossing_time(1.25, LOGIT_P, 0.0, LOG_C)
    short, long = (simulate(1.25, LOGIT_P, 0.0, LOG_C, budget=x * needed) for x in (0.99, 1.01))
    assert not short.crossed
    assert not short.settled
    assert short.time == pytest.approx(0.99 * needed)
    assert long.crossed


@examples(50)
@given(st.floats(1e2, 1e6), st.floats(3.0, 9.0), st.floats(0.2, 3.0))
def test_onset_for_a_budget_takes_that_budget_and_lies_right_of_lambda_star(budget, zp, lc):
    onset = onset_for_budget(budget, zp, 0.0, lc)
    star = lambda_star_from_log_odds(zp, 0.0, lc)
    assert onset >= star * (1 - 1e-14)  # λ* comes by another formula
    if onset - star > 1e-6 * star:
        assert crossing_time(onset, zp, 0.0, lc) == pytest.approx(budget, rel=1e-6)


def test_a_longer_run_shows_its_onset_nearer_to_lambda_star():
    onsets = onset_for_budget([1e3, 1e4, 1e5], LOGIT_P, 0.0, LOG_C)
    assert (np.diff(onsets) < 0).all()
    assert onsets[-1] > TIMES["lambda_star"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: simulate(0.0, 5.0, 0.0, 1.0),
        lambda: simulate(1.2, math.inf, 0.0, 1.0),
        lambda: simulate(1.2, 5.0, 0.0, -1.0),
        lambda: crossing_time(-1.0, 5.0, 0.0, 1.0),
        lambda: crossing_time(1.2, 5.0, 0.0, 0.0),
        lambda: crossing_time(1.2, 5.0, math.nan, 1.0),
        lambda: onset_for_budget(0.0, 5.0, 0.0, 1.0),
        lambda: onset_for_budget(1e3, 0.0, 5.0, 1.0),
        lambda: onset_for_budget(1e3, 5.0, 0.0, 1.0, start=20.0),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(CliffDomainError):
        call()
