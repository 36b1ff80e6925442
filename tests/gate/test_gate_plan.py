"""What a policy can show, said beforehand, against exact binomial tails."""

import json
from pathlib import Path

import pytest
import scipy.stats

from harness.gate import Policy, PolicyError
from harness.gate.assumed import Assumed, assume, measured, read_assumption
from harness.gate.plan import plan
from tests.gate.gate_runs import BAD, answers, good, make_run, write_tasks
from tests.gate.test_gate_cli import harness

VALIDITY = "parse_validity.strict >= 0.95"


def assumed(policy: Policy, *truths: str, discordant: float = 0.1) -> dict[str, Assumed]:
    rules = list(policy.parsed_rules)
    return {
        rule.text: assume(rule, truth, discordant)
        for text in truths
        for rule, truth in read_assumption(text, rules)  # type: ignore[arg-type]
    }


@pytest.mark.parametrize("truth", [0.9, 0.94, 0.95, 0.97, 0.99, 1.0])
@pytest.mark.parametrize("tasks", [50, 128, 512])
def test_power_of_a_rate_is_exact(truth: float, tasks: int) -> None:
    policy = Policy()
    [found] = plan(policy, tasks, assumed(policy, f"parse_validity.strict={truth}"))
    binom = scipy.stats.binom
    passes = sum(binom.pmf(k, tasks, truth) for k in range(tasks + 1) if binom.sf(k - 1, tasks, 0.95) <= 0.05)
    fails = sum(binom.pmf(k, tasks, truth) for k in range(tasks + 1) if binom.cdf(k, tasks, 0.95) <= 0.05)
    assert found.passes == pytest.approx(passes, abs=1e-9)
    assert found.fails == pytest.approx(fails, abs=1e-9)


def test_fifty_tasks_are_too_few_for_95_percent() -> None:
    [found] = plan(Policy(), 50, {})
    assert found.least_tasks == 59
    assert found.detectable is None
    assert found.truth is None


def test_what_is_detectable_has_the_power() -> None:
    [found] = plan(Policy(), 512, {})
    assert found.detectable is not None
    n = 512
    least = next(k for k in range(n + 1) if scipy.stats.binom.sf(k - 1, n, 0.95) <= 0.05)
    assert scipy.stats.binom.sf(least - 1, n, found.detectable) == pytest.approx(0.8, abs=0.02)


def test_planned_looks_and_checkpoints_share_alpha() -> None:
    [found] = plan(Policy(looks=2, checkpoints=5), 512, {})
    assert found.level == pytest.approx(0.005)


def test_a_difference_needs_tasks_that_differ() -> None:
    policy = Policy(rules=("ndcg_at_1.all >= baseline - 0.02",))
    [found] = plan(policy, 512, assumed(policy, "ndcg_at_1.all=baseline+0.02", discordant=0.04))
    assert found.truth == pytest.approx(0.02, abs=1e-3)
    assert found.passes is not None
    assert found.passes > 0.9
    with pytest.raises(PolicyError, match=r"set `discordant` to at least 0\.2"):
        assumed(policy, "ndcg_at_1.all=baseline-0.2")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("parse_validity.strict", "no assumption"),
        ("parse_validity.strict=high", "no assumption"),
        ("ndcg_at_1.all=0.9", "no rule of the policy is about that"),
        ("parse_validity.strict=97", "lies between 0 and 1"),
    ],
)
def test_bad_assumptions(text: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        assumed(Policy(), text)


def test_a_run_is_taken_at_its_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, answers(194)(200, 1))
    policy = Policy()
    [found] = plan(policy, 200, measured(run, policy, None))
    assert found.truth == pytest.approx(0.97)
    assert harness("gate", run.path, "--plan") == 0
    shown = capsys.readouterr().out
    assert "0.97" in shown
    assert "one look at 200 tasks" in shown
    assert harness("gate", "--plan", "--tasks", "50") == 0
    assert "can't pass on 50 tasks" in capsys.readouterr().out
    assert harness("gate", "--plan") == 2
    assert "--tasks N" in capsys.readouterr().err


