"""Anytime-valid tests: look after every sample, stop whenever you like, the error rate still holds.

A bettor who doubts "the mean is below the bar" stakes a fraction f of the capital on every observation x in
[0, 1]; capital is multiplied by 1 + f · (x / bar − 1). If the doubted statement is true the capital is a
nonnegative supermartingale, and by Ville's inequality it ever reaches 1/alpha with probability at most
alpha. Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 86, 2024),
also for sampling without replacement.

The best f depends on the unknown mean, so the capital is spread over a grid of fractions that each play on
by themselves (their section on grid betting; Cover's universal portfolio). The grid is the arcsine
distribution, Gauss-Chebyshev nodes with equal weights, which is the Dirichlet(½) portfolio of Cover &
Ordentlich (IEEE Trans. Inf. Theory 42, 1996) with its near-minimal regret. For 0/1 data a stake f is the
likelihood ratio of the rate bar + f · (1 − bar) against the bar, so the test is then a mixture
likelihood-ratio test and loses against Wald's known-alternative test only the price of the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from harness.stats.decision import Sense, Verdict, check_alpha
from harness.stats.distributions import check_confidence
from harness.stats.estimate import Estimate

GRID = 32
FRACTIONS: npt.NDArray[np.float64] = np.sin(np.pi * (2 * np.arange(GRID) + 1) / (4 * GRID)) ** 2
"""Stakes that share the capital equally."""

_BLOCK = 4096
_STEPS = 24
"""Bisections of a confidence limit: to 1/2²⁴, always rounded to the wide side."""


class SequentialTest:
    """Running test of the requirement `mean >= bar` (or `<= bar`) for observations in [0, 1].

    `pass` rejects "the mean violates the bar", `fail` rejects "the mean meets the bar", each with its own
    capital at level alpha. For any true mean only one of the two is an error, so P(ever a wrong verdict) ≤
    alpha, without splitting alpha and whatever rule stops the sampling. A mean exactly at the bar meets
    it: there only `fail` is wrong, and `pass` comes with probability at most alpha too, so such a test
    mostly stays `undecided` to the end of its budget. The first verdict stands; later data don't revoke it.

    What must hold: each observation's mean, given the ones before, is the same (tasks in random order). With
    several samples a task observe the task's mean, once.

    With `population` the observations are drawn without replacement from a finite list of that many, in
    uniformly random order, and the bar is about the *list's* mean: what the full evaluation of this list
    would give, not what other tasks would give. The bar for the next draw then moves with what is left. If
    the rest can't change the answer any more, the verdict is certain; it always is at the end of the list.

    Each update costs O(`GRID`).
    """

    __slots__ = (
        "_fail",
        "_flip",
        "_goal",
        "_pass",
        "_total",
        "alpha",
        "bar",
        "decided_at",
        "n",
        "population",
        "sense",
        "verdict",
    )

    def __init__(
        self, bar: float, *, alpha: float = 0.05, sense: Sense = ">=", population: int | None = None
    ) -> None:
        """Start without observations.

        Args:
            bar: in [0, 1].
            alpha: largest probability of ever giving a wrong verdict, in (0, 0.5).
            sense: whether passing means mean ≥ bar or mean ≤ bar.
            population: length of the finite list that is drawn from without replacement; None when
                observations are independent.

        Raises:
            ValueError: a setting out of range.
        """
        check_alpha(alpha)
        if not 0.0 <= bar <= 1.0:
            raise ValueError(f"bar is {bar!r}; it must lie in [0, 1]")
        if sense not in (">=", "<="):
            raise ValueError(f"sense is {sense!r}; it must be '>=' or '<='")
        if population is not None and population < 1:
            raise ValueError(f"population is {population}; a list to draw from has at least one entry")
        self.bar, self.alpha, self.sense, self.population = bar, alpha, sense, population
        self.verdict: Verdict = "undecided"
        self.n = 0
        self.decided_at: int | None = None
        self._flip = sense == "<="
        self._goal = 1.0 - bar if self._flip else bar
        self._total = 0.0
        self._pass = np.zeros(GRID)
        self._fail = np.zeros(GRID)
        self._settle()

    @property
    def log_evidence_pass(self) -> float:
        """Natural log of the capital staked on `pass`; its threshold is log(1/alpha)."""
        return _log_mean_exp(self._pass)

    @property
    def log_evidence_fail(self) -> float:
        """Natural log of the capital staked on `fail`; its threshold is log(1/alpha)."""
        return _log_mean_exp(self._fail)

    def update(self, value: float) -> Verdict:
        """Take one observation and return the verdict so far.

        Raises:
            ValueError: value outside [0, 1] or not a number, or more observations than the population has.
        """
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"observation {value!r} is outside [0, 1]")
        if self.n == self.population:
            raise ValueError(f"all {self.population} entries of the population have been observed")
        x = 1.0 - value if self._flip else float(value)
        left = None if self.population is None else self.population - self.n
        mean = self._goal if left is None else (self._goal * (self.n + left) - self._total) / left
        # A mean of 0 or less (1 or more) has been settled already, or can't be bet against at all.
        if mean > 0.0:
            self._pass += np.log1p(FRACTIONS * (x / mean - 1.0))
        if mean < 1.0:
            self._fail += np.log1p(FRACTIONS * ((1.0 - x) / (1.0 - mean) - 1.0))
        self.n += 1
        self._total += x
        if self.verdict == "undecided":
            self._settle()
        return self.verdict

    def _settle(self) -> None:
        threshold = -math.log(self.alpha)
        certain = self._certain()
        if certain is not None:
            self.verdict = certain
        elif self.log_evidence_pass >= threshold:
            self.verdict = "pass"
        elif self.log_evidence_fail >= threshold:
            self.verdict = "fail"
        if self.verdict != "undecided":
            self.decided_at = self.n

    def _certain(self) -> Verdict | None:
        """The verdict that no further observation can change."""
        if self.population is None:
            if self._goal == 0.0:
                return "pass"
            return "fail" if self._goal == 1.0 and self._total < self.n else None
        needed = self._goal * self.population - self._total
        slack = 1e-9 * self.population  # a sum of decimal fractions may miss the bar by rounding
        if needed <= slack:
            return "pass"
        return "fail" if needed > self.population - self.n + slack else None


def confidence_sequence(
    values: Iterable[float], confidence: float = 0.95, *, population: int | None = None
) -> Estimate:
    """Interval for a mean in [0, 1] that stays valid however often one looks and whenever one stops.

    The means that the bettors of `SequentialTest` refute with all the capital they have *now*: with
    probability `confidence` none of these sets, at whatever time, leaves out the truth. So the sets may be
    intersected over time, and aren't: what early observations refuted can leave out the very mean of all. A
    verdict, which stands once it is reached, agrees with the interval of the moment in which it was.

    The mean of what was observed always lies in it. Drawn without replacement in a most unlikely order it
    needn't by itself; the interval then reaches to it.

    Args:
        values: observations in [0, 1], in the order in which they came.
        confidence: probability that the interval covers the mean at all times, in (0, 1).
        population: see `SequentialTest`.

    Raises:
        ValueError: values outside [0, 1], more than the population has, or confidence out of range.
    """
    check_confidence(confidence)
    x = np.fromiter(values, dtype=np.float64)
    method = "betting confidence sequence" + ("" if population is None else ", without replacement")
    if not ((x >= 0.0) & (x <= 1.0)).all():
        raise ValueError("observations must lie in [0, 1]")
    if population is not None and len(x) > population:
        raise ValueError(f"{len(x)} observations from a population of {population}")
    if len(x) == 0:
        return Estimate(0, None, None, None, method)
    threshold = -math.log((1.0 - confidence) / 2.0)
    seen = math.fsum(x) / len(x)
    low = _lower_limit(x, threshold, population)
    high = 1.0 - _lower_limit(1.0 - x, threshold, population)
    return Estimate(len(x), seen, min(low, seen), max(high, seen), method)


def _lower_limit(x: npt.NDArray[np.float64], threshold: float, population: int | None) -> float:
    """Largest mean known to be refuted; capital falls as the mean grows, so bisection finds the edge."""
    refuted, open_ = 0.0, 1.0
    before = np.concatenate([[0.0], np.cumsum(x)[:-1]])
    left = None if population is None else population - np.arange(len(x))
    if population is not None and len(x) == population:
        return float(x.mean())
    for _ in range(_STEPS):
        mean = 0.5 * (refuted + open_)
        bars = np.full(len(x), mean) if left is None else (mean * (population or 0) - before) / left
        if _refuted(x, bars, threshold):
            refuted = mean
        else:
            open_ = mean
    return refuted if population is None else max(refuted, float(x.sum()) / population)


def _refuted(x: npt.NDArray[np.float64], bars: npt.NDArray[np.float64], threshold: float) -> bool:
    """Whether the capital against means [n] has reached exp(threshold) at the last of them."""
    if (bars < 0.0).any():
        return True  # what was seen already adds up to more than such a mean allows
    capital = np.zeros(GRID)
    for start in range(0, len(x), _BLOCK):
        block, bar = x[start : start + _BLOCK], bars[start : start + _BLOCK]
        positive = bar > 0.0
        if (block[~positive] > 0.0).any():
            return True
        ratio = np.divide(block, bar, out=np.ones_like(block), where=positive)
        capital += np.log1p(np.outer(ratio - 1.0, FRACTIONS)).sum(axis=0)
    return _log_mean_exp(capital) >= threshold


def _log_mean_exp(logs: npt.NDArray[np.float64]) -> float:
    peak = float(logs.max())
    return peak + math.log(float(np.exp(logs - peak).mean()))
