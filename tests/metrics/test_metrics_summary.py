"""`summarise` against a slow definition by loops, and what a user would be misled by."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from harness.contract import FAILURE_CODES, TIERS, ParseResult
from harness.metrics import METRICS, Columns, TaskMetric, can_rank, summarise
from harness.metrics.table import metrics_of
from harness.stats import wilson

K = 3
PERFECT = {"ndcg_at_1": 1.0, "ndcg_at_k": 1.0}


@dataclass(frozen=True)
class Answer:
    """A line of samples.jsonl, as far as metrics look at it."""

    task_id: str
    parse: ParseResult | None
    finish_reason: str = "stop"
    scores: dict[str, float | None] = field(default_factory=dict)
    key: str = "k"


def strict(task_id: str, scores: dict[str, float | None]) -> Answer:
    return Answer(task_id, ParseResult("strict", None, None, None, (1, 2, 3)), scores=scores)


def columns(samples: Sequence[Answer], labels: dict[str, Sequence[float]]) -> Columns:
    """What the reader of stored runs makes of these samples."""
    ids = list(labels)
    rankable = {task_id: can_rank(relevance) for task_id, relevance in labels.items()}
    values = {}
    for name in metrics_of(ranks=True, scores=()):
        metric = METRICS[name]
        if isinstance(metric, TaskMetric):
            column = [metric.value(relevance) for relevance in labels.values()]
        else:
            column = [
                metric.value(one) if rankable[one.task_id] or not metric.rankable_only else None
                for one in samples
            ]
        values[name] = np.array([math.nan if one is None else one for one in column], dtype=np.float64)
    return Columns(
        task_ids=tuple(ids),
        can_rank=np.array(list(rankable.values()), dtype=bool),
        missing=np.zeros(len(ids), dtype=np.int64),
        task=np.array([ids.index(one.task_id) for one in samples], dtype=np.int64),
        index=np.arange(len(samples)),
        values=values,
    )


def random_run(seed: int, samples: int, tasks: int) -> tuple[list[Answer], dict[str, Sequence[float]]]:
    rng = np.random.default_rng(seed)
    labels = {
        f"t{number}": [(3, 1, 0), (0, 0, 0), (2, 2, 2)][rng.choice(3, p=[0.8, 0.1, 0.1])]
        for number in range(tasks)
    }
    index = [*range(min(tasks, samples)), *rng.integers(0, tasks, max(0, samples - tasks)).tolist()]
    answers = []
    for task in index:
        if rng.random() < 0.05:
            answers.append(Answer(f"t{task}", None, "withheld", {"ndcg_at_1": None, "ndcg_at_k": None}))
            continue
        tier = TIERS[rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])]
        code = None if tier == "strict" else FAILURE_CODES[rng.integers(0, len(FAILURE_CODES))]
        at_1, at_k = rng.choice([0.0, 1 / 7, 3 / 7, 1.0]), rng.random()
        scored = tier in ("strict", "lenient") and can_rank(labels[f"t{task}"])
        answers.append(
            Answer(
                f"t{task}",
                ParseResult(tier, code, None, None, None),
                "length" if rng.random() < 0.05 else "stop",
                {"ndcg_at_1": float(at_1) if scored else None, "ndcg_at_k": float(at_k) if scored else None},
            )
        )
    return answers, labels


def slow_points(
    samples: Sequence[Answer], labels: dict[str, Sequence[float]]
) -> dict[str, tuple[int, float]]:
    """Every point estimate, by its definition in words, one sample at a time."""
    hits: dict[str, int] = defaultdict(int)
    values: dict[str, list[float]] = defaultdict(list)
    answers = [one for one in samples if one.parse is not None]
    for one in answers:
        for name in ("strict", "lenient", "repaired"):
            hits[f"parse_validity.{name}"] += TIERS.index(one.parse.tier) <= TIERS.index(name)
        for code in FAILURE_CODES:
            hits[f"failure_rate.{code}"] += one.parse.code == code
        hits["truncation_rate"] += one.finish_reason == "length"
        if len(set(labels[one.task_id])) == 1:
            continue
        for name in ("ndcg_at_1", "ndcg_at_k"):
            if one.parse.tier == "strict":
                values[f"{name}.parsed"].append(one.scores[name])
            if one.parse.tier in ("strict", "lenient"):
                values[f"{name}.lenient"].append(one.scores[name])
            values[f"{name}.all"].append(one.scores[name] if one.parse.tier == "strict" else 0.0)
    seen = {one.task_id: labels[one.task_id] for one in samples}
    # Of labels 3, 1, 0 a random first choice gains 7, 1 or 0 where the best gains 7.
    values["ndcg_at_1.chance"] = [8 / 3 / 7 for relevance in seen.values() if len(set(relevance)) > 1]
    values["task_rate.no_relevant"] = [float(max(relevance) == 0) for relevance in seen.values()]
    values["task_rate.all_tied"] = [float(len(set(relevance)) == 1) for relevance in seen.values()]
    points = {name: (len(answers), count / len(answers)) for name, count in hits.items()}
    withheld = len(samples) - len(answers)
    points["withheld_rate"] = (len(samples), withheld / len(samples))
    return points | {name: (len(found), math.fsum(found) / len(found)) for name, found in values.items()}


@pytest.mark.parametrize(("samples", "tasks"), [(60, 60), (240, 60), (50, 80), (1000, 30)])
def test_points_agree_with_the_slow_definition(samples: int, tasks: int) -> None:
    run = random_run(samples, samples, tasks)
    metrics = summarise(columns(*run))
    slow = slow_points(*run)
    assert metrics.keys() == slow.keys() == set(metrics_of(ranks=True, scores=()))
    for name, (n, value) in slow.items():
        assert metrics[name].n == n, name
        assert metrics[name].estimate == pytest.approx(value, abs=1e-12), name
        if isinstance(METRICS[name], TaskMetric):
            assert (metrics[name].low, metrics[name].high) == (None, None), name
        else:
            assert 0 <= metrics[name].low <= metrics[name].estimate <= metrics[name].high <= 1, name  # type: ignore[operator]


def test_strict_and_failures_account_for_every_sample() -> None:
    metrics = summarise(columns(*random_run(1, 500, 100)))
    failures = sum(metrics[f"failure_rate.{code}"].estimate or 0.0 for code in FAILURE_CODES)
    assert (metrics["parse_validity.strict"].estimate or 0.0) + failures == pytest.approx(1.0)


@pytest.mark.parametrize(("samples", "tasks"), [(80, 80), (400, 80)])
def test_neither_the_order_of_samples_nor_the_numbering_of_tasks_matters(samples: int, tasks: int) -> None:
    answers, labels = random_run(2, samples, tasks)
    rng = np.random.default_rng(3)
    shuffled = [answers[place] for place in rng.permutation(samples)]
    renumbered = {task_id: labels[task_id] for task_id in rng.permutation(list(labels)).tolist()}
    once, again = columns(answers, labels), columns(shuffled, renumbered)
    assert summarise(again) == summarise(once)


def test_one_sample_a_task_gives_plain_wilson() -> None:
    answers, labels = random_run(4, 90, 90)
    judged = [one.parse.tier == "strict" for one in answers if one.parse is not None]
    metrics = summarise(columns(answers, labels))
    assert metrics["parse_validity.strict"] == wilson(sum(judged), len(judged))
    assert metrics["withheld_rate"] == wilson(90 - len(judged), 90)


def test_repeating_every_sample_adds_no_certainty() -> None:
    """Greedy samples of one task are the same text: eight copies must not look like eight times the data."""
    answers, labels = random_run(6, 100, 100)
    one, eight = (summarise(columns(answers * copies, labels)) for copies in (1, 8))
    for name in ("parse_validity.strict", "ndcg_at_1.parsed", "ndcg_at_k.all"):
        assert eight[name].estimate == pytest.approx(one[name].estimate)
        assert eight[name].low <= one[name].low + 1e-6, name  # type: ignore[operator]
        assert eight[name].high >= one[name].high - 1e-6, name  # type: ignore[operator]


def test_nothing_parsed_is_missing_not_zero() -> None:
    answers, labels = random_run(7, 40, 40)
    failed = [replace(one, parse=ParseResult("none", "empty", None, None, None)) for one in answers]
    metrics = summarise(columns(failed, labels))
    parsed = metrics["ndcg_at_1.parsed"]
    assert (parsed.n, parsed.estimate, parsed.low, parsed.high) == (0, None, None, None)
    assert metrics["ndcg_at_1.all"].estimate == 0.0
    assert metrics["ndcg_at_1.all"].high > 0.0  # type: ignore[operator]
    assert metrics["parse_validity.strict"].estimate == 0.0


@pytest.mark.parametrize("labels", [{}, {"t0": (1.0, 0.0)}])
def test_no_samples_at_all(labels: dict[str, Sequence[float]]) -> None:
    metrics = summarise(columns([], labels))
    assert all(value.n == 0 and value.estimate is None for value in metrics.values())


def test_a_perfect_run_is_not_certain() -> None:
    n = 64
    labels: dict[str, Sequence[float]] = {f"t{number}": (1, 0, 0) for number in range(n)}
    metrics = summarise(columns([strict(task_id, PERFECT) for task_id in labels], labels))
    assert metrics["ndcg_at_1.parsed"].high == 1.0
    assert metrics["ndcg_at_1.parsed"].low == pytest.approx(0.025 ** (1 / n))
    assert metrics["failure_rate.empty"].high > 0.0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda good: {"task": good.task + 10_000}, "task must lie"),
        (lambda good: {"task": good.task - 1}, "task must lie"),
        (lambda good: {"index": good.index[:-1]}, "length"),
        (lambda good: {"can_rank": good.can_rank[:-1]}, "length"),
        (lambda good: {"values": {"truncation_rate": good.values["truncation_rate"][:-1]}}, "length"),
    ],
)
def test_columns_that_cannot_stand_side_by_side_are_refused(
    spoil: Callable[[Columns], dict[str, object]], message: str
) -> None:
    good = columns(*random_run(8, 50, 40))
    with pytest.raises(ValueError, match=message):
        replace(good, **spoil(good))  # type: ignore[arg-type]
