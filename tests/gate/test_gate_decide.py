"""Verdicts on stored runs: the numbers against scipy, the logic by hand, and what must be refused."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from gate_runs import BAD, answers, good, make_run, write_tasks

from harness.errors import DataError, HarnessError, IncompleteError, RunMismatchError
from harness.gate import GateFailure, Policy, PolicyError, RuleResult, check, decide, open_run
from harness.gate.comparability import compare_manifests
from harness.runs import Manifest, Run, load

TASKS = 120


def policy(*rules: str, **changes: object) -> Policy:
    return Policy(rules=rules, **changes)  # type: ignore[arg-type]


def only(run: Run, rule: str, baseline: Run | None = None, **changes: object) -> RuleResult:
    [result] = decide(run, policy(rule, **changes), baseline).rules
    return result


def shifted(rule: str, shift: float) -> str:
    return f"{rule} >= baseline {'-' if shift < 0 else '+'} {abs(shift):.6f}"


def mixed(seed: int, tasks: int = TASKS, samples: int = 1) -> list[list[str]]:
    """Answers of random quality, a fifth of them invalid."""
    rng = random.Random(seed)
    return [
        [BAD if rng.random() < 0.2 else good(rng.choice([1, 1, 1, 2, 3])) for _ in range(samples)]
        for _ in range(tasks)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return write_tasks(folder / "tasks.jsonl", TASKS, uninformative=10)


@pytest.fixture(scope="module")
def one(folder: Path, data: Path) -> Run:
    return make_run(folder / "one", mixed(1), data=data)


@pytest.fixture(scope="module")
def two(folder: Path, data: Path) -> Run:
    return make_run(folder / "two", mixed(2), data=data)


@pytest.fixture(scope="module")
def several(folder: Path, data: Path) -> Run:
    return make_run(folder / "several", mixed(3, samples=3), data=data)


def column(run: Run, name: str) -> np.ndarray:
    """One value a sample in task order; NaN where it has none."""
    frame = run.samples
    if name == "strict":
        return (frame["tier"] == "strict").to_numpy(dtype=float)
    return frame[name].to_numpy(dtype=float)


@pytest.mark.parametrize("bar", [0.6, 0.75, 0.8, 0.9])
@pytest.mark.parametrize("sense", [">=", "<="])
def test_a_rate_has_the_exact_binomial_p_values(one: Run, bar: float, sense: str) -> None:
    strict = column(one, "strict")
    successes, n = int(strict.sum()), len(strict)
    above, below = (
        scipy.stats.binomtest(successes, n, bar, alternative=way).pvalue for way in ("greater", "less")
    )
    rule = only(one, f"parse_validity.strict {sense} {bar}")
    p_pass, p_fail = (above, below) if sense == ">=" else (below, above)
    assert rule.p_pass == pytest.approx(p_pass, abs=1e-9)
    assert rule.p_fail == pytest.approx(p_fail, abs=1e-9)
    expected = "pass" if p_pass <= 0.05 else "fail" if p_fail <= 0.05 else "inconclusive"
    assert rule.verdict == expected


@pytest.mark.parametrize("metric", ["ndcg_at_1.parsed", "ndcg_at_1.all", "ndcg_at_k.parsed"])
def test_a_mean_has_the_t_test_over_tasks(one: Run, metric: str) -> None:
    """Tasks with equal labels say nothing; failures count 0 in `.all` and not at all in `.parsed`."""
    score, kind = metric.split(".")
    values = column(one, score)[: TASKS - 10]
    values = np.nan_to_num(values) if kind == "all" else values[~np.isnan(values)]
    bar = float(values.mean()) - 0.05
    rule = only(one, f"{metric} >= {bar!r}")
    assert rule.p_pass == pytest.approx(
        scipy.stats.ttest_1samp(values, bar, alternative="greater").pvalue, abs=1e-9
    )
    assert rule.estimate is not None
    assert (rule.estimate.n, rule.estimate.estimate) == (len(values), pytest.approx(values.mean()))


def test_differences_are_paired_by_task(one: Run, two: Run) -> None:
    """Over the tasks on which both parsed."""
    values = [column(run, "ndcg_at_1")[: TASKS - 10] for run in (one, two)]
    difference = (values[0] - values[1])[~np.isnan(values[0] + values[1])]
    rule = only(one, "ndcg_at_1.parsed >= baseline - 0.1", two)
    expected = scipy.stats.ttest_1samp(difference, -0.1, alternative="greater").pvalue
    assert rule.p_pass == pytest.approx(expected, abs=1e-9)
    assert rule.estimate is not None
    assert rule.estimate.n == len(difference)


@pytest.mark.parametrize("shift", ["- 0.1", "+ 0", "+ 0.1"])
def test_failures_against_a_baseline_are_successes_turned_round(one: Run, two: Run, shift: str) -> None:
    """Every failure here is extra text, so both rules say the same."""
    turned = {"- 0.1": "+ 0.1", "+ 0": "- 0", "+ 0.1": "- 0.1"}[shift]
    rate = only(one, f"parse_validity.strict >= baseline {shift}", two)
    failures = only(one, f"failure_rate.extra_text <= baseline {turned}", two)
    assert failures.p_pass == pytest.approx(rate.p_pass, abs=1e-12)
    assert failures.p_fail == pytest.approx(rate.p_fail, abs=1e-12)
    assert rate.estimate is not None
    assert failures.estimate is not None
    assert failures.estimate.estimate == pytest.approx(-rate.estimate.estimate)  # type: ignore[operator]
    assert failures.estimate.low == pytest.approx(-rate.estimate.high)  # type: ignore[operator]


def test_superiority_and_inferiority_are_one_question_from_two_sides(one: Run, two: Run) -> None:
    """Candidate ≥ baseline + x is refuted exactly where baseline − candidate ≤ −x is."""
    for shift in (0.02, 0.1, 0.25):
        better = only(one, f"parse_validity.strict >= baseline + {shift}", two)
        worse = only(two, f"parse_validity.strict <= baseline - {shift}", one)
        assert better.p_pass == pytest.approx(worse.p_pass, abs=1e-12)
        assert better.p_fail == pytest.approx(worse.p_fail, abs=1e-12)


def test_margins_move_the_verdict_one_way(one: Run, two: Run) -> None:
    shifts = np.linspace(-0.3, 0.3, 25)
    p_values = [only(one, shifted("parse_validity.strict", shift), two).p_pass for shift in shifts]
    assert p_values == sorted(p_values)  # type: ignore[type-var]
    assert p_values[0] < 0.01
    assert p_values[-1] > 0.99  # type: ignore[operator]


def test_several_samples_a_task_are_not_independent(folder: Path, data: Path) -> None:
    """Three copies of each answer say no more than one."""
    texts = mixed(5)
    single = make_run(folder / "single", texts, data=data)
    copied = make_run(folder / "copied", [row * 3 for row in texts], data=data)
    for rule in ("ndcg_at_1.all >= 0.5", "ndcg_at_1.parsed >= 0.6"):
        assert only(copied, rule).p_pass == pytest.approx(only(single, rule).p_pass, abs=1e-9)
    rule = "parse_validity.strict >= 0.74"
    assert only(copied, rule).p_pass == pytest.approx(only(single, rule).p_pass, rel=0.2)


def test_several_samples_a_task_against_a_baseline(several: Run, folder: Path, data: Path) -> None:
    other = make_run(folder / "several-other", mixed(4, samples=3), data=data)
    means = [
        run.samples.assign(strict=run.samples["tier"] == "strict").groupby("task_id")["strict"].mean()
        for run in (several, other)
    ]
    expected = scipy.stats.ttest_1samp(means[0] - means[1], -0.05, alternative="greater").pvalue
    rule = only(several, "parse_validity.strict >= baseline - 0.05", other)
    assert rule.p_pass == pytest.approx(expected, abs=1e-9)


def bar_with(p: float, run: Run, *, passing: bool) -> float:
    """The bar at which the exact test gives this p-value."""
    strict = column(run, "strict")
    successes, n = int(strict.sum()), len(strict)
    if passing:
        return float(scipy.stats.beta.ppf(p, successes, n - successes + 1))
    return float(scipy.stats.beta.ppf(1 - p, successes + 1, n - successes))


def test_a_gate_fails_only_after_the_correction_for_several_rules(one: Run) -> None:
    rate = f"parse_validity.strict >= {bar_with(0.03, one, passing=False)!r}"
    alone = only(one, rate)
    assert (alone.verdict, alone.p_fail) == ("fail", pytest.approx(0.03))
    together = decide(one, policy(rate, "truncation_rate <= 0.5"))
    assert [rule.verdict for rule in together.rules] == ["inconclusive", "pass"]
    assert together.rules[0].p_fail == pytest.approx(0.06)
    assert "correction" in together.rules[0].why
    assert together.verdict == "inconclusive"


def test_passing_needs_no_correction(one: Run) -> None:
    rate = f"parse_validity.strict >= {bar_with(0.03, one, passing=True)!r}"
    assert only(one, rate).p_pass == pytest.approx(0.03)
    assert decide(one, policy(rate, "truncation_rate <= 0.5")).verdict == "pass"


@pytest.mark.parametrize(
    ("rules", "verdict", "codes"),
    [
        (["parse_validity.strict >= 0.5"], "pass", (0, 0, 0)),
        (["parse_validity.strict >= 0.99"], "fail", (1, 1, 1)),
        (["parse_validity.strict >= 0.8"], "inconclusive", (1, 0, 4)),
        (["parse_validity.strict >= 0.5", "parse_validity.strict >= 0.8"], "inconclusive", (1, 0, 4)),
        (["parse_validity.strict >= 0.99", "parse_validity.strict >= 0.8"], "fail", (1, 1, 1)),
        (["parse_validity.strict >= 0.99", "parse_validity.strict >= 0.5"], "fail", (1, 1, 1)),
    ],
)
def test_exit_codes(one: Run, rules: list[str], verdict: str, codes: tuple[int, int, int]) -> None:
    for choice, code in zip(("fail", "pass", "inconclusive"), codes, strict=True):
        result = decide(one, policy(*rules, on_inconclusive=choice))
        assert (result.verdict, result.exit_code) == (verdict, code)


def test_the_default_is_strict_validity_of_95_percent(folder: Path) -> None:
    run = make_run(folder / "default", answers(170)(500, 1))
    [rule] = decide(run).rules
    assert (rule.rule, rule.verdict) == ("parse_validity.strict >= 0.95", "fail")


def test_more_samples_is_what_the_exact_test_asks_for(folder: Path) -> None:
    """The advice: with that many, a checkpoint as good as measured passes with probability 0.8."""
    rule = only(make_run(folder / "advice", answers(291)(300, 1)), "parse_validity.strict >= 0.95")
    assert rule.verdict == "inconclusive"
    n = 300 + (rule.more or 0)
    needed = next(x for x in range(n + 1) if scipy.stats.binom.sf(x - 1, n, 0.95) <= 0.05)
    assert 0.8 <= scipy.stats.binom.sf(needed - 1, n, 0.97) < 0.83
    assert f"{rule.more:,} more samples" in rule.why


def test_nothing_parsed_is_no_zero(folder: Path) -> None:
    run = make_run(folder / "nothing", [[BAD]] * 40)
    result = decide(run, policy("parse_validity.strict >= 0.95", "ndcg_at_1.parsed >= 0.1"))
    assert [rule.verdict for rule in result.rules] == ["fail", "inconclusive"]
    assert result.rules[1].estimate is not None
    assert (result.rules[1].estimate.n, result.rules[1].estimate.estimate) == (0, None)
    assert "nothing to measure" in result.rules[1].why
    assert result.exit_code == 1


def test_a_list_alone_is_settled_by_its_numbers(one: Run, two: Run) -> None:
    rate = one.metrics["parse_validity.strict"].estimate or 0.0
    assert only(one, f"parse_validity.strict >= {rate!r}", scope="list").verdict == "pass"
    assert only(one, f"parse_validity.strict >= {rate + 1e-6!r}", scope="list").verdict == "fail"
    difference = rate - (two.metrics["parse_validity.strict"].estimate or 0.0)
    for shift, verdict in ((difference - 0.001, "pass"), (difference + 0.001, "fail")):
        assert only(one, shifted("parse_validity.strict", shift), two, scope="list").verdict == verdict


def test_rates_need_no_samples_file(one: Run, tmp_path: Path) -> None:
    """Counts are in the metrics where each task has one sample."""
    for name in ("manifest.json", "metrics.json"):
        (tmp_path / name).write_bytes((one.path / name).read_bytes())
    assert only(load(tmp_path), "parse_validity.strict >= 0.6").verdict == "pass"


def copy_of(run: Run, folder: Path) -> Path:
    folder.mkdir()
    for path in run.path.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def cut(run: Run, folder: Path, keep: int, status: str = "incomplete") -> Run:
    """The run as a kill left it after `keep` samples."""
    path = copy_of(run, folder)
    lines = (path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (path / "samples.jsonl").write_bytes(b"".join(lines[:keep]))
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"status": status}))
    if status != "complete":
        (path / "metrics.json").unlink()
    return load(path)


@pytest.mark.parametrize("status", ["incomplete", "failed", "running"])
@pytest.mark.parametrize("keep", [0, 50])
def test_an_incomplete_run_is_refused(one: Run, tmp_path: Path, status: str, keep: int) -> None:
    run = cut(one, tmp_path / "cut", keep, status)
    with pytest.raises(IncompleteError, match=rf"has {keep} of {TASKS} samples"):
        decide(run)


def test_samples_that_went_missing_are_noticed(one: Run, tmp_path: Path) -> None:
    """The manifest says complete, the file was cut."""
    run = cut(one, tmp_path / "cut", TASKS - 1, "complete")
    with pytest.raises(IncompleteError):
        decide(run, policy("ndcg_at_1.all >= 0.5"))


def test_missing_samples_count_at_worst_and_at_best(one: Run, tmp_path: Path) -> None:
    """By hand: the bounds are the two runs in which all missing samples fail, or all succeed."""
    run = cut(one, tmp_path / "cut", 100)
    strict = sum(sample.parse.tier == "strict" for sample in run.iter_samples())
    [rule] = decide(run, policy("parse_validity.strict >= 0.6"), allow_incomplete=True).rules
    worst = scipy.stats.binomtest(strict, TASKS, 0.6, alternative="greater").pvalue
    best = scipy.stats.binomtest(strict + 20, TASKS, 0.6, alternative="less").pvalue
    assert (rule.p_pass, rule.p_fail) == (pytest.approx(worst, abs=1e-9), pytest.approx(best, abs=1e-9))
    assert rule.estimate is not None
    assert rule.estimate.n == 100
    assert rule.estimate.estimate == strict / 100


@pytest.mark.parametrize(
    "rule", ["parse_validity.strict >= 0.6", "ndcg_at_1.parsed >= 0.7", "ndcg_at_1.all >= 0.5"]
)
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("scope", ["tasks", "list"])
def test_bounds_hold_whatever_is_missing(
    one: Run, two: Run, tmp_path: Path, rule: str, paired: bool, scope: str
) -> None:
    """No completion of the run, the true one among them, is surer than its bounds."""
    text = f"{rule.partition('>=')[0]}>= baseline - 0.05" if paired else rule
    rules = policy(text, scope=scope)
    baseline = two if paired else None
    [whole] = decide(one, rules, baseline).rules
    for number, keep in enumerate((0, 60, 110)):
        run = cut(one, tmp_path / str(number), keep)
        [bounds] = decide(run, rules, baseline, allow_incomplete=True).rules
        assert bounds.p_pass >= whole.p_pass - 1e-12  # type: ignore[operator]
        assert bounds.p_fail >= whole.p_fail - 1e-12  # type: ignore[operator]
        if bounds.verdict != "inconclusive":
            assert bounds.verdict == whole.verdict


@pytest.mark.parametrize("rule", ["parse_validity.strict", "ndcg_at_1.parsed", "ndcg_at_1.all"])
def test_bounds_hold_whatever_the_baseline_misses(one: Run, two: Run, tmp_path: Path, rule: str) -> None:
    rules = policy(f"{rule} >= baseline - 0.05")
    [whole] = decide(one, rules, two).rules
    for number, (mine, theirs) in enumerate([(TASKS, 0), (TASKS, 60), (60, 60), (0, 0), (30, 90)]):
        run = cut(one, tmp_path / f"run{number}", mine)
        baseline = cut(two, tmp_path / f"baseline{number}", theirs)
        with pytest.raises(IncompleteError):
            decide(one, rules, baseline)
        [bounds] = decide(run, rules, baseline, allow_incomplete=True).rules
        assert bounds.p_pass > whole.p_pass  # type: ignore[operator]
        assert bounds.p_fail > whole.p_fail  # type: ignore[operator]
        if (mine, theirs) == (0, 0):
            assert bounds.estimate is not None
            assert (bounds.estimate.n, bounds.estimate.estimate) == (0, None)
            assert min(bounds.p_pass or 0.0, bounds.p_fail or 0.0) > 0.99


def test_a_list_that_is_not_whole_can_be_settled(folder: Path, tmp_path: Path) -> None:
    """190 of 200 kept the contract; 0.9 is reached whatever the five missing ones said."""
    run = cut(make_run(folder / "nearly", [[good()]] * 190 + [[BAD]] * 10), tmp_path / "cut", 195)
    results = [
        decide(run, policy(f"parse_validity.strict >= {bar}", scope="list"), allow_incomplete=True).verdict
        for bar in (0.9, 0.96, 0.98)
    ]
    assert results == ["pass", "inconclusive", "fail"]


def test_an_empty_run_settles_nothing(one: Run, tmp_path: Path) -> None:
    run = cut(one, tmp_path / "cut", 0)
    result = decide(run, policy("parse_validity.strict >= 0.95"), allow_incomplete=True)
    assert result.exit_code == 4


@pytest.mark.parametrize(
    ("metric", "row"),
    [
        ("parse_validity.strict", '{"n": 120, "estimate": NaN, "low": 0.1, "high": 0.2, "method": "wilson"}'),
        ("parse_validity.strict", '{"n": 120, "estimate": 1.0, "low": -Infinity, "high": 1, "method": "w"}'),
        ("parse_validity.strict", '{"n": "many", "estimate": 1.0, "low": 1, "high": 1, "method": "wilson"}'),
        ("parse_validity.strict", '{"n": 119, "estimate": 1.0, "low": 1, "high": 1, "method": "wilson"}'),
        ("ndcg_at_1.all", '{"n": 110, "estimate": NaN, "low": 0.1, "high": 0.2, "method": "x"}'),
        ("ndcg_at_1.all", '{"n": 110, "estimate": 0.999, "low": 0.1, "high": 0.2, "method": "x"}'),
    ],
)
def test_metrics_that_cannot_be_are_refused(one: Run, tmp_path: Path, metric: str, row: str) -> None:
    path = copy_of(one, tmp_path / "copy")
    metrics = json.loads((path / "metrics.json").read_text())
    text = json.dumps(metrics | {metric: "HERE"}).replace('"HERE"', row)
    (path / "metrics.json").write_text(text)
    with pytest.raises(DataError, match="harness rescore") as error:
        decide(load(path), policy(f"{metric} >= 0.5"))
    assert "\n" not in str(error.value)


def test_a_score_that_is_no_number_is_refused(one: Run, tmp_path: Path) -> None:
    path = copy_of(one, tmp_path / "copy")
    text = (path / "samples.jsonl").read_text()
    (path / "samples.jsonl").write_text(text.replace('"ndcg_at_1":1.0', '"ndcg_at_1":NaN', 1))
    with pytest.raises(DataError, match="harness rescore"):
        decide(load(path), policy("ndcg_at_1.parsed >= 0.5"))


def test_a_rule_with_baseline_needs_one(one: Run) -> None:
    with pytest.raises(PolicyError, match="--baseline RUN"):
        decide(one, policy("parse_validity.strict >= baseline"))


def test_an_unused_baseline_is_noted(one: Run, two: Run) -> None:
    assert "no rule" in decide(one, policy("parse_validity.strict >= 0.5"), two).notes[0]


def test_a_metric_without_tasks_cannot_be_paired(one: Run, two: Run) -> None:
    with pytest.raises(PolicyError, match="isn't known by task"):
        decide(one, policy("ndcg_at_1.chance >= baseline"), two)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"samples": 2, "temperature": 0.5}, "samples_per_task"),
        ({"max_tokens": 7}, "sampling.max_tokens"),
        ({"contract": {"key": "order"}}, "contract.key"),
        ({"limit": 60}, "tasks: 60"),
    ],
)
def test_unlike_runs_are_refused(
    one: Run, folder: Path, data: Path, changes: dict[str, object], field: str
) -> None:
    samples = int(changes.pop("samples", 1))  # type: ignore[call-overload]
    other = make_run(folder / field, mixed(7, samples=samples), data=data, **changes)
    rules = policy("parse_validity.strict >= baseline - 0.5")
    with pytest.raises(RunMismatchError, match=field):
        decide(one, rules, other)
    assert field in decide(one, rules, other, common=True).notes[0]


@pytest.mark.parametrize(
    ("part", "name", "value", "differs"),
    [
        ("", "prompt_version", "other", True),
        ("dataset", "sha256", "other", True),
        ("sampling", "temperature", 0.7, True),
        ("sampling", "top_p", 0.7, True),
        ("sampling", "constrained", True, True),
        ("contract", "id_style", "string", True),
        ("contract", "extra_keys", True, True),
        ("engine", "name", "vllm", False),
        ("engine", "version", "9", False),
        ("engine", "tokenizer_sha256", "other", False),
        ("engine", "chat_template_sha256", "only one side knows it", False),
        ("sampling", "seed", 9, False),
        ("engine", "checkpoint", "other", None),
        ("engine", "weights_sha256", "other", None),
    ],
)
def test_which_fields_matter(one: Run, part: str, name: str, value: object, differs: bool | None) -> None:
    """True: not comparable; False: a remark; None: expected to differ."""
    content = json.loads(one.manifest.model_dump_json())
    (content[part] if part else content)[name] = value
    found = compare_manifests(one.manifest, Manifest.model_validate(content))
    assert len(found.differences) == (differs is True)
    assert len(found.remarks) == (differs is False)
    assert all(name in line for line in (*found.differences, *found.remarks))


def test_two_known_chat_templates_must_agree(one: Run) -> None:
    def with_template(sha256: str) -> Manifest:
        engine = one.manifest.engine.model_copy(update={"chat_template_sha256": sha256})
        return one.manifest.model_copy(update={"engine": engine})

    found = compare_manifests(with_template("a"), with_template("b"))
    assert found.differences == ("engine.chat_template_sha256: b → a",)


def test_a_seed_need_not_be_the_same(one: Run, folder: Path, data: Path) -> None:
    other = make_run(folder / "seed", mixed(8), data=data, seed=5)
    result = decide(one, policy("parse_validity.strict >= baseline - 0.5"), other)
    assert any("sampling.seed: 5 → 0" in note for note in result.notes)


def test_only_tasks_with_the_same_content_are_common(one: Run, folder: Path) -> None:
    """The other dataset has 40 of the tasks; ten of them under other titles."""
    lines = (one.path / "tasks.jsonl").read_text().splitlines()[:40]
    lines[:10] = [line.replace("Thing 1", "Something else") for line in lines[:10]]
    other_data = folder / "other.jsonl"
    other_data.write_text("\n".join(lines) + "\n")
    other = make_run(folder / "other", mixed(9, tasks=40), data=other_data)
    rules = policy("parse_validity.strict >= baseline - 0.5")
    with pytest.raises(RunMismatchError, match=r"dataset\.sha256"):
        decide(one, rules, other)
    result = decide(one, rules, other, common=True)
    assert result.rules[0].estimate is not None
    assert result.rules[0].estimate.n == 30
    assert "30 common tasks" in result.notes[0]


def test_no_common_task_is_said(one: Run, folder: Path) -> None:
    other_data = write_tasks(folder / "salted.jsonl", 20, salt=" salted")
    other = make_run(folder / "salted", mixed(10, tasks=20), data=other_data)
    with pytest.raises(RunMismatchError, match="no task in common"):
        decide(one, policy("parse_validity.strict >= baseline"), other, common=True)


def with_cliff(run: Run, folder: Path, content: str) -> Run:
    path = copy_of(run, folder)
    (path / "cliff.json").write_text(content)
    return load(path)


@pytest.mark.parametrize(
    ("word", "allowed", "verdict"),
    [
        ("left", "left", "pass"),
        ("on_cliff", "left, on_cliff", "pass"),
        ("right", "left", "fail"),
        ("left", "right", "fail"),
        ("on_cliff", "left", "inconclusive"),
        ("out_of_scope", "left", "inconclusive"),
    ],
)
def test_the_side_of_the_cliff(one: Run, tmp_path: Path, word: str, allowed: str, verdict: str) -> None:
    run = with_cliff(one, tmp_path / "copy", json.dumps({"verdict": word, "observed": None}))
    assert only(run, f"cliff.verdict in [{allowed}]").verdict == verdict


def test_no_student_no_observed_side(one: Run, tmp_path: Path) -> None:
    run = with_cliff(one, tmp_path / "copy", json.dumps({"verdict": "left", "observed": None}))
    assert only(run, "cliff.observed in [left]").verdict == "inconclusive"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"verdict": 1}'])
def test_a_broken_cliff_is_one_line(one: Run, tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"cliff\.json") as error:
        only(with_cliff(one, tmp_path / "copy", content), "cliff.verdict in [left]")
    assert "\n" not in str(error.value)


def test_no_cliff_is_said(one: Run) -> None:
    with pytest.raises(DataError, match="teacher and a base"):
        only(one, "cliff.verdict in [left]")


def test_a_stored_interval_is_exact_at_its_own_level(one: Run, tmp_path: Path) -> None:
    """A 95 % interval refutes exactly the bars outside it at one-sided 2.5 %."""
    path = copy_of(one, tmp_path / "copy")
    metrics = json.loads((path / "metrics.json").read_text())
    row = {"n": 40, "estimate": 0.5, "low": 0.4, "high": 0.55, "method": "bootstrap"}
    (path / "metrics.json").write_text(json.dumps(metrics | {"judge.x.self_agreement": row}))
    run = load(path)
    for bar, verdict in ((0.399, "pass"), (0.401, "inconclusive"), (0.549, "inconclusive"), (0.551, "fail")):
        assert only(run, f"judge.x.self_agreement >= {bar}", alpha=0.025).verdict == verdict


def test_a_run_being_written_is_left_alone(one: Run, tmp_path: Path) -> None:
    path = copy_of(one, tmp_path / "copy")
    code = (
        "import sys\nfrom pathlib import Path\nfrom harness.runs import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(IncompleteError, match="still being written"):
        open_run(path)
    holder.kill()
    holder.communicate()
    assert decide(open_run(path), policy("parse_validity.strict >= 0.5")).verdict == "pass"


def test_a_gate_holds_no_lock(one: Run) -> None:
    """Two gates at once, or a gate and an evaluation, don't get in each other's way."""
    import fcntl

    lock = os.open(one.path / "run.lock", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    open_run(one.path)
    os.close(lock)


def test_check_passes_quietly_and_fails_with_the_table(one: Run, two: Run, tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text("rules:\n  - parse_validity.strict >= baseline - 0.5\n")
    assert check(one.path, policy=path, baseline=two.path).verdict == "pass"
    with pytest.raises(GateFailure) as failure:
        check(str(one.path), policy=policy("parse_validity.strict >= 0.99", "truncation_rate <= 0.5"))
    assert isinstance(failure.value, AssertionError)
    lines = str(failure.value).splitlines()
    assert [line.split()[0] for line in lines] == ["gate:", "FAIL", "PASS"]
    assert "is shown to be below 0.99" in lines[1]


def test_check_treats_inconclusive_as_the_policy_says(one: Run) -> None:
    rules = policy("parse_validity.strict >= 0.8")
    with pytest.raises(GateFailure, match="INCONCLUSIVE"):
        check(one.path, policy=rules)
    assert check(one.path, policy=rules.model_copy(update={"on_inconclusive": "pass"})).exit_code == 0


def test_files_that_do_not_belong_together(one: Run, tmp_path: Path) -> None:
    path = copy_of(one, tmp_path / "copy")
    lines = (path / "tasks.jsonl").read_text().splitlines(keepends=True)
    (path / "tasks.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match="belong together"):
        decide(load(path), policy("ndcg_at_1.all >= 0.5"))


def test_more_samples_than_planned(one: Run, tmp_path: Path) -> None:
    path = copy_of(one, tmp_path / "copy")
    [first, *_] = one.iter_samples()
    with (path / "samples.jsonl").open("ab") as file:
        file.write(replace(first, key="again").to_line())
    with pytest.raises(DataError, match="belong together"):
        decide(load(path), policy("ndcg_at_1.all >= 0.5"))


def test_a_broken_task_row_is_one_line(one: Run, tmp_path: Path) -> None:
    path = copy_of(one, tmp_path / "copy")
    (path / "tasks.jsonl").write_text('{"task_id": 3}\n')
    with pytest.raises(HarnessError, match=r"tasks\.jsonl") as error:
        decide(load(path), policy("ndcg_at_1.all >= 0.5"))
    assert "\n" not in str(error.value)
