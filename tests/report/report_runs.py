"""Runs to report on: evaluated by the real job from recorded answers; gated, judged and measured as asked."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from harness.cliff import MassBounds, PositionRecords, assess, estimate_cliff, known_clip
from harness.cliff.readings import resampling
from harness.cliff.token_level import TargetMasses, fixed_points
from harness.data.fashion_mini import generate_tasks
from harness.data.tasks import RankingTask
from harness.engines.config import EngineConfig
from harness.evaluate import EvalConfig, evaluate
from harness.gate import Policy, decide
from harness.gate.record import write_record
from harness.judge import load_rubric, rubric_metrics
from harness.judge.records import JudgeLog, Judgement, RubricUse
from harness.runs import Run, RunDirectory, load
from tests.cliff.position_records import exact

Answer = Callable[[RankingTask, random.Random], str]
POLICY = Policy(rules=("parse_validity.strict >= 0.5",))
AGAINST = Policy(rules=("parse_validity.strict >= 0.5", "ndcg_at_1.all >= baseline - 0.05"))


def tasks(count: int, *, k: int = 5, seed: int = 3) -> tuple[RankingTask, ...]:
    return generate_tasks("test", count, seed, k)


def ranked(task: RankingTask, rng: random.Random, skill: float = 0.7) -> list[int]:
    return sorted(
        range(1, task.k + 1),
        key=lambda number: -(skill * task.relevance[number - 1] / 3 + (1 - skill) * rng.random()),
    )


def answers(valid: float) -> Answer:
    """A share `valid` of strict answers, the rest broken in five ways."""

    def write(task: RankingTask, rng: random.Random) -> str:
        ids = ranked(task, rng)
        text = json.dumps({"ranking": ids})
        if rng.random() < valid:
            return text
        return rng.choice(
            (
                f"Sure! {text}",
                json.dumps({"ranking": [ids[0], *ids[:-1]]}),
                json.dumps({"ranking": ids[:-1]}),
                text[:-3],
                "",
            )
        )

    return write


def never(task: RankingTask, rng: random.Random) -> str:
    return "I would rather not rank these."


def make_run(
    out: Path,
    rows: Sequence[RankingTask],
    write: Answer,
    *,
    data: Path | None = None,
    seed: int = 0,
    **changes: object,
) -> Run:
    """Evaluate recorded answers into `out`; runs with the same `data` file are of one dataset."""
    data = data or out.parent / "tasks.jsonl"
    for folder in (data.parent, out.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if not data.exists():
        data.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    rng = random.Random(seed)
    samples = int(str(changes.get("samples", 1)))
    outputs = out.with_name(f"{out.name}.outputs.jsonl")
    lines = [
        json.dumps({"task_id": row.task_id, "sample_index": index, "text": write(row, rng)})
        for row in rows
        for index in range(samples)
    ]
    outputs.write_text("\n".join(lines) + "\n")
    engine = EngineConfig(engine="replay", replay=outputs)
    return evaluate(EvalConfig(engine=engine, data=str(data), out=out, **changes))  # type: ignore[arg-type]


def gated(run: Run, baseline: Run | None = None) -> Run:
    policy = POLICY if baseline is None else AGAINST
    write_record(run.path, decide(run, policy, baseline), policy)
    return run


def with_cliff(run: Run, lam: float, *, seed: int = 0, of_today: bool = True) -> Run:
    """Give a run a `cliff.json` from planted class masses, as `harness cliff` would write it."""
    rng = np.random.default_rng(seed)
    count = 40
    role, index = np.tile([0, 1, 1, 1], count), np.tile([0, 0, 1, 2], count)

    def mass(tails: tuple[float, float]) -> MassBounds:
        log_tail = np.log(np.asarray(tails))[role] + 0.5 * rng.standard_normal(role.size)
        return exact(np.exp(np.minimum(log_tail, np.log(0.99))))

    records = PositionRecords(
        roles=("open", "separator"),
        task=np.repeat(np.arange(count), 4),
        rollout=np.zeros_like(role),
        role=role,
        index=index,
        teacher=mass((1e-4, 7e-4)),
        base=mass((0.05, 0.2)),
        student=mass((1e-4, 6e-4)),
    )
    clip = known_clip(5.0)
    target = TargetMasses({lam: mass((2e-4, 1e-4)).low, 12.0: mass((1e-5, 8e-4)).low})
    fixed = fixed_points(records, lam, resampling(clip, 0.95, 200, seed), target=target)
    estimate = estimate_cliff(records, clip, seed=seed)
    result = assess(estimate, lam, fixed_points=fixed if of_today else None)
    with RunDirectory(run.path) as directory:
        directory.write_cliff(result.to_dict(), run.path)
        directory.write_metrics(run.metrics | result.metrics())
    return load(run.path)


def judged(run: Run, *, seed: int = 0, rubric_name: str = "listwise-relevance") -> Run:
    """Give a run two judgements a strict sample, by a judge that follows the labels with some noise."""
    rubric, rng = load_rubric(rubric_name), random.Random(seed)
    with RunDirectory(run.path) as directory, JudgeLog(run.path) as log:
        log.append(RubricUse(rubric.digest, "job", rubric.model_dump(mode="json")))
        for sample in run.iter_samples():
            if sample.parse.tier != "strict" or sample.parse.ranking is None:
                continue
            for repeat in range(2):
                quality = (sample.scores["ndcg_at_1"] or 0.0) * 0.8 + 0.2 * rng.random()
                log.append(
                    Judgement(
                        digest=rubric.digest,
                        sample=sample.key,
                        task_id=sample.task_id,
                        repeat=repeat,
                        order_seed=1,
                        ranking=sample.parse.ranking,
                        model="fake",
                        client="test 1",
                        scores={
                            one.name: round(one.lowest + quality * (one.highest - one.lowest))
                            for one in rubric.criteria
                        },
                        unscored=None,
                        note="because",
                        prompt_tokens=None,
                        output_tokens=None,
                        cached=False,
                    )
                )
        directory.write_metrics(run.metrics | rubric_metrics(run))
    return load(run.path)
