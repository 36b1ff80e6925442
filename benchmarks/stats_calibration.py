"""Coverage and error rates of harness.stats, and what a sequential gate saves.

    python benchmarks/stats_calibration.py [--seed 0] [--quick]

Exact where the outcomes can be enumerated (one-sided errors of every test of a rate, a mean, tasks of several
samples and pairs; the sequential test on 0/1 data), by simulation elsewhere. Prints tables; exits with 1 when
a promise of a hard kind is broken: an error rate of a test above alpha, an end of an interval that misses
more often than promised or leaves the range, or more samples than promised.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from harness.stats import (
    Estimate,
    PairedCounts,
    SequentialTest,
    bootstrap_ratio,
    confidence_sequence,
    mean_against_bar,
    mean_interval,
    noninferior_rates,
    rate_against_bar,
    rate_by_task,
    sample_size_proportion,
    wilson,
)
from harness.stats.distributions import binomial_sf, student_t_cdf, student_t_quantile
from tests.stats.enumeration import Kinds, Tested, betting, errors, paired_rates, student
from tests.stats.looks_and_streams import looks, stopped, streams
from tests.stats.sequential_planning import bernoulli_boundaries, operating_characteristics, wald_bound

BAR, ALPHA, DESIGN = 0.95, 0.05, 0.97
RATES = (0.5, 0.8, 0.9, 0.93, 0.94, 0.949, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
BUDGET = 5000
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Sampler = Callable[[np.random.Generator, int], FloatArray]
BARS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.995)
GRADED = (
    ((1.0, 3 / 7, 0.0), (0.5, 0.5)),
    ((1.0, 0.9, 0.0), (0.9, 0.1)),
)
"""Grades, and the shares of all but the first among what the first leaves."""

broken: list[str] = []


def require(holds: bool, promise: str) -> None:
    if not holds:
        broken.append(promise)


def mark(coverage: float) -> str:
    return f"{coverage:7.3f}" + (" " if 0.93 <= coverage <= 0.97 else "*")


def binomial_weights(n: int, p: float) -> FloatArray:
    k = np.arange(n + 1)
    choose = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k])
    weights: FloatArray = np.exp(choose + k * math.log(p) + (n - k) * math.log1p(-p))
    return weights


def covers(interval: Estimate, truth: float) -> bool:
    return interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high


def exact_limits(successes: int, n: int) -> Estimate:
    """Clopper and Pearson's, those of the exact test."""
    return rate_against_bar(successes, n, 0.5, alpha=0.025).estimate


def rate_intervals() -> None:
    print("\n1. Intervals of one rate, nominal 95 %: exact coverage (* outside 0.93-0.97)")
    print("   It jumps with n and p because counts are whole, most of all near 0 and 1.")
    rates = (0.34, 0.5, 0.8, 0.9, 0.95, 0.97, 0.99, 0.995, 0.999)
    print("   " + " " * 22 + "".join(f"{p:8g}" for p in rates))
    for name, method in (("wilson", wilson), ("clopper-pearson", exact_limits)):
        for n in (32, 64, 256, 1024):
            limits = [method(k, n) for k in range(n + 1)]
            row = [
                sum(w for w, e in zip(binomial_weights(n, p), limits, strict=True) if covers(e, p))
                for p in rates
            ]
            print(f"   {name:16s} n={n:<4d}" + "".join(mark(c) for c in row))
            if name == "clopper-pearson":
                require(min(row) >= 0.95 - 1e-9, f"clopper-pearson covers 0.95 at n = {n}")
    grid = np.linspace(0.05, 0.95, 181)
    for n in (64, 256, 1024):
        limits = [wilson(k, n) for k in range(n + 1)]
        row = [
            sum(w for w, e in zip(binomial_weights(n, p), limits, strict=True) if covers(e, p)) for p in grid
        ]
        within = np.mean([0.93 <= c <= 0.97 for c in row])
        print(
            f"   wilson n={n}, 181 rates in 0.05-0.95: mean {np.mean(row):.3f}, least {min(row):.3f}, "
            f"{within:.0%} of them within 0.93-0.97"
        )
        require(0.945 <= float(np.mean(row)) <= 0.96, f"wilson covers 0.95 on average at n = {n}")


def ndcg_at_1(rng: np.random.Generator, n: int) -> FloatArray:
    return rng.choice([0.0, 1 / 7, 3 / 7, 1.0], n, p=[0.15, 0.15, 0.2, 0.5])


