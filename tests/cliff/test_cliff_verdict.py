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
    estimate_calibration,
    estimate_cliff,
    estimate_clip,
    known_clip,
)
from harness.cliff.below_base import largest_kept_lambda, lost_below_base
from harness.cliff.explain import _rounded
from harness.cliff.preconditions import Precondition
from harness.errors import DataError
from tests.cliff.position_records import constant, exact

MET = Precondition("parse_headroom", True, 0.3, 0.05, "fine")
UNMET = Precondition("parse_headroom", False, 0.01, 0.05, "the base leaves 0.01 of headroom")
FEW = Precondition("enough_rollouts", False, 6.0, 20.0, "the tail is carried by 6 tasks")


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
        (1.10, (None, None), [MET], "undecided"),
        (1.10, (None, None), [MET, UNMET], "out_of_scope"),
        # Too few tasks take nothing from bounds that hold for any number of them.
        (1.10, (1.2, 1.3), [MET, FEW], "left"),
        (1.31, (1.2, 1.3), [MET, FEW], "right"),
        (1.25, (1.2, 1.3), [MET, FEW], "undecided"),
        (1.25, (1.2, 1.3), [UNMET, FEW], "out_of_scope"),
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


def test_sides_follow_the_bounds_of_lambda_star():
    estimate = estimate_cliff(draw(tasks=400), known_clip(5.0))
    binding = estimate.role.binding
    low, high, value = binding.left_below, binding.right_above, binding.lambda_star.value
    assert low < binding.lambda_star.low < value < binding.lambda_star.high < high
    left, on, right = (assess(estimate, lam) for lam in (low - 0.01, value, high + 0.01))
    assert [r.verdict for r in (left, on, right)] == ["left", "on_cliff", "right"]
    assert {(r.largest_safe_lambda, r.right_above) for r in (left, on, right)} == {(low, high)}
    assert all(p.met for p in left.preconditions)
    assert left.observed is None
    assert left.agree is None
    assert left.lambda_star_half == binding.lambda_star_half


def test_words_claim_no_more_than_is_known():
    """Five locked sweeps hit nothing: no side may be called a kept or a lost format."""
    estimate = estimate_cliff(draw(tasks=400), known_clip(5.0))
    for lam, where in ((1.01, "inside"), (9.0, "beyond")):
        text = assess(estimate, lam).explanation
        assert f"fixed point is predicted {where} the clip edge" in text
        assert "none of this project's five locked sweeps found its onset" in text
        assert "one class of tokens taken for a coin" in text
        assert "ratio is taken to the teacher" in text
        assert "safe." not in text
        assert "its format" not in text


@pytest.mark.parametrize("calibration", ["role", "position", "sequence"])
def test_every_calibration_can_carry_the_verdict(calibration):
    estimate = estimate_cliff(draw(), known_clip(5.0))
    result = assess(estimate, 1.01, calibration=calibration)
    assert result.verdict == "left"
    assert result.lambda_star == estimate.under(calibration).dominant().lambda_star


def test_the_bounds_of_the_worst_index_allow_for_the_choice():
    estimate = estimate_cliff(draw(teacher=(1e-5, 7e-4), tasks=200), known_clip(5.0))
    worst, mean = estimate.position.binding, estimate.role.binding
    assert worst.lambda_star.value < mean.lambda_star.value
    assert worst.left_below < mean.left_below


@pytest.mark.parametrize(("tail", "observed"), [(7e-4, "left"), (1e-5, "right"), (1.4e-4, "on_cliff")])
def test_observed_side_is_the_students_own_tail(tail, observed):
    estimate = estimate_cliff(draw(student=(tail, tail), base=(0.01, 0.2)), known_clip(5.0))
    assert estimate.role.binding.role == "separator"
    result = assess(estimate, 1.01)
    assert (result.verdict, result.observed) == ("left", observed)
    assert result.agree is {"left": True, "right": False, "on_cliff": None}[observed]
    assert ("disagree" in result.explanation) is (observed == "right")


