"""Estimates with their uncertainty, tests and sample sizes: pure numpy and scipy.special, no files."""

from harness.stats.bootstrap import bootstrap_ratio
from harness.stats.decision import Decision
from harness.stats.equivalence import (
    equivalent_means,
    equivalent_rates,
    noninferior_rates,
    tango,
)
from harness.stats.estimate import Estimate
from harness.stats.intervals import wilson, wilson_clustered
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
from harness.stats.permutation import sign_flip
from harness.stats.power import exact_power_proportion, sample_size_proportion
from harness.stats.sequential import SequentialTest, confidence_sequence
from harness.stats.threshold import clustered_rate_against_bar, mean_against_bar, rate_against_bar

__all__ = [
    "Decision",
    "Estimate",
    "PairedComparison",
    "PairedCounts",
    "SequentialTest",
    "bootstrap_ratio",
    "clustered_rate_against_bar",
    "compare_means",
    "compare_outcomes",
    "confidence_sequence",
    "equivalent_means",
    "equivalent_rates",
    "exact_power_proportion",
    "holm",
    "mcnemar",
    "mean_against_bar",
    "newcombe_paired",
    "noninferior_rates",
    "paired_differences",
    "rate_against_bar",
    "sample_size_proportion",
    "sign_flip",
    "tango",
    "wilson",
    "wilson_clustered",
]
