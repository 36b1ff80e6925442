"""What `SequentialTest` will do on 0/1 data, computed exactly: for planning and for checking its errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.decision import check_alpha
from harness.stats.sequential import FRACTIONS


@dataclass(frozen=True, slots=True)
class OperatingCharacteristics:
    """How a sequential test of `rate >= bar` ends when the true rate is known.

    Attributes:
        pass_probability: of passing within the budget.
        fail_probability: of failing within the budget.
        median_samples: median number of samples drawn; the budget counts when it is reached undecided.
        mean_samples: mean number of samples drawn.
    """

    pass_probability: float
    fail_probability: float
    median_samples: int
    mean_samples: float


@dataclass(frozen=True, slots=True)
class Boundaries:
    """For n = 0 … budget samples, the counts of successes at which the test on 0/1 data stops.

    Attributes:
        pass_at: [budget + 1] passes with this many successes or more; n + 1 when none is enough.
        fail_at: [budget + 1] fails with this many successes or fewer; −1 when none is few enough.
    """

    pass_at: npt.NDArray[np.int64]
    fail_at: npt.NDArray[np.int64]


def bernoulli_boundaries(bar: float, budget: int, *, alpha: float = 0.05) -> Boundaries:
    """Stopping counts of `SequentialTest(bar, alpha=alpha)` for 0/1 observations.

    Capital rises with the number of successes at every n, so one count a side says it all.

    Raises:
        ValueError: bar outside (0, 1), budget < 1 or alpha out of range.
    """
    check_alpha(alpha)
    if not 0.0 < bar < 1.0 or budget < 1:
        raise ValueError(f"bar = {bar!r}, budget = {budget}: bar must lie in (0, 1) and budget be ≥ 1")
    pass_at = _least_successes(bar, budget, alpha)
    fail_at = np.arange(budget + 1) - _least_successes(1.0 - bar, budget, alpha)
    return Boundaries(pass_at, fail_at)


def operating_characteristics(boundaries: Boundaries, true: float) -> OperatingCharacteristics:
    """Exact outcome probabilities at a true rate, by carrying the distribution of successes forward.

    Raises:
        ValueError: true outside [0, 1].
    """
    if not 0.0 <= true <= 1.0:
        raise ValueError(f"true is {true!r}; a rate lies in [0, 1]")
    budget = len(boundaries.pass_at) - 1
    alive = np.zeros(budget + 2)
    alive[0] = 1.0
    passed, failed = np.zeros(budget + 1), np.zeros(budget + 1)
    low, high = 0, 0  # successes of paths still running lie in low … high
    for n in range(1, budget + 1):
        window = alive[low : high + 2]
        window[1:] = window[1:] * (1.0 - true) + window[:-1] * true
        window[0] *= 1.0 - true
        high += 1
        top, bottom = int(boundaries.pass_at[n]), int(boundaries.fail_at[n])
        if top <= high:
            passed[n] = alive[top : high + 1].sum()
            alive[top : high + 1] = 0.0
            high = top - 1
        if bottom >= low:
            failed[n] = alive[low : bottom + 1].sum()
            alive[low : bottom + 1] = 0.0
            low = bottom + 1
        if low > high:
            break
    stopped = passed + failed
    stopped[budget] += max(0.0, 1.0 - float(stopped.sum()))
    return OperatingCharacteristics(
        float(passed.sum()),
        float(failed.sum()),
        int(np.searchsorted(np.cumsum(stopped), 0.5)),
        float(stopped @ np.arange(budget + 1)),
    )


def _least_successes(bar: float, budget: int, alpha: float) -> npt.NDArray[np.int64]:
    win, lose = np.log1p(FRACTIONS * (1.0 / bar - 1.0)), np.log1p(-FRACTIONS)
    threshold = -math.log(alpha)
    least = np.empty(budget + 1, dtype=np.int64)
    successes = 0
    for n in range(budget + 1):
        # The boundary never falls as n grows: one more failure only costs capital.
        while successes <= n and _log_capital(successes, n - successes, win, lose) < threshold:
            successes += 1
        least[n] = successes
    return least


def _log_capital(
    successes: int, failures: int, win: npt.NDArray[np.float64], lose: npt.NDArray[np.float64]
) -> float:
    logs = successes * win + failures * lose
    peak = float(logs.max())
    return peak + math.log(float(np.exp(logs - peak).mean()))


def wald_bound(bar: float, true: float, *, alpha: float = 0.05) -> float:
    """log(1/alpha) / KL(true ‖ bar): what Wald's test that *knows* `true` needs on average.

    Wald, "Sequential tests of statistical hypotheses" (Annals of Mathematical Statistics 16, 1945). No test
    that never errs more often than alpha has a smaller mean count.

    Raises:
        ValueError: bar or alpha out of range, or true equal to bar.
    """
    if not 0.0 <= true <= 1.0 or true == bar:
        raise ValueError(f"true is {true!r}; it must lie in [0, 1] and differ from the bar {bar!r}")
    divergence = sum(p * math.log(p / q) for p, q in ((true, bar), (1.0 - true, 1.0 - bar)) if p > 0.0)
    return -math.log(alpha) / divergence
