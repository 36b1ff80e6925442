"""From the results of a sweep to collapse probabilities, onsets and the flatness of NDCG@1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.stats.bootstrap import bootstrap_ratio
from harness.stats.equivalence import equivalent_means
from harness.stats.estimate import Estimate
from harness.stats.intervals import wilson
from harness.stats.monotone import MonotoneFit
from harness.stats.onset import OnsetEstimate
from harness.sweep.onsets import LEAST_SEEDS, NEWEST, Doubt, Rules, arm_onsets
from harness.sweep.plan import SweepAnalysisSettings, SweepArm, SweepPlan
from harness.sweep.results import SweepResult

Flatness = Literal["flat", "flat_where_tested", "not_flat", "undecided", "untested"]


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
        monotone: whether collapse falls anywhere with λ; None without a seed that has all its runs.
        doubts: why no onset is to be taken from these runs; since rules 2 there is none then.
        flatness: of NDCG@1 over λ. `flat` where every λ is, `flat_where_tested` where some have too few seeds
            to test, `not_flat` where one is not. Rules 1 say `flat` for both of the first two.
        untested: those λ.
    """

    arm: str
    clip: float | None
    learning_rate: float
    steps: int
    staleness: str
    rows: tuple[LambdaRow, ...]
    onset: OnsetEstimate | None
    change_point: OnsetEstimate | None
    monotone: MonotoneFit | None
    doubts: tuple[Doubt, ...]
    flatness: Flatness
    untested: tuple[float, ...]


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


def analyse(
    plan: SweepPlan, results: Sequence[SweepResult], base_strict: float, rules: Rules = NEWEST
) -> SweepAnalysis:
    """Everything the plan asks of its results; λs and seeds without a result are left out, and counted.

    Args:
        plan: says what counts as collapsed, onset and flat.
        results: finished runs, also of arms that the plan doesn't have (ignored).
        base_strict: strict validity of the base on the plan's evaluation set, in [0, 1].
        rules: those of an old lock, where one is checked.
    """
    threshold = plan.analysis.collapse_fraction * base_strict
    arms = tuple(_analyse_arm(plan, arm, results, threshold, rules) for arm in plan.arms)
    return SweepAnalysis(
        threshold=threshold,
        base_strict=base_strict,
        planned=sum(1 for _ in plan.runs()),
        finished=sum(row.runs for arm in arms for row in arm.rows),
        arms=arms,
    )


def _analyse_arm(
    plan: SweepPlan, arm: SweepArm, results: Sequence[SweepResult], threshold: float, rules: Rules
) -> ArmAnalysis:
    settings = plan.analysis
    own = [result for result in results if result.arm == arm.name and result.seed in plan.seeds]
    reference = {result.seed: result for result in own if result.lam == arm.lambdas[0]}
    rows = tuple(
        _analyse_lambda(lam, [result for result in own if result.lam == lam], reference, threshold, settings)
        for lam in arm.lambdas
    )
    found = arm_onsets(plan, arm, results, threshold, rules)
    untested = tuple(row.lam for row in rows if row.flatness == "untested")
    return ArmAnalysis(
        arm=arm.name,
        clip=arm.clip,
        learning_rate=arm.learning_rate,
        steps=arm.steps,
        staleness=arm.staleness,
        rows=rows,
        onset=found.onset,
        change_point=found.change_point,
        monotone=found.monotone,
        doubts=found.doubts,
        flatness=_overall({row.flatness for row in rows}, rules),
        untested=untested,
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
    if len(differences) < LEAST_SEEDS:
        return Estimate(len(differences), None, None, None, "paired t, by seed"), "untested"
    decision = equivalent_means(differences, settings.ndcg_margin, alpha=settings.ndcg_alpha)
    estimate = decision.estimate
    named = Estimate(estimate.n, estimate.estimate, estimate.low, estimate.high, "paired t, by seed")
    verdicts: dict[str, Flatness] = {"pass": "flat", "fail": "not_flat", "undecided": "undecided"}
    return named, verdicts[decision.verdict]


def _usable_ndcg(run: SweepResult, settings: SweepAnalysisSettings) -> float | None:
    return run.ndcg_parsed if run.parsed >= settings.least_parsed else None


def _overall(found: set[Flatness | None], rules: Rules) -> Flatness:
    if "not_flat" in found:
        return "not_flat"
    if "undecided" in found:
        return "undecided"
    if "flat" in found:
        return "flat_where_tested" if "untested" in found and rules > 1 else "flat"
    return "untested"


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
