"""How often a cliff verdict is given, and how often it is wrong given that it is, for planted populations.

    python benchmarks/cliff_verdicts.py [--seed 0] [--datasets 1000]

λ is set to the true λ*, where `left` and `right` are both wrong, and to places beside it, where one is right.
Each data set is judged by the bounds and the rule that `harness cliff` uses. The second table adds tasks from
64 on, for at most five looks and 1,024 tasks. Ends with exit code 1 where a wrong side, given that a verdict
was given, exceeds 2.5 % by more than three standard errors. One core, a few minutes.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np

from harness.cliff import ClassMass, MassBounds, PositionRecords, assess, estimate_cliff, known_clip
from harness.cliff.domain import FloatArray
from harness.cliff.preconditions import Limits, Precondition
from harness.cliff.tail_bounds import TailSums, effective_tasks, threshold_bounds
from harness.cliff.threshold import thresholds_from_log_tails
from harness.cliff.verdict import decide

CLIP = 5.0
POSITIONS = 8
TASKS = (48, 64, 96, 128, 256, 512)
SHIFTS = (-0.1, -0.05, 0.1, 0.5)
LOOKS, FIRST, MOST = 5, 64, 1024
NOMINAL = 0.025
WORDS = ("left", "right", "on_cliff", "undecided")
_LARGEST = 0.999

Tails = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, slots=True)
class Population:
    """Tails of teacher and base at one role, eight positions an answer, one answer a task.

    Attributes:
        teacher: mean tail before the cut at 0.999.
        base: likewise.
        position_sd: standard deviation of the log tail between positions of a task.
        task_sd: and between tasks, correlated between teacher and base by a half.
        hot: share of tasks that are hot.
        teacher_factor: how many times a hot task's tail is that of another one, for the teacher.
        base_factor: and for the base.
    """

    teacher: float = 1e-3
    base: float = 0.09
    position_sd: float = 0.3
    task_sd: float = 0.0
    hot: float = 0.0
    teacher_factor: float = 1.0
    base_factor: float = 1.0

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Tails:
        """[*shape, POSITIONS] tails of teacher and base at tasks drawn independently."""
        effect = rng.standard_normal(shape)
        hot = rng.random(shape) < self.hot
        found = []
        for mean, factor in ((self.teacher, self.teacher_factor), (self.base, self.base_factor)):
            own = 0.5 * effect + math.sqrt(0.75) * rng.standard_normal(shape)
            log_tail = (
                np.log(np.where(hot, factor, 1.0) / (1.0 + self.hot * (factor - 1.0))) + self.task_sd * own
            )
            noise = self.position_sd * rng.standard_normal((*shape, POSITIONS))
            centre = math.log(mean) - 0.5 * (self.task_sd**2 + self.position_sd**2)
            found.append(np.minimum(np.exp(centre + log_tail[..., None] + noise), _LARGEST))
        return cast("Tails", tuple(found))

    def lambda_star(self, rng: np.random.Generator) -> float:
        """λ* at the population's mean tails, by two million tasks."""
        drawn = [self.draw(rng, (100_000,)) for _ in range(20)]
        teacher, base = (math.log(np.mean([one[k].mean() for one in drawn])) for k in (0, 1))
        return float(thresholds_from_log_tails(teacher, base, math.log(CLIP)).value)


POPULATIONS = {
    "homogeneous": Population(),
    "mild (sd 1.5 in position, .7 in task)": Population(position_sd=1.5, task_sd=0.7),
    "heavy by task (sd 2.5)": Population(position_sd=0.5, task_sd=2.5),
    "3 % hot tasks, 100-fold": Population(position_sd=0.5, hot=0.03, teacher_factor=100, base_factor=5),
    "1 % hot tasks, 1,000-fold": Population(position_sd=0.5, hot=0.01, teacher_factor=1000, base_factor=2),
    "3 % hot tasks of the base, 40-fold": Population(
        base=0.02, position_sd=0.5, task_sd=0.5, hot=0.03, base_factor=40
    ),
}