def test_predicted_right_and_observed_left_is_said_plainly():
    estimate = estimate_cliff(draw(student=(1e-4, 7e-4), tasks=400), known_clip(5.0))
    result = assess(estimate, 4.0)
    assert (result.verdict, result.observed, result.agree) == ("right", "left", False)
    assert "Prediction and observation disagree" in result.explanation


def test_a_lower_bound_of_the_clip_never_says_right():
    ratios = np.exp(np.random.default_rng(1).standard_normal(500) * 0.4)
    bound = estimate_clip(ratios)
    assert not bound.saturated
    estimate = estimate_cliff(draw(student=(1e-6, 1e-6), tasks=400), bound)
    far = assess(estimate, 50.0)
    assert far.verdict == "on_cliff"
    assert far.observed == "on_cliff"
    assert (far.lambda_star.high, far.lambda_star.identified_high, far.right_above) == (None, None, None)
    assert "lower bound" in far.explanation
    assert far.more.tasks is None
    assert assess(estimate, far.largest_safe_lambda - 0.001).verdict == "left"


def test_teacher_below_base_is_out_of_scope_and_said_to_move_the_student_out():
    estimate = estimate_cliff(draw(teacher=(0.2, 0.2), base=(0.05, 0.05)), known_clip(5.0))
    result = assess(estimate, 1.2)
    assert result.verdict == "out_of_scope"
    assert (result.binding, result.largest_safe_lambda) == (None, None)
    unmet = named(result, "teacher_above_base")
    assert not unmet.met
    assert "extrapolation moves the student out of the contract there" in unmet.detail
    assert unmet.detail in result.explanation


def test_a_role_where_the_teacher_is_less_sure_counts_by_its_share_of_the_tail():
    """p ≤ b isn't safe: q falls as λ grows, whatever the binding role says."""
    heavy = assess(estimate_cliff(draw(teacher=(5e-4, 7e-4), base=(1e-4, 0.2)), known_clip(5.0)), 1.01)
    assert heavy.verdict == "out_of_scope"
    assert "moves the student out of the contract" in named(heavy, "teacher_above_base").detail
    light = assess(estimate_cliff(draw(teacher=(2e-5, 7e-4), base=(5e-6, 0.2)), known_clip(5.0)), 1.01)
    assert light.verdict == "left"
    assert "any λ above 1 moves the student out of it there" in light.explanation


def test_a_role_where_the_teacher_is_less_sure_counts_by_what_extrapolation_loses_there():
    """A hundredth of the teacher's tail, at λ = 2.4 a twelfth of the answers: its share doesn't say it."""
    estimate = estimate_cliff(draw(teacher=(2e-5, 7e-4), base=(5e-8, 0.03), spread=0.1), known_clip(2e4))
    role = estimate.role.roles[0]
    assert role.teacher_tail_share < 0.02
    near, far = (assess(estimate, lam) for lam in (1.3, 2.4))
    assert (near.verdict, far.verdict) == ("left", "out_of_scope")
    assert far.lambda_star.value > 2.9
    unmet = named(far, "no_role_moves_out")
    odds = math.exp(2.4 * math.log(role.teacher_tail) - 1.4 * math.log(role.base_tail))
    assert unmet.value == pytest.approx(odds / (1 + odds) - role.teacher_tail, rel=1e-3)
    assert f"`open` from {role.p.estimate:.4g} to {1 / (1 + odds):.4g}" in unmet.detail
    assert unmet.detail in far.explanation
    # What is called left ends where a twentieth of the answers is lost.
    kept = near.largest_safe_lambda
    assert lost_below_base(kept, estimate.role.roles, 40) == pytest.approx(0.05, rel=1e-6)
    assert assess(estimate, kept - 1e-6).verdict == "left"
    assert assess(estimate, kept + 1e-6).verdict == "out_of_scope"


