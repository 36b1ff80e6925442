"""Estimates of p, b and λ* from class masses: planted values, plain re-computations, edge cases, coverage."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cliff import (
    ClassMass,
    CliffDomainError,
    MassBounds,
    PositionRecords,
    estimate_calibration,
    estimate_cliff,
    estimate_clip,
    known_clip,
    lambda_star,
    thresholds_from_log_tails,
)
from harness.cliff.resample import MIN_TASKS
from tests.cliff.position_records import CLIP, blurred, constant, exact, ragged, records
from tests.examples import examples


def test_planted_constant_masses_come_back_exactly():
    teacher, base = (1e-3, 7e-4, 1e-12), (0.02, 0.3, 1e-3)
    found = estimate_cliff(constant(teacher, base), CLIP)
    for role, t, b in zip(found.role.roles, teacher, base, strict=True):
        star = float(thresholds_from_log_tails(math.log(t), math.log(b), math.log(5)).value)
        assert role.p.estimate == pytest.approx(1 - t, rel=1e-15)
        assert role.b.estimate == pytest.approx(1 - b, rel=1e-15)
        assert role.teacher_tail == pytest.approx(t, rel=1e-12)
        assert role.lambda_star.value == pytest.approx(star, rel=1e-12)
        assert role.lambda_star.low == pytest.approx(star, rel=1e-9)
        assert role.lambda_star.high == pytest.approx(star, rel=1e-9)
        half = float(thresholds_from_log_tails(math.log(t), math.log(0.5), math.log(5)).value)
        assert role.lambda_star_half.value == pytest.approx(half, rel=1e-12)
    assert found.role.first.role == "close"
    assert (found.n_tasks, found.n_rollouts, found.n_positions) == (12, 12, 60)
    assert found.exact


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_role_means_are_plain_means_over_positions(seed):
    data = ragged(seed)
    found = estimate_cliff(data, CLIP)
    teacher, base = np.exp(data.teacher.low.log_tail), np.exp(data.base.low.log_tail)
    for k, role in enumerate(found.role.roles):
        at = data.role == k
        t, b = teacher[at].mean(), base[at].mean()
        assert role.teacher_tail == pytest.approx(t)
        assert role.base_tail == pytest.approx(b)
        assert role.lambda_star.value == pytest.approx(lambda_star(1 - t, 1 - b, 5.0))
        assert role.teacher_tail_share == pytest.approx(teacher[at].sum() / teacher.sum())
        assert role.base_tail_share == pytest.approx(base[at].sum() / base.sum())
        assert (role.n_positions, role.n_tasks) == (at.sum(), 15)
        assert role.p.low < role.p.estimate < role.p.high
        assert role.b.low < role.b.estimate < role.b.high
    values = [role.lambda_star.value for role in found.role.roles]
    assert found.role.first is found.role.roles[int(np.argmin(values))]
    assert found.role.lambda_star.value == min(values)
    assert sum(role.teacher_tail_share for role in found.role.roles) == pytest.approx(1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sequence_is_the_mean_over_rollouts_of_the_product_of_masses(seed):
    data = ragged(seed)
    found = estimate_cliff(data, CLIP).sequence
    mass = {}
    for k in range(data.task.size):
        key = (data.task[k], data.rollout[k])
        before = mass.get(key, (1.0, 1.0))
        now = (math.exp(data.teacher.low.log_mass[k]), math.exp(data.base.low.log_mass[k]))
        mass[key] = (before[0] * now[0], before[1] * now[1])
    p, b = np.mean(list(mass.values()), axis=0)
    (role,) = found.roles
    assert (role.role, role.n_positions) == ("sequence", len(mass))
    assert role.p.estimate == pytest.approx(p)
    assert role.b.estimate == pytest.approx(b)
    assert found.lambda_star.value == pytest.approx(lambda_star(p, b, 5.0), rel=1e-9)


def answers(keep, teacher_tail, base_tail, rng, tasks=400, walked=True):
    """Answers of `keep.size` steps drawn from a base that stays in the class with these chances.

    `keep` is [tasks, steps]; a rollout ends with the first step that leaves the class.
    """
    rows, step, cut = [], [], []
    for task in range(tasks):
        lost = np.flatnonzero(rng.random(keep.shape[1]) > keep[task])
        length = lost[0] + 1 if lost.size else keep.shape[1]
        for t in range(length):
            rows.append((task, 0, 0, t, teacher_tail, 1 - keep[task, t] if base_tail is None else base_tail))
            step.append(t)
            cut.append(bool(lost.size))
    data = records(rows, roles=("step",))
    if not walked:
        return data
    return PositionRecords(
        *(data.roles, data.task, data.rollout, data.role, data.index, data.teacher, data.base),
        step=np.array(step),
        cut=np.array(cut),
    )


def test_rollouts_that_broke_early_do_not_pass_for_easy_ones():
    """b of the whole answer is what the base's own valid rate says, although most rollouts end early."""
    rng = np.random.default_rng(2)
    keep = np.full((400, 10), 0.7)
    found = estimate_cliff(answers(keep, 1e-3, None, rng), CLIP).sequence.roles[0]
    assert found.b.estimate == pytest.approx(0.7**10, rel=1e-9)
    assert found.teacher_tail == pytest.approx(1 - 0.999**10, rel=1e-9)
    naive = estimate_cliff(answers(keep, 1e-3, None, np.random.default_rng(2), walked=False), CLIP)
    assert naive.sequence.roles[0].b.estimate > 10 * 0.7**10


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_sequence_mass_is_close_to_the_valid_rate_where_tasks_differ(spread):
    rng = np.random.default_rng(3)
    logit = 2.5 + spread * rng.standard_normal((3000, 1)) + 0.5 * rng.standard_normal((3000, 8))
    keep = 1 / (1 + np.exp(-logit))
    valid = keep.prod(axis=1).mean()
    data = answers(keep, 1e-3, None, rng, tasks=3000)
    found = estimate_calibration("sequence", data, CLIP, resamples=100).roles[0]
    # Hard tasks are seen less often further on, which leaves a few per cent; untreated it is many times that.
    assert found.b.estimate == pytest.approx(valid, rel=0.02 + 0.08 * spread)
    naive = estimate_calibration(
        "sequence", dataclasses.replace(data, step=None, cut=None), CLIP, resamples=100
    )
    assert abs(naive.roles[0].b.estimate - valid) > 2.5 * abs(found.b.estimate - valid)


