"""Estimates with their uncertainty, tests and sample sizes: pure numpy and scipy.special, no files."""

from harness.stats.bootstrap import bootstrap_ratio
from harness.stats.bounded import betting_growth, bounded_equivalence, mean_against_bar, mean_interval
from harness.stats.decision import Decision
from harness.stats.estimate import Estimate
from harness.stats.intervals import rate_by_task, wilson
from harness.stats.multiplicity import holm
from harness.stats.paired import (
    PairedComparison,
    PairedCounts,
    compare_means,
    compare_outcomes,
    mcnemar,
    newcombe_paired,
    paired_differences,
)
from harness.stats.paired_rates import equivalent_rates, noninferior_rates, rate_difference
from harness.stats.permutation import sign_flip
from harness.stats.power import exact_power_proportion, sample_size_proportion
from harness.stats.sequential import SequentialTest, confidence_sequence
from harness.stats.threshold import rate_against_bar

__all__ = [
    "Decision",
    "Estimate",
    "PairedComparison",
    "PairedCounts",
    "SequentialTest",
    "betting_growth",
    "bootstrap_ratio",
    "bounded_equivalence",
    "compare_means",
    "compare_outcomes",
    "confidence_sequence",
    "equivalent_rates",
    "exact_power_proportion",
    "holm",
    "mcnemar",
    "mean_against_bar",
    "mean_interval",
    "newcombe_paired",
    "noninferior_rates",
    "paired_differences",
    "rate_against_bar",
    "rate_by_task",
    "rate_difference",
    "sample_size_proportion",
    "sign_flip",
    "wilson",
]
