"""Check the cliff's arithmetic and statistics against everything that can be known beforehand.

    python benchmarks/cliff_oracles.py [--seed 0] [--datasets 1000]

Prints the oracle table, the worst error of λ* against mpmath at 50 digits, the worst distance between λ* and
the bifurcation of the simulated dynamics, and how often the 95 % intervals hold a planted λ*. One core, two
to three minutes; needs mpmath.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import mpmath
import numpy as np

from harness.cliff import (
    ClassMass,
    LambdaStarEstimate,
    MassBounds,
    PositionRecords,
    estimate_calibration,
    known_clip,
    lambda_star,
    thresholds_from_log_tails,
)
from harness.cliff.domain import FloatArray
from tests.cliff.dynamics import bifurcation, crossing_time
from tests.cliff.inverse import lambda_star_from_log_odds, teacher_log_odds_for, teacher_mass_for

CASES = Path(__file__).parents[1] / "tests" / "cases" / "cliff_oracles.json"
LARGEST_BASE_TAIL = 0.999
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted population: log-normal tail masses by task and position, teacher and base correlated.

    Attributes:
        tasks: number of tasks drawn.
        teacher_tails: mean tail mass of the teacher at each role, before the cut at 0.999.
        base_tails: likewise of the base.
        task_sd: standard deviation of the log tail between tasks.
        position_sd: and between the positions of a task.
        rollouts: per task.
        positions: per rollout, for the third role; one for the others.
        correlation: between the task effects of teacher and base.
        clip: c.
    """

    tasks: int
    teacher_tails: tuple[float, ...] = (1e-4, 3e-4, 7e-4, 1e-3)
    base_tails: tuple[float, ...] = (0.005, 0.01, 0.1, 0.02)
    task_sd: float = 1.0
    position_sd: float = 1.0
    rollouts: int = 2
    positions: int = 7
    correlation: float = 0.5
    clip: float = 5.0

    def draw(self, rng: np.random.Generator) -> PositionRecords:
        """One data set."""
        effects = rng.standard_normal((self.tasks, 2))
        effects[:, 1] = self.correlation * effects[:, 0] + math.sqrt(1 - self.correlation**2) * effects[:, 1]
        parts = []
        for role, means in enumerate(zip(self.teacher_tails, self.base_tails, strict=True)):
            shape = (self.tasks, self.rollouts, self.positions if role == 2 else 1)
            task, rollout, index = (grid.ravel() for grid in np.indices(shape))
            noise = rng.standard_normal((task.size, 2))
            centre = np.log(means) - 0.5 * (self.task_sd**2 + self.position_sd**2)
            log_tail = centre + self.task_sd * effects[task] + self.position_sd * noise
            parts.append((task, rollout, np.full(task.size, role), index, log_tail))
        task, rollout, role, index, log_tail = (np.concatenate(column) for column in zip(*parts, strict=True))
        log_tail = np.minimum(log_tail, math.log(LARGEST_BASE_TAIL))
        return PositionRecords(
            roles=tuple(f"role{k}" for k in range(len(self.teacher_tails))),
            task=task,
            rollout=rollout,
            role=role,
            index=index,
            teacher=_exact(log_tail[:, 0]),
            base=_exact(log_tail[:, 1]),
        )

    def lambda_stars(self) -> list[float]:
        """The true λ* of each role, at the population's mean tails."""
        pairs = zip(self.teacher_tails, self.base_tails, strict=True)
        log_c = math.log(self.clip)
        return [
            float(thresholds_from_log_tails(math.log(self._mean(t)), math.log(self._mean(b)), log_c).value)
            for t, b in pairs
        ]

    def _mean(self, mean: float) -> float:
        """E min(X, 0.999) of a log-normal X with this mean."""
        sd, cut = math.hypot(self.task_sd, self.position_sd), math.log(LARGEST_BASE_TAIL)
        mu = math.log(mean) - 0.5 * sd**2
        below = _NORMAL.cdf((cut - mu) / sd)
        return mean * _NORMAL.cdf((cut - mu) / sd - sd) + LARGEST_BASE_TAIL * (1 - below)


def _exact(log_tail: FloatArray) -> MassBounds:
    return MassBounds.exact(ClassMass(log_mass=np.log(-np.expm1(log_tail)), log_tail=log_tail))