@dataclass(frozen=True, slots=True)
class Judged:
    """Data sets judged by the rule of `harness cliff`.

    Attributes:
        low: [R] bound below λ*.
        high: [R] bound above it; +inf is none.
        carrying: [R] tasks that carry the tail.
        value: [R] λ* as estimated.
    """

    low: FloatArray
    high: FloatArray
    carrying: FloatArray
    value: FloatArray

    @classmethod
    def of(cls, tails: Tails) -> Judged:
        """Judge [R, T, POSITIONS] tails."""
        teacher, base = (one.sum(axis=-1) for one in tails)
        sums = TailSums(np.full(teacher.shape, float(POSITIONS)), (teacher, teacher), (base, base))
        low, high = threshold_bounds(sums, math.log(CLIP), NOMINAL)
        logs = [np.log(one.mean(axis=-1) / POSITIONS) for one in (teacher, base)]
        return cls(
            low=low,
            high=high,
            carrying=np.minimum(effective_tasks(teacher), effective_tasks(base)),
            value=thresholds_from_log_tails(logs[0], logs[1], math.log(CLIP)).value,
        )

    def words(self, lam: float) -> list[str]:
        """[R] verdicts on λ, the preconditions about the checkpoints being met."""
        least = Limits().least_effective_tasks
        return [
            decide(
                lam,
                (low, high if math.isfinite(high) else None),
                [Precondition("enough_rollouts", carrying >= least, carrying, least, "")],
            )
            for low, high, carrying in zip(
                self.low.tolist(), self.high.tolist(), self.carrying.tolist(), strict=True
            )
        ]


def wrong_given(words: Counter[str]) -> tuple[float, float, bool]:
    """P(left) and P(right) given a verdict, and whether either exceeds the nominal level beyond chance."""
    given = sum(count for word, count in words.items() if word != "undecided")
    if not given:
        return 0.0, 0.0, False
    left, right = words["left"] / given, words["right"] / given
    slack = 3.0 * math.sqrt(NOMINAL * (1.0 - NOMINAL) / given)
    return left, right, max(left, right) > NOMINAL + slack


def _mark(beyond: bool) -> str:
    return "   TOO MANY" if beyond else ""


def at_the_threshold(datasets: int, seed: int) -> bool:
    """Print the first table; whether every cell holds its level."""
    print(
        f"λ = λ*: % of {datasets} data sets; wrong: given that a verdict was given. "
        "Then λ beside λ*: % told rightly"
    )
    header = "  ".join(f"{f'λ*{shift:+g}':>8}" for shift in SHIFTS)
    print(f"  tasks  left  right  on_cliff  undecided   wrong left  wrong right   bounds (median)   {header}")
    good = True
    for name, population in POPULATIONS.items():
        rng = np.random.default_rng([seed, 1])
        star = population.lambda_star(rng)
        print(f"{name}: λ* = {star:.3f}")
        for tasks in TASKS:
            judged = Judged.of(population.draw(rng, (datasets, tasks)))
            words = Counter(judged.words(star))
            left, right, beyond = wrong_given(words)
            good &= not beyond
            shares = "  ".join(f"{100 * words[word] / datasets:>{len(word)}.1f}" for word in WORDS)
            told = "  ".join(
                f"{100 * judged.words(star + shift).count('left' if shift < 0 else 'right') / datasets:8.1f}"
                for shift in SHIFTS
            )
            print(
                f"  {tasks:5d}  {shares:33s}   {100 * left:10.1f}  {100 * right:11.1f}   "
                f"{np.median(judged.low):.3f} … {np.median(judged.high):5.3f}   {told}{_mark(beyond)}"
            )
    return good


