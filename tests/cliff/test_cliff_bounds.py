"""Masses known between bounds only: the exact value lies in them, and intervals widen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.cliff import (
    MassBounds,
    PositionRecords,
    estimate_cliff,
)
from tests.cliff.position_records import CLIP, blurred, constant, ragged, records


def test_a_single_task_with_all_the_tail_leaves_the_interval_open():
    rows = [(task, 0, 0, 0, 1e-3 if task == 0 else 0.0, 0.1) for task in range(20)]
    with np.errstate(divide="ignore"):
        found = estimate_cliff(records(rows, roles=("open",)), CLIP).role.lambda_star
    assert (found.low, found.high) == (1.0, None)


@pytest.mark.parametrize("seen", [0.5, 0.9, 0.999])
def test_bounds_hold_the_exact_value_and_widen_the_interval(seen):
    data = ragged(3, tasks=40, student=True)
    sharp, blunt = (estimate_cliff(x, CLIP) for x in (data, blurred(data, seen)))
    assert not blunt.exact
    for name in ("role", "position", "sequence"):
        for a, b in zip(sharp.under(name).roles, blunt.under(name).roles, strict=True):
            if name == "position" and a.index != b.index:
                continue
            assert b.lambda_star.identified_low <= a.lambda_star.value <= b.lambda_star.identified_high
            off = 1e-12  # the readings that are equal but for the order of their sums
            assert b.p.low - off <= a.p.low < a.p.high <= b.p.high + off
            assert b.b.low - off <= a.b.low < a.b.high <= b.b.high + off
            assert b.lambda_star.low <= a.lambda_star.low + off
            assert b.lambda_star.high is None or b.lambda_star.high >= a.lambda_star.high - off
            assert b.clip_margin.low <= a.clip_margin.low * (1 + off)
            assert a.clip_margin.low < a.clip_margin.high <= b.clip_margin.high * (1 + off)
            assert a.lambda_star.identified_high == a.lambda_star.identified_low
            hidden = b.lambda_star
            assert hidden.identified_high is None or hidden.identified_high > hidden.identified_low


def test_a_teacher_tail_that_was_not_seen_at_all_leaves_lambda_star_open_below():
    data = blurred(constant((1e-3, 1e-3, 1e-3), (0.1, 0.3, 0.2)), seen=0.9)
    unseen = MassBounds.from_seen(
        np.full(data.task.size, math.log(0.999)), np.full(data.task.size, -math.inf)
    )
    hidden = PositionRecords(data.roles, data.task, data.rollout, data.role, data.index, unseen, data.base)
    found = estimate_cliff(hidden, CLIP).role
    assert found.lambda_star.low == 1.0
    assert found.lambda_star.value > 1.0
    assert found.binding.p.high == 1.0


def test_bounds_from_seen_masses():
    bounds = MassBounds.from_seen(np.log([0.7, 0.98]), np.log([0.2, 0.02]), rounding=1e-7)
    np.testing.assert_allclose(np.exp(bounds.low.log_tail), [0.3 + 1e-7, 0.02 + 1e-7], rtol=1e-9)
    np.testing.assert_allclose(np.exp(bounds.high.log_tail), [0.2, 0.02], rtol=1e-9)
    np.testing.assert_allclose(np.exp(bounds.high.log_mass), [0.8, 0.98], rtol=1e-9)
    np.testing.assert_allclose(np.exp(bounds.middle().log_tail), [0.25 + 5e-8, 0.02 + 5e-8], rtol=1e-9)
