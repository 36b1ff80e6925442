import pytest

from harness.errors import HarnessError
from harness.sweep.plan import parse_plan, read_plan, training_config

PLAN = """
teacher: T
base: B
seeds: [3, 1]
arms:
  - {name: late, clip: 5, lambdas: [1, 2], stage: 1, staleness: fresh, updates_per_rollout: 4}
  - {name: early, clip: 1.5, lambdas: [1, 1.5], learning_rate: 0.001, steps: 60, plausible: 0.1}
training: {batch_size: 32, rollout_batch: 128}
"""


def test_a_plan_file_names_its_runs_stage_by_stage_and_seed_by_seed(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    plan = read_plan(file)
    assert [run.name for run in plan.runs()] == [
        "early/lambda-1.0/seed-3",
        "early/lambda-1.5/seed-3",
        "early/lambda-1.0/seed-1",
        "early/lambda-1.5/seed-1",
        "late/lambda-1.0/seed-3",
        "late/lambda-2.0/seed-3",
        "late/lambda-1.0/seed-1",
        "late/lambda-2.0/seed-1",
    ]


def test_a_run_trains_with_its_arms_options_and_its_seed(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    plan = read_plan(file)
    runs = {run.name: run for run in plan.runs()}
    early = training_config(plan, runs["early/lambda-1.5/seed-3"], tmp_path, None)
    late = training_config(plan, runs["late/lambda-2.0/seed-1"], tmp_path, None)
    assert (early.lam, early.clip, early.seed, early.optimisation.seed) == (1.5, 1.5, 3, 3)
    assert (early.plausible, late.plausible) == (0.1, 0.0)
    assert (early.optimisation.steps, early.optimisation.learning_rate) == (60, 0.001)
    assert (early.staleness, early.pool, early.optimisation.batch_size) == ("fixed", 128, 32)
    assert (late.staleness, late.updates_per_rollout, late.pool) == ("fresh", 4, 32)
    assert early.optimisation.weight_decay == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "different"),
        ({"arms": []}, "arms"),
        ({"arms": [{"name": "a", "clip": 5, "lambdas": [2, 1]}]}, "ascend"),
        ({"arms": [{"name": "a", "clip": 5, "lambdas": [1]}]}, "lambdas"),
        ({"arms": [{"name": "a", "clip": 1, "lambdas": [1, 2]}]}, "clip"),
        ({"arms": [{"name": "../a", "clip": 5, "lambdas": [1, 2]}]}, "name"),
        ({"arms": [{"name": "a", "clip": 5, "lambdas": [1, 2], "lr": 1}]}, "lr"),
        ({"arms": [{"name": "a", "clip": 5, "lambdas": [1, 2]}] * 2}, "same name"),
        ({"training": {"batch_size": 64, "rollout_batch": 100}}, "multiple"),
        ({"teachers": "T"}, "teachers"),
    ],
)
def test_what_a_sweep_cannot_mean_is_refused_before_it_starts(change, message):
    content = {
        "teacher": "T",
        "base": "B",
        "seeds": [0],
        "arms": [{"name": "a", "clip": 5, "lambdas": [1, 2]}],
    }
    with pytest.raises(HarnessError, match=message) as refusal:
        parse_plan(content | change, "plan.yaml")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", ["{", "- 1", "3", "\x00"])
def test_a_file_that_is_no_plan_is_one_line(content, tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(content)
    with pytest.raises(HarnessError, match=r"plan\.yaml") as refusal:
        read_plan(file)
    assert "\n" not in str(refusal.value)
