"""The verdict: sides, preconditions with their numbers, the observed side, and cliff.json."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cliff import (
    CliffDomainError,
    CliffResult,
    Limits,
    MassBounds,
    PositionRecords,
    assess,
    clip_demand,
    decide,
    estimate_cliff,
    estimate_clip,
    known_clip,
)
from harness.cliff.explain import _rounded_down
from harness.cliff.preconditions import Precondition
from harness.errors import DataError
from tests.cliff.position_records import exact

MET = Precondition("parse_headroom", True, 0.3, 0.05, "fine")
UNMET = Precondition("parse_headroom", False, 0.01, 0.05, "the base leaves 0.01 of headroom")


def draw(teacher=(1e-4, 7e-4), base=(0.05, 0.2), student=None, tasks=40, spread=0.5, seed=0, unseen=0.0):
    """Two roles, three positions of the second; tails log-normal around the given ones."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(tasks), 4)
    role, index = np.tile([0, 1, 1, 1], tasks), np.tile([0, 0, 1, 2], tasks)

    def mass(tails):
        log_tail = np.log(np.asarray(tails))[role] + spread * rng.standard_normal(task.size)
        full = exact(np.exp(np.minimum(log_tail, math.log(0.99)))).low
        if not unseen:
            return MassBounds.exact(full)
        return MassBounds.from_seen(full.log_mass, full.log_tail + math.log1p(-unseen))

    return PositionRecords(
        roles=("open", "separator"),
        task=task,
        rollout=np.zeros_like(task),
        role=role,
        index=index,
        teacher=mass(teacher),
        base=mass(base),
        student=None if student is None else mass(student),
    )


def named(result: CliffResult, name: str) -> Precondition:
    (found,) = [p for p in result.preconditions if p.name == name]
    return found


@pytest.mark.parametrize(
    ("lam", "interval", "preconditions", "side"),
    [
        (1.10, (1.2, 1.3), [MET], "left"),
        (1.20, (1.2, 1.3), [MET], "on_cliff"),
        (1.25, (1.2, 1.3), [MET], "on_cliff"),
        (1.30, (1.2, 1.3), [MET], "on_cliff"),
        (1.31, (1.2, 1.3), [MET], "right"),
        (1.10, (1.2, None), [MET], "left"),
        (9.00, (1.2, None), [MET], "on_cliff"),
        (1.10, (1.2, 1.3), [MET, UNMET], "out_of_scope"),
        (1.10, (None, None), [MET], "out_of_scope"),
        (0.50, (1.2, 1.3), [], "left"),
    ],
)
def test_decide(lam, interval, preconditions, side):
    assert decide(lam, interval, preconditions) == side


@pytest.mark.parametrize("lam", [0.0, -1.0, math.nan, math.inf])
def test_decide_refuses_a_lambda_that_is_none(lam):
    with pytest.raises(CliffDomainError, match="above 0"):
        decide(lam, (1.2, 1.3), [])
    with pytest.raises(CliffDomainError, match="wrong order"):
        decide(1.2, (1.3, 1.2), [])


@given(st.floats(0.01, 5), st.floats(0.01, 5), st.floats(1, 3), st.floats(0, 1))
def test_a_larger_lambda_is_never_further_left(one, other, low, width):
    order = ["left", "on_cliff", "right"]
    small, large = sorted((one, other))
    sides = [order.index(decide(lam, (low, low + width), [])) for lam in (small, large)]
    assert sides[0] <= sides[1]


def test_sides_follow_the_interval_of_lambda_star():
    estimate = estimate_cliff(draw(), known_clip(5.0))
    star = estimate.role.lambda_star
    left, on, right = (assess(estimate, lam) for lam in (star.low - 0.01, star.value, star.high + 0.01))
    assert [r.verdict for r in (left, on, right)] == ["left", "on_cliff", "right"]
    assert {r.largest_safe_lambda for r in (left, on, right)} == {star.low}
    assert all(p.met for p in left.preconditions)
    assert left.observed is None
    assert left.agree is None
    assert "predicted to keep" in left.explanation
    assert "predicted to lose" in right.explanation
    assert left.lambda_star_half == estimate.role.binding.lambda_star_half