def test_whole_rollouts_need_no_completion():
    data = ragged(1)
    size = data.task.size
    walked = PositionRecords(
        *(data.roles, data.task, data.rollout, data.role, data.index, data.teacher, data.base),
        step=np.arange(size),
        cut=np.zeros(size, dtype=bool),
    )
    assert estimate_cliff(walked, CLIP) == estimate_cliff(data, CLIP)


def test_sequence_keeps_the_digits_of_tiny_tails_next_to_rounded_log_masses():
    tail = 1e-13
    mass = ClassMass(log_mass=np.full(120, -3e-8), log_tail=np.full(120, math.log(tail)))
    whole = mass.product(np.zeros(120, dtype=np.int64), 1)
    assert math.exp(whole.log_tail[0]) == pytest.approx(120 * tail, rel=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_position_calibration_finds_the_worst_index(seed):
    data = ragged(seed, tasks=40)
    found = estimate_cliff(data, CLIP).position
    teacher, base = np.exp(data.teacher.low.log_tail), np.exp(data.base.low.log_tail)
    by_index = {}
    for index in range(4):
        at = (data.role == 1) & (data.index == index)
        by_index[index] = lambda_star(1 - teacher[at].mean(), 1 - base[at].mean(), 5.0)
    worst = min(by_index, key=by_index.get)
    assert found.roles[1].index == worst
    assert found.roles[1].lambda_star.value == pytest.approx(by_index[worst])


def test_a_role_where_the_teacher_is_not_above_the_base_does_not_bind():
    found = estimate_cliff(constant((0.2, 1e-3, 1e-3), (0.1, 0.3, 0.2)), CLIP).role
    below = found.roles[0]
    assert (below.lambda_star.status, below.lambda_star.value) == ("unbounded", None)
    assert (below.lambda_star.low, below.lambda_star.high) == (None, None)
    assert found.first.role == "separator"


def test_no_role_binds_where_the_teacher_is_nowhere_above_the_base():
    found = estimate_cliff(constant((0.2, 0.3, 0.4), (0.1, 0.2, 0.3)), CLIP)
    for calibration in (found.role, found.position, found.sequence):
        assert (calibration.binding, calibration.first) == (None, None)
        assert calibration.lambda_star.status == "unbounded"


def test_an_undecided_role_has_an_interval_open_above():
    rng = np.random.default_rng(0)
    rows = [(task, 0, 0, 0, *np.exp(rng.normal(-4, 1.5, 2))) for task in range(30)]
    found = estimate_cliff(records(rows, roles=("open",)), CLIP).role.roles[0].lambda_star
    assert found.low is not None
    assert found.low > 1
    assert found.high is None


def test_each_reason_for_no_value_is_named():
    rows = []
    for task in range(20):
        rows.append((task, 0, 0, 0, 0.0, 0.1))
        rows.append((task, 0, 1, 0, 1e-3, 0.0))
        rows.append((task, 0, 2, 0, 1e-3, 1.0))
        if task < MIN_TASKS - 1:
            rows.append((task, 0, 3, 0, 1e-3, 0.1))
        rows.append((task, 0, 5, 0, 1e-3, 0.1))
    names = ("certain", "sure base", "blind base", "rare", "absent", "measured")
    with np.errstate(divide="ignore"):
        data = records(rows, roles=names)
    found = estimate_cliff(data, CLIP)
    expected = [
        "teacher_deterministic",
        "base_degenerate",
        "base_degenerate",
        "too_few_tasks",
        "not_reached",
        "finite",
    ]
    for calibration in (found.role, found.position):
        assert [role.lambda_star.status for role in calibration.roles] == expected
        assert [role.role for role in calibration.roles] == list(names)
        assert calibration.first.role == "measured"
    rare, absent = found.role.roles[3], found.role.roles[4]
    assert rare.lambda_star.value == pytest.approx(lambda_star(1 - 1e-3, 0.9, 5.0))
    assert (rare.lambda_star.low, rare.p.low, rare.n_tasks) == (None, None, MIN_TASKS - 1)
    assert (absent.n_positions, absent.p.n, absent.p.estimate, absent.index) == (0, 0, None, None)
    # b = 1/2 needs no base: a degenerate base leaves that marker measured.
    assert found.role.roles[1].lambda_star_half.status == "finite"


def test_student_margin_is_its_tail_against_the_clip_edge():
    data = ragged(8, tasks=30, student=True)
    found = estimate_cliff(data, CLIP).role
    teacher, student = np.exp(data.teacher.low.log_tail), np.exp(data.student.low.log_tail)
    for k, role in enumerate(found.roles):
        at = data.role == k
        assert role.student_tail == pytest.approx(student[at].mean())
        assert role.clip_margin.estimate == pytest.approx(student[at].mean() * 5 / teacher[at].mean())
        assert role.clip_margin.low < role.clip_margin.estimate < role.clip_margin.high


def test_same_seed_same_result_and_order_of_positions_does_not_matter():
    data = ragged(4)
    first = estimate_cliff(data, CLIP, seed=3)
    assert estimate_cliff(data, CLIP, seed=3) == first
    order = np.random.default_rng(0).permutation(data.task.size)
    shuffled = PositionRecords(
        roles=data.roles,
        task=data.task[order],
        rollout=data.rollout[order],
        role=data.role[order],
        index=data.index[order],
        teacher=exact(np.exp(data.teacher.low.log_tail[order])),
        base=exact(np.exp(data.base.low.log_tail[order])),
    )
    again = estimate_cliff(shuffled, CLIP, seed=3)
    assert again.role.lambda_star.low == pytest.approx(first.role.lambda_star.low, rel=1e-9)
    assert again.sequence.lambda_star.high == pytest.approx(first.sequence.lambda_star.high, rel=1e-9)
    other = estimate_cliff(data, CLIP, seed=4)
    assert other.role.lambda_star.value == first.role.lambda_star.value
    assert other.role.lambda_star.low != first.role.lambda_star.low


def test_one_calibration_is_the_same_as_all_three():
    data = ragged(6)
    whole = estimate_cliff(data, CLIP, resamples=300, seed=1)
    for name in ("role", "position", "sequence"):
        assert estimate_calibration(name, data, CLIP, resamples=300, seed=1) == whole.under(name)


@examples(20)
@given(st.integers(0, 2**31))
def test_a_larger_clip_never_lowers_lambda_star(seed):
    data = ragged(seed % 1000, tasks=10)
    small, large = (estimate_calibration("role", data, known_clip(c), resamples=100) for c in (2.0, 6.0))
    assert small.lambda_star.value < large.lambda_star.value
    assert small.lambda_star.low < large.lambda_star.low


def empty() -> PositionRecords:
    none = np.zeros(0, dtype=np.int64)
    return PositionRecords(("open",), none, none, none, none, exact([]), exact([]))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (empty, "no rollout reaches"),
        (lambda: records([(0, 0, 4, 0, 0.1, 0.2)]), "beyond the list"),
        (lambda: records([(-1, 0, 0, 0, 0.1, 0.2)]), "integers"),
        (lambda: records([(0.5, 0, 0, 0, 0.1, 0.2)]), "integers"),
        (lambda: records([(0, 0, 0, 0, math.nan, 0.2)]), "numbers"),
        (lambda: records([(0, 0, 0, 0, 1.2, 0.2)]), "at most 0"),
        (lambda: ClassMass(np.array([-0.1]), np.array([-0.1])), "add up"),
        (lambda: ClassMass(np.array([-0.1]), np.array([-2.0, -2.0])), "one length"),
        (lambda: MassBounds(exact([0.05]).low, exact([0.4]).low), "lower bound"),
        (
            lambda: PositionRecords(
                ("open",), *([np.zeros(2, dtype=np.int64)] * 4), exact([0.1]), exact([0.1, 0.1])
            ),
            "one length",
        ),
    ],
)
def test_bad_positions_are_refused_in_one_line(make, reason):
    with pytest.raises(CliffDomainError, match=reason) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_bad_settings_are_refused():
    data = ragged(0, tasks=8)
    with pytest.raises(CliffDomainError, match="pass its strength"):
        estimate_cliff(data, estimate_clip(np.ones(50)))
    with pytest.raises(CliffDomainError, match="confidence"):
        estimate_cliff(data, CLIP, confidence=1.0)
    with pytest.raises(CliffDomainError, match="100"):
        estimate_cliff(data, CLIP, resamples=10)


