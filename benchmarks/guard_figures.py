"""How early a guard announces a collapse, and how often it cries wolf: on runs that were trained without one.

Nothing was tuned on these runs: the default design was chosen before they were looked at, the others stand
beside it.

- *halved*: the mean validity of three rounds is below half of the best three rounds before; its step is that
  of the first of the three. A run without such rounds is *kept* where its last student's validity isn't
  surely below the bar, else *lower*.
- *announced*: the guard speaks at least 50 steps before. What falls from one round to the next can't be.
- *false alarm*: it speaks in a run that is kept.

The runs' logs hold valid rollouts by round, not by task: eight tasks of eight samples each. So the test,
which takes a value a task, is shown on splits into tasks drawn with an intra-task correlation of .5, about
that of the forecast's own answers there; on rollouts taken for independent, as with a sample a task; and on
one value a round.

Examples:
    python benchmarks/guard_figures.py                                  what is stored
    python benchmarks/guard_figures.py --gather one-class --forecast runs/forecast --runs runs/students
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from harness import files
from harness.stats import SequentialTest, mean_interval, wilson
from harness.stats.fall import FallTest

HERE = Path(__file__).parent / "results"
STORED, LIMITS = HERE / "guard" / "rounds.json", HERE / "guard" / "limits.json"
SWEEPS = HERE / "cliff-measured"
WINDOW, EARLY, HALF, RHO, SPLITS, SAMPLES = 3, 50, 0.5, 0.5, 20, 8
EPSILON = 0.05
"""Of the old guard, its default."""

Alarm = Callable[[dict[str, Any], dict[str, Any]], "int | None"]
"""Step at which a guard speaks in a run of a pair with these limits, None where it doesn't."""


def limit_of(forecast: Path, bar: float) -> dict[str, Any]:
    """The bar, and the largest λ up to which every λ drawn is shown to hold it."""
    told = json.loads((forecast / "forecast.json").read_bytes())
    low = told["largest_lambda"]["low"]
    if bar != told["bar"]:
        drawn = [
            (one["lam"], one["parse_validity"]["low"] or 0.0) for one in told["points"] if one["lam"] >= 1.0
        ]
        holding = list(takewhile(lambda one: one[1] >= bar, drawn))
        low = holding[-1][0] if holding else None
    if low is None:
        raise SystemExit(f"{forecast} shows no λ to hold {bar:g}: choose a lower --bar")
    return {"bar": bar, "low": low}


def gather(runs: Path | None, pair: str, forecast: Path, bar: float) -> None:
    """Read what a forecast allows, and the logs of finished runs of `forecast_training.py`."""
    known = json.loads(LIMITS.read_bytes()) if LIMITS.is_file() else {}
    LIMITS.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(LIMITS, json.dumps(known | {pair: limit_of(forecast, bar)}, indent=1) + "\n")
    if runs is None:
        return
    found = [] if not STORED.is_file() else json.loads(STORED.read_bytes())
    rows = [one for one in found if one["pair"] != pair]
    for result in sorted(runs.glob("*/*/*/result.json")):
        lines = [
            json.loads(one) for one in (result.parent / "train" / "train.jsonl").read_bytes().splitlines()
        ]
        first = {one["round"]: one for one in reversed(lines)}
        measured = json.loads(result.read_bytes())["rows"]
        head = {
            name: measured[-1][name] for name in ("arm", "lam", "learning_rate", "plausible", "seed", "steps")
        }
        # Eight rollouts a prompt, 64 a round: the plan of `forecast_training.py`.
        strict = [round(64 * first[number]["parse_validity"]) for number in sorted(first)]
        rows.append(
            {"pair": pair, **head}
            | {"starts": [first[number]["step"] - 1 for number in sorted(first)], "strict": strict}
            | {"lambda_star": lines[0]["lambda_star"], "clip": 1.5}
            | {"measured": [[one["step"], one["strict"], one["n"], one["reached_low"]] for one in measured]}
        )
    files.write_text(STORED, "[\n" + ",\n".join(json.dumps(one) for one in rows) + "\n]\n")


def halved_at(run: dict[str, Any]) -> int | None:
    """Step of the first round from which validity is halved."""
    means = np.convolve(np.array(run["strict"]) / 64.0, np.ones(WINDOW) / WINDOW, mode="valid")
    for number in range(WINDOW, len(means)):
        if means[number] < HALF * means[: number - WINDOW + 1].max():
            return int(run["starts"][number])
    return None


