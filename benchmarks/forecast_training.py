"""Lock what a forecast says of students that aren't trained yet; train them; measure them.

The lock is a plain JSON file of this benchmark, not one of `harness prereg lock`, whose windows are λ*'s. It
holds the plan, the digests of checkpoints and data, the forecast at every λ, what each test asks and which
answers are hits, and the meaning of the code that trains, draws and judges. It is committed before any run.

Examples:
    python benchmarks/cliff_pair.py --out runs/one-class
    harness forecast --teacher runs/one-class/teacher --base runs/one-class/base --lambdas 0,1,3 --out runs/f
    python benchmarks/forecast_training.py lock one-class --pair runs/one-class --forecast runs/f
    python benchmarks/forecast_training.py train one-class --pair runs/one-class --runs runs/students
    python benchmarks/forecast_training.py gather one-class --runs runs/students
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from forecast_outcomes import crossing

from harness import files
from harness.data.loading import load_tasks
from harness.engines.checkpoint import find_checkpoint
from harness.engines.config import EngineConfig
from harness.engines.target_engine import TargetEngine
from harness.evaluate.config import EvalConfig
from harness.forecast.config import ForecastConfig
from harness.forecast.students import place_student
from harness.progress import ignore
from harness.runs import load
from harness.runs.manifest import describe_git, describe_host, installed_packages
from harness.sweep.meaning import meaning
from harness.sweep.provenance import TRAINING, code_meanings

RESULTS = Path(__file__).parent / "results" / "forecast-measured"
LOCK, ROWS = "lock.json", "rows.json"
CODE = {
    "target": "harness.engines.target_engine",
    "target_draw": "harness.engines.target_draw",
    "line": "harness.engines.hf_line",
    "reached": "harness.cliff.reached",
    "line_sums": "harness.cliff.line_sums",
    "students": "harness.forecast.students",
    **TRAINING,
}
ANALYSIS = Path(__file__).with_name("forecast_outcomes.py")

_SEEDS = [60, 61, 62, 63]
PLANS: dict[str, dict[str, Any]] = {
    "one-class": {
        "recipe": "python benchmarks/cliff_pair.py --out runs/one-class",
        "steps": 480,
        "measured_at": [120, 240, 480],
        "training": {
            "data": "fashion-mini",
            "split": "train",
            "clip": 1.5,
            "staleness": "fresh",
            "batch-size": 64,
            "updates-per-rollout": 4,
            "samples": 8,
            "device": "cpu",
            "log-every": 24,
            "checkpoint-every": 120,
            "keep-every": 120,
        },
        "evaluation": {"data": "fashion-mini", "split": "validation", "limit": 256},
        "evaluation_seed": "20000 + seed of the run",
        "arms": [
            {
                "name": "plain",
                "lambdas": [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 6.0],
                "order": [3.0, 1.0, 4.0, 2.0, 6.0, 2.5, 1.5, 3.5],
                "learning_rate": 2e-4,
                "plausible": 0.0,
                "seeds": _SEEDS,
            },
            {
                "name": "plausible",
                "lambdas": [4.0, 8.0],
                "learning_rate": 2e-4,
                "plausible": 0.1,
                "seeds": _SEEDS,
            },
            {
                "name": "rate-half",
                "lambdas": [2.0, 3.0],
                "learning_rate": 1e-4,
                "plausible": 0.0,
                "seeds": _SEEDS,
            },
            {
                "name": "rate-twice",
                "lambdas": [2.0, 3.0],
                "learning_rate": 4e-4,
                "plausible": 0.0,
                "seeds": _SEEDS,
            },
        ],
        "known_before": "Students of this very pair, trained so with seeds 30 and 31 and measured on 128 "
        "validation tasks, had been seen: strict validity .891 and .875 at λ = 2, .391 and .375 at 3, .148 "
        "at 4, .000 at 8, λ reached 1.77, 1.86, 2.83, 2.94, 3.51, 6.19; with extrapolation where "
        "plausible (0.1) .898 at 8 and .969 at 4. The fifth sweep of cliff-measured trained seeds "
        "30 to 33 at λ = 1, 1.4 and 8. So these windows were not chosen blindly; the seeds are new, "
        "and what is tested is that the numbers come again over a whole grid. No run of another "
        "rate, and no student kept on the way, had been seen.",
    },
}


_HOLD_OUT = [70, 71, 72, 73]
PLANS["third"] = PLANS["one-class"] | {
    "recipe": "python benchmarks/cliff_pair.py --out runs/third --teacher-steps 700 --share 0.5 --seed 51",
    "arms": [
        {
            "name": "plain",
            "lambdas": [1.0, 1.5, 2.0, 2.5, 3.0, 4.0],
            "order": [2.0, 1.0, 3.0, 1.5, 4.0, 2.5],
            "learning_rate": 2e-4,
            "plausible": 0.0,
            "seeds": _HOLD_OUT,
        },
        {
            "name": "plausible",
            "lambdas": [3.0, 6.0],
            "learning_rate": 2e-4,
            "plausible": 0.1,
            "seeds": _HOLD_OUT,
        },
    ],
    "known_before": "The rules of this lock are those of the one-class pair's, made before this pair was. Of "
    "another pair of the same recipe, with other seeds, strict validity of three students had been seen: "
    ".523, .281 and .156 at λ = 2, 2.5 and 3.",
}
"""The hold-out: a pair made after the method was locked."""

PLANS["zoo"] = PLANS["one-class"] | {
    "recipe": "the zoo's checkpoints; students start at the teacher, since the base has half its parameters",
    "checkpoints": {"teacher": "zoo:teacher", "base": "zoo:base", "student": "zoo:teacher"},
    "training": PLANS["one-class"]["training"] | {"final-fraction": 0.02},
    "arms": [
        {
            "name": "plain",
            "lambdas": [1.0, 2.0, 3.0, 4.0, 6.0],
            "order": [3.0, 1.0, 4.0, 2.0, 6.0],
            "learning_rate": 4e-4,
            "plausible": 0.0,
            "seeds": [80, 81, 82, 83],
        },
        {
            "name": "plausible",
            "lambdas": [4.0],
            "learning_rate": 4e-4,
            "plausible": 0.1,
            "seeds": [80, 81, 82, 83],
        },
    ],
    "goes": 0.47,
    "known_before": "Pilots at λ = 2 with seed 90, measured on 96 validation tasks. At 2e-4: after 480 steps "
    "λ reached 1.37, off the line .080, strict .885. At 5e-4: after 120, 240, 480 steps 1.51, 1.04, 1.48, "
    "off .329, .142, .282, strict .885, .854, .792. At 4e-4 falling to a fiftieth, as here: .78, 1.13, 1.47, "
    "off .063, .054, .047, strict .885, .927, .917. So 480 steps go about .47 of the way from the teacher to "
    "λ, and the onset is foreseen where the forecast falls after that share of the way. Older students of "
    "this pair, trained from the base for 600 steps at 1e-3, reached .26 and .27 at λ = 2 and 2.6.",
}
"""The zoo's pair, whose students don't come near λ within the steps: only λ reached is near the forecast."""


def tests_of(plan: dict[str, Any], curve: list[tuple[float, float]], line: float) -> list[dict[str, Any]]:
    """The questions, with the answers that are hits."""
    falls = [one for one in curve if one[0] >= 1.0]
    fall = crossing([one[0] for one in falls], [one[1] for one in falls], line)
    if fall is None:
        raise SystemExit("the forecast doesn't cross the collapse line on its grid")
    names = {arm["name"] for arm in plan["arms"]}
    near, far = round(fall / 1.1, 3), round(fall * 1.2, 3)
    goes = plan.get("goes")
    foreseen = f"the forecast's is {fall:.2f}"
    if goes is not None:
        later = 1.0 + (fall - 1.0) / goes
        near, far = round(later / 1.2, 3), round(later * 1.3, 3)
        foreseen += f", foreseen at {later:.2f} after {goes:g} of the way"
    budgets = " and ".join(str(step) for step in plan["measured_at"][:-1])
    rows = [
        (
            "rank",
            [0.9, 1.0],
            [-1.0, 1.0],
            "rank correlation of trained strict validity with the forecast at λ, all runs",
        ),
        ("at_lambda", [0.0, 0.12], [0.0, 1.0], "mean |trained − forecast at λ|, all runs at the end"),
        (
            "at_reached",
            [0.0, 0.10],
            [0.0, 1.0],
            "mean |trained − forecast at λ reached|, all runs and budgets",
        ),
        (
            "onset",
            [near, far],
            [0.0, 100.0],
            f"λ at which mean strict validity falls below half of the base's; {foreseen}",
        ),
        (
            "onset_reached",
            [round(fall / 1.15, 3), round(fall * 1.15, 3)],
            [0.0, 100.0],
            "λ reached at which it does, all runs and budgets",
        ),
        (
            "budget",
            [-0.1, 0.1],
            [-1.0, 1.0],
            f"mean (trained − forecast at λ reached) after {budgets} steps minus that at the end, λ ≥ 2",
        ),
        ("ndcg_flat", [-0.05, 0.05], [-1.0, 1.0], "NDCG@1 on parsed at λ ≥ 2 minus that at λ = 1"),
    ]
    if "plausible" in names:
        rows += [
            (
                "plausible_validity",
                [0.85, 1.0],
                [0.0, 1.0],
                "plausible 0.1: the lower mean strict validity of its λ",
            ),
            (
                "plausible_forecast",
                [-0.1, 0.1],
                [-1.0, 1.0],
                "plausible 0.1: mean (trained − its forecast at λ)",
            ),
            (
                "plausible_ranking",
                [-0.02, 0.02],
                [-1.0, 1.0],
                "plausible 0.1: NDCG@1 on parsed minus that of plain distillation (no gain foreseen)",
            ),
        ]
    if goes is not None:
        rows = [row for row in rows if row[0] != "at_lambda"]
    rows += [
        (
            f"rate:{name}",
            [-0.1, 0.1],
            [-1.0, 1.0],
            f"{name}: mean (trained − forecast at λ reached) minus that of the same λ at the plan's rate",
        )
        for name in sorted(names)
        if name.startswith("rate")
    ]
    return [
        {"name": name, "window": window, "range": within, "least_seeds": 3, "question": question}
        for name, window, within, question in rows
    ]


def _forecast(folder: Path, checkpoints: dict[str, str]) -> dict[str, Any]:
    """Points of a `forecast.json`, drawn from these checkpoints."""
    told = json.loads((folder / "forecast.json").read_bytes())
    for one in told["points"]:
        made_of = [checkpoints["teacher"], checkpoints["base"], one["lam"], told["plausible"]]
        expected = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
        drawn = load(folder / one["run"]).manifest.engine.weights_sha256
        assert drawn == expected, f"{folder / one['run']} is of another pair"
    return {
        "plausible": told["plausible"],
        "points": [
            {
                "lam": one["lam"],
                "strict": one["parse_validity"]["estimate"],
                "low": one["parse_validity"]["low"],
                "high": one["parse_validity"]["high"],
                "n": one["parse_validity"]["n"],
                "ndcg_at_1_parsed": one["ndcg_at_1_parsed"]["estimate"],
                "failure_codes": one["failure_codes"],
                "source": one["source"],
            }
            for one in told["points"]
        ],
        "sha256": hashlib.sha256((folder / "forecast.json").read_bytes()).hexdigest(),
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def code() -> dict[str, dict[str, str]]:
    return {
        "training": code_meanings(CODE),
        "analysis": {
            "forecast_outcomes": meaning(ANALYSIS.read_text("utf-8")),
            "bounded": code_meanings({"bounded": "harness.stats.bounded"})["bounded"],
            "distributions": code_meanings({"distributions": "harness.stats.distributions"})["distributions"],
        },
    }


def lock(name: str, pair: Path | None, forecasts: list[Path]) -> None:
    plan = PLANS[name]
    place = RESULTS / name / LOCK
    if place.exists():
        raise SystemExit(f"{place} exists: a lock is made once")
    names = checkpoints_of(plan, pair)
    checkpoints = {role: find_checkpoint(one).sha256 for role, one in names.items()}
    drawn = [_forecast(folder, checkpoints) for folder in forecasts]
    plain = next(one for one in drawn if one["plausible"] == 0.0)
    curve = [(point["lam"], point["strict"]) for point in plain["points"]]
    line = round(0.5 * dict(curve)[0.0], 4)
    evaluation = plan["evaluation"]
    told = {
        "version": 1,
        "locked": now(),
        "name": name,
        "plan": plan,
        "checkpoints": checkpoints,
        "data": {
            split: load_tasks(plan["training"]["data"], split).sha256
            for split in (plan["training"]["split"], evaluation["split"])
        },
        "forecasts": drawn,
        "collapse_line": line,
        "tests": tests_of(plan, curve, line),
        "verdicts": "hit where the whole 95 % interval (jackknife over seeds, t) lies in the window, miss "
        "where none of it does, open otherwise; not run with fewer than least_seeds seeds that "
        "have all of a test's runs",
        "code": code(),
        "git": describe_git(Path(__file__).parent),
        "packages": installed_packages(),
        "host": describe_host(),
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(place, json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    print(f"locked {told['locked']}: {place}")


def checkpoints_of(plan: dict[str, Any], pair: Path | None) -> dict[str, str]:
    """Names of teacher, base and, where it doesn't start at the base, student."""
    if pair is None:
        return dict(plan["checkpoints"])
    return {role: str(pair / role) for role in ("teacher", "base")}


