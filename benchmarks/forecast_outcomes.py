"""What is called a hit where trained students are compared with a forecast; pure arithmetic, locked before.

A row is a checkpoint: {arm, lam, plausible, line, learning_rate, seed, step, steps, strict, ndcg_parsed,
parsed, reached, off}, placed on the line of the targets with mask `line` and judged on that of its own
training. A curve is [(λ, validity)] of the extrapolated target, drawn before any training; between two λ it
is the straight line. Every statistic has a jackknife interval over seeds (t with seeds − 1 degrees of
freedom), since the runs of one seed share their prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.stats.distributions import student_t_quantile

Row = Mapping[str, Any]
Curve = Sequence[tuple[float, float]]
Statistic = Callable[[Sequence[Row]], float | None]
LEAST_SEEDS = 3
LEAST_PARSED = 60
"""Answers that have to parse for a run's NDCG@1 to be used."""
FARTHEST = 12.0
"""Taken for a λ reached beyond what is looked at."""
STEEP = 2.0
"""From this λ on the curve moves, so that residuals say something."""


def at(curve: Curve, lam: float) -> float:
    """The forecast at a λ; beyond its ends that of the end."""
    levels, rates = zip(*sorted(curve), strict=True)
    return float(np.interp(lam, levels, rates))


def crossing(levels: Sequence[float], rates: Sequence[float], line: float) -> float | None:
    """Where the isotonic, falling fit of rates crosses a line, between two levels; None where it doesn't."""
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(levels, kind="stable")
    x, y = np.asarray(levels, float)[order], np.asarray(rates, float)[order]
    fit = IsotonicRegression(increasing=False).fit_transform(x, y)
    below = np.flatnonzero(fit < line)
    if not len(below) or below[0] == 0:
        return None
    first = int(below[0])
    share = (fit[first - 1] - line) / (fit[first - 1] - fit[first])
    return float(x[first - 1] + share * (x[first] - x[first - 1]))


