"""A live gate draws at random, stops when it may, errs no oftener than it says, and leaves a good run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from harness.engines.config import EngineConfig
from harness.errors import IncompleteError, RunMismatchError
from harness.evaluate import EvalConfig, evaluate
from harness.gate import GateResult, Policy, PolicyError, decide
from harness.gate.expression import BaselineRule, NumberRule
from harness.gate.live import LiveGate, LiveOptions, decide_live
from harness.gate.sequential_rule import SequentialRule
from harness.metrics.table import sample_metrics
from harness.progress import Progress
from harness.runs import Run, Sample, load
from harness.stats import SequentialTest
from tests.gate.gate_runs import BAD, answers, config, good, make_run, write_outputs, write_tasks

TASKS = 400
VALIDITY = "parse_validity.strict >= 0.95"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return write_tasks(folder / "tasks.jsonl", TASKS, uninformative=20)


def outputs(folder: Path, valid: int, name: str = "outputs") -> Path:
    return write_outputs(folder / f"{name}.jsonl", answers(valid)(TASKS, 1))


def live(
    data: Path,
    answered: Path,
    out: Path,
    *rules: str,
    baseline: Run | None = None,
    options: LiveOptions | None = None,
    **changes: object,
) -> tuple[GateResult, Run]:
    policy = Policy(rules=rules or (VALIDITY,))
    return decide_live(config(data, answered, out, **changes), policy, baseline, options)


@pytest.mark.parametrize(("valid", "verdict", "most"), [(136, "fail", 20), (398, "pass", 160)])
def test_it_stops_once_the_evidence_is_there(
    data: Path, tmp_path: Path, valid: int, verdict: str, most: int
) -> None:
    result, run = live(data, outputs(tmp_path, valid), tmp_path / "run")
    assert result.verdict == verdict
    assert result.live is not None
    assert result.live.stopped_early
    assert result.live.samples_drawn == result.live.tasks_used <= most
    assert result.live.samples_drawn + result.live.samples_saved == TASKS
    assert len(list(run.iter_samples())) == result.live.samples_drawn
    assert run.manifest.status == "incomplete"
    assert run.metrics == {}


@pytest.mark.parametrize("valid", [136, 398])
def test_harness_eval_goes_on_to_the_full_evaluation(data: Path, tmp_path: Path, valid: int) -> None:
    answered = outputs(tmp_path, valid)
    live(data, answered, tmp_path / "run")
    evaluate(config(data, answered, tmp_path / "run"))
    evaluate(config(data, answered, tmp_path / "undisturbed"))
    files = [(tmp_path / name / "metrics.json").read_bytes() for name in ("run", "undisturbed")]
    assert files[0] == files[1]
    assert load(tmp_path / "run").manifest.status == "complete"


def test_the_default_directory_is_that_of_eval(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answered = outputs(tmp_path, 136)
    settings = config(data, answered, tmp_path).model_copy(update={"out": None})
    result, run = decide_live(settings)
    assert result.verdict == "fail"
    assert evaluate(settings).path == run.path


def test_a_gate_on_a_stopped_run_says_how_to_finish_it(data: Path, tmp_path: Path) -> None:
    _, run = live(data, outputs(tmp_path, 136), tmp_path / "run")
    with pytest.raises(IncompleteError, match=rf"of {TASKS} samples; finish it with the same `harness eval`"):
        decide(run)


def test_a_budget_is_kept(data: Path, tmp_path: Path) -> None:
    answered = outputs(tmp_path, 384)
    result, _ = live(data, answered, tmp_path / "run", options=LiveOptions(max_tasks=50))
    assert (result.verdict, result.exit_code) == ("inconclusive", 4)
    assert result.live is not None
    assert (result.live.tasks_used, result.live.samples_drawn) == (50, 50)
    assert not result.live.stopped_early
    more, _ = live(data, answered, tmp_path / "run", options=LiveOptions(max_tasks=60))
    assert more.live is not None
    assert more.live.samples_drawn == 60


def test_the_whole_list_undecided_is_a_complete_run(data: Path, tmp_path: Path) -> None:
    result, run = live(data, outputs(tmp_path, 380), tmp_path / "run")
    assert result.verdict == "inconclusive"
    assert "more tasks would likely settle it" in result.rules[0].why or "so close" in result.rules[0].why
    assert run.manifest.status == "complete"
    assert run.metrics["parse_validity.strict"].n == TASKS


def test_a_list_alone_is_always_settled_in_the_end(data: Path, tmp_path: Path) -> None:
    for valid, verdict in ((380, "pass"), (379, "fail")):
        policy = Policy(scope="list")
        settings = config(data, outputs(tmp_path, valid, str(valid)), tmp_path / f"run-{valid}")
        result, _ = decide_live(settings, policy)
        assert result.verdict == verdict
        assert result.rules[0].why.startswith("0.9")


def test_a_killed_gate_ends_like_an_undisturbed_one(data: Path, tmp_path: Path) -> None:
    answered = outputs(tmp_path, 396)
    calm, _ = live(data, answered, tmp_path / "calm")

    def interrupt(progress: Progress) -> None:
        if progress.done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(IncompleteError, match="interrupted after 20"):
        decide_live(config(data, answered, tmp_path / "killed"), on_progress=interrupt)
    again, _ = live(data, answered, tmp_path / "killed")
    assert again.rules == calm.rules
    assert again.live == calm.live


def test_earlier_samples_count_when_their_turn_comes(data: Path, tmp_path: Path) -> None:
    """A run begun by `harness eval` holds the first tasks of the file, not random ones."""
    answered = outputs(tmp_path, 396)
    fresh, _ = live(data, answered, tmp_path / "fresh")

    def interrupt(progress: Progress) -> None:
        if progress.done >= 100:
            raise KeyboardInterrupt

    with pytest.raises(IncompleteError):
        evaluate(config(data, answered, tmp_path / "begun"), interrupt)
    result, _ = live(data, answered, tmp_path / "begun")
    assert result.rules == fresh.rules
    assert result.live is not None
    assert fresh.live is not None
    assert result.live.tasks_used == fresh.live.tasks_used
    assert 100 < result.live.samples_drawn < 100 + fresh.live.samples_drawn


def test_a_complete_run_is_judged_without_an_engine(data: Path, tmp_path: Path) -> None:
    answered = outputs(tmp_path, 396)
    evaluate(config(data, answered, tmp_path / "run"))
    before = (tmp_path / "run" / "manifest.json").read_bytes()
    result, _ = live(data, answered, tmp_path / "run")
    assert result.verdict == "pass"
    assert result.live is not None
    assert (result.live.samples_saved, result.live.samples_drawn) == (0, TASKS)
    assert result.live.tasks_used < TASKS
    assert (tmp_path / "run" / "manifest.json").read_bytes() == before


@pytest.fixture(scope="module")
def stored(folder: Path, data: Path) -> Run:
    """Three samples a task, of all qualities."""
    rng = random.Random(3)
    texts = [
        [BAD if rng.random() < 0.05 else good(rng.choice([1, 1, 2])) for _ in range(3)] for _ in range(TASKS)
    ]
    return make_run(folder / "stored", texts, data=data)


RULES = (VALIDITY, "ndcg_at_1.parsed >= 0.7", "ndcg_at_1.all >= 0.72", "ndcg_at_k.parsed >= baseline - 0.05")


def fed(gate: LiveGate, run: Run, samples: Sequence[Sample]) -> GateResult:
    gate.plan(run.manifest, list(run.tasks()))
    for sample in samples:
        if gate.enough(sample):
            break
    return gate.result(run)


@pytest.mark.parametrize("until", ["verdict", "rules"])
def test_the_order_of_finishing_changes_nothing(stored: Run, until: str) -> None:
    """Short answers finish first: a test fed in that order would be biased."""
    samples = list(stored.iter_samples())
    results = []
    for seed in range(4):
        random.Random(seed).shuffle(samples)
        gate = LiveGate(Policy(rules=RULES), 0, stored, LiveOptions(until=until))  # type: ignore[arg-type]
        results.append(fed(gate, stored, samples))
    by_length = sorted(samples, key=lambda sample: (len(sample.text), sample.key))
    gate = LiveGate(Policy(rules=RULES), 0, stored, LiveOptions(until=until))  # type: ignore[arg-type]
    results.append(fed(gate, stored, by_length))
    assert all(result == results[0] for result in results)


def test_the_order_of_drawing_is_random_and_seeded(stored: Run) -> None:
    def order(seed: int) -> list[str]:
        return list(LiveGate(Policy(), seed, None, LiveOptions()).plan(stored.manifest, tasks))

    tasks = list(stored.tasks())
    in_file = [task.task_id for task in tasks]
    assert order(0) == order(0)
    assert sorted(order(0)) == sorted(in_file)
    assert len({tuple(order(0)), tuple(order(1)), tuple(in_file)}) == 3


def test_single_parsed_samples_are_tested_as_if_the_others_were_not_there() -> None:
    """A sample at the bar leaves the capital as it is."""
    rng = np.random.default_rng(0)
    values = [None if rng.random() < 0.3 else float(rng.random() < 0.8) for _ in range(200)]
    names = [f"t{number}" for number in range(200)]
    rule = sequential(NumberRule("r", "ndcg_at_1.parsed", ">=", 0.6), names)
    alone = SequentialTest(0.6, alpha=0.05)
    best = 1.0
    for name, value in zip(names, values, strict=True):
        rule.observe(name, [value])
        if value is not None:
            alone.update(value)
            best = min(best, float(np.exp(-alone.log_evidence_pass)))
    assert rule.p_pass == pytest.approx(best, rel=1e-9)
    parsed = [value for value in values if value is not None]
    estimate = rule.evidence().estimate
    assert (estimate.n, estimate.estimate) == (len(parsed), pytest.approx(np.mean(parsed)))
    assert (estimate.low, estimate.high) == (alone.interval(0.9).low, alone.interval(0.9).high)


def sequential(
    rule: NumberRule | BaselineRule,
    tasks: Sequence[str],
    baseline: dict[str, float] | None = None,
    *,
    whole_list: bool = False,
) -> SequentialRule:
    metric = sample_metrics()[rule.metric]
    return SequentialRule(
        rule, metric, alpha=0.05, strictest=0.05, tasks=tasks, baseline=baseline, whole_list=whole_list
    )


REPETITIONS = 400


def errors_at_most_alpha(count: int) -> bool:
    """Whether so many errors in so many repetitions are likely (1 in 10,000) at a rate of 5 % or less."""
    return bool(scipy.stats.binom.sf(count - 1, REPETITIONS, 0.05) > 1e-4)


@pytest.mark.parametrize("whole_list", [False, True])
def test_a_ratio_at_its_bar_is_seldom_passed_or_failed(whole_list: bool) -> None:
    """Two samples a task, alike; quality and parsing go together. On the bar both verdicts cost alpha."""
    rng = np.random.default_rng(1)
    tasks = 120
    names = [f"t{number}" for number in range(tasks)]
    passed = failed = 0
    for _ in range(REPETITIONS):
        skill = rng.beta(2, 1, size=tasks)
        parsed = rng.random((tasks, 2)) < 0.4 + 0.6 * skill[:, None]
        score = np.where(rng.random((tasks, 2)) < skill[:, None], 1.0, 0.3)
        if whole_list:
            bar = float(score[parsed].mean())
        else:
            # E[score · parsed] / E[parsed] under Beta(2, 1): E s = 2/3, E s² = 1/2.
            bar = (0.4 * (0.3 + 0.7 * 2 / 3) + 0.6 * (0.3 * 2 / 3 + 0.7 / 2)) / (0.4 + 0.6 * 2 / 3)
        rule = sequential(NumberRule("r", "ndcg_at_1.parsed", ">=", bar), names, whole_list=whole_list)
        for name, use, values in zip(names[: tasks // 2], parsed, score, strict=False):
            rule.observe(name, [float(v) if u else None for u, v in zip(use, values, strict=True)])
        passed += rule.p_pass <= 0.05
        failed += rule.p_fail <= 0.05
    assert errors_at_most_alpha(passed)
    assert errors_at_most_alpha(failed)


def test_a_difference_at_its_margin_is_seldom_passed_or_failed() -> None:
    rng = np.random.default_rng(2)
    tasks = 120
    names = [f"t{number}" for number in range(tasks)]
    rule_text = BaselineRule("r", "ndcg_at_1.all", ">=", -0.1)
    passed = failed = 0
    for _ in range(REPETITIONS):
        theirs = (rng.random(tasks) < 0.7).astype(float)
        mine = np.where(rng.random(tasks) < 1 / 7, 0.0, theirs)  # a seventh of 0.7 is lost: −0.1
        rule = sequential(rule_text, names, dict(zip(names, theirs.tolist(), strict=True)))
        for name, value in zip(names, mine.tolist(), strict=True):
            rule.observe(name, [value])
        passed += rule.p_pass <= 0.05
        failed += rule.p_fail <= 0.05
    assert errors_at_most_alpha(passed)
    assert errors_at_most_alpha(failed)


def test_a_baseline_rule_sees_differences_by_task(data: Path, tmp_path: Path) -> None:
    baseline = make_run(tmp_path / "baseline", answers(360)(TASKS, 1), data=data)
    rule = "parse_validity.strict >= baseline - 0.1"
    worse, _ = live(data, outputs(tmp_path, 100, "bad"), tmp_path / "worse", rule, baseline=baseline)
    assert worse.verdict == "fail"
    assert worse.live is not None
    assert worse.live.tasks_used < 40
    same = write_outputs(tmp_path / "same.jsonl", answers(360)(TASKS, 1))
    equal, run = live(data, same, tmp_path / "equal", rule, baseline=baseline)
    assert equal.verdict == "pass"
    assert equal.rules[0].estimate is not None
    assert equal.rules[0].estimate.estimate == 0.0
    assert equal.live is not None
    assert equal.live.tasks_used < 120
    assert len(list(run.iter_samples())) == equal.live.samples_drawn


def test_a_failed_rule_ends_the_gate_unless_all_are_wanted(data: Path, tmp_path: Path) -> None:
    rules = (VALIDITY, "truncation_rate <= 0.1")
    answered = outputs(tmp_path, 136)
    first, _ = live(data, answered, tmp_path / "first", *rules)
    assert [rule.verdict for rule in first.rules] == ["fail", "inconclusive"]
    assert any("--until rules" in note for note in first.notes)
    every, _ = live(data, answered, tmp_path / "every", *rules, options=LiveOptions(until="rules"))
    assert [rule.verdict for rule in every.rules] == ["fail", "pass"]
    assert first.live is not None
    assert every.live is not None
    assert first.live.tasks_used < every.live.tasks_used < TASKS


def test_the_first_verdict_of_a_rule_stands(stored: Run) -> None:
    """The first tasks drawn fail, all others don't: seen later, the evidence would be for passing."""
    policy = Policy(rules=(VALIDITY, "ndcg_at_1.parsed >= 0.99"))
    manifest = stored.manifest.model_copy(update={"samples_per_task": 1})
    gate = LiveGate(policy, 0, None, LiveOptions(until="rules"))
    order = gate.plan(manifest, list(stored.tasks()))
    samples = {sample.task_id: sample for sample in stored.iter_samples() if sample.parse.tier == "strict"}
    broken = next(sample for sample in stored.iter_samples() if sample.parse.tier != "strict")
    for place, task_id in enumerate(order):
        perfect = replace(samples[task_id], scores={"ndcg_at_1": 1.0, "ndcg_at_k": 1.0})
        if gate.enough(replace(broken, task_id=task_id) if place < 3 else perfect):
            break
    [validity, _] = gate.result(stored).rules
    assert validity.p_pass is not None
    assert validity.p_pass <= 0.05
    assert validity.verdict == "fail"


