"""A lock is compared, not trusted: what changed after it, or began before it, is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.cliff import LambdaStarEstimate
from harness.errors import DataError, HarnessError, RunMismatchError
from harness.sweep.folder import SweepFolder, SweepRecord
from harness.sweep.prereg.check import check, require_lock
from harness.sweep.prereg.lock import band_of, lock, make_tests
from harness.sweep.prereg.lock_file import (
    ClipPrediction,
    PreregLock,
    PreregTest,
    RolePrediction,
    Window,
    read_lock,
)
from harness.sweep.prereg.severity import severity
from harness.sweep.provenance import ANALYSIS, TRAINING, code_meanings, digest
from harness.sweep.results import read_results, write_table
from tests.sweep.sweep_worlds import BASE_STRICT, GRID, collapsing_from, plan_of

STORED = Path(__file__).parents[2] / "benchmarks" / "results" / "cliff-measured"
PLAN = plan_of(
    [
        {"name": "fine", "clip": 1.5},
        {"name": "large", "clip": 5.0},
        {"name": "long", "clip": 1.5, "steps": 240},
        {"name": "fast", "clip": 1.5, "learning_rate": 1e-3},
        {"name": "fresh", "clip": 1.5, "staleness": "fresh"},
        {"name": "odd", "clip": 5.0, "steps": 240},
    ]
)
CODE = code_meanings(TRAINING)


def prediction(clip: float, low: float, high: float) -> ClipPrediction:
    role = RolePrediction(
        role="unused_id",
        positions=100,
        p=0.99,
        b=0.9,
        lambda_star=(low + high) / 2,
        low=low,
        high=high,
        status="finite",
        teacher_tail_share=1.0,
    )
    window = Window(low=low, high=high)
    return ClipPrediction(
        clip=clip, roles=(role,), binding="unused_id", binding_window=window, band=window, unmet=()
    )


PREDICTIONS = (prediction(1.5, 1.05, 1.45), prediction(5.0, 1.5, 2.5))


def make_lock(**changes: object) -> PreregLock:
    fields = {
        "version": 3,
        "locked": "2026-01-01T12:00:00+00:00",
        "plan": PLAN,
        "checkpoints": {"teacher": "t", "base": "b"},
        "analysis_code": code_meanings(ANALYSIS),
        "training_code": CODE,
        "base_strict": BASE_STRICT,
        "base_tasks": 128,
        "teacher_strict": 0.99,
        "threshold": BASE_STRICT / 2,
        "rollouts": 256,
        "band_share": 0.05,
        "ratio_factor": 2.0,
        "predictions": PREDICTIONS,
        "tests": make_tests(PLAN, PREDICTIONS, 2.0),
        "note": "",
        "git": None,
        "packages": {},
        "host": {},
    }
    return PreregLock(**{**fields, **changes})


def make_sweep(path, onsets, locked=None, record_changes=None, result_changes=None) -> SweepFolder:
    folder = SweepFolder(path)
    folder.lock.write_text((locked or make_lock()).model_dump_json())
    record = {
        "version": 2,
        "plan": PLAN,
        "created": "2026-01-01T12:00:00+00:00",
        "checkpoints": {"teacher": "t", "base": "b"},
        "training_code": CODE,
        "lock_sha256": folder.lock_sha256(),
        "git": None,
        "packages": {},
        "host": {},
    }
    record = SweepRecord(**{**record, **(record_changes or {})})
    folder.record.write_text(record.model_dump_json())
    results = [
        replace(one, **{"training_code": digest(CODE), **(result_changes or {})})
        for one in collapsing_from(PLAN, onsets)
    ]
    write_table(results, path / "results.csv")
    return folder


ALL_AT = {"fine": 1.4, "large": 2.6, "long": 1.4, "fast": 1.4, "fresh": 1.4, "odd": 2.6}


def outcomes(folder: SweepFolder) -> dict[tuple[str, str], str]:
    return {(one.test.name, one.test.arm): one.outcome for one in check(folder).outcomes}


def test_hits_where_everything_lies_in_its_window(tmp_path):
    locked = make_lock(tests=make_tests(PLAN, (prediction(1.5, 1.1, 1.5), prediction(5.0, 1.7, 2.7)), 4.0))
    found = outcomes(make_sweep(tmp_path, ALL_AT, locked))
    assert set(found.values()) <= {"hit", "open"}
    assert found["fine_grid", "fine"] == "hit"
    assert found["budget_extension", "long"] == "hit"
    assert found["small_clip", "large"] == "hit"
    assert found["rival", "fast"] == "hit"
    assert found["onset", "odd"] == "hit"


@pytest.mark.parametrize(
    ("arm", "onset", "test", "outcome"),
    [
        ("fine", 2.6, "fine_grid", "miss"),
        ("fine", 9.0, "fine_grid", "miss"),
        ("fine", 1.1, "fine_grid", "open"),
        ("long", 1.8, "budget_extension", "open"),
        ("large", 1.1, "small_clip", "miss"),
        ("large", 1.2, "small_clip_shift", "miss"),
        ("fast", 1.0, "rival", "miss"),
        ("fresh", 9.0, "rival", "miss"),
    ],
)
def test_a_miss_is_called_a_miss(tmp_path, arm, onset, test, outcome):
    assert outcomes(make_sweep(tmp_path, ALL_AT | {arm: onset}))[test, arm] == outcome


def with_window(arm: str, low: float, high: float | None, **changes: object) -> PreregLock:
    """A lock with one test, of that window."""
    test = PreregTest(
        name="onset", arm=arm, against=None, window=Window(low=low, high=high), question="where?"
    )
    return make_lock(tests=(test,), **changes)


@pytest.mark.parametrize(
    ("onset", "low", "high", "outcome"),
    [
        (9.0, 1.3, None, "open"),  # no collapse: nothing could have refuted it
        (9.0, 2.6, None, "open"),
        (1.8, 1.3, None, "hit"),
        (1.8, 2.0, None, "miss"),
        (1.0, 0.0, 2.0, "open"),  # all collapse: likewise
        (1.0, 0.0, None, "open"),
        (1.2, 1.0, 2.0, "hit"),
    ],
)
def test_an_onset_that_the_grid_leaves_open_hits_no_window(tmp_path, onset, low, high, outcome):
    folder = make_sweep(tmp_path, ALL_AT | {"fine": onset}, with_window("fine", low, high))
    assert outcomes(folder)["onset", "fine"] == outcome


def test_a_lock_of_older_rules_is_held_to_them_and_todays_words_stand_beside(tmp_path):
    folder = make_sweep(tmp_path, ALL_AT | {"fine": 9.0}, with_window("fine", 1.3, None, version=2))
    (found,) = check(folder).outcomes
    assert (found.outcome, found.today) == ("hit", "open")
    printed = CliRunner().invoke(cli, ["prereg", "check", str(tmp_path)]).stdout
    assert "hit by the rules of the lock, open by today's" in " ".join(printed.split())


def test_collapse_that_falls_with_lambda_can_be_tested_by_no_window(tmp_path):
    folder = make_sweep(tmp_path, ALL_AT)
    dead = {"strict": 0.0, "parsed": 0, "ndcg_parsed": None}
    results = [
        replace(one, **dead) if one.arm == "fine" and one.lam == 1.0 else one
        for one in read_results(tmp_path)
    ]
    write_table(results, tmp_path / "results.csv")
    found = outcomes(folder)
    assert found["fine_grid", "fine"] == "not_testable"
    assert found["rival", "fast"] == "not_testable"  # its ratio is to that onset
    assert found["budget_extension", "long"] != "not_testable"


def star(low, high, value=1.5):
    return LambdaStarEstimate("finite", value, low, high, value, value)


@pytest.mark.parametrize(
    ("stars", "low", "high"),
    [
        ([star(1.2, 1.8), star(1.4, 2.5)], 1.2, 2.5),
        ([star(1.2, 1.8), star(1.4, None)], 1.2, None),
        ([star(1.2, None), star(1.4, 2.5)], 1.2, None),
        ([star(1.2, 1.8), star(None, None)], 1.0, None),
        ([star(1.2, 1.8), star(1.6, 1.7, value=1.9)], 1.2, 1.9),
    ],
)
def test_an_end_that_a_role_lacks_opens_the_band(stars, low, high):
    assert band_of(stars) == Window(low=low, high=high)


@pytest.mark.parametrize(
    ("low", "high", "share", "inside"),
    [
        (1.0, 2.6, 1.0, 5),
        (0.5, None, 1.0, 5),
        (1.1, 1.4, 2 / 5, 2),
        (1.01, 1.09, math.log(1.09 / 1.01) / math.log(1.1) / 5, 0),
        (1.2, 1.8, 2 / 5, 2),
        (2.6, 9.0, 0.0, 0),
        (1.8, 9.0, 1 / 5, 1),
    ],
)
def test_severity_is_the_share_of_the_grid_that_a_window_covers(low, high, share, inside):
    (test,) = with_window("fine", low, high).tests
    found = severity(PLAN, test)
    assert (found.gaps, found.gaps_inside) == (5, inside)
    assert found.share == pytest.approx(share)


def test_severity_of_a_ratio_is_the_chance_of_two_onsets_drawn_from_the_grids():
    test = next(one for one in make_lock().tests if one.name == "small_clip_shift")
    rng = np.random.default_rng(0)

    def drawn(count=200_000):
        gap = rng.integers(0, len(GRID) - 1, count)
        low, high = np.array(GRID)[gap], np.array(GRID)[gap + 1]
        return low * (high / low) ** rng.random(count) - 1

    ratio = drawn() / drawn()
    chance = ((ratio >= test.window.low) & (ratio <= test.window.high)).mean()
    assert severity(PLAN, test).share == pytest.approx(chance, abs=0.01)


def test_the_lock_says_how_easily_its_windows_are_hit(tmp_path):
    make_sweep(tmp_path, ALL_AT, with_window("fine", 1.1, 1.4))
    done = CliRunner().invoke(cli, ["prereg", "check", str(tmp_path)])
    text = " ".join(done.stdout.split())
    assert "onset, fine: the window covers 40% of the grid; 2 of its 5 gaps lie wholly in it" in text
    assert "1 test, each judged alone" in text
    assert "hit up to 0.4 of them on average" in text
    machine = json.loads(CliRunner().invoke(cli, ["prereg", "check", str(tmp_path), "--json"]).stdout)
    assert machine["tests"][0]["severity"] == {"share": pytest.approx(0.4), "gaps": 5, "gaps_inside": 2}
    assert machine["expected_by_chance"] == pytest.approx(0.4)


def test_two_seeds_are_too_few_for_a_lock(tmp_path):
    with pytest.raises(HarnessError, match="2 of the 3 seeds that an onset needs"):
        lock(plan_of([{"name": "fine", "clip": 1.5}], seeds=2), tmp_path, lambda *_: pytest.fail("measured"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "code"),
    [("ppo-clip", 0), ("mask", 0), ("mask-fine", 0), ("one-class", 0), ("one-class-long", 3)],
)
def test_stored_locks_are_checked_as_ever(name, code):
    done = CliRunner().invoke(cli, ["prereg", "check", str(STORED / name)], standalone_mode=False)
    assert done.exception is None, done.output
    assert done.return_value == code


def test_the_shift_with_c_is_that_of_lambda_star():
    shift = next(test for test in make_lock().tests if test.name == "small_clip_shift")
    assert shift.against == "fine"
    assert (shift.window.low, shift.window.high) == pytest.approx((1.0 / 0.25 / 2, 1.0 / 0.25 * 2))


def test_lambda_star_says_nothing_of_extrapolation_where_plausible():
    arms = [{"name": "fine", "clip": 1.5}, {"name": "masked", "clip": 1.5, "plausible": 0.1}]
    tests = make_tests(plan_of(arms), PREDICTIONS, 2.0)
    assert {test.arm for test in tests} == {"fine"}


def test_the_tests_of_every_stored_lock_are_made_again():
    locks = sorted(STORED.glob("*/prereg.json"))
    assert locks
    for locked in map(read_lock, locks):
        assert make_tests(locked.plan, locked.predictions, locked.ratio_factor) == locked.tests


@pytest.mark.parametrize(
    ("record_changes", "message"),
    [
        ({"lock_sha256": None}, "without a lock"),
        ({"lock_sha256": "0" * 64}, "changed after the sweep began"),
        ({"created": "2026-01-01T11:59:59+00:00"}, "before the lock"),
        ({"checkpoints": {"teacher": "t", "base": "other"}}, "the base is not"),
        ({"training_code": CODE | {"loss": "other"}}, "between lock and sweep: loss"),
        ({"plan": plan_of([{"name": "fine", "clip": 1.5}])}, "plan is not the locked one"),
    ],
)
def test_a_sweep_that_is_not_the_locked_one_is_refused(tmp_path, record_changes, message):
    folder = make_sweep(tmp_path, ALL_AT, record_changes=record_changes)
    with pytest.raises(RunMismatchError, match=message):
        check(folder)


@pytest.mark.parametrize(
    ("result_changes", "message"),
    [
        ({"started": "2026-01-01T11:00:00+00:00"}, "first run started"),
        ({"training_code": "other"}, "other code than the locked"),
    ],
)
def test_runs_from_before_the_lock_or_from_other_code_are_refused(tmp_path, result_changes, message):
    folder = make_sweep(tmp_path, ALL_AT, result_changes=result_changes)
    with pytest.raises(RunMismatchError, match=message):
        check(folder)


def test_analysis_code_that_changed_after_the_lock_is_refused(tmp_path):
    locked = make_lock(analysis_code=code_meanings(ANALYSIS) | {"onset": "other"})
    with pytest.raises(RunMismatchError, match="onset other →"):
        check(make_sweep(tmp_path, ALL_AT, locked))


def test_no_digit_of_a_lock_can_be_changed_after_the_sweep_began(tmp_path):
    folder = make_sweep(tmp_path, ALL_AT)
    content = json.loads(folder.lock.read_text())
    content["tests"][0]["window"]["high"] += 1e-6
    folder.lock.write_text(json.dumps(content))
    with pytest.raises(RunMismatchError, match="changed after"):
        check(folder)


def test_a_sweep_does_not_begin_under_a_lock_of_other_code(tmp_path):
    folder = make_sweep(tmp_path, ALL_AT)
    record = SweepRecord.model_validate_json(folder.record.read_bytes())
    require_lock(folder, record)
    with pytest.raises(RunMismatchError, match="training code has changed"):
        require_lock(folder, record.model_copy(update={"training_code": {}}))


def test_missing_runs_leave_the_check_unfinished(tmp_path):
    folder = make_sweep(tmp_path, ALL_AT)
    lines = (tmp_path / "results.csv").read_text().splitlines(keepends=True)
    (tmp_path / "results.csv").write_text("".join(line for line in lines if not line.startswith("long")))
    report = check(folder)
    assert not report.complete
    assert {one.outcome for one in report.outcomes if one.test.arm == "long"} == {"not_run"}


def test_no_lock_or_a_torn_one_is_one_line(tmp_path):
    with pytest.raises(DataError, match="nothing was locked"):
        check(SweepFolder(tmp_path))
    folder = make_sweep(tmp_path, ALL_AT)
    folder.lock.write_text(folder.lock.read_text()[:100])
    with pytest.raises(DataError, match=r"prereg\.json") as refusal:
        check(folder)
    assert "\n" not in str(refusal.value)


def test_a_report_is_json_also_where_a_ratio_is_infinite(tmp_path):
    report = check(make_sweep(tmp_path, ALL_AT | {"fine": 1.0}))
    shift = next(one for one in report.to_dict()["tests"] if one["name"] == "small_clip_shift")
    assert (shift["outcome"], shift["measured"]["low"]) == ("miss", None)
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.model
def test_a_lock_is_made_of_teacher_and_base_alone_before_the_sweep(tmp_path):
    plan, out = tmp_path / "plan.yaml", tmp_path / "sweep"
    arm = "{name: fine, clip: 1.5, lambdas: [1, 1.2]}"
    evaluation = "{limit: 8}"
    plan.write_text(
        f"teacher: zoo:teacher\nbase: zoo:base\nseeds: [0, 1, 2]\narms: [{arm}]\nevaluation: {evaluation}\n"
    )
    arguments = ["prereg", "lock", str(plan), "--out", str(out), "--prompts", "16", "--json"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exception is None, done.output
    locked = read_lock(out / "prereg.json")
    assert json.loads(done.stdout) == locked.model_dump(mode="json")
    assert (locked.version, locked.analysis_code, locked.training_code) == (3, code_meanings(ANALYSIS), CODE)
    assert [one.name for one in locked.tests] == ["fine_grid", "fine_grid_binding"]
    assert locked.rollouts == 16
    assert locked.predictions[0].band.low <= locked.predictions[0].binding_window.low
    assert not (out / "sweep.json").exists()
    again = CliRunner().invoke(cli, arguments)
    assert isinstance(again.exception, RunMismatchError)