def follow(population: Population, star: float, rng: np.random.Generator) -> str:
    """The last verdict on λ = λ* of somebody who adds the tasks that are asked for."""
    tails: Tails = population.draw(rng, (FIRST,))
    least = Limits().least_effective_tasks
    word = "undecided"
    for _ in range(LOOKS):
        judged = Judged.of((tails[0][None], tails[1][None]))
        word = judged.words(star)[0]
        tasks = len(tails[0])
        if word != "undecided" or tasks >= MOST:
            break
        # As `harness.cliff.preconditions.more_data` counts them.
        more = min(max(1, math.ceil(tasks * (least / judged.carrying[0] - 1))), MOST - tasks)
        added = population.draw(rng, (more,))
        tails = (np.concatenate([tails[0], added[0]]), np.concatenate([tails[1], added[1]]))
    return word


def look_until_told(population: Population, star: float, rng: np.random.Generator) -> str:
    """Somebody who doubles the tasks until a side is told, whatever the advice."""
    tails: Tails = population.draw(rng, (MOST,))
    word = "undecided"
    for tasks in (64, 128, 256, 512, MOST):
        word = Judged.of((tails[0][None, :tasks], tails[1][None, :tasks])).words(star)[0]
        if word in ("left", "right"):
            break
    return word


def over_looks(datasets: int, seed: int) -> bool:
    """Print the second table; whether every policy holds its level."""
    policies: dict[str, Callable[[Population, float, np.random.Generator], str]] = {
        "follow the advice": follow,
        "double until a side is told": look_until_told,
    }
    print(
        f"\nλ = λ*, tasks added, at most {LOOKS} looks and {MOST:,} tasks: % of {datasets} at the last look"
    )
    print(f"  {'':28s} left  right  on_cliff  undecided   wrong left  wrong right")
    good = True
    for name, population in POPULATIONS.items():
        star = population.lambda_star(np.random.default_rng([seed, 1]))
        print(f"{name}: λ* = {star:.3f}")
        for label, policy in policies.items():
            rng = np.random.default_rng([seed, 2])
            words = Counter(policy(population, star, rng) for _ in range(datasets))
            left, right, beyond = wrong_given(words)
            good &= not beyond
            shares = "  ".join(f"{100 * words[word] / datasets:>{len(word)}.1f}" for word in WORDS)
            print(f"  {label:28s} {shares}   {100 * left:10.1f}  {100 * right:11.1f}{_mark(beyond)}")
    return good


def agree_with_assess(seed: int) -> bool:
    """Whether the whole of `estimate_cliff` and `assess` comes to the verdicts above, on a few data sets."""
    rng = np.random.default_rng([seed, 3])
    same = True
    for population in POPULATIONS.values():
        star = population.lambda_star(rng)
        tails = population.draw(rng, (64,))
        judged = Judged.of((tails[0][None], tails[1][None]))
        for lam in (star - 0.1, star, star + 0.5):
            result = assess(estimate_cliff(_records(tails), known_clip(CLIP), resamples=100), lam)
            same &= result.verdict == judged.words(lam)[0]
    return same


def _records(tails: Tails) -> PositionRecords:
    task, index = (grid.ravel() for grid in np.indices(tails[0].shape))
    zero = np.zeros_like(task)
    masses = [MassBounds.exact(ClassMass(np.log1p(-one.ravel()), np.log(one.ravel()))) for one in tails]
    return PositionRecords(("unused_id",), task, zero, zero, index, masses[0], masses[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--datasets", type=int, default=1000, help="data sets a cell")
    args = parser.parse_args()
    began = time.perf_counter()
    checks: list[Callable[[], bool]] = [
        partial(at_the_threshold, args.datasets, args.seed),
        partial(over_looks, args.datasets, args.seed),
        partial(agree_with_assess, args.seed),
    ]
    good = [check() for check in checks]
    print(f"\nthe whole of `harness cliff` comes to the same verdicts: {'yes' if good[2] else 'NO'}")
    print(f"wrong sides at most {NOMINAL:.1%} and three standard errors: {'yes' if all(good[:2]) else 'NO'}")
    print(f"{time.perf_counter() - began:.0f} s")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