def test_right_stays_right_where_a_role_moves_out_too():
    estimate = estimate_cliff(
        draw(teacher=(2e-5, 7e-4), base=(5e-8, 0.2), tasks=400, spread=0.1), known_clip(5.0)
    )
    result = assess(estimate, 9.0)
    assert result.verdict == "right"
    assert not named(result, "no_role_moves_out").met
    assert "moves the student out of it there, this one in up to 100.0% of the answers" in result.explanation


def test_the_facts_own_role_loses_half_its_answers_at_the_first_step():
    """p = .657, b = .993: q_λ = .55 at λ = 1.1, .025 at 2; nothing is lost by plain distillation."""
    rows = draw(teacher=(0.343, 7e-4), base=(0.007, 0.2), spread=0.0)
    roles = estimate_cliff(rows, known_clip(5.0)).role.roles
    lost = [lost_below_base(lam, roles, 40) for lam in (0.5, 1.0, 1.1, 2.0)]
    assert np.round(0.657 - np.array(lost), 2).tolist() == [0.66, 0.66, 0.55, 0.03]
    assert largest_kept_lambda(0.99, roles, 40) is None
    assert largest_kept_lambda(0.05, roles, 40) == pytest.approx(1.05, abs=0.01)


def test_a_base_without_any_tail_is_above_every_teacher():
    rows = constant((1e-5, 7e-4), (0.0, 0.2), tasks=40, positions=(1, 3), roles=("open", "separator"))
    estimate = estimate_cliff(rows, known_clip(5.0))
    assert estimate.role.roles[0].lambda_star.status == "base_degenerate"
    result = assess(estimate, 1.01)
    assert result.verdict == "out_of_scope"
    assert named(result, "no_role_moves_out").value == pytest.approx(1.0, abs=1e-4)


def test_every_precondition_speaks_of_the_binding_class():
    """`open` has the smaller λ* and none of the tail; answers are lost at `separator`."""
    data = draw(teacher=(1e-6, 7e-4), base=(0.3, 0.05))
    estimate = estimate_cliff(data, known_clip(5.0))
    assert estimate.role.first.role == "open"
    assert estimate.role.binding.role == "separator"
    first, binding = estimate.role.first, estimate.role.binding
    between = assess(estimate, 0.5 * (first.lambda_star.high + binding.left_below))
    assert (between.verdict, between.binding) == ("left", binding)
    assert all(
        "`separator`" in one.detail for one in between.preconditions if one.name != "no_role_moves_out"
    )
    assert "λ* is smaller than λ at `open`, with less than 1% of the teacher's tail" in between.explanation
    assert named(between, "one_class_dominates").value == binding.teacher_tail_share
    assert named(between, "teacher_near_deterministic").value == binding.p.estimate
    # Three positions an answer, so three chances to fail.
    own = np.exp(data.base.low.log_mass[data.role == 1]).reshape(-1, 3).prod(axis=1)
    assert named(between, "parse_headroom").value == pytest.approx(1 - own.mean())


def test_headroom_is_that_of_the_binding_role():
    """The base breaks every fourth answer, but not where the teacher's tail is."""
    estimate = estimate_cliff(draw(teacher=(1e-6, 7e-4), base=(0.25, 0.005)), known_clip(5.0))
    result = assess(estimate, 1.01)
    assert named(result, "parse_headroom").value < 0.05
    assert result.verdict == "out_of_scope"


