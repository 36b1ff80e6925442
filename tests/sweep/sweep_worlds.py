"""Sweeps whose collapse is planted, without any training."""

from collections.abc import Callable

from harness.sweep.plan import SweepPlan, SweepRun, parse_plan
from harness.sweep.results import SweepResult

GRID = [1.0, 1.1, 1.2, 1.4, 1.8, 2.6]
BASE_STRICT = 0.6


def plan_of(arms: list[dict[str, object]], seeds: int = 8) -> SweepPlan:
    content = {
        "teacher": "T",
        "base": "B",
        "seeds": list(range(seeds)),
        "arms": [{"lambdas": GRID, **arm} for arm in arms],
        "analysis": {"draws": 400},
    }
    return parse_plan(content, "test")


def result(arm: str, lam: float, seed: int, **changes: object) -> SweepResult:
    fields: dict[str, object] = {
        "clip": 1.5,
        "learning_rate": 5e-4,
        "steps": 120,
        "staleness": "fixed",
        "diverged": False,
        "tasks": 128,
        "strict": 0.9,
        "parsed": 115,
        "ndcg_parsed": 0.7,
        "ndcg_all": 0.63,
        "train_seconds": 1.0,
        "evaluate_seconds": 1.0,
        "started": "2026-01-02T00:00:00+00:00",
        "finished": "2026-01-02T00:00:02+00:00",
        "weights_sha256": "0" * 64,
        "training_code": "c",
    }
    return SweepResult(arm=arm, lam=lam, seed=seed, **{**fields, **changes})


def collapsing_from(plan: SweepPlan, onsets: dict[str, float]) -> list[SweepResult]:
    """All runs of a plan; an arm's runs collapse from its onset on."""
    return collapsing_where(plan, lambda run: run.lam >= onsets[run.arm])


def collapsing_where(plan: SweepPlan, collapses: Callable[[SweepRun], bool]) -> list[SweepResult]:
    """All runs of a plan, those collapsed of which that is said."""
    dead = {"strict": 0.0, "parsed": 0, "ndcg_parsed": None, "ndcg_all": 0.0}
    return [result(run.arm, run.lam, run.seed, **(dead if collapses(run) else {})) for run in plan.runs()]