def sweep(rng: np.random.Generator, n: int) -> dict[str, float]:
    """Worst relative error of λ* against Theorem 4.1 at 50 digits, per way of passing p and b.

    b from 1e-9 to 1 − 1e-9, p from just above b to 1 − 1e-12, c from 1 + 1e-6 to 1e6, all log-uniform.
    """
    edge = math.log(1e9)
    logit_b = rng.uniform(-edge, edge, n)
    widest = math.log(1e12) - logit_b
    # Gaps from 1e-9 up: p just above b is where the denominator cancels.
    gap = np.exp(rng.uniform(math.log(1e-9), np.log(widest)))
    logit_p = logit_b + gap
    c = 1 + np.exp(rng.uniform(math.log(1e-6), math.log(1e6), n))
    log_c = np.log(c)
    p, b = (1 / (1 + np.exp(-z)) for z in (logit_p, logit_b))
    tail_p, tail_b = (-np.logaddexp(0, z) for z in (logit_p, logit_b))
    keep = (p > b) & (p < 1)
    with mpmath.workdps(50):
        exp, one = mpmath.exp, mpmath.mpf(1)
        tails = [
            _theorem(-mpmath.expm1(one * x), exp(one * x), -mpmath.expm1(one * y), exp(one * k))
            for x, y, k in zip(tail_p.tolist(), tail_b.tolist(), log_c.tolist(), strict=True)
        ]
        plain = [
            _theorem(one * x, 1 - one * x, one * y, one * k)
            for x, y, k in zip(p[keep].tolist(), b[keep].tolist(), c[keep].tolist(), strict=True)
        ]
        valid = tail_p < tail_b
        return {
            "p, b, c as floats": _worst(lambda_star(p[keep], b[keep], c[keep]), plain),
            "log tail masses and log c": _worst(
                thresholds_from_log_tails(tail_p[valid], tail_b[valid], log_c[valid]).value,
                [t for t, ok in zip(tails, valid, strict=True) if ok],
            ),
        }


def _theorem(p: Any, tail_p: Any, b: Any, c: Any) -> Any:
    """Theorem 4.1 as it is printed, in mpmath."""
    log = mpmath.log
    base = log((1 - b) / b)
    return (log(tail_p / (c - 1 + p)) - base) / (log(tail_p / p) - base)


def _worst(values: float | FloatArray, exact: list[Any]) -> float:
    pairs = zip(np.atleast_1d(values).tolist(), exact, strict=True)
    return max(float(abs(mpmath.mpf(v) / e - 1)) for v, e in pairs)


def bifurcation_distance(rng: np.random.Generator, n: int) -> float:
    """Largest distance between λ* and the λ at which the simulated dynamics change side."""
    logit_b = rng.uniform(-4.0, 4.0, n)
    logit_p = logit_b + rng.uniform(0.1, 10.0, n)
    log_c = rng.uniform(math.log(1.05), math.log(100.0), n)
    found = bifurcation(logit_p, logit_b, log_c)
    return float(np.abs(found - lambda_star_from_log_odds(logit_p, logit_b, log_c)).max())


def coverage(planted: Planted, datasets: int, seed: int, resamples: int = 1000) -> FloatArray:
    """Share of data sets whose 95 % interval holds the planted value.

    Returns:
        [roles + 3]: λ* of each role, the smallest λ*, and how often the smallest lies below and above.
    """
    rng = np.random.default_rng(seed)
    truth = planted.lambda_stars()
    smallest = min(truth)
    held = np.zeros(len(truth) + 3)
    for k in range(datasets):
        records = planted.draw(rng)
        found = estimate_calibration(
            "role", records, known_clip(planted.clip), resamples=resamples, seed=seed + k
        )
        sides = [_side(role.lambda_star, t) for role, t in zip(found.roles, truth, strict=True)]
        overall = _side(found.lambda_star, smallest)
        held += [*(side == 0 for side in sides), overall == 0, overall < 0, overall > 0]
    return held / datasets


def _side(star: LambdaStarEstimate, truth: float) -> int:
    """−1, 0 or 1 where the truth lies below, inside or above the interval."""
    if star.low is None or truth < star.low:
        return -1
    return 0 if star.high is None or truth <= star.high else 1