def runs_of(plan: dict[str, Any]) -> Iterator[tuple[dict[str, Any], float, int]]:
    """All runs, arm by arm and seed by seed, λ interleaved, so that a part is balanced."""
    for arm in plan["arms"]:
        for seed in arm["seeds"]:
            for lam in arm.get("order", arm["lambdas"]):
                yield arm, lam, seed


def place_of(runs: Path, arm: dict[str, Any], lam: float, seed: int) -> Path:
    return runs / str(arm["name"]) / f"lambda-{lam:g}" / f"seed-{seed}"


def train(name: str, pair: Path | None, runs: Path, only: str | None) -> None:
    """Make every run that has no result; processes side by side share them."""
    locked = json.loads((RESULTS / name / LOCK).read_bytes())
    names = checkpoints_of(locked["plan"], pair)
    for role, sha256 in locked["checkpoints"].items():
        assert find_checkpoint(names[role]).sha256 == sha256, f"another {role} than the lock's"
    if locked["code"]["training"] != code()["training"]:
        raise SystemExit("the training code isn't the locked one")
    for arm, lam, seed in runs_of(locked["plan"]):
        place = place_of(runs, arm, lam, seed)
        if (place / "result.json").exists() or only not in (None, arm["name"]):
            continue
        place.mkdir(parents=True, exist_ok=True)
        try:
            claim = files.lock(place / "claim.lock")
        except files.LockedError:
            continue
        with claim:
            if not (place / "result.json").exists():
                _make(locked, names, place, arm, lam, seed)


