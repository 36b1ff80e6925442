"""The edge of a run's own ratio: λ*_m against mpmath and the findings' table, and which runs have an edge."""

from __future__ import annotations

import math
from itertools import product
from typing import get_args

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cliff import CliffDomainError, fixed_point, thresholds_from_log_tails
from harness.cliff.switch import (
    ASSUMED,
    ClipSides,
    Ratio,
    RatioGradient,
    Staleness,
    fixed_point_log_tail,
    run_ratio,
    switches_from_log_tails,
)

log_tails = st.floats(-60.0, -1e-6)
log_clips = st.floats(1e-6, math.log(1e6))


def exactly(lam_of: tuple[float, float, float, float]) -> tuple[mpmath.mpf, mpmath.mpf]:
    """λ*_m as FACTS write it, and the size of the terms that it is a quotient of."""
    with mpmath.workdps(50):
        tp, tb, tm, c = (mpmath.exp(mpmath.mpf(x)) for x in lam_of)

        def logit_of_tail(tail: mpmath.mpf) -> mpmath.mpf:
            return mpmath.log((1 - tail) / tail)

        edge, zp, zb = logit_of_tail(tm / c), logit_of_tail(tp), logit_of_tail(tb)
        # λ*_m is told to some 1e-13 of what it is made of, however close to 0 it lies.
        parts = abs(logit_of_tail(tm) - zp) + abs(edge - logit_of_tail(tm)) + abs(zp - zb)
        return (edge - zb) / (zp - zb), parts / abs(zp - zb)


@given(log_tails, log_tails, log_tails, log_clips)
@settings(max_examples=60)
def test_the_switch_is_that_of_the_formula(tp, tb, tm, lc):
    found = switches_from_log_tails(tp, tb, tm, lc)
    if tp == tb:
        assert found.status in ("never", "returns")
        return
    exact, parts = exactly((tp, tb, tm, lc))
    assert math.isclose(found.log_edge, tm - lc, rel_tol=1e-15)
    if tp > tb:
        assert found.status == ("never" if exact <= 1 else "returns") or abs(exact - 1) < 1e-12 * parts
        assert found.value == math.inf or abs(found.value - exact) <= 1e-13 * parts
        return
    assert abs(found.value - exact) <= 1e-13 * parts
    kind = "finite" if found.value >= 1 else "always_right" if found.value > 0 else "edge_below_base"
    assert found.status == kind


@given(log_tails, log_tails, log_clips)
@settings(max_examples=40)
def test_the_teacher_as_behaviour_policy_gives_lambda_star_to_the_last_bit(tp, tb, lc):
    star = thresholds_from_log_tails(tp, tb, lc)
    found = switches_from_log_tails(tp, tb, tp, lc)
    assert found.value == star.value
    assert found.status == ("never" if star.status == "unbounded" else "finite")


@pytest.mark.parametrize(
    ("p", "b", "c", "switch"),
    [(0.999, 0.724, 1.5, 0.088), (0.999, 0.724, 5.0, 0.316), (0.95, 0.8, 5.0, 1.149)],
)
def test_rollouts_fixed_at_the_base_turn_where_simulated_dynamics_did(p, b, c, switch):
    # Bisected on the mean field of the loss, in the findings of the first round.
    found = switches_from_log_tails(math.log(1 - p), math.log(1 - b), math.log(1 - b), math.log(c))
    assert abs(found.value - switch) < 1e-3


@given(log_tails, log_tails, log_tails, log_clips, st.floats(-0.5, 3.0))
def test_the_fixed_point_lies_inside_the_edge_below_the_switch_and_beyond_it_above(tp, tb, tm, lc, lam):
    found = switches_from_log_tails(tp, tb, tm, lc)
    tail = fixed_point_log_tail(lam, tp, tb)
    if abs(tail - found.log_edge) < 1e-9:
        return
    inside = tail > found.log_edge
    match found.status:
        case "never":
            assert inside or lam < 1
        case "returns":
            assert inside == (lam > found.value)
        case _:
            assert inside == (lam < found.value)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.1, 4.0))
def test_the_coin_s_tail_is_one_minus_its_fixed_point(p, b, lam):
    tail = math.exp(fixed_point_log_tail(lam, math.log1p(-p), math.log1p(-b)))
    assert math.isclose(tail, 1.0 - fixed_point(lam, p, b), rel_tol=1e-9, abs_tol=1e-14)


def test_a_teacher_below_its_base_leads_out_of_the_contract():
    tails = np.exp(fixed_point_log_tail(np.array([1.1, 2.0]), math.log(1 - 0.657), math.log(1 - 0.993)))
    assert np.round(1 - tails, 3).tolist() == [0.555, 0.025]


@pytest.mark.parametrize(
    ("tails", "status"),
    [
        ((-math.inf, -1.0, -1.0, 1.0), "teacher_deterministic"),
        ((-5.0, 0.0, -1.0, 1.0), "base_degenerate"),
        ((-5.0, -1.0, 0.0, 1.0), "behaviour_degenerate"),
        ((-5.0, -1.0, -math.inf, 1.0), "behaviour_degenerate"),
        ((-5.0, -1.0, 0.1, 1.0), "not_a_probability"),
        ((-5.0, math.nan, -1.0, 1.0), "not_a_probability"),
        ((-5.0, -1.0, -1.0, -0.1), "clip_out_of_range"),
        ((-5.0, -1.0, -1.0, math.inf), "clip_out_of_range"),
    ],
)
def test_where_there_is_no_value_the_reason_is_told(tails, status):
    found = switches_from_log_tails(*tails)
    assert found.status == status
    assert np.isnan(found.value)


def test_the_coin_has_no_tail_outside_its_domain():
    for lam, tp, tb in ((math.nan, -1.0, -1.0), (1.2, 0.0, -1.0), (1.2, -1.0, -math.inf)):
        with pytest.raises(CliffDomainError):
            fixed_point_log_tail(lam, tp, tb)


def test_only_a_two_sided_cut_of_a_ratio_to_another_policy_has_an_edge():
    with_edge = {
        choice: run_ratio(*choice).edge
        for choice in product(*(get_args(one) for one in (Ratio, Staleness, ClipSides, RatioGradient)))
        if run_ratio(*choice).edge is not None
    }
    assert with_edge == {
        ("student/behaviour", "fixed", "two", "detached"): "base",
        ("student/base", "fresh", "two", "detached"): "base",
        ("student/base", "fixed", "two", "detached"): "base",
        ("student/teacher", "fresh", "two", "detached"): "teacher",
        ("student/teacher", "fixed", "two", "detached"): "teacher",
    }


def test_a_ratio_rests_at_the_target_only_where_it_undoes_who_drew():
    assert ASSUMED.rests_at_the_target
    assert run_ratio("student/teacher", "fixed", fixed_from="teacher") == ASSUMED
    assert run_ratio("student/behaviour", "fixed").rests_at_the_target
    assert not run_ratio("student/teacher", "fixed").rests_at_the_target
    assert "nothing switches" in run_ratio("student/behaviour", "fresh").words
    assert "no edge" in run_ratio("student/behaviour", "fixed", ratio_gradient="differentiated").words