def ndcg_at_k(rng: np.random.Generator, n: int) -> FloatArray:
    return rng.beta(6.0, 1.5, n)


def rare_failures(rng: np.random.Generator, n: int) -> FloatArray:
    return (rng.random(n) < 0.97).astype(float)


MEANS: tuple[tuple[str, Sampler, float], ...] = (
    ("NDCG@1-like", ndcg_at_1, 0.15 / 7 + 0.2 * 3 / 7 + 0.5),
    ("NDCG@K-like", ndcg_at_k, 6.0 / 7.5),
    ("0/1 at 0.97", rare_failures, 0.97),
)


def near_one(rng: np.random.Generator, n: int) -> FloatArray:
    return rng.choice([1.0, 3 / 7, 0.0], n, p=[0.94, 0.03, 0.03])


def tasks_of_four(rng: np.random.Generator, n: int) -> FloatArray:
    return np.asarray(rng.binomial(4, task_rates(rng, 0.97, 0.3, (1, n))[0]) / 4.0)


def tied_pairs(rng: np.random.Generator, n: int) -> FloatArray:
    return rng.choice([1.0, 0.0, -1.0], n, p=[0.03, 0.94, 0.03])


def graded_pairs(rng: np.random.Generator, n: int) -> FloatArray:
    return rng.choice([1.0, 4 / 7, 0.0, -4 / 7, -1.0], n, p=[0.02, 0.03, 0.9, 0.03, 0.02])


def fine_pairs(rng: np.random.Generator, n: int) -> FloatArray:
    return np.asarray(np.clip(rng.normal(0.0, 0.1, n), -1.0, 1.0))


POWER: tuple[tuple[str, Sampler, float, tuple[float, float]], ...] = (
    ("0/1 at 0.97", rare_failures, 0.95, (0.0, 1.0)),
    ("0/1 at 0.97", rare_failures, 0.9, (0.0, 1.0)),
    ("graded near 1", near_one, 0.92, (0.0, 1.0)),
    ("NDCG@1-like", ndcg_at_1, 0.5, (0.0, 1.0)),
    ("NDCG@K-like", ndcg_at_k, 0.77, (0.0, 1.0)),
    ("4 samples a task, alike .3", tasks_of_four, 0.95, (0.0, 1.0)),
    ("0/1 paired, 6 % differ", tied_pairs, -0.02, (-1.0, 1.0)),
    ("graded paired, 10 % differ", graded_pairs, -0.02, (-1.0, 1.0)),
    ("fine paired, sd 0.1", fine_pairs, -0.02, (-1.0, 1.0)),
)
"""Values whose mean is to be shown to lie above a bar."""


def both_ends(name: str, intervals: list[Estimate], truth: float, error: float, *, promised: bool) -> str:
    """How often each end misses, and the mean width; what is promised is required."""
    low = float(np.mean([e.low is not None and e.low > truth for e in intervals]))
    high = float(np.mean([e.high is not None and e.high < truth for e in intervals]))
    width = float(np.mean([(e.high or 0.0) - (e.low or 0.0) for e in intervals]))
    within = all((e.low or 0.0) >= 0.0 and (e.high or 0.0) <= 1.0 for e in intervals)
    if promised:
        require(max(low, high) <= 0.025 + 3.0 * error, f"each end misses 2.5 % at most: {name}")
        require(within, f"no end leaves the range: {name}")
    return f"{low:.3f} {high:.3f} {width:.3f}"


def means(rng: np.random.Generator, repeats: int) -> None:
    error = math.sqrt(0.025 * 0.975 / repeats)
    print(f"\n2. Means, nominal 95 %: low end too high, high end too low, mean width; {repeats} runs a cell")
    print(f"   (nominal .025 an end, se about {error:.3f}; bootstrap and t are what was used before)")
    print("   data           tasks   betting            bootstrap          t                  any time")
    for name, draw, truth in MEANS:
        for tasks in (32, 128, 512):
            runs = [draw(rng, tasks) for _ in range(repeats)]
            ones = np.ones(tasks)
            label = f"{name}, {tasks} tasks"
            ours = [mean_interval(x, ones) for x in runs]
            percentile = [
                bootstrap_ratio(x, ones, n=tasks, seed=seed, bounds=(0.0, 1.0), draws=1000)
                for seed, x in enumerate(runs)
            ]
            student = [student_interval(x) for x in runs]
            row = [
                both_ends(label, ours, truth, error, promised=True),
                both_ends(label, percentile, truth, error, promised=False),
                both_ends(label, student, truth, error, promised=False),
                both_ends(label, [confidence_sequence(x) for x in runs], truth, error, promised=True),
            ]
            print(f"   {name:13s} {tasks:6d}   " + "  ".join(row))