def _make(
    locked: dict[str, Any], names: dict[str, str], place: Path, arm: dict[str, Any], lam: float, seed: int
) -> None:
    plan, began = locked["plan"], place / "started"
    if not began.exists():
        files.write_text(began, now() + "\n")
    command = [sys.executable, "-m", "harness", "train", "opd", "--resume"]
    told = plan["training"] | {
        **names,
        "out": place / "train",
        "lambda": lam,
        "plausible": arm["plausible"],
        "lr": arm["learning_rate"],
        "steps": plan["steps"],
        "seed": seed,
    }
    for flag, value in told.items():
        command += [f"--{flag}", str(value)]
    with (place / "train.log").open("ab") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False)
    if done.returncode:
        print(f"{place}: training ended with {done.returncode}, see train.log", flush=True)
        return
    kept = {step: place / "train" / f"checkpoint-{step}" for step in plan["measured_at"]}
    kept[plan["steps"]] = place / "train" / "checkpoint"
    rows = measure(locked, names, place, arm, lam, seed, kept)
    log_sha256 = hashlib.sha256((place / "train" / "train.jsonl").read_bytes()).hexdigest()
    told = {
        "started": began.read_text().strip(),
        "finished": now(),
        "train_log_sha256": log_sha256,
        "code_same_as_lock": locked["code"]["training"] == code()["training"],
        "rows": rows,
    }
    files.write_text(place / "result.json", json.dumps(told, indent=1, allow_nan=False) + "\n")


