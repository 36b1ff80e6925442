"""Where along λ the runs of an arm begin to collapse, and when its runs can't say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.stats.monotone import MonotoneFit, monotone_fit
from harness.stats.onset import (
    OnsetEstimate,
    changepoint_onset,
    estimate_onset,
    logistic_onset,
    onset_ratio,
    resample_seeds,
)
from harness.sweep.plan import SweepArm, SweepPlan
from harness.sweep.results import SweepResult

FloatArray = npt.NDArray[np.float64]

Rules = Literal[1, 2]
"""Which rules turn results into words. 1: of locks before format 3, which are held to what they promised.
2: an onset needs three seeds and collapse that doesn't fall with λ; an arm is flat where every λ was tested;
an onset that the grid leaves open hits no window."""
NEWEST: Rules = 2
LEAST_SEEDS = 3
"""Fewer resampled give no interval worth the name: from one its width is 0."""
ENOUGH_SEEDS = 8
MISFIT_LEVEL = 0.02
"""At this p up to 5 in 100 arms whose collapse never falls with λ are flagged, where runs are independent
(`benchmarks/onset_calibration.py`)."""

LOGISTIC = "logistic (Firth), seeds resampled"
CHANGE_POINT = "change point, seeds resampled"


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason why no onset is to be taken from an arm's runs.

    Attributes:
        code: `seeds`: too few have all their runs; `misfit`: collapse doesn't rise with λ as an onset
            presupposes.
        message: in words, with its numbers.
    """

    code: Literal["seeds", "misfit"]
    message: str


@dataclass(frozen=True, slots=True)
class ArmOnsets:
    """What one arm's runs say of its onset.

    Attributes:
        onset: where half of the runs collapse; the one that windows are compared with.
        change_point: where mean strict validity steps below the collapse threshold.
        monotone: whether collapse falls anywhere with λ, None without a seed that has all its runs.
        doubts: why no onset is to be taken from these runs; since rules 2 there is none then.
    """

    onset: OnsetEstimate | None
    change_point: OnsetEstimate | None
    monotone: MonotoneFit | None
    doubts: tuple[Doubt, ...]


def arm_onsets(
    plan: SweepPlan, arm: SweepArm, results: Sequence[SweepResult], threshold: float, rules: Rules = NEWEST
) -> ArmOnsets:
    """Logistic and change-point onset of an arm, from the seeds that have all their runs.

    Args:
        plan: of the sweep.
        arm: one of its.
        results: finished runs.
        threshold: strict validity below which a run has collapsed.
        rules: 1 gives an onset in spite of doubts.
    """
    seeds = _complete_seeds(plan, (arm,), results)
    if not seeds:
        return ArmOnsets(None, None, None, (_too_few(0),))
    levels, confidence = np.asarray(arm.lambdas), plan.analysis.confidence
    collapsed = _collapsed(arm, seeds, results, threshold)
    strict = _grid(arm, seeds, results, lambda result: result.strict or 0.0)
    draws = _resamples(plan, seeds)
    onset = estimate_onset(levels, collapsed, logistic_onset, draws, method=LOGISTIC, confidence=confidence)
    step = changepoint_onset(threshold)
    change_point = estimate_onset(levels, strict, step, draws, method=CHANGE_POINT, confidence=confidence)
    fit = _monotone(plan, collapsed)
    doubts = _doubts(len(seeds), fit, onset)
    if doubts and rules > 1:
        return ArmOnsets(None, None, fit, doubts)
    return ArmOnsets(onset, change_point, fit, doubts)