def student_interval(x: FloatArray) -> Estimate:
    half = student_t_quantile(0.975, len(x) - 1) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Estimate(len(x), float(x.mean()), float(x.mean()) - half, float(x.mean()) + half, "t")


def several_samples(rng: np.random.Generator, repeats: int) -> None:
    error = math.sqrt(0.025 * 0.975 / repeats)
    print(f"\n3. Rates and means of 1 to 4 samples a task, 128 tasks, nominal 95 %, {repeats} runs a cell")
    print("   alike = correlation of samples of one task; low end too high, high end too low, mean width")
    for rate in (0.5, 0.95, 0.99):
        for alike in (0.0, 0.3, 1.0):
            size = rng.integers(1, 5, (repeats, 128))
            hits = rng.binomial(size, task_rates(rng, rate, alike, (repeats, 128)))
            found = [rate_by_task(x, n, most=4) for x, n in zip(hits, size, strict=True)]
            row = both_ends(f"rate {rate}, alike {alike}", found, rate, error, promised=True)
            print(f"   rate {rate:4g}, alike {alike:3g}: {row}")
    for validity in (0.34, 0.95):
        found = []
        for _ in range(repeats):
            skill, size = rng.beta(4.0, 2.0, 128), rng.integers(1, 5, 128)
            parsed = rng.binomial(size, validity)
            found.append(mean_interval(rng.binomial(parsed, skill), parsed, most=4))
        row = both_ends(f"parsed, validity {validity}", found, 4.0 / 6.0, error, promised=True)
        print(f"   NDCG of what parsed, validity {validity:4g}: {row}")


def task_rates(rng: np.random.Generator, rate: float, alike: float, shape: tuple[int, int]) -> FloatArray:
    if alike == 0.0:
        return np.full(shape, rate)
    if alike == 1.0:
        return (rng.random(shape) < rate).astype(float)
    spread = 1.0 / alike - 1.0
    return np.asarray(rng.beta(rate * spread, (1.0 - rate) * spread, shape), dtype=np.float64)


def exact_levels() -> None:
    print(
        f"\n4. Exact false pass / false fail at the bar, alpha = {ALPHA} (* above it): every outcome added up"
    )
    print("   0/1 values, one a task")
    sizes = (20, 60, 100, 200, 300, 500, 1000, 2000)
    print("   bar    test    " + "".join(f"{n:>14d}" for n in sizes))
    for bar in BARS:
        kinds = Kinds.single([1.0, 0.0], [bar, 1.0 - bar])
        level_rows(f"{bar:<5g}", kinds, bar, sizes, exact=True)
    print("   graded values, one a task: 1 with 3/7 and 0 in equal parts; then 1 with much .9 and a rare 0")
    grid = (20, 60, 200, 500, 2000)
    print("   mean   test    " + "".join(f"{n:>14d}" for n in grid))
    for grades, shares in GRADED:
        for bar in BARS:
            spread = graded(grades, shares, bar)
            if spread is not None:
                level_rows(f"{bar:<5g}", spread, bar, grid)


def exact_levels_by_task() -> None:
    print("   several samples a task: 1 or 4 that all say the same, half of each; then 3 independent ones")
    print("   bar    test    " + "".join(f"{n:>14d}" for n in (20, 60, 200)))
    for bar in BARS:
        chance = 0.5 * np.array([bar, bar, 1.0 - bar, 1.0 - bar])
        kinds = Kinds(np.array([1.0, 4.0, 0.0, 0.0]), np.array([1.0, 4.0, 1.0, 4.0]), chance)
        level_rows(f"{bar:<5g}", kinds, bar, (20, 60, 200) if bar >= 0.9 else (20, 60), most=4)
    for bar in BARS:
        chance = np.array([math.comb(3, k) * bar**k * (1.0 - bar) ** (3 - k) for k in (3, 2, 1, 0)])
        kinds = Kinds(np.array([3.0, 2.0, 1.0, 0.0]), np.full(4, 3.0), chance)
        level_rows(f"{bar:<5g}", kinds, bar, (20, 60, 200) if bar >= 0.9 else (20, 60), most=3)


