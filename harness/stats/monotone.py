"""Do failures become more frequent along a grid of levels, as an onset presupposes? A lack-of-fit test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MonotoneFit:
    """How far failure rates are from the nearest ones that never fall from one level to the next.

    Attributes:
        deviance: 2 × the log-likelihood by which the rates themselves fit better than the best rising ones;
            0 where the rates never fall.
        p_value: probability of such a deviance or a larger one if the best rising rates were the truth.
        rates: [J] those rates, by isotonic regression.
    """

    deviance: float
    p_value: float
    rates: tuple[float, ...]


def monotone_fit(
    failures: npt.ArrayLike, trials: npt.ArrayLike, *, draws: int = 2000, seed: int = 0
) -> MonotoneFit:
    """Test that failure rates don't fall along the levels, by a parametric bootstrap of the deviance.

    The rising rates are the maximum-likelihood ones under that order (Barlow, Bartholomew, Bremner and Brunk,
    "Statistical Inference under Order Restrictions", 1972), drawn from as binomials. Runs of one seed share
    their rollouts and tend to fail together at neighbouring levels, which makes falling rates rarer than
    here: the test then flags less often than its level says.

    Args:
        failures: [J] failed runs at each level, in ascending order of levels.
        trials: [J] runs at each level, ≥ 1.
        draws: of the bootstrap.
        seed: of its generator; same seed, same p.

    Raises:
        ValueError: shapes or counts that don't fit.
    """
    count, total = np.asarray(failures, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if count.ndim != 1 or count.shape != total.shape or not len(count):
        raise ValueError(f"failures of shape {count.shape} and trials of shape {total.shape}; [levels] each")
    if (count < 0).any() or (count > total).any() or (total < 1).any():
        raise ValueError("of each of the levels at least one run, and 0 to all of them failed")
    rates = _rising_rates(count, total)
    deviance = _deviance(count, total, rates)
    if deviance == 0.0:
        return MonotoneFit(0.0, 1.0, tuple(rates.tolist()))
    drawn = np.random.default_rng(seed).binomial(total.astype(np.int64), rates, size=(draws, len(total)))
    # Few distinct outcomes: each is fitted once.
    outcomes, times = np.unique(drawn.astype(np.float64), axis=0, return_counts=True)
    deviances = np.array([_deviance(one, total, _rising_rates(one, total)) for one in outcomes])
    as_large = times[deviances >= deviance * (1 - 1e-9)].sum()
    return MonotoneFit(deviance, float((1 + as_large) / (1 + draws)), tuple(rates.tolist()))


def _rising_rates(failures: FloatArray, trials: FloatArray) -> FloatArray:
    from scipy.optimize import isotonic_regression

    rates: FloatArray = isotonic_regression(failures / trials, weights=trials).x
    return np.clip(rates, 0.0, 1.0)


def _deviance(failures: FloatArray, trials: FloatArray, rates: FloatArray) -> float:
    """2 Σ (log-likelihood of the observed shares − that of `rates`); 0 · log 0 is 0."""
    from scipy.special import xlogy

    share = failures / trials
    gained = xlogy(failures, share) - xlogy(failures, rates)
    gained += xlogy(trials - failures, 1.0 - share) - xlogy(trials - failures, 1.0 - rates)
    deviance = 2.0 * float(gained.sum())
    return deviance if deviance > 1e-9 else 0.0
