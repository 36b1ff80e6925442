"""The clip strength c: as given, or read off the place where logged importance ratios pile up.

A clipped ratio that saturates takes the same value again and again, which a continuous maximum does not.
Ratios must be the ones the loss used, after the clip; before it they say nothing about c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.cliff.domain import BoolArray, FloatArray, require

ClipSource = Literal["given", "config", "ratios"]
ClipSide = Literal["given", "upper", "lower", "both", "none"]

_MIN_PILE = 3
_MIN_OTHERS = 10
_NEIGHBOURS = 50
_LEAST_LOG_CLIP = 1e-5  # nearer to ratio 1 lie the roundings of an on-policy update
_LARGEST_LOG = 700.0
_EPS32 = float(np.finfo(np.float32).eps)
_EPS64 = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class ClipEstimate:
    """What is known of c.

    Attributes:
        value: c, None where only a lower bound is known.
        lower_bound: c is at least this, ≥ 1; equals `value` where that is known.
        side: where ratios pile up: at c (`upper`), at 1/c (`lower`), at `both`, at `none`; `given` when no
            ratios were looked at.
        upper_count: ratios in the pile at the top, 0 without one.
        lower_count: ratios in the pile at the bottom, 0 without one.
        upper_value: c by the pile at the top, None without one.
        lower_value: c by the pile at the bottom (one over the ratio there), None without one. Where the two
            differ (an asymmetric clip such as [0.8, 1.2]) `value` is the smaller, which gives the smaller λ*.
        n: number of ratios looked at.
        source: `given` by the user, read from a training `config`, or estimated from `ratios`.
    """

    value: float | None
    lower_bound: float
    side: ClipSide
    upper_count: int
    lower_count: int
    upper_value: float | None
    lower_value: float | None
    n: int
    source: ClipSource

    @property
    def saturated(self) -> bool:
        """Whether c itself is known, and not only a lower bound."""
        return self.value is not None

    @property
    def effective(self) -> float:
        """c where it is known, else its lower bound (λ* from it is a lower bound too)."""
        return self.lower_bound if self.value is None else self.value


@dataclass(frozen=True, slots=True)
class ClipDemand:
    """How much ratio the teacher asks of the clip on tokens outside the class.

    Attributes:
        n: number of off-class tokens.
        median: median of π_T/π_S there.
        p95: their 95th percentile.
        largest: the largest.
        share_beyond: share of tokens whose ratio exceeds c.
        clip: the c compared with.
    """

    n: int
    median: float
    p95: float
    largest: float
    share_beyond: float
    clip: float


def known_clip(c: float, source: ClipSource = "given") -> ClipEstimate:
    """A clip strength that needn't be estimated.

    Args:
        c: clip strength, finite, > 1.
        source: where it comes from.

    Raises:
        CliffDomainError: c ≤ 1 or not finite.
    """
    require(np.isfinite(c) and c > 1, f"the clip strength must be finite and above 1, not {c}")
    return ClipEstimate(
        value=float(c),
        lower_bound=float(c),
        side="given",
        upper_count=0,
        lower_count=0,
        upper_value=None,
        lower_value=None,
        n=0,
        source=source,
    )


def estimate_clip(ratios: npt.ArrayLike, *, log: bool = False) -> ClipEstimate:
    """Estimate c from the importance ratios a training run logged.

    Args:
        ratios: [N] ratios of the policy to its behaviour policy, after the clip, masked tokens left out; in
            float32 or float64. Clipping must be the last step of float32 arithmetic or close to it: the
            pile may spread over four float32 roundings.
        log: whether `ratios` holds log-ratios.

    Returns:
        A value where ratios pile up at the top or the bottom, else the largest ratio as a lower bound. A
        piled-up value is given as the shortest decimal within its rounding (1.2, not 1.2000000476837158).
        A pile at 1 is no clip: it is what a strictly on-policy run logs. Fewer than ten different ratios
        beside the piles are too few to tell a clip from ties of another cause.

    Raises:
        CliffDomainError: no ratios, more than one dimension, NaN or infinite, or ratios ≤ 0.
    """
    given = np.asarray(ratios)
    require(given.ndim == 1 and given.size > 0, "ratios must be a non-empty list of numbers")
    require(given.dtype.kind in "fiu", "ratios must be numbers")
    values = given.astype(np.float64)
    bad = int(np.sum(~np.isfinite(values)))
    require(not bad, f"{bad} of {values.size} ratios are NaN or infinite; drop masked tokens first")
    with np.errstate(over="ignore"):
        single = given.dtype != np.float64 or bool(np.all(values == values.astype(np.float32)))
    if log:
        require(np.abs(values) < _LARGEST_LOG, "log-ratios are too large to be logs; pass ratios as ratios")
        logs, weights = values, np.exp(values)
    else:
        require(values > 0, "ratios must be above 0; drop masked tokens, or say that they are logs")
        logs, weights = np.log(values), values
    eps = _EPS32 if single else _EPS64
    top, bottom = weights[_pile_at_top(logs)], weights[_pile_at_top(-logs)]
    upper, lower = _piled_value(top, eps), _piled_value(1.0 / bottom, eps)
    if upper is not None and lower is not None and abs(np.log(upper / lower)) < _window(np.log(upper)):
        lower = upper
    found = [c for c in (upper, lower) if c is not None]
    value = min(found) if found else None
    side: ClipSide = "none"
    if found:
        side = "both" if len(found) == 2 else "upper" if upper is not None else "lower"
    return ClipEstimate(
        value=value,
        lower_bound=value if value is not None else max(1.0, float(weights.max())),
        side=side,
        upper_count=top.size,
        lower_count=bottom.size,
        upper_value=upper,
        lower_value=lower,
        n=values.size,
        source="ratios",
    )


def clip_demand(log_ratios: npt.ArrayLike, c: float) -> ClipDemand:
    """Summarise teacher-to-student log-ratios on off-class tokens against the clip.

    Args:
        log_ratios: [N] log π_T − log π_S at tokens outside the class; −inf where the teacher excludes one.
        c: clip strength, > 1.

    Raises:
        CliffDomainError: no tokens, NaN, ratios beyond the range of floats, or c ≤ 1.
    """
    values = np.asarray(log_ratios, dtype=np.float64)
    require(values.ndim == 1 and values.size > 0, "no off-class tokens to take ratios of")
    require(values < _LARGEST_LOG, "log-ratios must be numbers, and their ratios finite")
    require(np.isfinite(c) and c > 1, "the clip strength c must be finite and above 1")
    # Of the ratios and not of their logs, where two infinite neighbours would give no number.
    median, p95 = np.quantile(np.exp(values), [0.5, 0.95])
    return ClipDemand(
        n=values.size,
        median=float(median),
        p95=float(p95),
        largest=float(np.exp(values.max())),
        share_beyond=float(np.mean(values > np.log(c))),
        clip=float(c),
    )


def _pile_at_top(values: FloatArray) -> BoolArray:
    """Which log-ratios are piled up at the largest one; none where that is a natural maximum.

    Ties have other causes than a clip: a coarse grid (bf16 logprobs), one ratio broadcast over a sequence, a
    dense cloud in float32. All of them tie the other values just as often, so a pile must hold several times
    as many as any window of the same width among the values next to it.
    """
    top, bottom = float(values.max()), float(values.min())
    pile = values >= top - _window(top)
    none = np.zeros(values.shape, dtype=bool)
    if top < _LEAST_LOG_CLIP:
        return none
    # The other end may be a pile too, and ratios of 1 are what on-policy updates log.
    other = np.sort(values[~pile & (values > bottom + _window(bottom)) & (np.abs(values) > _window(0.0))])
    distinct = np.unique(other)[-_NEIGHBOURS:]
    if distinct.size < _MIN_OTHERS:
        return none
    crowd = np.searchsorted(other, distinct + _window(top), side="right") - np.searchsorted(other, distinct)
    return pile if pile.sum() >= _MIN_PILE * int(crowd.max()) else none


def _window(log_ratio: float) -> float:
    """Width within which log-ratios may be roundings of one value."""
    return 4.0 * _EPS32 * max(1.0, abs(log_ratio))


def _piled_value(pile: FloatArray, eps: float) -> float | None:
    """The shortest decimal that the piled-up ratios (≥ 1) can be roundings of; None without a pile."""
    if not pile.size:
        return None
    logs = np.log(pile)
    slack = 0.51 * eps * max(1.0, float(logs.max())) + 4.0 * _EPS64
    middle = float(np.median(pile))
    for digits in range(1, 17):
        candidate = float(f"{middle:.{digits}g}")
        if logs.min() - slack <= np.log(candidate) <= logs.max() + slack:
            return candidate
    return middle