def level_rows(
    label: str, kinds: Kinds, bar: float, sizes: tuple[int, ...], *, most: int = 1, exact: bool = False
) -> None:
    tests: dict[str, Tested] = {"betting": lambda rows: betting(kinds, rows, bar, most)}
    if exact:
        tests["exact"] = lambda rows: binomial(rows, bar)
    tests["t"] = lambda rows: student(kinds, rows, bar)
    for name, test in tests.items():
        row = [errors(kinds, n, test, ALPHA) for n in sizes]
        print(f"   {label:6s} {name:8s}" + "".join(f"{cell(one):>14s}" for one in row))
        if name != "t":
            require(max(map(max, row)) <= ALPHA, f"{name} keeps alpha at {label.strip()}")


def binomial(rows: IntArray, bar: float) -> tuple[FloatArray, FloatArray]:
    found = [rate_against_bar(int(row[0]), int(row.sum()), bar) for row in rows]
    return np.array([one.p_pass for one in found]), np.array([one.p_fail for one in found])


def cell(found: tuple[float, float]) -> str:
    return "/".join(f"{one:.3f}" + ("*" if one > ALPHA else " ") for one in found)


def graded(grades: tuple[float, ...], shares: tuple[float, ...], mean: float) -> Kinds | None:
    """Values of which the first takes what the others leave, so that the mean is this."""
    loss = math.fsum(share * (grades[0] - grade) for grade, share in zip(grades[1:], shares, strict=True))
    rest = (grades[0] - mean) / loss
    chance = [1.0 - rest * math.fsum(shares), *(rest * share for share in shares)]
    return Kinds.single(grades, chance) if min(chance) > 0.0 else None


def paired_levels() -> None:
    print(f"\n5. Exact false pass / false fail of paired differences at the margin, alpha = {ALPHA}")
    print("   0/1 values; tango is the normal approximation that was used before")
    few, many = (20, 50, 100, 200, 500), (20, 50, 100, 200, 500, 2000)
    print("   margin  losses test    " + "".join(f"{n:>14d}" for n in many))
    for margin in (0.0, 0.01, 0.02, 0.05):
        for beyond in (0.01, 0.03, 0.1):
            loss = margin + beyond
            sizes = many if margin == 0.02 and beyond <= 0.03 else few
            kinds = Kinds.single([1.0, 0.0, -1.0], [beyond, 1.0 - loss - beyond, loss], (-1.0, 1.0))
            row = [paired_rates(kinds, n, -margin, ALPHA) for n in sizes]
            lead = f"   {margin:<7g} {loss:<6g} "
            print(f"{lead}{'exact':8s}" + "".join(f"{cell(one):>14s}" for one in row))
            require(max(map(max, row)) <= ALPHA, f"paired rates keep alpha: margin {margin}, losses {loss}")
            for name, test in paired_tests(kinds, margin).items():
                other = [errors(kinds, n, test, ALPHA) for n in sizes]
                print(f"{lead}{name:8s}" + "".join(f"{cell(one):>14s}" for one in other))
                kept = name != "betting" or max(map(max, other)) <= ALPHA
                require(kept, f"betting keeps alpha: margin {margin}, losses {loss}")
    print("   graded differences of 1, 0 and -4/7, margin 0.02")
    for gain in (0.01, 0.05):
        loss = (gain + 0.02) / (4 / 7)
        kinds = Kinds.single([1.0, 0.0, -4 / 7], [gain, 1.0 - gain - loss, loss], (-1.0, 1.0))
        for name, test in paired_tests(kinds, 0.02, graded=True).items():
            row = [errors(kinds, n, test, ALPHA) for n in few]
            print(f"   0.02    {loss:<6.3f} {name:8s}" + "".join(f"{cell(one):>14s}" for one in row))
            require(name != "betting" or max(map(max, row)) <= ALPHA, f"betting keeps alpha: gains {gain}")


def paired_tests(kinds: Kinds, margin: float, *, graded: bool = False) -> dict[str, Tested]:
    tests: dict[str, Tested] = {
        "betting": lambda rows: betting(kinds, rows, -margin, 1),
        "t": lambda rows: student(kinds, rows, -margin),
    }
    return tests if graded else {"tango": lambda rows: tango(rows, -margin), **tests}


