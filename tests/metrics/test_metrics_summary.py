"""`summarise` against a slow definition by loops, and what a user would be misled by."""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from harness.metrics import NO_CODE, TIERS, SampleTable, summarise
from harness.stats import wilson

CODES = ("empty", "truncated", "not_json", "extra_text", "duplicate_key", "wrong_type", "missing_key")
CODES += ("extra_key", "wrong_id_type", "wrong_length", "unknown_id", "duplicate_id")


def random_table(seed, samples, tasks):
    rng = np.random.default_rng(seed)
    no_relevant = rng.random(tasks) < 0.1
    all_tied = no_relevant | (rng.random(tasks) < 0.1)
    index = np.concatenate([np.arange(min(tasks, samples)), rng.integers(0, tasks, max(0, samples - tasks))])
    tier = rng.choice(4, size=samples, p=[0.7, 0.1, 0.1, 0.1])
    scored = (tier == 0) & ~(no_relevant | all_tied)[index]
    return SampleTable(
        task_index=index,
        tier=tier.astype(np.int8),
        code=np.where(tier == 0, NO_CODE, rng.integers(0, len(CODES), samples)).astype(np.int8),
        truncated=rng.random(samples) < 0.05,
        ndcg_at_1=np.where(scored, rng.choice([0.0, 1 / 7, 3 / 7, 1.0], samples), np.nan),
        ndcg_at_k=np.where(scored, rng.random(samples), np.nan),
        no_relevant=no_relevant,
        all_tied=all_tied,
        chance_ndcg_at_1=np.where(no_relevant, np.nan, rng.random(tasks)),
    )


def slow_points(table):
    """Every point estimate, by its definition, one sample at a time."""
    hits, n = defaultdict(int), len(table.task_index)
    parsed, everything = defaultdict(list), defaultdict(list)
    tasks = {int(task) for task in table.task_index}
    for i, task in enumerate(table.task_index):
        tier = TIERS[table.tier[i]]
        for name in ("strict", "lenient", "repaired"):
            hits[f"parse_validity.{name}"] += TIERS.index(tier) <= TIERS.index(name)
        for code, name in enumerate(CODES):
            hits[f"failure_rate.{name}"] += int(table.code[i]) == code
        hits["truncation_rate"] += int(table.truncated[i])
        if table.no_relevant[task] or table.all_tied[task]:
            continue
        for name, values in (("ndcg_at_1", table.ndcg_at_1), ("ndcg_at_k", table.ndcg_at_k)):
            if tier == "strict":
                parsed[name].append(float(values[i]))
            everything[name].append(float(values[i]) if tier == "strict" else 0.0)
    points = {name: (n, count / n) for name, count in hits.items()}
    for name in ("ndcg_at_1", "ndcg_at_k"):
        points[f"{name}.parsed"] = (len(parsed[name]), math.fsum(parsed[name]) / len(parsed[name]))
        points[f"{name}.all"] = (len(everything[name]), math.fsum(everything[name]) / len(everything[name]))
    chance = [float(table.chance_ndcg_at_1[t]) for t in tasks if not (table.no_relevant | table.all_tied)[t]]
    points["ndcg_at_1.chance"] = (len(chance), math.fsum(chance) / len(chance))
    points["task_rate.no_relevant"] = (
        len(tasks),
        sum(bool(table.no_relevant[t]) for t in tasks) / len(tasks),
    )
    points["task_rate.all_tied"] = (len(tasks), sum(bool(table.all_tied[t]) for t in tasks) / len(tasks))
    return points


@pytest.mark.parametrize(("samples", "tasks"), [(60, 60), (240, 60), (50, 80), (1000, 30)])
def test_points_agree_with_the_slow_definition(samples, tasks):
    table = random_table(samples, samples, tasks)
    metrics = summarise(table, CODES, seed=0)
    slow = slow_points(table)
    assert metrics.keys() == slow.keys()
    for name, (n, value) in slow.items():
        assert metrics[name].n == n, name
        assert metrics[name].estimate == pytest.approx(value, abs=1e-12), name
        assert metrics[name].low <= metrics[name].estimate <= metrics[name].high, name


def test_strict_and_failures_account_for_every_sample():
    metrics = summarise(random_table(1, 500, 100), CODES, seed=0)
    failures = sum(metrics[f"failure_rate.{code}"].estimate for code in CODES)
    assert metrics["parse_validity.strict"].estimate + failures == pytest.approx(1.0)