def rival_coverage(planted: Planted, datasets: int, seed: int, resamples: int = 1000) -> tuple[float, float]:
    """Coverage of percentile and BCa intervals for λ* of the third role, by the same resampling of tasks."""
    rng = np.random.default_rng(seed)
    truth = planted.lambda_stars()[2]
    z = _NORMAL.inv_cdf(0.975)
    held = np.zeros(2)
    for _ in range(datasets):
        records = planted.draw(rng)
        rows = records.role == 2
        tails = np.exp([records.teacher.low.log_tail[rows], records.base.low.log_tail[rows]])
        means = tails.reshape(2, planted.tasks, -1).mean(axis=2)
        point = _lambda_of(means.mean(axis=1), planted.clip)
        drawn = rng.integers(planted.tasks, size=(resamples, planted.tasks))
        resampled = _lambda_of(means[:, drawn].mean(axis=2), planted.clip)
        left_out = _lambda_of((means.sum(axis=1)[:, None] - means) / (planted.tasks - 1), planted.clip)
        spread = left_out.mean() - left_out
        skew = float((spread**3).sum() / (6 * (spread**2).sum() ** 1.5))
        shift = _NORMAL.inv_cdf(float(np.clip(np.mean(resampled < point), 1e-3, 1 - 1e-3)))
        levels = [_NORMAL.cdf(shift + (shift + s * z) / (1 - skew * (shift + s * z))) for s in (-1, 1)]
        for k, pair in enumerate(((0.025, 0.975), levels)):
            low, high = np.quantile(resampled, pair)
            held[k] += low <= truth <= high
    return float(held[0] / datasets), float(held[1] / datasets)


def _lambda_of(tails: FloatArray, c: float) -> FloatArray:
    return thresholds_from_log_tails(np.log(tails[0]), np.log(tails[1]), math.log(c)).value


def print_oracles() -> bool:
    """Print every oracle beside what is computed; whether all agree to their digits."""
    cases = json.loads(CASES.read_text(encoding="utf-8"))
    rows = []
    for x in cases["lambda_star"]:
        name = f"λ*(p={x['p']:g}, b={x['b']:g}, c={x['c']:g})"
        rows.append((name, x["value"], lambda_star(x["p"], x["b"], x["c"]), x["digits"]))
    for x in cases["teacher_mass"]:
        name = f"p at λ*={x['lambda']:g}, b={x['b']:g}, c={x['c']:g}"
        rows.append((name, x["value"], float(teacher_mass_for(x["lambda"], x["b"], x["c"])), x["digits"]))
    times = cases["crossing_time"]
    logit_b, log_c = math.log(times["b"] / (1 - times["b"])), math.log(times["c"])
    logit_p = teacher_log_odds_for(times["lambda_star"], logit_b, log_c)
    for x in times["cases"]:
        found = float(crossing_time(x["lambda"], logit_p, logit_b, log_c)) / 1000
        rows.append((f"crossing time at λ={x['lambda']:g}, in thousands", x["value"], found, times["digits"]))
    agree = True
    for name, expected, found, digits in rows:
        same = abs(found - expected) <= 0.5 * 10.0**-digits * (1 + 1e-9)
        agree &= same
        print(f"  {name:44s} {expected:<8g} {found:.8g}{'' if same else '   DIFFERS'}")
    return agree


SCENARIOS = {
    "128 tasks, heavier tails (task sd 1.5)": Planted(128, task_sd=1.5),
    "64 tasks": Planted(64),
    "256 tasks": Planted(256),
    "128 tasks, four roles tied": Planted(128, teacher_tails=(7e-4,) * 4, base_tails=(0.1,) * 4),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--datasets", type=int, default=1000, help="simulated data sets per population")
    parser.add_argument("--points", type=int, default=10_000, help="points of the sweep against mpmath")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    start = time.perf_counter()
    print("oracle                                         expected found")
    agree = print_oracles()
    print(f"  all agree to the digits given: {'yes' if agree else 'NO'}")
    print(f"\nλ* against mpmath at 50 digits, {args.points} points, worst relative error")
    for name, error in sweep(rng, args.points).items():
        print(f"  {name:28s} {error:.1e}")
    print("\nbifurcation of the simulated dynamics, 100 random (p, b, c), worst distance to λ*")
    print(f"  {bifurcation_distance(rng, 100):.1e}")
    print(f"\ncoverage of 95 % intervals of λ*, {args.datasets} simulated data sets each")
    for name, planted in SCENARIOS.items():
        shares = coverage(planted, args.datasets, args.seed)
        each = " ".join(f"{100 * share:.1f}" for share in shares[:-3])
        overall, below, above = 100 * shares[-3:]
        print(f"  {name:40s} roles {each} %, smallest {overall:.1f} % (below {below:.1f}, above {above:.1f})")
    name, planted = next(iter(SCENARIOS.items()))
    percentile, bca = rival_coverage(planted, args.datasets, args.seed)
    print(f"  for comparison, {name}, role 2: percentile {100 * percentile:.1f} %, BCa {100 * bca:.1f} %")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