@pytest.mark.parametrize("calibration", ["role", "position", "sequence"])
def test_every_calibration_can_carry_the_verdict(calibration):
    estimate = estimate_cliff(draw(), known_clip(5.0))
    result = assess(estimate, 1.01, calibration=calibration, limits=Limits(grid=1.0))
    assert result.verdict == "left"
    assert result.lambda_star == estimate.under(calibration).lambda_star


@pytest.mark.parametrize(("tail", "observed"), [(7e-4, "left"), (1e-5, "right"), (1.4e-4, "on_cliff")])
def test_observed_side_is_the_students_own_tail(tail, observed):
    estimate = estimate_cliff(draw(student=(tail, tail), base=(0.01, 0.2)), known_clip(5.0))
    assert estimate.role.binding.role == "separator"
    result = assess(estimate, 1.01)
    assert (result.verdict, result.observed) == ("left", observed)
    assert result.agree is {"left": True, "right": False, "on_cliff": None}[observed]
    assert ("disagree" in result.explanation) is (observed == "right")


def test_predicted_right_and_observed_left_is_said_plainly():
    estimate = estimate_cliff(draw(student=(1e-4, 7e-4)), known_clip(5.0))
    result = assess(estimate, 4.0)
    assert (result.verdict, result.observed, result.agree) == ("right", "left", False)
    assert "Prediction and observation disagree" in result.explanation


def test_a_lower_bound_of_the_clip_never_says_right():
    ratios = np.exp(np.random.default_rng(1).standard_normal(500) * 0.4)
    bound = estimate_clip(ratios)
    assert not bound.saturated
    estimate = estimate_cliff(draw(student=(1e-6, 1e-6)), bound)
    star = estimate.role.lambda_star
    far = assess(estimate, 50.0)
    assert far.verdict == "on_cliff"
    assert far.observed == "on_cliff"
    assert (far.lambda_star.high, far.lambda_star.identified_high) == (None, None)
    assert "lower bound" in far.explanation
    assert assess(estimate, star.low - 0.01).verdict == "left"


def test_teacher_below_base_is_out_of_scope_and_says_so():
    estimate = estimate_cliff(draw(teacher=(0.2, 0.2), base=(0.05, 0.05)), known_clip(5.0))
    result = assess(estimate, 1.2)
    assert result.verdict == "out_of_scope"
    assert (result.binding, result.largest_safe_lambda) == (None, None)
    assert not named(result, "teacher_above_base").met
    assert "no role with enough tasks has p above b" in result.explanation
    # The conditions that only follow from it aren't told again.
    assert result.explanation.count("Not met") == 1


def test_each_precondition_has_its_number():
    soft = assess(estimate_cliff(draw(teacher=(0.02, 0.03)), known_clip(5.0)), 1.01)
    unmet = named(soft, "teacher_near_deterministic")
    assert (unmet.met, unmet.limit) == (False, 0.99)
    assert unmet.value == soft.binding.p.estimate
    assert soft.verdict == "out_of_scope"
    assert unmet.detail in soft.explanation

    shared = assess(estimate_cliff(draw(teacher=(6e-4, 2e-4)), known_clip(5.0)), 1.01)
    dominance = named(shared, "one_class_dominates")
    assert dominance.value == max(r.teacher_tail_share for r in shared.estimate.role.roles)
    strict = assess(shared.estimate, 1.01, limits=Limits(least_tail_share=0.9))
    assert not named(strict, "one_class_dominates").met

    estimate = estimate_cliff(draw(), known_clip(5.0))
    headroom = named(assess(estimate, 1.01), "parse_headroom")
    assert headroom.value == pytest.approx(1 - estimate.sequence.roles[0].b.estimate)
    measured = assess(estimate, 1.01, base_parse_validity=0.99)
    assert named(measured, "parse_headroom").value == pytest.approx(0.01)
    assert measured.verdict == "out_of_scope"
    with pytest.raises(CliffDomainError, match="parse validity"):
        assess(estimate, 1.01, base_parse_validity=1.5)