def kind_of(run: dict[str, Any], bar: float) -> str:
    if halved_at(run) is not None:
        return "halved"
    _, strict, n, _ = run["measured"][-1]
    high = wilson(round(strict * n), n, 0.95).high
    return "kept" if high is not None and high >= bar else "lower"


def by_rollout(count: int, rng: np.random.Generator) -> list[float]:
    return [1.0] * count + [0.0] * (64 - count)


def by_round(count: int, rng: np.random.Generator) -> list[float]:
    return [count / 64.0]


def by_task(count: int, rng: np.random.Generator) -> list[float]:
    """Eight tasks of eight samples whose valid ones add up, with the intra-task correlation `RHO`."""
    rate, size = min(max(count / 64.0, 1e-3), 1.0 - 1e-3), (1.0 - RHO) / RHO
    while True:
        own = rng.binomial(SAMPLES, rng.beta(rate * size, (1.0 - rate) * size, size=(256, SAMPLES)))
        fitting = own[own.sum(axis=1) == count]
        if len(fitting):
            return [float(one) / SAMPLES for one in fitting[0]]


def falls(
    values: Callable[[int, np.random.Generator], list[float]], *, alpha: float = 0.05, bar: str = "bar"
) -> Alarm:
    """The test of the guard; `bar` is the forecast's, none, or what the run's own start shows."""

    def speaks(run: dict[str, Any], limits: dict[str, Any], seed: int = 0) -> int | None:
        rng = np.random.default_rng([run["seed"], seed])
        level = {"bar": limits["bar"], "none": 1.0}.get(bar, 0.0)
        if bar == "start":
            shown = mean_interval(
                [float(one) for one in values(run["strict"][0], rng)],
                np.ones(len(values(0, rng))),
                confidence=0.95,
            ).low
            level = max(shown or 0.0, 0.01)
        test = FallTest(level, rounds=len(run["strict"]), alpha=alpha)
        for start, count in zip(run["starts"], run["strict"], strict=True):
            if test.update(values(count, rng)):
                return int(start)
        return None

    return speaks


def bar_alone(run: dict[str, Any], limits: dict[str, Any]) -> int | None:
    """A test of "validity is at least the bar" that knows nothing of where the run began."""
    test, rng = SequentialTest(limits["bar"]), np.random.default_rng(run["seed"])
    for start, count in zip(run["starts"], run["strict"], strict=True):
        for value in by_task(count, rng):
            if test.update(value) == "fail":
                return int(start)
    return None


def beyond_forecast(run: dict[str, Any], limits: dict[str, Any]) -> int | None:
    return 0 if run["lam"] > limits["low"] else None


def past_at_kept(run: dict[str, Any], limits: dict[str, Any]) -> int | None:
    """λ reached of the students that were kept: three looks a run, 256 tasks each."""
    return next(
        (step for step, _, _, low in run["measured"] if low is not None and low > limits["low"]), None
    )


def old_guard(run: dict[str, Any], limits: dict[str, Any]) -> int | None:
    """λ above (1 − ε) λ*, ratio to the teacher. Its lower bound isn't logged: the estimate flatters it."""
    star = run["lambda_star"]
    return 0 if star is not None and run["lam"] > (1.0 - EPSILON) * star else None


def either(*alarms: Alarm) -> Alarm:
    def speaks(run: dict[str, Any], limits: dict[str, Any]) -> int | None:
        found = [one for alarm in alarms if (one := alarm(run, limits)) is not None]
        return min(found, default=None)

    return speaks


def splits(alarm: Callable[..., int | None]) -> list[Alarm]:
    """The same with the rounds of each run split into tasks anew."""
    return [partial(alarm, seed=seed) for seed in range(SPLITS)]


DEFAULT = falls(by_task)
GUARDS: list[tuple[str, list[Alarm]]] = [
    ("validity: fell below what it reached, to the bar (default)", splits(DEFAULT)),
    ("… rollouts taken for independent", [falls(by_rollout)]),
    ("… one value a round", [falls(by_round)]),
    ("… alpha .01", splits(falls(by_task, alpha=0.01))),
    ("… alpha .2", splits(falls(by_task, alpha=0.2))),
    ("… no bar: any fall", splits(falls(by_task, bar="none"))),
    ("… to the run's own start alone", splits(falls(by_task, bar="start"))),
    ("validity below the bar, whatever its start", [bar_alone]),
    ("λ reached past the limit, of kept students", [past_at_kept]),
    ("the default or λ reached so", [either(one, past_at_kept) for one in splits(DEFAULT)]),
    ("λ beyond the forecast, before training", [beyond_forecast]),
    ("old guard: λ above .95 λ*, ratio to the teacher", [old_guard]),
    ("old guard, the run's own ratio (fresh: no edge)", [lambda run, limits: None]),
]