def test_each_precondition_has_its_number():
    soft = assess(estimate_cliff(draw(teacher=(0.002, 0.03)), known_clip(5.0)), 1.01)
    unmet = named(soft, "teacher_near_deterministic")
    assert (unmet.met, unmet.limit) == (False, 0.99)
    assert unmet.value == soft.binding.p.estimate
    assert soft.verdict == "out_of_scope"
    # A side that isn't given has no ends, neither in numbers nor in words.
    assert (soft.largest_safe_lambda, soft.right_above) == (None, None)
    assert "is called" not in soft.explanation
    assert unmet.detail in soft.explanation
    shared = estimate_cliff(draw(teacher=(6e-4, 2e-4)), known_clip(5.0))
    strict = assess(shared, 1.01, limits=Limits(least_tail_share=0.9))
    assert not named(strict, "one_class_dominates").met
    assert strict.verdict == "out_of_scope"


def carried_by(few: int, tasks: int = 60) -> PositionRecords:
    """One role; `few` tasks carry nearly all of the teacher's tail."""
    task, zero = np.arange(tasks), np.zeros(tasks, dtype=np.int64)
    teacher = np.where(task < few, 6e-4 * tasks / few, 1e-7)
    return PositionRecords(("separator",), task, zero, zero, zero, exact(teacher), exact(np.full(tasks, 0.2)))


def test_too_few_carrying_tasks_are_undecided_and_counted():
    estimate = estimate_cliff(carried_by(6), known_clip(5.0))
    binding = estimate.role.binding
    assert binding.effective_tasks == pytest.approx(6, rel=0.02)
    result = assess(estimate, binding.lambda_star.value)
    assert result.verdict == "undecided"
    unmet = named(result, "enough_rollouts")
    assert (unmet.met, unmet.limit) == (False, 20.0)
    assert unmet.value == binding.effective_tasks
    # Sixty tasks for six carrying ones: twenty need two hundred.
    assert result.more.tasks == pytest.approx(140, abs=3)
    assert result.more.rollouts == result.more.tasks
    assert f"About {result.more.tasks} more tasks" in result.explanation
    assert "would give a verdict" in result.explanation or "would tell the side" in result.explanation
    assert assess(estimate, 1.01).verdict == "left"
    assert assess(estimate, 1.01).more.tasks == 0
    enough = estimate_cliff(carried_by(30), known_clip(5.0))
    assert assess(enough, enough.role.binding.lambda_star.value).verdict == "on_cliff"


def test_no_width_is_asked_of_the_interval():
    """`--grid` never withholds a verdict; it says how near to λ* nobody asks for a side."""
    estimate = estimate_cliff(draw(tasks=60, spread=1.2), known_clip(5.0))
    star = estimate.role.binding.lambda_star
    fine, coarse = Limits(grid=1e-3), Limits(grid=5.0)
    for lam in (1.01, star.value, star.value + 0.01, 30.0):
        assert assess(estimate, lam, limits=fine).verdict == assess(estimate, lam, limits=coarse).verdict
    assert assess(estimate, star.value + 0.01, limits=fine).more.tasks > 0
    assert assess(estimate, star.value + 0.01, limits=coarse).more.tasks is None