def test_the_binding_role_that_does_not_hold_the_tail_is_named():
    result = assess(estimate_cliff(draw(teacher=(1e-6, 7e-4), base=(0.3, 0.05)), known_clip(5.0)), 1.01)
    assert result.binding.role == "open"
    detail = named(result, "one_class_dominates").detail
    assert "`separator` holds" in detail
    assert "not the binding role `open`" in detail


def test_missing_rollouts_are_counted_by_the_square_root_law():
    estimate = estimate_cliff(draw(tasks=20, spread=1.2), known_clip(5.0))
    width = estimate.role.lambda_star.width
    grid = 0.4 * width
    result = assess(estimate, 1.01, limits=Limits(grid=grid))
    assert result.verdict == "out_of_scope"
    assert named(result, "enough_rollouts").value == width
    assert width * math.sqrt(20 / (20 + result.more.tasks)) < grid
    assert width * math.sqrt(20 / (20 + result.more.tasks - 1)) >= grid
    assert result.more.rollouts == result.more.tasks
    assert f"{result.more.tasks} more tasks" in result.explanation
    assert assess(estimate, 1.01, limits=Limits(grid=2 * width)).more.tasks == 0


def test_only_a_wide_interval_in_the_way_is_said_with_the_grid_that_would_do():
    estimate = estimate_cliff(draw(tasks=20, spread=1.2), known_clip(5.0))
    star = estimate.role.lambda_star
    wide = Limits(grid=0.4 * star.width)
    for lam, side in ((star.low - 0.01, "left"), (star.value, "on_cliff"), (star.high + 0.01, "right")):
        assert f"the verdict would be {side}" in assess(estimate, lam, limits=wide).explanation
        assert assess(estimate, lam, limits=Limits(grid=1.001 * star.width)).verdict == side
    strict = Limits(grid=wide.grid, least_teacher_mass=1.0)
    assert "the verdict would be" not in assess(estimate, star.value, limits=strict).explanation


def test_inside_the_region_is_not_called_a_kept_contract():
    """A collapsed student is inside the region: the region bounds how sure it is, not how often right."""
    collapsed = assess(estimate_cliff(draw(student=(0.3, 0.3)), known_clip(5.0)), 1.01)
    assert collapsed.observed == "left"
    assert "not how often it keeps the contract" in collapsed.explanation
    surer = assess(estimate_cliff(draw(student=(1e-5, 1e-5)), known_clip(5.0)), 1.01)
    assert "not how often it keeps the contract" not in surer.explanation


def test_no_number_of_rollouts_mends_what_the_top_k_hides():
    estimate = estimate_cliff(draw(unseen=0.5, tasks=60), known_clip(5.0))
    hidden = estimate.role.lambda_star.identified_width
    assert hidden > 0.01
    result = assess(estimate, 1.01, limits=Limits(grid=0.5 * hidden))
    assert (result.more.tasks, result.more.rollouts) == (None, None)
    assert "top-k" in named(result, "enough_rollouts").detail


def results() -> list[CliffResult]:
    certain = draw()
    never_wrong = exact(np.where(certain.role == 0, 0.0, np.exp(certain.teacher.low.log_tail))).low
    parts = (certain.roles, certain.task, certain.rollout, certain.role, certain.index)
    sets = [
        (draw(student=(1e-4, 1e-4)), known_clip(5.0)),
        (draw(unseen=0.3), known_clip(2.0, "config")),
        (draw(teacher=(0.2, 0.2), base=(0.01, 0.01)), known_clip(5.0)),
        (draw(tasks=4), known_clip(5.0)),
        (PositionRecords(*parts, MassBounds.exact(never_wrong), certain.base), known_clip(5.0)),
        (draw(), estimate_clip(np.exp(np.linspace(-1, 1, 50)))),
    ]
    demand = clip_demand([0.1, 2.0, 0.3], 5.0)
    return [assess(estimate_cliff(d, c), 1.1, clip_demand=demand) for d, c in sets]