def tango(rows: IntArray, difference: float) -> tuple[FloatArray, FloatArray]:
    """Normal p-values of Tango's score, written as he gives it."""
    gain, loss, n = rows[:, 0], rows[:, 2], rows.sum(axis=1)
    linear = -gain - loss + (2 * n - gain + loss) * difference
    constant = -loss * difference * (1.0 - difference)
    restricted = (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * (2 * restricted + difference * (1.0 - difference))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.nan_to_num((gain - loss - n * difference) / np.sqrt(np.maximum(variance, 0.0)))
    return ndtr(-z), ndtr(z)


def power(rng: np.random.Generator, repeats: int) -> None:
    print(f"\n6. Tasks for a power of .8 at alpha = {ALPHA}, {repeats} runs a size (about +-5 %)")
    print("   exact: binomial or paired score, of 0/1 values; Bentkus: e times the binomial tail")
    print("   values                        bar    truth      t   exact  betting  Bentkus   any time")
    for name, draw, bar, bounds in POWER:
        truth = float(np.mean(draw(rng, 200_000)))
        tests = (student_p, exact_p(name), betting_p, bentkus_p, sequential_p)
        row = [
            "-" if test is None else str(tasks_for(test, draw, rng, bar, bounds, repeats)) for test in tests
        ]
        print(f"   {name:28s} {bar:6g} {truth:8.3f} " + "".join(f"{one:>8s}" for one in row), flush=True)


PValue = Callable[[FloatArray, float, tuple[float, float]], float]


def tasks_for(
    p_value: PValue,
    draw: Sampler,
    rng: np.random.Generator,
    bar: float,
    bounds: tuple[float, float],
    repeats: int,
) -> int:
    """Smallest of sizes 5 % apart at which four fifths of the runs refute "at most the bar"."""
    size, wanted = 20.0, 0.8
    step = 1.4
    for _ in range(60):
        n = round(size)
        if np.mean([p_value(draw(rng, n), bar, bounds) <= ALPHA for _ in range(repeats)]) >= wanted:
            if step < 1.06:
                return n
            size, step = size / step, math.sqrt(step) if step > 1.11 else 1.05
        size *= step
    return round(size)


def student_p(x: FloatArray, bar: float, bounds: tuple[float, float]) -> float:
    spread = float(x.std(ddof=1))
    if spread <= 1e-12:
        return float((bar - bounds[0]) / (x[0] - bounds[0])) ** len(x) if x[0] > bar else 1.0
    return student_t_cdf((bar - float(x.mean())) * math.sqrt(len(x)) / spread, len(x) - 1)


def exact_p(name: str) -> PValue | None:
    if not name.startswith("0/1"):
        return None
    if "paired" in name:
        return lambda x, bar, _: (
            noninferior_rates(
                PairedCounts(int((x == 0).sum()), int((x > 0).sum()), int((x < 0).sum()), 0),
                -bar,
                interval=False,
            ).p_pass
        )
    return lambda x, bar, _: rate_against_bar(int(x.sum()), len(x), bar).p_pass


def betting_p(x: FloatArray, bar: float, bounds: tuple[float, float]) -> float:
    return mean_against_bar(x, np.ones(len(x)), bar, bounds=bounds, interval=False).p_pass


def bentkus_p(x: FloatArray, bar: float, bounds: tuple[float, float]) -> float:
    """Bentkus (Annals of Probability 32, 2004), at the whole number below the sum."""
    low, high = bounds
    total = math.floor(math.fsum((x - low) / (high - low)) + 1e-9)
    return min(1.0, math.e * binomial_sf(total - 1, len(x), (bar - low) / (high - low)))


def sequential_p(x: FloatArray, bar: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    test = SequentialTest((bar - low) / (high - low), alpha=ALPHA)
    for value in (x - low) / (high - low):
        if test.update(float(value)) == "pass":
            return 0.0
    return 1.0


def gates(rng: np.random.Generator, repeats: int) -> None:
    fixed = sample_size_proportion(BAR, DESIGN, alpha=ALPHA)
    print(f"\n7. Gates against a bar of {BAR}, alpha = {ALPHA}: exact probabilities of each verdict")
    print(f"   fixed: exact binomial test at n = {fixed}; sequential: a look after each sample, to {BUDGET}")
    print("   true      fixed pass    fail      sequential pass    fail   undecided")
    verdicts = [rate_against_bar(k, fixed, BAR, alpha=ALPHA).verdict for k in range(fixed + 1)]
    boundaries = bernoulli_boundaries(BAR, BUDGET, alpha=ALPHA)
    for true in RATES:
        weights = binomial_weights(fixed, true)
        share = {
            want: sum(w for w, verdict in zip(weights, verdicts, strict=True) if verdict == want)
            for want in ("pass", "fail")
        }
        run = operating_characteristics(boundaries, true)
        undecided = max(0.0, 1.0 - run.pass_probability - run.fail_probability)
        print(
            f"   {true:6g} {share['pass']:13.5f} {share['fail']:9.5f} {run.pass_probability:16.5f} "
            f"{run.fail_probability:9.5f} {undecided:9.4f}"
        )
        for name, passed, failed in (
            ("fixed", share["pass"], share["fail"]),
            ("sequential", run.pass_probability, run.fail_probability),
        ):
            require(true >= BAR or passed <= ALPHA, f"{name} gate: false pass at {true} is at most alpha")
            require(true < BAR or failed <= ALPHA, f"{name} gate: false fail at {true} is at most alpha")
    simulated_gates(rng, repeats)


def simulated_gates(rng: np.random.Generator, repeats: int) -> None:
    limit = ALPHA + 3.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / repeats)
    print(f"   Run sample by sample, {repeats} runs of up to 500, errors must stay below {limit:.3f}:")
    truth = MEANS[1][2]
    listed = np.repeat([0.0, 1.0], [50, 950])
    short = np.repeat([0.0, 1.0], [51, 949])
    cases: tuple[tuple[str, float, int | None, str, Callable[[], FloatArray]], ...] = (
        ("0/1 at the bar", BAR, None, "fail", lambda: (rng.random(500) < BAR).astype(float)),
        ("0/1 just below", BAR, None, "pass", lambda: (rng.random(500) < BAR - 1e-9).astype(float)),
        ("NDCG@K-like at its mean", truth, None, "fail", lambda: ndcg_at_k(rng, 500)),
        ("NDCG@K-like just below", truth + 1e-9, None, "pass", lambda: ndcg_at_k(rng, 500)),
        ("list of 1000 at the bar, no replacement", BAR, 1000, "fail", lambda: rng.permutation(listed)[:500]),
        ("list of 1000, one short of it", BAR, 1000, "pass", lambda: rng.permutation(short)[:500]),
    )
    for name, bar, population, wrong, draw in cases:
        errors = 0
        for _ in range(repeats):
            test = SequentialTest(bar, alpha=ALPHA, population=population)
            for value in draw():
                if test.update(value) != "undecided":
                    break
            errors += test.verdict == wrong
        print(f"     {name:42s} false {wrong} {errors / repeats:.3f}")
        require(errors / repeats <= limit, f"sequential test, {name}: false {wrong} is at most alpha")


def sample_counts() -> None:
    fixed = sample_size_proportion(BAR, DESIGN, alpha=ALPHA)
    print(f"\n8. Samples until a verdict against a bar of {BAR} (alpha = {ALPHA}); fixed gate: n = {fixed}")
    print("   Wald = log(1/alpha) / KL(true, bar), the mean count of a test that knows the true rate")
    print("   true     median     mean    fixed/median    Wald    median/Wald   mean/Wald")
    boundaries = bernoulli_boundaries(BAR, 4 * BUDGET, alpha=ALPHA)
    promised = {0.34: fixed / 50, 0.995: fixed / 4, DESIGN: 1.3 * fixed}
    for true in (0.34, 0.5, 0.8, 0.9, 0.93, 0.97, 0.98, 0.99, 0.995, 0.999):
        run, wald = operating_characteristics(boundaries, true), wald_bound(BAR, true, alpha=ALPHA)
        median = run.median_samples
        note = f"   promised <= {promised[true]:.0f}" if true in promised else ""
        print(
            f"   {true:6g} {median:8d} {run.mean_samples:9.1f} {fixed / median:12.1f} {wald:11.1f} "
            f"{median / wald:11.2f} {run.mean_samples / wald:11.2f}{note}"
        )
        require(median <= promised.get(true, math.inf), f"median sample count at {true}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tenth of the simulated runs")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    scale = 10 if options.quick else 1
    started = time.perf_counter()
    rate_intervals()
    means(rng, 600 // scale)
    several_samples(rng, 600 // scale)
    exact_levels()
    exact_levels_by_task()
    paired_levels()
    power(rng, 200 // scale)
    gates(rng, 1000 // scale)
    sample_counts()
    looks(require)
    streams(require)
    stopped(require, rng, 400 // scale)
    print(f"\nseed {options.seed}, {time.perf_counter() - started:.0f} s")
    for promise in broken:
        print(f"BROKEN: {promise}")
    print("all promises kept" if not broken else f"{len(broken)} promises broken")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
