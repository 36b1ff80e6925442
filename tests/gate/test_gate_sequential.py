"""The tests of a live gate: the order of samples is random and changes nothing, errors keep to alpha."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from harness.gate import GateResult, Policy
from harness.gate.expression import BaselineRule, NumberRule
from harness.gate.live import LiveGate, LiveOptions
from harness.gate.looks import Levels
from harness.gate.sequential_rule import Said, SequentialRule
from harness.metrics.table import sample_metrics
from harness.runs import Run, Sample
from harness.stats import SequentialTest, confidence_sequence
from tests.gate.gate_runs import BAD, good, make_run, write_tasks
from tests.gate.live_runs import TASKS, VALIDITY
from tests.gate.task_values import task_table


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return write_tasks(folder / "tasks.jsonl", TASKS, uninformative=20)


@pytest.fixture(scope="module")
def stored(folder: Path, data: Path) -> Run:
    """Three samples a task, of all qualities."""
    rng = random.Random(3)
    texts = [
        [BAD if rng.random() < 0.05 else good(rng.choice([1, 1, 2])) for _ in range(3)] for _ in range(TASKS)
    ]
    return make_run(folder / "stored", texts, data=data)


NOWHERE = Path("no/run/is/here")
RULES = (VALIDITY, "ndcg_at_1.parsed >= 0.7", "ndcg_at_1.all >= 0.72", "ndcg_at_k.parsed >= baseline - 0.05")


def fed(gate: LiveGate, run: Run, samples: Sequence[Sample]) -> GateResult:
    gate.plan(run.manifest, list(run.tasks()), NOWHERE, {})
    for sample in samples:
        if gate.enough(sample):
            break
    return replace(gate.result(run), looks=())


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
        return list(LiveGate(Policy(), seed, None, LiveOptions()).plan(stored.manifest, tasks, NOWHERE, {}))

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
        rule.observe(name, Said.of([value]))
        if value is not None:
            alone.update(value)
            best = min(best, float(np.exp(-alone.log_evidence_pass)))
    assert rule.p_pass == pytest.approx(best, rel=1e-9)
    parsed = [value for value in values if value is not None]
    estimate = rule.evidence().estimate
    assert (estimate.n, estimate.estimate) == (len(parsed), pytest.approx(np.mean(parsed)))
    interval = confidence_sequence(parsed, 0.9)
    assert (estimate.low, estimate.high) == (interval.low, interval.high)


def sequential(
    rule: NumberRule | BaselineRule,
    tasks: Sequence[str],
    baseline: dict[str, float | None] | None = None,
    *,
    whole_list: bool = False,
) -> SequentialRule:
    theirs = None if baseline is None else task_table(baseline)
    return SequentialRule(
        rule,
        levels=Levels(passing=0.05, interval=0.05, failing=0.05, later=0.05, power=0.8),
        rules=1,
        tasks=tasks,
        baseline=theirs,
        counts_always=sample_metrics()[rule.metric].always,
        whole_list=whole_list,
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
            rule.observe(name, Said.of([float(v) if u else None for u, v in zip(use, values, strict=True)]))
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
            rule.observe(name, Said.of([value]))
        passed += rule.p_pass <= 0.05
        failed += rule.p_fail <= 0.05
    assert errors_at_most_alpha(passed)
    assert errors_at_most_alpha(failed)


def test_the_first_verdict_of_a_rule_stands(stored: Run) -> None:
    """The first tasks drawn fail, all others don't: seen later, the evidence would be for passing."""
    policy = Policy(rules=(VALIDITY, "ndcg_at_1.parsed >= 0.99"))
    manifest = stored.manifest.model_copy(update={"samples_per_task": 1})
    gate = LiveGate(policy, 0, None, LiveOptions(until="rules"))
    order = gate.plan(manifest, list(stored.tasks()), NOWHERE, {})
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