def test_failing_takes_the_correction_for_several_rules(data: Path, tmp_path: Path) -> None:
    answered = outputs(tmp_path, 300)
    alone, _ = live(data, answered, tmp_path / "alone")
    rules = [f"truncation_rate <= 0.{number}" for number in range(3, 8)]
    many, _ = live(data, answered, tmp_path / "many", VALIDITY, *rules)
    assert alone.verdict == many.verdict == "fail"
    assert alone.live is not None
    assert many.live is not None
    assert many.live.tasks_used > alone.live.tasks_used
    assert many.rules[0].p_fail is not None
    assert 0.05 / 6 < many.rules[0].p_fail <= 0.05


def test_an_unlike_baseline_is_refused_before_anything_is_drawn(data: Path, tmp_path: Path) -> None:
    baseline = make_run(tmp_path / "baseline", answers(360)(TASKS, 1), data=data, max_tokens=9)
    rule = "parse_validity.strict >= baseline - 0.1"
    answered = outputs(tmp_path, 360)
    with pytest.raises(RunMismatchError, match=r"sampling\.max_tokens"):
        live(data, answered, tmp_path / "run", rule, baseline=baseline)
    assert not (tmp_path / "run" / "manifest.json").exists()
    common = LiveOptions(common=True)
    result, _ = live(data, answered, tmp_path / "run", rule, baseline=baseline, options=common)
    assert "common tasks" in result.notes[0]