@pytest.mark.parametrize(("samples", "tasks"), [(80, 80), (400, 80)])
def test_neither_the_order_of_samples_nor_the_numbering_of_tasks_matters(samples, tasks):
    table = random_table(2, samples, tasks)
    rng = np.random.default_rng(3)
    order, number = rng.permutation(samples), rng.permutation(tasks)
    per_sample = ("tier", "code", "truncated", "ndcg_at_1", "ndcg_at_k")
    per_task = ("no_relevant", "all_tied", "chance_ndcg_at_1")
    shuffled = replace(
        table,
        task_index=number[table.task_index][order],
        **{name: getattr(table, name)[order] for name in per_sample},
        **{name: getattr(table, name)[np.argsort(number)] for name in per_task},
    )
    assert summarise(shuffled, CODES, seed=5) == summarise(table, CODES, seed=5)


def test_one_sample_a_task_gives_plain_wilson():
    table = random_table(4, 90, 90)
    strict = int((table.tier == 0).sum())
    assert summarise(table, CODES, seed=0)["parse_validity.strict"] == wilson(strict, 90)


def test_repeating_every_sample_adds_no_certainty():
    """Greedy samples of one task are the same text: eight copies must not look like eight times the data."""
    once = random_table(6, 100, 100)
    copies = {
        name: np.tile(getattr(once, name), 8)
        for name in ("task_index", "tier", "code", "truncated", "ndcg_at_1", "ndcg_at_k")
    }
    one, eight = (summarise(t, CODES, seed=0) for t in (once, replace(once, **copies)))
    for name in ("parse_validity.strict", "ndcg_at_1.parsed", "ndcg_at_k.all"):
        width = one[name].high - one[name].low
        assert eight[name].high - eight[name].low == pytest.approx(width, rel=0.02), name


def test_nothing_parsed_is_missing_not_zero():
    table = random_table(7, 40, 40)
    failed = replace(table, tier=np.full(40, 3), code=np.zeros(40, dtype=int))
    metrics = summarise(failed, CODES, seed=0)
    parsed = metrics["ndcg_at_1.parsed"]
    assert (parsed.n, parsed.estimate, parsed.low, parsed.high) == (0, None, None, None)
    assert metrics["ndcg_at_1.all"].estimate == 0.0
    assert metrics["ndcg_at_1.all"].high > 0.0
    assert metrics["parse_validity.strict"].estimate == 0.0


def test_no_samples_at_all():
    empty = SampleTable(
        *(np.empty(0, dtype=t) for t in (int, int, int, bool, float, float, bool, bool, float))
    )
    metrics = summarise(empty, CODES, seed=0)
    assert all(value.n == 0 and value.estimate is None for value in metrics.values())


def test_a_perfect_run_is_not_certain():
    n = 64
    table = SampleTable(
        task_index=np.arange(n),
        tier=np.zeros(n, dtype=int),
        code=np.full(n, NO_CODE),
        truncated=np.zeros(n, dtype=bool),
        ndcg_at_1=np.ones(n),
        ndcg_at_k=np.ones(n),
        no_relevant=np.zeros(n, dtype=bool),
        all_tied=np.zeros(n, dtype=bool),
        chance_ndcg_at_1=np.full(n, 0.25),
    )
    metrics = summarise(table, CODES, seed=0)
    assert metrics["ndcg_at_1.parsed"].high == 1.0
    assert metrics["ndcg_at_1.parsed"].low == pytest.approx(0.025 ** (1 / n))
    assert metrics["failure_rate.empty"].high > 0.0


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("task_index", 10_000, "task_index"),
        ("task_index", -1, "task_index"),
        ("tier", 4, "tier"),
        ("code", 12, "code"),
        ("ndcg_at_1", 1.5, "ndcg_at_1"),
        ("ndcg_at_k", math.nan, "ndcg_at_k"),
    ],
)
def test_contradictory_columns_are_refused(column, value, message):
    table = random_table(8, 50, 50)
    row = int(np.flatnonzero(np.isfinite(table.ndcg_at_1))[0])
    changed = getattr(table, column).copy()
    changed[row] = value
    with pytest.raises(ValueError, match=message):
        summarise(replace(table, **{column: changed}), CODES, seed=0)


def test_a_failure_code_on_a_strict_sample_is_refused():
    table = random_table(9, 50, 50)
    with pytest.raises(ValueError, match="exactly when"):
        summarise(replace(table, code=np.zeros(50, dtype=int)), CODES, seed=0)


def test_columns_of_different_length_are_refused():
    table = random_table(10, 50, 50)
    with pytest.raises(ValueError, match="length"):
        summarise(replace(table, tier=table.tier[:-1]), CODES, seed=0)
