"""When runs give no onset, and what a locked test makes of it."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from harness.cli.sweep_tables import print_analysis
from harness.sweep.analysis import analyse
from harness.sweep.onsets import compare_onsets
from tests.sweep.sweep_worlds import BASE_STRICT, GRID, collapsing_from, collapsing_where, plan_of

ARMS = [{"name": "one", "clip": 1.5}, {"name": "other", "clip": 5.0}]


def arm_with(failed, seeds=5, rules=2):
    """The analysis of an arm of which so many seeds collapse at each λ of the grid."""
    plan = plan_of([{"name": "one", "clip": 1.5}], seeds)
    results = collapsing_where(plan, lambda run: run.seed < failed[GRID.index(run.lam)])
    return analyse(plan, results, BASE_STRICT, rules).arms[0]


@pytest.mark.parametrize(
    ("failed", "seeds"),
    [
        ([5, 5, 0, 0, 5, 5], 5),  # a U: the highest λ collapse fully
        ([0, 0, 5, 5, 0, 0], 5),  # only in the middle
        ([5, 5, 0, 0, 0, 0], 5),  # at low λ alone
        ([3, 0, 0, 0, 0, 3], 3),
        ([0, 0, 3, 3, 0, 0], 3),
        ([4, 4, 0, 0, 0, 4], 4),
    ],
)
def test_collapse_that_falls_with_lambda_gives_no_bound(failed, seeds):
    arm = arm_with(failed, seeds)
    assert (arm.onset, arm.change_point) == (None, None)
    assert [doubt.code for doubt in arm.doubts] == ["misfit"]
    assert arm.monotone.p_value <= 0.02


@pytest.mark.parametrize(
    ("failed", "seeds"),
    [
        ([0, 0, 0, 0, 0, 0], 5),
        ([5, 5, 5, 5, 5, 5], 5),
        ([0, 0, 1, 0, 2, 5], 5),
        ([0, 1, 0, 0, 1, 0], 8),
        ([0, 1, 2, 3, 3, 3], 8),
        ([0, 0, 0, 3, 3, 3], 3),
    ],
)
def test_collapse_that_rises_or_wavers_a_little_gives_one(failed, seeds):
    arm = arm_with(failed, seeds)
    assert arm.doubts == ()
    assert arm.onset.seeds == seeds


@pytest.mark.parametrize("failed", [[2, 1, 0, 1, 0, 5], [3, 2, 2, 2, 2, 5], [0, 3, 3, 2, 2, 2]])
def test_no_bound_contradicts_the_ends_of_the_grid(failed):
    arm = arm_with(failed)
    if failed[-1] == 5:
        assert arm.onset is None or arm.onset.most is not None
    if failed[0] == 0:
        assert arm.onset is None or arm.onset.least > 0


@pytest.mark.parametrize(("seeds", "onset"), [(1, False), (2, False), (3, True)])
def test_an_onset_takes_three_seeds(seeds, onset):
    arm = arm_with([0, 0, 0, seeds, seeds, seeds], seeds)
    assert (arm.onset is not None) is onset
    assert [doubt.code for doubt in arm.doubts] == ([] if onset else ["seeds"])


def test_the_rules_of_older_locks_give_an_onset_and_say_what_is_wrong_with_it():
    arm = arm_with([0, 0, 0, 2, 2, 2], 2, rules=1)
    assert (arm.onset.least, arm.onset.most) == (1.2, 1.4)
    assert [doubt.code for doubt in arm.doubts] == ["seeds"]


def test_a_ratio_takes_an_onset_of_both_arms():
    plan = plan_of(ARMS, 5)
    results = collapsing_where(plan, lambda run: run.lam <= 1.1 if run.arm == "one" else run.lam >= 1.8)
    assert compare_onsets(plan, results, BASE_STRICT, "one", "other") is None
    assert compare_onsets(plan, results, BASE_STRICT, "other", "one") is None
    assert compare_onsets(plan, results, BASE_STRICT, "one", "other", rules=1) is not None


def test_an_arm_with_untested_lambdas_is_flat_only_where_tested():
    plan, rng = plan_of(ARMS), np.random.default_rng(0)
    results = [
        one
        if one.ndcg_parsed is None
        else replace(one, ndcg_parsed=0.6 + 0.01 * float(rng.standard_normal()))
        for one in collapsing_from(plan, {"one": 1.8, "other": 9.0})
    ]
    analysis = analyse(plan, results, BASE_STRICT)
    one, other = analysis.arms
    assert (one.flatness, one.untested) == ("flat_where_tested", (1.8, 2.6))
    assert (other.flatness, other.untested) == ("flat", ())
    old = analyse(plan, results, BASE_STRICT, rules=1)
    assert old.arms[0].flatness == "flat"
    for each in (analysis, old):
        assert "flat on 3 of 5 λ above the lowest, untested: 1.8, 2.6" in printed(each)


def test_the_table_says_why_there_is_no_onset_and_what_few_seeds_mean():
    plan = plan_of([{"name": "one", "clip": 1.5}], 5)
    misfit = analyse(plan, collapsing_where(plan, lambda run: run.lam in (1.1, 1.2)), BASE_STRICT)
    assert "no onset: collapse isn't monotone in λ" in printed(misfit)
    assert ">" not in printed(misfit)
    few = analyse(plan, collapsing_from(plan, {"one": 1.8}), BASE_STRICT)
    assert "5 seeds: from fewer than 8 an interval covers less than it says" in printed(few)
    plan = plan_of([{"name": "one", "clip": 1.5}], 8)
    assert "than it says" not in printed(analyse(plan, collapsing_from(plan, {"one": 1.8}), BASE_STRICT))


def printed(analysis) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    print_analysis(analysis, console)
    return " ".join(console.export_text().split())