def test_an_incomplete_baseline_is_refused(data: Path, tmp_path: Path) -> None:
    _, baseline = live(data, outputs(tmp_path, 136), tmp_path / "baseline")
    with pytest.raises(IncompleteError, match="baseline"):
        live(
            data,
            outputs(tmp_path, 300, "other"),
            tmp_path / "run",
            "ndcg_at_1.all >= baseline",
            baseline=baseline,
        )


def test_what_drawing_cannot_show_is_refused(data: Path, tmp_path: Path) -> None:
    for rule in ("rubric.helpful >= 0.5", "cliff.lambda_star >= 1.1", "ndcg_at_1.all >= baseline"):
        with pytest.raises(PolicyError):
            live(data, outputs(tmp_path, 300), tmp_path / "run", rule)


def test_the_cliff_is_read_at_the_end(data: Path, tmp_path: Path) -> None:
    answered = outputs(tmp_path, 398)
    rules = (VALIDITY, "cliff.verdict in [left]")
    result, run = live(data, answered, tmp_path / "run", *rules)
    assert [rule.verdict for rule in result.rules] == ["pass", "inconclusive"]
    assert "cliff.json" in result.rules[1].why
    (run.path / "cliff.json").write_text('{"verdict": "right"}')
    again, _ = live(data, answered, tmp_path / "run", *rules)
    assert [rule.verdict for rule in again.rules] == ["pass", "fail"]