def measure(
    locked: dict[str, Any],
    names: dict[str, str],
    place: Path,
    arm: dict[str, Any],
    lam: float,
    seed: int,
    kept: dict[int, Path],
) -> list[dict[str, Any]]:
    """Strict validity, NDCG@1, λ reached and off the line of each checkpoint, fresh draws at T = 1."""
    evaluation = EvalConfig(
        engine=EngineConfig(device="cpu"), temperature=1.0, seed=20_000 + seed, **locked["plan"]["evaluation"]
    )
    rows = []
    for line in sorted({0.0, arm["plausible"]}):
        config = ForecastConfig(
            evaluation=evaluation,
            teacher=names["teacher"],
            base=names["base"],
            students=tuple(str(path) for path in kept.values()),
            plausible=line,
            out=place / "measured",
        )
        with closing(TargetEngine(config.at(1.0).engine)) as engine:
            engine.start()
            for number, step in enumerate(kept):
                found = place_student(config, number, engine, (), ignore)
                ranked = found.ndcg_at_1_parsed
                run = load(place / "measured" / found.run)
                rows.append(
                    {
                        "arm": arm["name"],
                        "lam": lam,
                        "plausible": arm["plausible"],
                        "line": line,
                        "learning_rate": arm["learning_rate"],
                        "seed": seed,
                        "step": step,
                        "steps": locked["plan"]["steps"],
                        "n": found.parse_validity.n,
                        "strict": found.parse_validity.estimate,
                        "parsed": 0 if ranked is None else ranked.n,
                        "ndcg_parsed": None if ranked is None else ranked.estimate,
                        "ndcg_all": run.stored("ndcg_at_1.all").estimate,
                        "truncated": run.stored("truncation_rate").estimate,
                        "reached": found.lambda_reached.estimate,
                        "reached_low": found.lambda_reached.low,
                        "reached_high": found.lambda_reached.high,
                        "off": found.off_the_line.estimate,
                        "off_low": found.off_the_line.low,
                        "off_high": found.off_the_line.high,
                        "weights_sha256": run.manifest.engine.weights_sha256,
                    }
                )
    return rows