def test_rounding_above_zero_is_taken_as_zero():
    mass = ClassMass(np.array([5e-8]), np.array([-30.0]))
    assert mass.log_mass[0] == 0.0


def test_records_taken_apart_and_joined_again_are_the_same():
    for data in (ragged(2, student=True), blurred(ragged(3), 0.9)):
        cut = data.task.size // 3
        joined = PositionRecords.concat([data[:cut], data[np.arange(cut, data.task.size)]])
        for name, column in data.columns.items():
            if isinstance(column, MassBounds):
                assert getattr(joined, name).is_exact == column.is_exact
                for side in ("low", "high"):
                    one, other = getattr(column, side), getattr(getattr(joined, name), side)
                    np.testing.assert_array_equal(other.log_mass, one.log_mass)
                    np.testing.assert_array_equal(other.log_tail, one.log_tail)
            else:
                np.testing.assert_array_equal(getattr(joined, name), column)
        kept = data[data.role == 1]
        assert set(kept.role) == {1}
        np.testing.assert_array_equal(kept.teacher.low.log_tail, data.teacher.low.log_tail[data.role == 1])


def test_bounds_joined_with_exact_masses_stay_bounds():
    data = ragged(2)
    joined = MassBounds.concat([data.teacher, blurred(data, 0.9).teacher])
    assert not joined.is_exact
    assert MassBounds.concat([data.teacher, data.base]).is_exact
    assert ClassMass.concat([]).log_mass.size == 0


def test_joined_records_have_the_columns_all_parts_have_and_one_list_of_roles():
    data = ragged(2, student=True)
    whole = dataclasses.replace(data, step=np.zeros_like(data.task), cut=np.zeros(data.task.size, dtype=bool))
    for parts in ([whole, data], [data, whole]):
        joined = PositionRecords.concat(parts)
        assert joined.student is not None
        assert joined.step is joined.cut is None
    assert PositionRecords.concat([whole, whole]).step.size == 2 * data.task.size
    with pytest.raises(CliffDomainError, match="other roles"):
        PositionRecords.concat([data, dataclasses.replace(data, roles=("open", "colon", "close"))])