@pytest.mark.model
def test_on_transformers_and_on_to_the_full_evaluation(tiny_qwen3: Path, tmp_path: Path) -> None:
    """A randomly initialised model: one batch shows that it keeps no contract."""
    import torch

    torch.set_num_threads(1)  # matrices this small run faster so, above all on a busy machine
    settings = EvalConfig(
        engine=EngineConfig(engine="hf", ckpt=str(tiny_qwen3), device="cpu", batch_size=4),
        limit=40,
        max_tokens=12,
        out=tmp_path / "run",
    )
    result, run = decide_live(settings)
    assert result.verdict == "fail"
    assert result.live is not None
    # The verdict needs two tasks; the second batch is never begun, the rest of the first never stored.
    assert result.live.tasks_used <= result.live.samples_drawn <= 4
    assert run.manifest.status == "incomplete"
    finished = evaluate(settings)
    undisturbed = evaluate(settings.model_copy(update={"out": tmp_path / "undisturbed"}))
    assert finished.manifest.status == "complete"
    assert finished.metrics == undisturbed.metrics
    assert [session.status for session in finished.manifest.sessions] == ["incomplete", "complete"]


@pytest.mark.vllm
def test_on_vllm_little_is_drawn_in_vain(tiny_qwen3: Path, tmp_path: Path) -> None:
    """vLLM runs hundreds of requests at once: it is given few at first, and stopped within them."""
    settings = EvalConfig(
        engine=EngineConfig(engine="vllm", ckpt=str(tiny_qwen3), enforce_eager=True),
        limit=100,
        max_tokens=12,
        out=tmp_path / "run",
    )
    result, run = decide_live(settings)
    assert result.verdict == "fail"
    assert result.live is not None
    assert result.live.samples_drawn <= 32
    assert run.manifest.status == "incomplete"
