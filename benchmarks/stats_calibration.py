"""Coverage and error rates of harness.stats, and what a sequential gate saves.

    python benchmarks/stats_calibration.py [--seed 0] [--quick]

Exact where the outcomes can be enumerated (intervals and tests of a single rate, the sequential test on 0/1
data), by simulation elsewhere. Prints tables; exits with 1 when a promise of a hard kind is broken: an
error rate of an exact or anytime-valid test above alpha, or more samples than promised.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from harness.stats import (
    Estimate,
    PairedCounts,
    SequentialTest,
    bootstrap_ratio,
    clustered_rate_against_bar,
    confidence_sequence,
    mean_against_bar,
    newcombe_paired,
    noninferior_rates,
    rate_against_bar,
    sample_size_proportion,
    tango,
    wilson,
    wilson_clustered,
)
from tests.stats.sequential_planning import bernoulli_boundaries, operating_characteristics, wald_bound

BAR, ALPHA, DESIGN = 0.95, 0.05, 0.97
RATES = (0.5, 0.8, 0.9, 0.93, 0.94, 0.949, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
BUDGET = 5000
Sampler = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]

broken: list[str] = []


def require(holds: bool, promise: str) -> None:
    if not holds:
        broken.append(promise)


def mark(coverage: float) -> str:
    return f"{coverage:7.3f}" + (" " if 0.93 <= coverage <= 0.97 else "*")


def binomial_weights(n: int, p: float) -> npt.NDArray[np.float64]:
    k = np.arange(n + 1)
    choose = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k])
    weights: npt.NDArray[np.float64] = np.exp(choose + k * math.log(p) + (n - k) * math.log1p(-p))
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


def clustered_rates(rng: np.random.Generator, repeats: int) -> None:
    print(f"\n2. Four samples a task: wilson_clustered coverage, {repeats} runs a cell (se about 0.005)")
    print("   alike = correlation of samples of one task; `naive` is Wilson's interval that ignores it")
    print("   tasks   rate  alike   clustered    naive")
    for tasks in (64, 256):
        for rate in (0.5, 0.95, 0.99):
            for alike in (0.0, 0.3, 1.0):
                chance = task_rates(rng, rate, alike, (repeats, tasks))
                hits = rng.binomial(4, chance)
                sizes = np.full(tasks, 4)
                ours = np.mean([covers(wilson_clustered(row, sizes), rate) for row in hits])
                naive = np.mean([covers(wilson(int(row.sum()), 4 * tasks), rate) for row in hits])
                print(f"   {tasks:5d} {rate:6g} {alike:6g}    {mark(float(ours))}  {mark(float(naive))}")


def task_rates(
    rng: np.random.Generator, rate: float, alike: float, shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    if alike == 0.0:
        return np.full(shape, rate)
    if alike == 1.0:
        return (rng.random(shape) < rate).astype(float)
    spread = 1.0 / alike - 1.0
    return rng.beta(rate * spread, (1.0 - rate) * spread, shape)


def ndcg_at_1(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    return rng.choice([0.0, 1 / 7, 3 / 7, 1.0], n, p=[0.15, 0.15, 0.2, 0.5])


def ndcg_at_k(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    return rng.beta(6.0, 1.5, n)


def rare_failures(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    return (rng.random(n) < 0.97).astype(float)


MEANS: tuple[tuple[str, Sampler, float], ...] = (
    ("NDCG@1-like", ndcg_at_1, 0.15 / 7 + 0.2 * 3 / 7 + 0.5),
    ("NDCG@K-like", ndcg_at_k, 6.0 / 7.5),
    ("0/1 at 0.97", rare_failures, 0.97),
)


def means(rng: np.random.Generator, repeats: int) -> None:
    error = math.sqrt(0.95 * 0.05 / repeats)
    print(f"\n3. Means, nominal 95 %: coverage, {repeats} runs a cell (se about {error:.3f})")
    print("   data            tasks   percentile    BCa        t       betting (any time)")
    for name, draw, truth in MEANS:
        for tasks in (32, 128, 512):
            hit = np.zeros(4)
            for seed in range(repeats):
                values = draw(rng, tasks)
                ones = np.ones(tasks)
                bootstrap = partial(
                    bootstrap_ratio, values, ones, n=tasks, seed=seed, bounds=(0.0, 1.0), draws=1000
                )
                hit += [
                    covers(bootstrap(method="percentile"), truth),
                    covers(bootstrap(method="bca"), truth),
                    covers(mean_against_bar(values, ones, 0.5, alpha=0.025).estimate, truth),
                    covers(confidence_sequence(values), truth),
                ]
            row = hit / repeats
            print(f"   {name:14s} {tasks:6d}     " + "   ".join(mark(float(c)) for c in row))
            require(row[3] >= 0.95 - 3.0 * error, f"confidence sequence covers: {name}, {tasks} tasks")


def parsed_means(rng: np.random.Generator, repeats: int) -> None:
    print(f"\n4. NDCG on parsed samples only, 128 tasks of 1-4 samples: bootstrap by task, {repeats} runs")
    for validity in (0.34, 0.95):
        covered = 0
        for seed in range(repeats):
            skill = rng.beta(4.0, 2.0, 128)
            size = rng.integers(1, 5, 128)
            parsed = rng.binomial(size, validity)
            total = np.array([rng.binomial(m, s) for m, s in zip(parsed, skill, strict=True)], dtype=float)
            interval = bootstrap_ratio(total, parsed, n=int(parsed.sum()), seed=seed, draws=1000)
            covered += covers(interval, 4.0 / 6.0)
        print(f"   validity {validity}: coverage {mark(covered / repeats)}")


def paired(rng: np.random.Generator, repeats: int) -> None:
    print(f"\n5. Paired rates, 256 tasks: coverage, and non-inferiority at its margin, {repeats} runs")
    print("   discordant   difference   newcombe    tango     false pass (margin = the true loss)")
    for discordant, loss in ((0.02, 0.01), (0.05, 0.02), (0.1, 0.02), (0.2, 0.05)):
        gain, lose = (discordant - loss) / 2.0, (discordant + loss) / 2.0
        draws = rng.multinomial(
            256, [0.9 * (1 - discordant), gain, lose, 0.1 * (1 - discordant)], size=repeats
        )
        hit = np.zeros(3)
        for row in draws:
            counts = PairedCounts(*(int(cell) for cell in row))
            passed = noninferior_rates(counts, loss).verdict == "pass"
            hit += [covers(newcombe_paired(counts), -loss), covers(tango(counts), -loss), passed]
        newcombe, score, false = hit / repeats
        print(f"   {discordant:8g} {-loss:12g}     {mark(newcombe)}  {mark(score)}  {false:8.3f}")
    wrong = np.mean(
        [
            mean_against_bar(
                ndcg_at_k(rng, 128) - ndcg_at_k(rng, 128) - 0.02, np.ones(128), -0.02, bounds=(-1.0, 1.0)
            ).verdict
            == "pass"
            for _ in range(repeats)
        ]
    )
    print(f"   paired t against a margin, 128 NDCG@K-like pairs: false pass {wrong:.3f}")


def gates(rng: np.random.Generator, repeats: int) -> None:
    fixed = sample_size_proportion(BAR, DESIGN, alpha=ALPHA)
    print(f"\n6. Gates against a bar of {BAR}, alpha = {ALPHA}: exact probabilities of each verdict")
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
    cases: tuple[tuple[str, float, int | None, str, Callable[[], npt.NDArray[np.float64]]], ...] = (
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


def clustered_gates(rng: np.random.Generator, repeats: int) -> None:
    print(f"\n7. Four samples a task, 128 tasks at the bar: errors of the clustered test, {repeats} runs")
    for alike in (0.0, 0.3, 1.0):
        hits = rng.binomial(4, task_rates(rng, BAR, alike, (repeats, 128)))
        verdicts = [clustered_rate_against_bar(row, np.full(128, 4), BAR).verdict for row in hits]
        shares = ", ".join(f"{v} {verdicts.count(v) / repeats:.3f}" for v in ("pass", "fail"))
        print(f"   alike {alike:3g}: {shares}")


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
    clustered_rates(rng, 2000 // scale)
    means(rng, 1000 // scale)
    parsed_means(rng, 1000 // scale)
    paired(rng, 4000 // scale)
    gates(rng, 1000 // scale)
    clustered_gates(rng, 4000 // scale)
    sample_counts()
    print(f"\nseed {options.seed}, {time.perf_counter() - started:.0f} s")
    for promise in broken:
        print(f"BROKEN: {promise}")
    print("all promises kept" if not broken else f"{len(broken)} promises broken")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