@pytest.mark.parametrize("shift", [-0.015, 0.1])
def test_the_tasks_asked_for_tell_the_side(shift):
    """As many as said, of the same kind, bring λ outside the bounds; a third of them doesn't."""
    small = estimate_cliff(draw(tasks=40, spread=0.3), known_clip(5.0))
    value = small.role.binding.lambda_star.value
    result = assess(small, value + shift, limits=Limits(grid=0.01))
    assert result.verdict == "on_cliff"

    def told(tasks):
        return decided(tasks, value + shift)

    assert told(40 + 2 * result.more.tasks) == ("left" if shift < 0 else "right")
    assert told(40 + result.more.tasks // 3) == "on_cliff"


def decided(tasks, lam):
    """The verdict on a population like that of `draw`, by the bounds alone."""
    data = draw(tasks=tasks, spread=0.3)
    found = estimate_calibration("role", data, known_clip(5.0), resamples=100).binding
    return decide(lam, (found.left_below, found.right_above), [])


def test_inside_the_region_is_not_called_a_kept_contract():
    """A collapsed student is inside the region: the region bounds how sure it is, not how often right."""
    collapsed = assess(estimate_cliff(draw(student=(0.3, 0.3)), known_clip(5.0)), 1.01)
    assert collapsed.observed == "left"
    assert "not how often it keeps the contract" in collapsed.explanation
    surer = assess(estimate_cliff(draw(student=(1e-5, 1e-5)), known_clip(5.0)), 1.01)
    assert "not how often it keeps the contract" not in surer.explanation


def test_no_number_of_rollouts_mends_what_the_top_k_hides():
    estimate = estimate_cliff(draw(unseen=0.5, tasks=60), known_clip(5.0))
    star = estimate.role.binding.lambda_star
    assert star.identified_high - star.identified_low > 0.01
    between = 0.5 * (star.identified_low + star.identified_high)
    assert assess(estimate, between, limits=Limits(grid=1e-4)).more.tasks is None


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


def test_a_file_of_an_earlier_version_is_read():
    """Before, nothing was known of carrying tasks, of bounds, or of the first role to leave."""
    later = {"effective_tasks", "base_failure", "left_below", "right_above", "first"}
    later |= {"most_share_below_base", "least_effective_tasks", "most_lost_below_base", "fixed_points"}

    def without(node):
        if isinstance(node, dict):
            return {name: without(value) for name, value in node.items() if name not in later}
        return [without(one) for one in node] if isinstance(node, list) else node

    stored = json.loads(json.dumps(results()[0].to_dict()))
    old = CliffResult.from_dict(without(stored))
    assert old.verdict == results()[0].verdict
    assert (old.right_above, old.binding.left_below, old.estimate.role.first) == (None, None, None)


def test_a_role_without_lambda_star_is_mentioned():
    certain, few = results()[4], results()[3]
    assert "At `open` there is no λ*: the teacher's tail mass is 0" in certain.explanation
    assert certain.binding.role == "separator"
    assert "fewer than" in few.explanation
    assert few.verdict == "undecided"
    assert few.more.tasks == math.ceil(4 * 20 / few.binding.effective_tasks) - 4


def test_roles_without_lambda_star_share_one_sentence_a_reason():
    reached = draw()
    roles = ("open", "separator", "list_close", "close", "end")
    parts = (reached.task, reached.rollout, reached.role, reached.index, reached.teacher, reached.base)
    text = assess(estimate_cliff(PositionRecords(roles, *parts), known_clip(5.0)), 1.1).explanation
    assert text.count("No rollout reaches") == 1
    assert "No rollout reaches `list_close`, `close` and `end`." in text


@given(st.floats(1.0001, 50.0))
def test_a_bound_read_off_the_text_is_never_inside_the_bounds(low):
    below, above = (float(_rounded(low, towards)) for towards in (math.floor, math.ceil))
    assert below <= low <= above
    assert above - below < 2 * 10 ** -(3 - math.floor(math.log10(low)))


def test_the_text_calls_a_side_only_what_the_verdict_does():
    estimate = estimate_cliff(draw(tasks=400), known_clip(5.0))
    text = assess(estimate, 1.01).explanation
    below = float(text.split("λ below ")[1].split()[0])
    above = float(text.split("left, above ")[1].split()[0])
    assert assess(estimate, below - 1e-9).verdict == "left"
    assert assess(estimate, above + 1e-9).verdict == "right"


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


@pytest.mark.parametrize(
    "bad", [{"grid": 0.0}, {"grid": math.nan}, {"least_teacher_mass": 1.5}, {"least_effective_tasks": 0.0}]
)
def test_limits_out_of_range_are_refused(bad):
    with pytest.raises(CliffDomainError):
        Limits(**bad)


def test_the_rules_load_no_heavy_library():
    heavy = {"torch", "vllm", "transformers", "pandas", "scipy", "matplotlib"}
    code = f"import sys, harness.cliff; sys.exit(bool({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
