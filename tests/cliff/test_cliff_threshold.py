"""λ*, the fixed point, the clip-safe region and the inverses: oracles, mpmath, and their own laws."""

from __future__ import annotations

import json
import math
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cliff import (
    CliffDomainError,
    fixed_point,
    lambda_star,
    thresholds,
    thresholds_from_log_tails,
)
from harness.cliff.log_odds import clip_headroom, log_odds
from harness.errors import HarnessError
from tests.cliff.inverse import (
    clip_boundary_log_odds,
    clip_for,
    clip_safe,
    fixed_point_log_odds,
    lambda_star_from_log_odds,
    log_tail_mass,
    teacher_log_odds_for,
    teacher_mass_for,
)
from tests.cliff.planted_cliff import cliff_oracles

CASES = json.loads((Path(__file__).parents[1] / "cases" / "cliff_oracles.json").read_text(encoding="utf-8"))

base_odds = st.floats(-18.0, 18.0)
gaps = st.floats(1e-3, 25.0)
log_clips = st.floats(1e-6, math.log(1e6))


@pytest.mark.parametrize("case", CASES["lambda_star"], ids=str)
def test_lambda_star_meets_the_oracle_to_its_digits(case):
    found = lambda_star(case["p"], case["b"], case["c"])
    assert abs(found - case["value"]) <= 0.5 * 10.0 ** -case["digits"]


@pytest.mark.parametrize("case", CASES["teacher_mass"], ids=str)
def test_inverse_in_p_meets_the_oracle_to_its_digits(case):
    found = teacher_mass_for(case["lambda"], case["b"], case["c"])
    assert abs(found - case["value"]) <= 0.5 * 10.0 ** -case["digits"]


def test_oracles_use_the_p_that_the_fact_sheet_prints():
    assert round(teacher_mass_for(1.22, 0.5, 5), 5) == CASES["p_printed"]


def test_error_against_mpmath_stays_under_1e_10_over_the_whole_sweep():
    worst = cliff_oracles.sweep(np.random.default_rng(20260), 2000)
    assert max(worst.values()) <= 1e-10
    assert len(worst) == 2


def test_tail_of_1e_12_needs_log_tails_and_gets_its_digits_there():
    with mpmath.workdps(50):
        tail = mpmath.mpf("1e-12")
        exact = cliff_oracles._theorem(1 - tail, tail, mpmath.mpf("0.5"), mpmath.mpf(5))
        from_tails = float(thresholds_from_log_tails(math.log(1e-12), math.log(0.5), math.log(5)).value)
        from_float = lambda_star(1 - 1e-12, 0.5, 5)
        assert abs(from_tails / exact - 1) < 1e-14
        # The float 1 − 1e-12 has its tail off by 5e-5 already, which no arithmetic can undo.
        assert 1e-9 < abs(from_float / exact - 1) < 1e-5


@pytest.mark.parametrize(("p", "b"), [(0.3, 0.5), (0.5, 0.5), (0.0, 0.5), (1e-300, 0.1)])
@pytest.mark.parametrize("c", [1.0, 5.0])
def test_teacher_not_above_base_gives_infinity(p, b, c):
    assert lambda_star(p, b, c) == math.inf


@pytest.mark.parametrize("p", [0.6, 0.99934, 1 - 1e-12])
def test_clip_of_one_gives_one(p):
    assert lambda_star(p, 0.5, 1.0) == 1.0