def share(hits: float, n: int) -> str:
    """Of n runs; a split counts as its part of one, and the interval is of whole runs."""
    if not n:
        return "–"
    found = wilson(round(hits), n, 0.95)
    return f"{hits:g}/{n} [{found.low:.2f}, {found.high:.2f}]"


def table_of(runs: Sequence[dict[str, Any]], limits: dict[str, Any]) -> Table:
    table = Table(box=None)
    for name in (
        "guard",
        "announced ≥ 50",
        "at all before",
        "false alarms",
        "of lower",
        "lead: median, range",
    ):
        table.add_column(name, justify="left" if name == "guard" else "right")
    kinds = {id(run): kind_of(run, limits["bar"]) for run in runs}
    for name, alarms in GUARDS:
        early = before = false = lower = 0.0
        leads = []
        for run in runs:
            spoken = [alarm(run, limits) for alarm in alarms]
            weight = 1.0 / len(spoken)
            at = halved_at(run)
            for one in spoken:
                if one is None:
                    continue
                if at is not None:
                    leads.append(at - one)
                    early += weight * (at - one >= EARLY)
                    before += weight * (at > one)
                false += weight * (kinds[id(run)] == "kept")
                lower += weight * (kinds[id(run)] == "lower")
        count = Counter(kinds.values())
        shown = f"{np.median(leads):g}, {min(leads):g} … {max(leads):g}" if leads else "–"
        halved = count["halved"]
        cells = [
            share(round(one, 2), n)
            for one, n in ((early, halved), (before, halved), (false, count["kept"]), (lower, count["lower"]))
        ]
        table.add_row(name, *cells, shown)
    return table


def stored_sweeps(console: Console, limits: dict[str, Any]) -> None:
    """What the five locked sweeps let one judge: λ against limits, and how the run ended."""
    table = Table(
        "sweep",
        "runs",
        "collapsed",
        "λ beyond the forecast: of collapsed",
        "of the others",
        "old guard: of collapsed",
        "of the others",
        box=None,
    )
    total = 0
    for folder in sorted(SWEEPS.iterdir()):
        rows = list(csv.DictReader((folder / "results.csv").open(encoding="utf-8")))
        lock = json.loads((folder / "prereg.json").read_bytes())
        line = json.loads((folder / "report.json").read_bytes())["analysis"]["threshold"]
        lows = {
            one["clip"]: min(role["low"] for role in one["roles"] if role["low"])
            for one in lock["predictions"]
        }
        limit = limits["zoo" if lock["plan"]["teacher"].startswith("zoo") else "one-class"]["low"]
        counts: Counter[tuple[str, bool]] = Counter()
        for row in rows:
            collapsed = row["diverged"] == "True" or float(row["strict"]) <= line
            counts["runs", collapsed] += 1
            counts["forecast", collapsed] += float(row["lam"]) > limit
            counts["old", collapsed] += float(row["lam"]) > (1.0 - EPSILON) * lows[float(row["clip"])]
        total += len(rows)
        cells = [
            f"{counts[who, state]}/{counts['runs', state]}"
            for who in ("forecast", "old")
            for state in (True, False)
        ]
        table.add_row(folder.name, str(len(rows)), str(counts["runs", True]), *cells)
    console.print(
        f"{total} stored runs: results and locks alone, no validity by step, no rollouts, no students."
    )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gather", metavar="PAIR", help="store what a forecast allows, and logs of runs")
    parser.add_argument("--forecast", type=Path, metavar="DIR", help="of that pair")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="of that pair, the finished ones")
    parser.add_argument("--bar", type=float, default=0.95)
    given = parser.parse_args()
    if given.gather is not None:
        gather(given.runs, given.gather, given.forecast, given.bar)
    console = Console(width=150)
    limits = json.loads(LIMITS.read_bytes())
    runs = json.loads(STORED.read_bytes())
    stored_sweeps(console, limits)
    for pair in sorted({run["pair"] for run in runs}):
        own = [run for run in runs if run["pair"] == pair]
        kinds = Counter(kind_of(run, limits[pair]["bar"]) for run in own)
        told = ", ".join(f"{kinds[kind]} {kind}" for kind in ("halved", "lower", "kept"))
        console.print(
            f"\n{pair}: {len(own)} runs ({told}); bar {limits[pair]['bar']:g}, limit {limits[pair]['low']:g}"
        )
        console.print(table_of(own, limits[pair]))


if __name__ == "__main__":
    main()
