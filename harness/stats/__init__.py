"""Estimates with their uncertainty, tests and sample sizes: pure numpy, no files, no torch.

Names load on first use: whoever only needs `Estimate` waits for nothing, not even numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.stats.bootstrap import bootstrap_ratio as bootstrap_ratio
    from harness.stats.decision import Decision as Decision
    from harness.stats.decision import Verdict as Verdict
    from harness.stats.decision import decide as decide
    from harness.stats.equivalence import equivalent_means as equivalent_means
    from harness.stats.equivalence import equivalent_rates as equivalent_rates
    from harness.stats.equivalence import noninferior_means as noninferior_means
    from harness.stats.equivalence import noninferior_rates as noninferior_rates
    from harness.stats.equivalence import tango as tango
    from harness.stats.estimate import Estimate as Estimate
    from harness.stats.intervals import clopper_pearson as clopper_pearson
    from harness.stats.intervals import wilson as wilson
    from harness.stats.intervals import wilson_clustered as wilson_clustered
    from harness.stats.missing import MissingBounds as MissingBounds
    from harness.stats.missing import bounds_with_missing as bounds_with_missing
    from harness.stats.missing import rate_with_missing as rate_with_missing
    from harness.stats.multiplicity import holm as holm
    from harness.stats.paired import PairedComparison as PairedComparison
    from harness.stats.paired import PairedCounts as PairedCounts
    from harness.stats.paired import compare_means as compare_means
    from harness.stats.paired import compare_outcomes as compare_outcomes
    from harness.stats.paired import mcnemar as mcnemar
    from harness.stats.paired import newcombe_paired as newcombe_paired
    from harness.stats.paired import paired_differences as paired_differences
    from harness.stats.permutation import sign_flip as sign_flip
    from harness.stats.power import detectable_paired as detectable_paired
    from harness.stats.power import detectable_proportion as detectable_proportion
    from harness.stats.power import exact_power_proportion as exact_power_proportion
    from harness.stats.power import paired_rate_spread as paired_rate_spread
    from harness.stats.power import power_paired as power_paired
    from harness.stats.power import sample_size_paired as sample_size_paired
    from harness.stats.power import sample_size_proportion as sample_size_proportion
    from harness.stats.power import wald_bound as wald_bound
    from harness.stats.sequential import SequentialTest as SequentialTest
    from harness.stats.sequential import confidence_sequence as confidence_sequence
    from harness.stats.sequential_planning import bernoulli_boundaries as bernoulli_boundaries
    from harness.stats.sequential_planning import operating_characteristics as operating_characteristics
    from harness.stats.threshold import clustered_rate_against_bar as clustered_rate_against_bar
    from harness.stats.threshold import mean_against_bar as mean_against_bar
    from harness.stats.threshold import rate_against_bar as rate_against_bar

_HOME = {
    "bootstrap_ratio": "harness.stats.bootstrap",
    "Decision": "harness.stats.decision",
    "Verdict": "harness.stats.decision",
    "decide": "harness.stats.decision",
    "equivalent_means": "harness.stats.equivalence",
    "equivalent_rates": "harness.stats.equivalence",
    "noninferior_means": "harness.stats.equivalence",
    "noninferior_rates": "harness.stats.equivalence",
    "tango": "harness.stats.equivalence",
    "Estimate": "harness.stats.estimate",
    "clopper_pearson": "harness.stats.intervals",
    "wilson": "harness.stats.intervals",
    "wilson_clustered": "harness.stats.intervals",
    "MissingBounds": "harness.stats.missing",
    "bounds_with_missing": "harness.stats.missing",
    "rate_with_missing": "harness.stats.missing",
    "holm": "harness.stats.multiplicity",
    "PairedComparison": "harness.stats.paired",
    "PairedCounts": "harness.stats.paired",
    "compare_means": "harness.stats.paired",
    "compare_outcomes": "harness.stats.paired",
    "mcnemar": "harness.stats.paired",
    "newcombe_paired": "harness.stats.paired",
    "paired_differences": "harness.stats.paired",
    "sign_flip": "harness.stats.permutation",
    "detectable_paired": "harness.stats.power",
    "detectable_proportion": "harness.stats.power",
    "exact_power_proportion": "harness.stats.power",
    "paired_rate_spread": "harness.stats.power",
    "power_paired": "harness.stats.power",
    "sample_size_paired": "harness.stats.power",
    "sample_size_proportion": "harness.stats.power",
    "wald_bound": "harness.stats.power",
    "SequentialTest": "harness.stats.sequential",
    "confidence_sequence": "harness.stats.sequential",
    "bernoulli_boundaries": "harness.stats.sequential_planning",
    "operating_characteristics": "harness.stats.sequential_planning",
    "clustered_rate_against_bar": "harness.stats.threshold",
    "mean_against_bar": "harness.stats.threshold",
    "rate_against_bar": "harness.stats.threshold",
}
"""Module of each public name; the imports above say the same to type checkers."""


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(_HOME)