def test_a_plan_knows_what_has_no_value(tmp_path: Path) -> None:
    """Half of the answers don't parse: no number of tasks makes a rule about all of them pass."""
    data = write_tasks(tmp_path / "tasks.jsonl", 100)
    run = make_run(tmp_path / "run", [[good()]] * 50 + [[BAD]] * 50, data=data)
    baseline = make_run(tmp_path / "baseline", [[good()]] * 100, data=data)
    rules = [f"ndcg_at_1.parsed >= baseline - 0.1{end}" for end in ("", " common")]
    policy = Policy(rules=tuple(rules))
    every, common = plan(policy, 300, measured(run, policy, baseline))
    assert (every.truth, every.passes, every.fails, every.live_tasks) == (-0.5, 0.0, 0.0, 300)
    assert (common.truth, common.passes) == (0.0, 1.0)
    assert common.live_tasks is not None
    assert common.live_tasks < 100


def test_a_plan_has_the_level_of_the_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_tasks(tmp_path / "tasks.jsonl", 100)
    run = make_run(tmp_path, answers(38)(40, 1), data=data, limit=40).path

    def level(*options: str | Path) -> float:
        assert harness("gate", run, "--plan", "--json", *options) == 0
        return json.loads(capsys.readouterr().out)["rules"][0]["level"]

    assert level("--tasks", "60") == pytest.approx(0.025)
    assert level("--tasks", "100") == level() == pytest.approx(0.05)
    harness("gate", run)
    capsys.readouterr()
    assert level("--tasks", "40") == pytest.approx(0.025)
    assert level("--tasks", "60") == pytest.approx(0.0125)
    assert level() == pytest.approx(0.025)
    stream = tmp_path / "stream.jsonl"
    assert level("--stream", stream) == pytest.approx(0.0125)
    assert not stream.exists()


def test_a_used_up_alpha_plans_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "gate.yaml"
    policy.write_text("looks: 1\nrules: [parse_validity.strict >= 0.5]\n")
    data = write_tasks(tmp_path / "tasks.jsonl", 100)
    run = make_run(tmp_path, answers(20)(40, 1), data=data, limit=40).path
    assert harness("gate", run, "--policy", policy) == 4
    capsys.readouterr()
    assert harness("gate", run, "--plan", "--policy", policy) == 0
    assert "alpha is used up" in capsys.readouterr().out


def test_a_full_stream_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy, stream = tmp_path / "gate.yaml", tmp_path / "stream.jsonl"
    policy.write_text("checkpoints: 1\nrules: [parse_validity.strict >= 0.5]\n")
    run = make_run(tmp_path, answers(40)(40, 1)).path
    assert harness("gate", run, "--policy", policy, "--stream", stream) == 0
    plan_it = ("gate", "--plan", "--tasks", "50", "--policy", policy, "--stream", stream)
    assert harness(*plan_it) == 2
    assert "checkpoints already" in capsys.readouterr().err
    assert harness(*plan_it, run) == 0  # it has its place


def test_what_isn_t_planned_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "gate.yaml"
    policy.write_text("rules: ['cliff.lambda_star >= 1.2', 'cliff.verdict in [left]']\n")
    assert harness("gate", "--plan", "--tasks", "50", "--policy", policy) == 0
    shown = capsys.readouterr().out
    assert shown.count("read from the run, not planned") == 2
    assert "can't pass" not in shown
    policy.write_text("scope: list\n")
    assert harness("gate", "--plan", "--tasks", "50", "--policy", policy) == 0
    shown = capsys.readouterr().out
    assert "settles every rule by its plain numbers" in shown
    assert "P(pass)" not in shown


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--plan", "--tasks", "50", "--junit", "j.xml"), "--junit is for a verdict"),
        (("--plan", "--tasks", "50", "--summary", "s.md"), "--summary is for a verdict"),
        (("--tasks", "50"), "--tasks is for --plan"),
        (("--assume", "parse_validity.strict=1"), "--assume is for --plan"),
        (("--discordant", "0.2"), "--discordant is for --plan"),
    ],
)
def test_options_of_a_plan_and_of_a_verdict_don_t_mix(
    options: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness("gate", *options) == 2
    assert says in capsys.readouterr().err