def residual(row: Row, curves: Mapping[float, Curve]) -> float:
    """Trained validity minus the forecast's at λ reached."""
    reached = FARTHEST if row["reached"] is None else row["reached"]
    return float(row["strict"]) - at(curves[row["plausible"]], reached)


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Rank correlation, ties at their mean rank; 0 where one of them is constant."""
    one, other = (_ranks(np.asarray(values, float)) for values in (x, y))
    if np.ptp(one) == 0.0 or np.ptp(other) == 0.0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: Any) -> Any:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2.0)[place]


def jackknife(rows: Sequence[Row], statistic: Statistic) -> tuple[float | None, float, float, int]:
    """Estimate, lower and upper end at 95 %, seeds; infinite ends where one left out makes it vanish."""
    seeds = sorted({row["seed"] for row in rows})
    whole = statistic(rows)
    if whole is None or len(seeds) < LEAST_SEEDS:
        return whole, -math.inf, math.inf, len(seeds)
    left = [statistic([row for row in rows if row["seed"] != seed]) for seed in seeds]
    if any(one is None for one in left):
        return whole, -math.inf, math.inf, len(seeds)
    values = np.array(left, dtype=float)
    n = len(seeds)
    error = math.sqrt((n - 1) / n * float(((values - values.mean()) ** 2).sum()))
    reach = student_t_quantile(0.975, n - 1) * error
    return whole, whole - reach, whole + reach, n


def verdict(low: float, high: float, window: Sequence[float]) -> str:
    """Hit where the whole interval lies in the window, miss where none of it does, else open."""
    if window[0] <= low and high <= window[1]:
        return "hit"
    return "miss" if high < window[0] or low > window[1] else "open"


def complete_seeds(rows: Sequence[Row], wanted: set[tuple[Any, ...]]) -> list[Row]:
    """Rows of the seeds that have every (arm, λ, step) wanted, and those rows alone."""
    found: dict[int, dict[tuple[Any, ...], Row]] = {}
    for row in rows:
        key = (row["arm"], row["lam"], row["step"])
        if key in wanted:
            found.setdefault(row["seed"], {})[key] = row
    return [row for own in found.values() if set(own) == wanted for row in own.values()]


def outcomes(lock: Mapping[str, Any], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Each locked test with what was measured.

    Args:
        lock: the lock's fields.
        rows: one a checkpoint.
    """
    rows = [row for row in rows if row["line"] == row["plausible"]]
    curves = {one["plausible"]: [(p["lam"], p["strict"]) for p in one["points"]] for one in lock["forecasts"]}
    plan, line = lock["plan"], lock["collapse_line"]
    arms = {arm["name"]: arm for arm in plan["arms"]}
    steps, plain = plan["steps"], arms["plain"]["lambdas"]
    final = {("plain", lam, steps) for lam in plain}
    budgets = {("plain", lam, step) for lam in plain for step in plan["measured_at"]}
    steep = [lam for lam in plain if lam >= STEEP]
    rates = [name for name in arms if name.startswith("rate")]
    masked = {("plausible", lam, steps) for lam in arms.get("plausible", {"lambdas": []})["lambdas"]}

    def mean_of(values: Sequence[float]) -> float | None:
        return float(np.mean(values)) if len(values) else None

    def onset(own: Sequence[Row]) -> float | None:
        means = [mean_of([row["strict"] for row in own if row["lam"] == lam]) for lam in plain]
        if any(mean is None for mean in means):
            return None
        return crossing(plain, [mean or 0.0 for mean in means], line)

    def onset_reached(own: Sequence[Row]) -> float | None:
        high = [row for row in own if row["reached"] is not None and row["reached"] >= 1.0]
        return crossing([row["reached"] for row in high], [row["strict"] for row in high], line)

    def group(own: Sequence[Row], arm: str, lams: Sequence[float], at_steps: Sequence[int]) -> float:
        kept = [
            residual(row, curves)
            for row in own
            if row["arm"] == arm and row["lam"] in lams and row["step"] in at_steps
        ]
        return float(np.mean(kept))

    def ndcg(own: Sequence[Row], arm: str, lams: Sequence[float]) -> float | None:
        kept = [
            row["ndcg_parsed"]
            for row in own
            if row["arm"] == arm and row["lam"] in lams and row["parsed"] >= LEAST_PARSED
        ]
        return mean_of(kept)

    def ndcg_gain(own: Sequence[Row], arm: str, lams: Sequence[float]) -> float | None:
        one, other = ndcg(own, arm, lams), ndcg(own, "plain", [1.0])
        return None if one is None or other is None else one - other

    def lowest(own: Sequence[Row]) -> float | None:
        lams = {row["lam"] for row in own}
        means = [float(np.mean([row["strict"] for row in own if row["lam"] == lam])) for lam in lams]
        return min(means, default=None)

    statistics: dict[str, tuple[set[tuple[Any, ...]], Statistic]] = {
        "rank": (
            final,
            lambda own: spearman(
                [at(curves[0.0], row["lam"]) for row in own], [row["strict"] for row in own]
            ),
        ),
        "at_lambda": (
            final,
            lambda own: mean_of([abs(row["strict"] - at(curves[0.0], row["lam"])) for row in own]),
        ),
        "at_reached": (budgets, lambda own: mean_of([abs(residual(row, curves)) for row in own])),
        "onset": (final, onset),
        "onset_reached": (budgets, onset_reached),
        "budget": (
            budgets,
            lambda own: (
                group(own, "plain", steep, [step for step in plan["measured_at"] if step != steps])
                - group(own, "plain", steep, [steps])
            ),
        ),
        "ndcg_flat": (final, lambda own: ndcg_gain(own, "plain", steep)),
    }
    for name in rates:
        lams = arms[name]["lambdas"]
        wanted = {(arm, lam, steps) for arm in (name, "plain") for lam in lams}
        statistics[f"rate:{name}"] = (
            wanted,
            lambda own, name=name, lams=lams: (  # type: ignore[misc]
                group(own, name, lams, [steps]) - group(own, "plain", lams, [steps])
            ),
        )
    if masked:
        statistics["plausible_validity"] = (masked, lowest)
        statistics["plausible_forecast"] = (
            masked,
            lambda own: mean_of([row["strict"] - at(curves[row["plausible"]], row["lam"]) for row in own]),
        )
        lams = arms["plausible"]["lambdas"]
        statistics["plausible_ranking"] = (
            masked | {("plain", 1.0, steps)},
            lambda own: ndcg_gain(own, "plausible", lams),
        )
    found = []
    for test in lock["tests"]:
        wanted, statistic = statistics[test["name"]]
        own = complete_seeds(rows, wanted)
        seeds = len({row["seed"] for row in own})
        if seeds < test["least_seeds"]:
            found.append({**test, "outcome": "not run", "seeds": seeds, "estimate": None})
            continue
        estimate, low, high, _ = jackknife(own, statistic)
        told = {"outcome": "open", "seeds": seeds, "estimate": estimate, "low": None, "high": None}
        if estimate is not None and math.isfinite(low):
            least, most = test["range"]
            low, high = max(low, least), min(high, most)
            told |= {"outcome": verdict(low, high, test["window"]), "low": low, "high": high}
        found.append({**test, **told})
    return found