def compare_onsets(
    plan: SweepPlan,
    results: Sequence[SweepResult],
    base_strict: float,
    first: str,
    second: str,
    rules: Rules = NEWEST,
) -> OnsetEstimate | None:
    """(onset of the second arm − 1) / (onset of the first − 1), seeds resampled together.

    Args:
        plan: of the sweep.
        results: finished runs.
        base_strict: as in `analyse`.
        first: name of an arm.
        second: name of another.
        rules: as in `arm_onsets`.

    Returns:
        None where no seed has all its runs in both; since rules 2 also where fewer than three have, or one of
        the two arms has no onset.
    """
    threshold = plan.analysis.collapse_fraction * base_strict
    arms = (plan.arm(first), plan.arm(second))
    seeds = _complete_seeds(plan, arms, results)
    if not seeds:
        return None
    if rules > 1 and (
        len(seeds) < LEAST_SEEDS
        or any(arm_onsets(plan, arm, results, threshold).onset is None for arm in arms)
    ):
        return None
    levels = [np.asarray(arm.lambdas) for arm in arms]
    collapsed = [_collapsed(arm, seeds, results, threshold) for arm in arms]
    return onset_ratio(
        (levels[0], collapsed[0]),
        (levels[1], collapsed[1]),
        logistic_onset,
        _resamples(plan, seeds),
        method=f"ratio of distances from λ = 1, {LOGISTIC}",
        confidence=plan.analysis.confidence,
    )


def seeds_note(onset: OnsetEstimate | None) -> str | None:
    """What few seeds mean for an onset's interval; None where there are enough, or is no onset."""
    if onset is None or onset.seeds >= ENOUGH_SEEDS:
        return None
    return (
        f"{onset.seeds} seeds: from fewer than {ENOUGH_SEEDS} an interval covers less than it says "
        "(docs/prereg.md has the figures)"
    )


def _doubts(seeds: int, fit: MonotoneFit, onset: OnsetEstimate) -> tuple[Doubt, ...]:
    doubts = [_too_few(seeds)] if seeds < LEAST_SEEDS else []
    misfit = None
    if fit.p_value <= MISFIT_LEVEL:
        misfit = f"collapse isn't monotone in λ (deviance {fit.deviance:.1f}, p = {fit.p_value:.2g})"
    elif fit.rates[-1] == 1.0 and onset.most is None:
        misfit = "the curve puts the onset above the grid, at whose highest λ every run collapsed"
    elif fit.rates[0] == 0.0 and onset.least == 0.0:
        misfit = "the curve puts the onset below the grid, at whose lowest λ no run collapsed"
    return (*doubts, *([] if misfit is None else [Doubt("misfit", misfit)]))


def _too_few(seeds: int) -> Doubt:
    return Doubt("seeds", f"{seeds} seeds have all their runs, and an onset needs {LEAST_SEEDS}")


def _monotone(plan: SweepPlan, collapsed: FloatArray) -> MonotoneFit:
    settings = plan.analysis
    trials = np.full(collapsed.shape[1], len(collapsed))
    return monotone_fit(collapsed.sum(axis=0), trials, draws=settings.draws, seed=settings.bootstrap_seed)


def _resamples(plan: SweepPlan, seeds: Sequence[int]) -> npt.NDArray[np.int64]:
    return resample_seeds(len(seeds), plan.analysis.draws, plan.analysis.bootstrap_seed)


def _complete_seeds(
    plan: SweepPlan, arms: Sequence[SweepArm], results: Sequence[SweepResult]
) -> tuple[int, ...]:
    finished = {(result.arm, result.lam, result.seed) for result in results}
    return tuple(
        seed
        for seed in plan.seeds
        if all((arm.name, lam, seed) in finished for arm in arms for lam in arm.lambdas)
    )


def _collapsed(
    arm: SweepArm, seeds: Sequence[int], results: Sequence[SweepResult], threshold: float
) -> FloatArray:
    return _grid(arm, seeds, results, lambda result: float(result.collapsed(threshold)))


def _grid(
    arm: SweepArm,
    seeds: Sequence[int],
    results: Sequence[SweepResult],
    value: Callable[[SweepResult], float],
) -> FloatArray:
    """[seeds, λs] a value of each run."""
    found = {(result.seed, result.lam): result for result in results if result.arm == arm.name}
    return np.array([[value(found[seed, lam]) for lam in arm.lambdas] for seed in seeds])