@pytest.mark.parametrize(
    ("p", "b", "c", "reason"),
    [
        (1.0, 0.5, 5.0, "p is 1"),
        (0.9, 0.0, 5.0, "b is 0 or 1"),
        (0.9, 1.0, 5.0, "b is 0 or 1"),
        (0.9, 0.5, 0.99, "clip strength"),
        (0.9, 0.5, math.inf, "clip strength"),
        (0.9, 0.5, math.nan, "clip strength"),
        (math.nan, 0.5, 5.0, "probabilities"),
        (0.9, math.nan, 5.0, "probabilities"),
        (1.5, 0.5, 5.0, "probabilities"),
        (-0.1, 0.5, 5.0, "probabilities"),
    ],
)
def test_no_value_is_said_and_not_returned(p, b, c, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        lambda_star(p, b, c)
    assert isinstance(caught.value, HarnessError)
    assert "\n" not in str(caught.value)


def test_arrays_name_the_first_entry_without_value_or_give_a_status_each():
    p = np.array([0.9, 1.0, 0.4, 0.9, np.nan])
    b = np.array([0.5, 0.5, 0.5, 0.0, 0.5])
    with pytest.raises(ValueError, match=r"entry \(1,\), 3 of 5"):
        lambda_star(p, b, 5.0)
    found = thresholds(p, b, 5.0)
    assert found.status.tolist() == [
        "finite",
        "teacher_deterministic",
        "unbounded",
        "base_degenerate",
        "not_a_probability",
    ]
    assert found.value[0] == lambda_star(0.9, 0.5, 5.0)
    assert found.value[2] == math.inf
    assert np.isnan(found.value[[1, 3, 4]]).all()


def test_scalars_give_floats_and_arrays_broadcast():
    assert type(lambda_star(0.9, 0.5, 5)) is float
    assert type(fixed_point(1.2, 0.9, 0.5)) is float
    grid = lambda_star(np.array([[0.9], [0.99]]), 0.5, np.array([2.0, 5.0, 8.0]))
    assert grid.shape == (2, 3)
    assert grid[1, 1] == lambda_star(0.99, 0.5, 5.0)


@pytest.mark.parametrize(
    ("tail_p", "tail_b", "log_c", "status"),
    [
        (-math.inf, -1.0, 1.0, "teacher_deterministic"),
        (-5.0, 0.0, 1.0, "base_degenerate"),
        (-5.0, -math.inf, 1.0, "base_degenerate"),
        (0.1, -1.0, 1.0, "not_a_probability"),
        (-5.0, math.nan, 1.0, "not_a_probability"),
        (math.nan, -1.0, 1.0, "not_a_probability"),
        (-5.0, -1.0, -0.1, "clip_out_of_range"),
        (-5.0, -1.0, math.inf, "clip_out_of_range"),
    ],
)
def test_log_tails_have_the_same_edge_cases(tail_p, tail_b, log_c, status):
    found = thresholds_from_log_tails(tail_p, tail_b, log_c)
    assert found.status == status
    assert np.isnan(found.value)


@given(base_odds, gaps, log_clips, st.floats(1e-3, 5.0))
def test_lambda_star_is_above_one_and_rises_with_the_clip(zb, gap, lc, more):
    low, high = (lambda_star_from_log_odds(zb + gap, zb, x) for x in (lc, lc + more))
    assert 1.0 <= low < high


@given(base_odds, gaps, st.floats(0.01, 5.0), st.floats(0.1, 10.0))
def test_lambda_star_falls_with_the_teacher_and_rises_with_the_base(zb, gap, more, lc):
    here = lambda_star_from_log_odds(zb + gap + more, zb, lc)
    assert here < lambda_star_from_log_odds(zb + gap, zb, lc)
    assert here < lambda_star_from_log_odds(zb + gap + more, zb + 0.5 * gap, lc)


@given(base_odds, st.floats(0.0, 20.0), log_clips)
def test_domain_ends_where_the_teacher_is_not_above_the_base(zb, below, lc):
    assert lambda_star_from_log_odds(zb - below, zb, lc) == math.inf


@given(base_odds, gaps, log_clips)
def test_fixed_point_at_lambda_star_has_the_tail_of_the_clip_edge(zb, gap, lc):
    zp = zb + gap
    z = fixed_point_log_odds(lambda_star_from_log_odds(zp, zb, lc), zp, zb)
    assert math.isclose(log_tail_mass(z), log_tail_mass(zp) - lc, rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(z, clip_boundary_log_odds(zp, lc), rel_tol=1e-9, abs_tol=1e-9)


@given(base_odds, st.floats(0.1, 20.0), st.floats(0.1, 10.0), st.floats(1e-6, 0.5))
def test_clip_safe_holds_just_below_lambda_star_and_fails_just_above(zb, gap, lc, off):
    zp = zb + gap
    star = lambda_star_from_log_odds(zp, zb, lc)
    inside, outside = (
        log_tail_mass(fixed_point_log_odds(lam, zp, zb)) for lam in (star - off * (star - 1), star + off)
    )
    assert clip_safe(inside, log_tail_mass(zp), lc)
    assert not clip_safe(outside - 1e-12, log_tail_mass(zp), lc)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(1e-6, 1 - 1e-6))
def test_fixed_point_at_one_is_the_teacher(p, b):
    assert math.isclose(fixed_point(1.0, p, b), p, rel_tol=1e-13)


@given(st.floats(0.01, 0.99), st.floats(0.5, 3.0))
def test_fixed_point_of_equal_policies_does_not_move(p, lam):
    assert math.isclose(fixed_point(lam, p, p), p, rel_tol=1e-12)


def test_fixed_point_is_where_the_advantages_are_level():
    p, b, lam = 0.93, 0.4, 1.7
    q = fixed_point(lam, p, b)
    on, off = (
        lam * math.log(t) - math.log(s) - (lam - 1) * math.log(w)
        for t, s, w in ((p, q, b), (1 - p, 1 - q, 1 - b))
    )
    assert math.isclose(on, off, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("lam", "p", "b"),
    [
        (0, 0.9, 0.5),
        (-1, 0.9, 0.5),
        (math.nan, 0.9, 0.5),
        (1.2, 1.0, 0.5),
        (1.2, 0.9, 0.0),
        (1.2, math.nan, 0.5),
    ],
)
def test_fixed_point_refuses_what_is_outside_its_domain(lam, p, b):
    with pytest.raises(ValueError, match="must"):
        fixed_point(lam, p, b)


@given(base_odds, gaps, st.floats(0.01, 10.0))
def test_inverse_in_p_goes_round(zb, gap, lc):
    star = lambda_star_from_log_odds(zb + gap, zb, lc)
    assert math.isclose(teacher_log_odds_for(star, zb, lc) - zb, gap, rel_tol=1e-6)


@given(st.floats(1.0001, 50.0), base_odds, st.floats(1e-4, 13.0))
def test_lambda_star_of_the_inverse_in_p_is_lambda(lam, zb, lc):
    assert math.isclose(
        lambda_star_from_log_odds(teacher_log_odds_for(lam, zb, lc), zb, lc), lam, rel_tol=1e-9
    )


@given(st.floats(0.01, 0.98), st.floats(0.001, 0.999), st.floats(1.0, 1e4))
def test_inverse_in_c_goes_round(b, share, c):
    p = b + share * (0.999999 - b)
    assert math.isclose(clip_for(lambda_star(p, b, c), p, b), c, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("lam", "b", "c"), [(1.0, 0.5, 5), (0.9, 0.5, 5), (1.2, 1.0, 5), (1.2, 0.5, 1.0), (math.nan, 0.5, 5)]
)
def test_inverse_in_p_refuses_what_has_no_solution(lam, b, c):
    with pytest.raises(CliffDomainError):
        teacher_mass_for(lam, b, c)


@pytest.mark.parametrize(
    ("lam", "p", "b"), [(0.9, 0.9, 0.5), (1.2, 0.5, 0.5), (1.2, 1.0, 0.5), (1e6, 0.999, 0.5)]
)
def test_inverse_in_c_refuses_what_has_no_solution(lam, p, b):
    with pytest.raises(CliffDomainError):
        clip_for(lam, p, b)


def test_headroom_beyond_the_range_of_exp_is_still_a_number():
    assert math.isclose(clip_headroom(-800.0, 1.0), 1.0 + math.log1p(-math.exp(-1.0)) + 800.0)
    assert math.isclose(clip_headroom(5.0, 600.0), 600.0 + math.log1p(math.exp(-5.0)))
    assert log_odds(0.5) == 0.0
