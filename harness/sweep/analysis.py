"""From the results of a sweep to collapse probabilities, onsets and the flatness of NDCG@1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from harness.stats.bootstrap import bootstrap_ratio
from harness.stats.equivalence import equivalent_means
from harness.stats.estimate import Estimate
from harness.stats.intervals import wilson
from harness.stats.onset import (
    OnsetEstimate,
    changepoint_onset,
    estimate_onset,
    logistic_onset,
    onset_ratio,
    resample_seeds,
)
from harness.sweep.plan import SweepAnalysisSettings, SweepArm, SweepPlan
from harness.sweep.results import SweepResult

FloatArray = npt.NDArray[np.float64]
Flatness = Literal["flat", "not_flat", "undecided", "untested"]
_LEAST_SEEDS = 3

LOGISTIC = "logistic (Firth), seeds resampled"
CHANGE_POINT = "change point, seeds resampled"


@dataclass(frozen=True, slots=True)
class LambdaRow:
    """All runs of one arm at one λ.

    Attributes:
        lam: λ.
        runs: finished runs.
        diverged: runs among them that stopped without a student.
        collapse: probability that a run collapses, Wilson interval.
        strict: strict parse validity, mean over runs with a student, seeds resampled.
        strict_worst: lowest of them.
        strict_best: highest.
        ndcg_parsed: NDCG@1 of what parsed, mean over runs in which enough did, seeds resampled.
        ndcg_change: its mean difference from the lowest λ, same seeds, with the interval of the equivalence
            test; None at the lowest λ.
        flatness: whether that difference is within the margin; `untested` with too few seeds.
    """

    lam: float
    runs: int
    diverged: int
    collapse: Estimate
    strict: Estimate
    strict_worst: float | None
    strict_best: float | None
    ndcg_parsed: Estimate
    ndcg_change: Estimate | None
    flatness: Flatness | None


@dataclass(frozen=True, slots=True)
class ArmAnalysis:
    """One arm.

    Attributes:
        arm: its name.
        clip: clip strength c.
        learning_rate: peak.
        steps: budget.
        staleness: `fixed` or `fresh`.
        rows: one a λ, ascending.
        onset: where half of the runs collapse; the one that windows are compared with.
        change_point: where mean strict validity steps below the collapse threshold.
        flatness: `flat` where every tested λ is, `not_flat` where one is not.
    """

    arm: str
    clip: float | None
    learning_rate: float
    steps: int
    staleness: str
    rows: tuple[LambdaRow, ...]
    onset: OnsetEstimate | None
    change_point: OnsetEstimate | None
    flatness: Flatness


@dataclass(frozen=True, slots=True)
class SweepAnalysis:
    """A whole sweep.

    Attributes:
        threshold: strict validity below which a run has collapsed.
        base_strict: strict validity of the base that it is a share of.
        planned: runs of the plan.
        finished: runs with a result.
        arms: in the order of the plan.
    """

    threshold: float
    base_strict: float
    planned: int
    finished: int
    arms: tuple[ArmAnalysis, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        return asdict(self)


def analyse(plan: SweepPlan, results: Sequence[SweepResult], base_strict: float) -> SweepAnalysis:
    """Everything the plan asks of its results; λs and seeds without a result are left out, and counted.

    Args:
        plan: says what counts as collapsed, onset and flat.
        results: finished runs, also of arms that the plan doesn't have (ignored).
        base_strict: strict validity of the base on the plan's evaluation set, in [0, 1].
    """
    threshold = plan.analysis.collapse_fraction * base_strict
    arms = tuple(_analyse_arm(plan, arm, results, threshold) for arm in plan.arms)
    return SweepAnalysis(
        threshold=threshold,
        base_strict=base_strict,
        planned=sum(1 for _ in plan.runs()),
        finished=sum(row.runs for arm in arms for row in arm.rows),
        arms=arms,
    )


def compare_onsets(
    plan: SweepPlan, results: Sequence[SweepResult], base_strict: float, first: str, second: str
) -> OnsetEstimate | None:
    """(onset of the second arm − 1) / (onset of the first − 1), seeds resampled together.

    Args:
        plan: of the sweep.
        results: finished runs.
        base_strict: as in `analyse`.
        first: name of an arm.
        second: name of another.

    Returns:
        None where no seed has all its runs in both.
    """
    threshold = plan.analysis.collapse_fraction * base_strict
    arms = (plan.arm(first), plan.arm(second))
    seeds = _complete_seeds(plan, arms, results)
    if not seeds:
        return None
    levels = [np.asarray(arm.lambdas) for arm in arms]
    collapsed = [
        _grid(arm, seeds, results, lambda result: float(result.collapsed(threshold))) for arm in arms
    ]
    return onset_ratio(
        (levels[0], collapsed[0]),
        (levels[1], collapsed[1]),
        logistic_onset,
        _resamples(plan, seeds),
        method=f"ratio of distances from λ = 1, {LOGISTIC}",
        confidence=plan.analysis.confidence,
    )


def _analyse_arm(
    plan: SweepPlan, arm: SweepArm, results: Sequence[SweepResult], threshold: float
) -> ArmAnalysis:
    settings = plan.analysis
    own = [result for result in results if result.arm == arm.name and result.seed in plan.seeds]
    reference = {result.seed: result for result in own if result.lam == arm.lambdas[0]}
    rows = tuple(
        _analyse_lambda(lam, [result for result in own if result.lam == lam], reference, threshold, settings)
        for lam in arm.lambdas
    )
    onset, change_point = _onsets(plan, arm, results, threshold)
    return ArmAnalysis(
        arm=arm.name,
        clip=arm.clip,
        learning_rate=arm.learning_rate,
        steps=arm.steps,
        staleness=arm.staleness,
        rows=rows,
        onset=onset,
        change_point=change_point,
        flatness=_overall({row.flatness for row in rows}),
    )


def _onsets(
    plan: SweepPlan, arm: SweepArm, results: Sequence[SweepResult], threshold: float
) -> tuple[OnsetEstimate, OnsetEstimate] | tuple[None, None]:
    """Logistic and change-point onset from the seeds that have all their runs; None without such a seed."""
    seeds = _complete_seeds(plan, (arm,), results)
    if not seeds:
        return None, None
    levels, confidence = np.asarray(arm.lambdas), plan.analysis.confidence
    collapsed = _grid(arm, seeds, results, lambda result: float(result.collapsed(threshold)))
    strict = _grid(arm, seeds, results, lambda result: result.strict or 0.0)
    draws = _resamples(plan, seeds)
    step = changepoint_onset(threshold)
    return (
        estimate_onset(levels, collapsed, logistic_onset, draws, method=LOGISTIC, confidence=confidence),
        estimate_onset(levels, strict, step, draws, method=CHANGE_POINT, confidence=confidence),
    )


def _analyse_lambda(
    lam: float,
    runs: Sequence[SweepResult],
    reference: dict[int, SweepResult],
    threshold: float,
    settings: SweepAnalysisSettings,
) -> LambdaRow:
    strict = [run.strict for run in runs if run.strict is not None]
    ranked = {run.seed: ndcg for run in runs if (ndcg := _usable_ndcg(run, settings)) is not None}
    change, flatness = _change(lam, ranked, reference, settings)
    return LambdaRow(
        lam=lam,
        runs=len(runs),
        diverged=sum(run.diverged for run in runs),
        collapse=wilson(sum(run.collapsed(threshold) for run in runs), len(runs), settings.confidence),
        strict=_mean(strict, settings),
        strict_worst=min(strict, default=None),
        strict_best=max(strict, default=None),
        ndcg_parsed=_mean(list(ranked.values()), settings),
        ndcg_change=change,
        flatness=flatness,
    )


def _change(
    lam: float,
    ranked: dict[int, float],
    reference: dict[int, SweepResult],
    settings: SweepAnalysisSettings,
) -> tuple[Estimate | None, Flatness | None]:
    """Change of NDCG@1 from the lowest λ, seed by seed, and what the equivalence test says of it."""
    if any(result.lam == lam for result in reference.values()) or not reference:
        return None, None
    before = {seed: _usable_ndcg(result, settings) for seed, result in reference.items()}
    differences = [
        value - earlier for seed, value in ranked.items() if (earlier := before.get(seed)) is not None
    ]
    if len(differences) < _LEAST_SEEDS:
        return Estimate(len(differences), None, None, None, "paired t, by seed"), "untested"
    decision = equivalent_means(differences, settings.ndcg_margin, alpha=settings.ndcg_alpha)
    estimate = decision.estimate
    named = Estimate(estimate.n, estimate.estimate, estimate.low, estimate.high, "paired t, by seed")
    verdicts: dict[str, Flatness] = {"pass": "flat", "fail": "not_flat", "undecided": "undecided"}
    return named, verdicts[decision.verdict]


def _usable_ndcg(run: SweepResult, settings: SweepAnalysisSettings) -> float | None:
    return run.ndcg_parsed if run.parsed >= settings.least_parsed else None


def _overall(tested: set[Flatness | None]) -> Flatness:
    if "not_flat" in tested:
        return "not_flat"
    if "undecided" in tested:
        return "undecided"
    return "flat" if "flat" in tested else "untested"


def _mean(values: Sequence[float], settings: SweepAnalysisSettings) -> Estimate:
    return bootstrap_ratio(
        values,
        [1.0] * len(values),
        n=len(values),
        seed=settings.bootstrap_seed,
        confidence=settings.confidence,
        draws=settings.draws,
        bounds=(0.0, 1.0),
    )


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


def _grid(
    arm: SweepArm,
    seeds: Sequence[int],
    results: Sequence[SweepResult],
    value: Callable[[SweepResult], float],
) -> FloatArray:
    """[seeds, λs] a value of each run."""
    found = {(result.seed, result.lam): result for result in results if result.arm == arm.name}
    return np.array([[value(found[seed, lam]) for lam in arm.lambdas] for seed in seeds])