def restore(name: str, runs: Path) -> None:
    """Put rows stored beside the lock back where their runs were made: another machine goes on from there."""
    stored = RESULTS / name / ROWS
    of_run: dict[tuple[str, float, int], list[dict[str, Any]]] = {}
    for row in json.loads(stored.read_bytes()) if stored.exists() else []:
        of_run.setdefault((row["arm"], row["lam"], row["seed"]), []).append(row)
    for (arm, lam, seed), rows in of_run.items():
        place = place_of(runs, {"name": arm}, lam, seed) / "result.json"
        if place.exists():
            continue
        about = {name: rows[0][name] for name in ("started", "train_log_sha256")}
        kept = [{name: value for name, value in row.items() if name not in about} for row in rows]
        place.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(place, json.dumps(about | {"rows": kept}, indent=1, allow_nan=False) + "\n")


def gather(name: str, runs: Path) -> None:
    """Rows of all finished runs, beside the lock; those stored already are put back among the runs."""
    restore(name, runs)
    locked = json.loads((RESULTS / name / LOCK).read_bytes())
    found = []
    for arm, lam, seed in runs_of(locked["plan"]):
        result = place_of(runs, arm, lam, seed) / "result.json"
        if result.exists():
            told = json.loads(result.read_bytes())
            assert told["started"] >= locked["locked"], "a run from before the lock"
            about = {"started": told["started"], "train_log_sha256": told["train_log_sha256"]}
            found += [row | about for row in told["rows"]]
    text = "[\n" + ",\n".join(json.dumps(row) for row in found) + "\n]\n"
    files.write_text(RESULTS / name / ROWS, text)
    planned = sum(1 for _ in runs_of(locked["plan"]))
    print(f"{len({(row['arm'], row['lam'], row['seed']) for row in found})} of {planned} runs")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["lock", "train", "gather"])
    parser.add_argument("name", choices=sorted(PLANS))
    parser.add_argument("--pair", type=Path, help="folder of teacher/ and base/, where the plan names none")
    parser.add_argument("--forecast", type=Path, action="append", default=[])
    parser.add_argument("--runs", type=Path, help="where students are trained")
    parser.add_argument("--only", help="this arm alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    match given.what:
        case "lock":
            lock(given.name, given.pair, given.forecast)
        case "train":
            train(given.name, given.pair, given.runs, given.only)
        case "gather":
            gather(given.name, given.runs)


if __name__ == "__main__":
    main()
