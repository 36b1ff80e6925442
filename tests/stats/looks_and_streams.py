"""Exact error rates of a gate that is looked at again, and of a stream of checkpoints.

Part of benchmarks/stats_calibration.py. Enumerates a rate's successes look by look; simulates only what a
stopped run's estimate does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.stats

from harness.gate.looks import spend
from harness.gate.stream import share_of
from harness.runs.gate_record import Look
from harness.stats import SequentialTest, confidence_sequence

ALPHA = 0.05
Require = Callable[[bool, str], None]


def least_successes(n: int, bar: float, alpha: float) -> int:
    """Fewest successes with which the exact test shows that a rate is at least the bar."""
    k = np.arange(n + 2)
    return int(np.argmax(scipy.stats.binom.sf(k - 1, n, bar) <= alpha)) if alpha > 0 else n + 1


def most_successes(n: int, bar: float, alpha: float) -> int:
    """Most successes with which it shows that the rate is below the bar; −1 where none are few enough."""
    k = np.arange(n + 1)
    return int((scipy.stats.binom.cdf(k, n, bar) <= alpha).sum()) - 1


def shares(sizes: list[int], *, counted: bool, whole: bool) -> list[float]:
    """Share of alpha of each look: as the gate spends it, or all of it every time."""
    spent: list[Look] = []
    for n in sizes:
        last = whole and n == sizes[-1]
        share = spend(spent, str(n), "fixed", ALPHA, whole=last).share if counted else 1.0
        spent.append(Look("", n, str(n), "", share, share * ALPHA, "fixed", "inconclusive"))
    return [look.share for look in spent]


def verdicts(sizes: list[int], levels: list[float], bar: float, true: float) -> tuple[float, float]:
    """Exact chances of passing and of failing at any of the looks, which end with the first verdict."""
    states: npt.NDArray[np.float64] = np.ones(1)
    passed = failed = 0.0
    for (before, n), level in zip(itertools.pairwise([0, *sizes]), levels, strict=True):
        added = scipy.stats.binom.pmf(np.arange(n - before + 1), n - before, true)
        states = np.convolve(states, added)
        up, down = least_successes(n, bar, level), most_successes(n, bar, level)
        passed += float(states[up:].sum())
        failed += float(states[: down + 1].sum())
        states[up:] = 0.0
        states[: down + 1] = 0.0
    return passed, failed


def looks(require: Require) -> None:
    print(
        "\nLooks at a run that grows: exact false pass just below the bar and false fail at it, alpha = 0.05"
    )
    print("   each look at all of alpha, as before │ alpha spent over looks, as the gate does now")
    print("     bar  samples at each look           │   false pass  false fail   false pass  false fail")
    for bar in (0.5, 0.8, 0.9, 0.95, 0.98, 0.995):
        for sizes in ([512], [256, 512], [128, 256, 512], [128, 256, 384, 512], [64, 128, 256, 512, 1024]):
            cells = []
            for counted in (False, True):
                levels = [ALPHA * share for share in shares(sizes, counted=counted, whole=True)]
                false_pass = verdicts(sizes, levels, bar, bar - 1e-9)[0]
                false_fail = verdicts(sizes, levels, bar, bar)[1]
                cells += [false_pass, false_fail]
                if counted:
                    require(max(false_pass, false_fail) <= ALPHA, f"looks {sizes} at bar {bar} keep alpha")
            told = "  ".join(f"{cell:11.4f}" for cell in cells)
            print(f"   {bar:5g}  {'+'.join(map(str, sizes)):30s}  {told}")
    print("   price: chance of passing at a rate above the bar .95, one look at everything against two")
    for true in (0.96, 0.97, 0.975, 0.98):
        one = verdicts([512], [ALPHA], 0.95, true)[0]
        two = verdicts([256, 512], [0.5 * ALPHA, 0.5 * ALPHA], 0.95, true)[0]
        print(f"   true {true:5g}: {one:.3f} → {two:.3f}")


def streams(require: Require) -> None:
    print(
        "\nStreams: exact chance that one of N checkpoints just below the bar passes; bar .95, alpha = 0.05"
    )
    print("        N  tasks    each at alpha   alpha/(n(n+1))   planned: alpha/N")
    for count, tasks in itertools.product((20, 50), (128, 256, 512)):
        places = range(1, count + 1)
        row = []
        for shares_of in ([1.0] * count, [share_of(n, None) for n in places], [1.0 / count] * count):
            none = 1.0
            for share in shares_of:
                least = least_successes(tasks, 0.95, ALPHA * share)
                none *= 1.0 - float(scipy.stats.binom.sf(least - 1, tasks, 0.9499))
            row.append(1.0 - none)
        require(max(row[1:]) <= ALPHA, f"a stream of {count} on {tasks} tasks keeps alpha")
        print(f"   {count:6d}  {tasks:5d}   {row[0]:14.3f}  {row[1]:15.4f}  {row[2]:17.4f}")
    print("   price: rate at which the nth checkpoint of a stream passes with probability .8 on 512 tasks")
    for place in (1, 2, 5, 10, 20):
        told = [f"{needed(512, 0.95, ALPHA * share_of(place, planned)):.4f}" for planned in (None, 20)]
        print(f"   n = {place:2d}: any number {told[0]}, planned for 20 {told[1]}")


def needed(n: int, bar: float, level: float) -> float:
    """Least true rate with which the test passes with probability .8."""
    least = least_successes(n, bar, level)
    low, high = bar, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if scipy.stats.binom.sf(least - 1, n, middle) >= 0.8 else (middle, high)
    return high


def stopped(require: Require, rng: np.random.Generator, repeats: int) -> None:
    print(f"\nStopped runs: bar .95, budget 512, {repeats} runs a row")
    print("   true   mean estimate   given pass   given fail   sequence covers   fixed-n covers")
    for true in (0.9, 0.93, 0.95, 0.97, 0.99):
        estimates, passed, failed, covered, naive = [], [], [], 0, 0
        for _ in range(repeats):
            values = (rng.random(512) < true).astype(float)
            test = SequentialTest(0.95)
            for value in values:
                if test.update(float(value)) != "undecided":
                    break
            drawn = values[: test.n]
            estimates.append(float(drawn.mean()))
            passed += [estimates[-1]] if test.verdict == "pass" else []
            failed += [estimates[-1]] if test.verdict == "fail" else []
            interval = confidence_sequence(drawn)
            exact = scipy.stats.binomtest(int(drawn.sum()), len(drawn)).proportion_ci(0.95)
            covered += interval.low is not None and interval.low <= true <= (interval.high or 1.0)
            naive += exact.low <= true <= exact.high
        told = [f"{np.mean(group):9.4f}" if group else "        –" for group in (estimates, passed, failed)]
        told += [f"{covered / repeats:.3f}", f"{naive / repeats:.3f}"]
        print("   {:4g}   {:>13}  {:>11}  {:>11}   {:>15}   {:>14}".format(true, *told))
        noise = 3.0 * (0.05 * 0.95 / repeats) ** 0.5
        require(covered / repeats >= 0.95 - noise, f"a stopped run's confidence sequence covers at {true}")
