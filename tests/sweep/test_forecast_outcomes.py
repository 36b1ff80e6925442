"""What is called a hit where students are compared with a locked forecast: made-up ones, and stored locks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import forecast_outcomes as rules
from harness.sweep.meaning import meaning

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RULES = BENCHMARKS / "forecast_outcomes.py"
LOCKS = sorted((BENCHMARKS / "results" / "forecast-measured").glob("*/lock.json"))


def students(lock: dict[str, Any], validity: Any) -> list[dict[str, Any]]:
    """Rows of all runs of a plan, whose λ reached grows with the steps and the rate."""
    curves = {one["plausible"]: [(p["lam"], p["strict"]) for p in one["points"]] for one in lock["forecasts"]}
    rng = np.random.default_rng(0)
    rows = []
    for arm in lock["plan"]["arms"]:
        for lam in arm["lambdas"]:
            for seed in arm["seeds"]:
                for step in lock["plan"]["measured_at"]:
                    share = 1.0 - np.exp(-step * arm["learning_rate"] / 3e-2)
                    # Students of a plan that says how far they go start at the teacher.
                    goes = lock["plan"].get("goes")
                    reached = lam * share if goes is None else 1.0 + (lam - 1.0) * goes * share
                    rate = validity(rules.at(curves[arm["plausible"]], reached), lam)
                    rows.append(
                        {
                            **{name: arm[name] for name in ("plausible", "learning_rate")},
                            **{
                                "arm": arm["name"],
                                "lam": lam,
                                "seed": seed,
                                "step": step,
                                "reached": reached,
                            },
                            "line": arm["plausible"],
                            "strict": rng.binomial(256, rate) / 256,
                            "parsed": 200,
                            "ndcg_parsed": 0.96 + 0.003 * rng.normal(),
                        }
                    )
    return rows


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.parent.name)
def test_rules_of_a_stored_lock_have_not_changed(path: Path) -> None:
    locked = json.loads(path.read_bytes())
    assert meaning(RULES.read_text("utf-8")) == locked["code"]["analysis"]["forecast_outcomes"]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.parent.name)
def test_students_on_the_curve_hit_and_others_miss(path: Path) -> None:
    lock = json.loads(path.read_bytes())

    def outcome(validity: Any) -> dict[str, str]:
        rows = students(lock, validity)
        return {one["name"]: one["outcome"] for one in rules.outcomes(lock, rows)}

    on_curve = outcome(lambda forecast, lam: forecast)
    assert {name for name, what in on_curve.items() if what == "miss"} == set()
    assert on_curve["at_reached"] == on_curve["rank"] == on_curve["onset_reached"] == "hit"
    never = outcome(lambda forecast, lam: 0.97)
    assert never["at_reached"] == never.get("at_lambda", "miss") == "miss"
    assert never["onset"] == "open"  # no onset at all: the window can't be hit
    random = outcome(lambda forecast, lam: 0.1 if lam > 1.6 else 0.97)
    assert random["at_reached"] == random["onset"] == "miss"


def test_runs_that_are_missing_leave_a_test_undone() -> None:
    lock = json.loads(LOCKS[0].read_bytes())
    rows = students(lock, lambda forecast, lam: forecast)
    few = [row for row in rows if row["seed"] in lock["plan"]["arms"][0]["seeds"][:2]]
    assert {one["outcome"] for one in rules.outcomes(lock, few)} == {"not run"}
    torn = [row for row in rows if (row["lam"], row["seed"]) != (3.0, lock["plan"]["arms"][0]["seeds"][0])]
    assert {one["seeds"] for one in rules.outcomes(lock, torn) if one["name"] == "rank"} == {3}


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 6, 30), rng.normal(size=30)
    assert rules.spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert rules.spearman([1, 1], [2, 3]) == 0.0
