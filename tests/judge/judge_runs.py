"""Complete runs to judge, written by the real run directory."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from harness.contract import Contract, ParseResult
from harness.data.tasks import Item, RankingTask
from harness.errors import IncompleteError
from harness.judge import JudgeConfig, judge
from harness.judge.cost import Price
from harness.judge.records import Judgement, read_records
from harness.metrics import ndcg_at
from harness.runs import Manifest, RunDirectory, Sample
from harness.runs.manifest import DatasetRecord, EngineRecord
from harness.stats import wilson

WORDS = ("linen", "wool", "silk", "denim", "suede", "cotton", "velvet", "tweed", "canvas", "leather")
CHECKPOINT = "secret-checkpoint-name"
RAW_MARK = "raw-text-mark"
NAME = "listwise-relevance"
PRICE = Price(0.30, 2.50)
KEY = "AIzaSy-test-key-that-must-not-leak-0123456789"

Configure = Callable[..., JudgeConfig]


def make_tasks(count: int, *, k: int = 6, seed: int = 0) -> list[RankingTask]:
    """Tasks whose titles show their relevance ("grade 2"); title length has nothing to do with it."""
    rng = random.Random(seed)

    def title(grade: int, number: int) -> str:
        words = " ".join(rng.choices(WORDS, k=rng.randint(1, 12)))
        return f"item {number} {words} grade {grade}"

    tasks = []
    for index in range(count):
        labels = [rng.choice([0, 0, 1, 2, 3]) for _ in range(k - 1)] + [3]
        rng.shuffle(labels)
        tasks.append(
            RankingTask(
                task_id=f"t{index}",
                history=tuple(Item(item_id=f"h{n}", title=title(3, n)) for n in range(3)),
                candidates=tuple(
                    Item(item_id=f"c{n}", title=title(grade, n)) for n, grade in enumerate(labels)
                ),
                relevance=tuple(float(label) for label in labels),
            )
        )
    return tasks


def make_run(
    path: Path,
    tasks: list[RankingTask],
    *,
    skill: float = 0.3,
    samples: int = 1,
    failures: float = 0.1,
    seed: int = 0,
) -> Path:
    """A complete run: rankings follow the labels with noise, some texts don't parse strictly."""
    rng = random.Random(seed)
    with RunDirectory(path) as directory:
        directory.write_tasks(tasks)
        directory.open_samples()
        strict = 0
        for task in tasks:
            for index in range(samples):
                sample = _sample(task, index, rng, skill, failures)
                strict += sample.parse.tier == "strict"
                directory.append(sample)
        total = len(tasks) * samples
        directory.write_manifest(
            Manifest(
                status="complete",
                started=f"2026-01-01T00:00:{seed:02d}+00:00",
                config={},
                dataset=DatasetRecord(name="made", path="made.jsonl", sha256="0" * 64, rows_read=len(tasks)),
                contract=Contract(),
                prompt_version="1",
                engine=EngineRecord(name="replay", version="0", checkpoint=CHECKPOINT),
                sampling={"seed": 0},
                samples_per_task=samples,
                tasks=len(tasks),
                planned=total,
            )
        )
        directory.write_metrics({"parse_validity.strict": wilson(strict, total)})
    return path


def _sample(task: RankingTask, index: int, rng: random.Random, skill: float, failures: float) -> Sample:
    order = sorted(
        range(1, task.k + 1),
        key=lambda number: -(skill * task.relevance[number - 1] / 3 + (1 - skill) * rng.random()),
    )
    ranking = tuple(order)
    text = f'{{"ranking": {json.dumps(order)}}}'
    parse = ParseResult("strict", None, None, None, ranking)
    if rng.random() < failures:
        text = f"{RAW_MARK} {text}"
        parse = ParseResult("lenient", "extra_text", None, "text around the object", ranking)
    return Sample(
        key=f"{task.task_id}-{index}-{''.join(map(str, order))}",
        task_id=task.task_id,
        sample_index=index,
        prompt_sha256="0" * 64,
        text=text,
        token_ids=(),
        finish_reason="stop",
        prompt_tokens=None,
        completion_tokens=None,
        parse=parse,
        scores={
            "ndcg_at_1": ndcg_at(task.relevance, ranking, at=1),
            "ndcg_at_k": ndcg_at(task.relevance, ranking, at=task.k),
        },
    )


def judgements(run: Path) -> list[Judgement]:
    return [record for record in read_records(run) if isinstance(record, Judgement)]


def judged(config: JudgeConfig) -> str:
    """Judge; returns the message when it stopped early, else nothing."""
    try:
        judge(config)
    except IncompleteError as error:
        return str(error)
    return ""