def test_json_has_no_infinity_and_reads_back_the_same():
    for result in results():
        text = json.dumps(result.to_dict(), allow_nan=False)
        assert CliffResult.from_dict(json.loads(text)) == result


def test_a_role_without_lambda_star_is_mentioned():
    certain, few = results()[4], results()[3]
    assert "At `open` there is no λ*: the teacher's tail mass is 0" in certain.explanation
    assert certain.binding.role == "separator"
    assert "fewer than" in few.explanation
    assert few.verdict == "out_of_scope"


def test_roles_without_lambda_star_share_one_sentence_a_reason():
    reached = draw()
    roles = ("open", "separator", "list_close", "close", "end")
    parts = (reached.task, reached.rollout, reached.role, reached.index, reached.teacher, reached.base)
    text = assess(estimate_cliff(PositionRecords(roles, *parts), known_clip(5.0)), 1.1).explanation
    assert text.count("No rollout reaches") == 1
    assert "No rollout reaches `list_close`, `close` and `end`." in text


@given(st.floats(1.0001, 50.0))
def test_a_lambda_read_off_the_text_is_never_above_the_safe_one(low):
    shown = _rounded_down(low)
    assert float(shown) <= low
    assert low - float(shown) < 10 ** -(3 - math.floor(math.log10(low)))


def test_the_text_calls_safe_only_what_the_verdict_calls_left():
    estimate = estimate_cliff(draw(), known_clip(5.0))
    text = assess(estimate, 1.01).explanation
    told = float(text.split("λ below ")[1].split()[0])
    assert assess(estimate, told - 1e-9).verdict == "left"


def test_a_lower_bound_of_the_clip_leaves_both_markers_open_above():
    bound = estimate_clip(np.exp(np.random.default_rng(1).standard_normal(500) * 0.4))
    result = assess(estimate_cliff(draw(), bound), 1.01)
    for star in (result.lambda_star, result.lambda_star_half):
        assert star.low is not None
        assert (star.high, star.identified_high) == (None, None)


@pytest.mark.filterwarnings("error")
def test_a_student_tail_seen_only_once_has_no_upper_end_and_warns_of_nothing():
    tails = np.where(np.arange(40) == 7, 0.3, 1e-300)
    task = np.arange(40)
    zero = np.zeros(40, dtype=np.int64)
    teacher, base, student = (exact(x) for x in (np.full(40, 1e-300), tails, tails))
    data = PositionRecords(("open",), task, zero, zero, zero, teacher, base, student)
    result = assess(estimate_cliff(data, known_clip(5.0)), 1.1)
    assert result.binding.clip_margin.high is None
    json.dumps(result.to_dict(), allow_nan=False)


def test_reading_anything_else_is_one_line():
    for bad in ({}, [], {"lam": 1.0}, "text", None):
        with pytest.raises(DataError, match="no cliff result") as caught:
            CliffResult.from_dict(bad)
        assert "\n" not in str(caught.value)


def test_metrics_are_flat_numbers():
    with_student = results()[0].metrics()
    assert set(with_student) == {
        "cliff.lambda_star",
        "cliff.lambda_star_half",
        "cliff.largest_safe_lambda",
        "cliff.p",
        "cliff.b",
        "cliff.clip_margin",
    }
    star = with_student["cliff.lambda_star"]
    assert star.low < star.estimate < star.high
    assert results()[2].metrics()["cliff.lambda_star"].estimate is None


@pytest.mark.parametrize("bad", [{"grid": 0.0}, {"grid": math.nan}, {"least_teacher_mass": 1.5}])
def test_limits_out_of_range_are_refused(bad):
    with pytest.raises(CliffDomainError):
        Limits(**bad)


def test_the_rules_load_no_heavy_library():
    heavy = {"torch", "vllm", "transformers", "pandas", "scipy", "matplotlib"}
    code = f"import sys, harness.cliff; sys.exit(bool({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
