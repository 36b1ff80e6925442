"""Counts of all samples: failure codes, lengths, ranks of the relevant item, outcomes beside the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.contract import FAILURE_CODES
from harness.metrics.columns import IntArray
from harness.metrics.table import CONTRACT
from harness.report.reading import NO_CODE, RunFacts
from harness.stats import Estimate, bootstrap_ratio

Outcome = Literal["fixed", "broken", "both_fail", "both_pass"]

_BINS = 24
_SEED = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each of some values occurs in each run.

    Attributes:
        labels: of the values.
        counts: run → count of each value.
        unit: what is counted over.
    """

    labels: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    unit: str

    def share(self, run: str, place: int) -> float:
        """Share of a value among the run's, 0 where it has none."""
        total = sum(self.counts[run])
        return self.counts[run][place] / total if total else 0.0

    @property
    def highest_share(self) -> float:
        """Largest share of any value in any run."""
        return max(
            (self.share(run, place) for run in self.counts for place in range(len(self.labels))), default=0.0
        )


def failure_counts(runs: Sequence[RunFacts]) -> Counts:
    """Samples by failure code, codes that occur only, the most frequent first."""
    by_run = {facts.name: np.bincount(_failed(facts), minlength=len(FAILURE_CODES)) for facts in runs}
    total = np.sum(list(by_run.values()), axis=0)
    order = [code for code in np.argsort(-total, kind="stable").tolist() if total[code]]
    return Counts(
        tuple(FAILURE_CODES[code] for code in order),
        {name: tuple(int(counts[code]) for code in order) for name, counts in by_run.items()},
        "failed samples",
    )


def _failed(facts: RunFacts) -> IntArray:
    """Codes of what the model failed at; what a provider withheld isn't that."""
    code = facts.samples.code
    failed: IntArray = code[(code != NO_CODE) & (code < len(FAILURE_CODES))]
    return failed


def length_counts(runs: Sequence[RunFacts]) -> Counts:
    """Lengths in bins of one width; in tokens where every run knows them, else in characters."""
    in_tokens = all((facts.samples.tokens >= 0).all() for facts in runs)
    lengths = {facts.name: facts.samples.tokens if in_tokens else facts.samples.characters for facts in runs}
    every = np.concatenate(list(lengths.values()))
    unit = "tokens" if in_tokens else "characters"
    if not len(every):
        return Counts((), dict.fromkeys(lengths, ()), unit)
    # One outlier of a megabyte must not squeeze all others into the first bin.
    longest = int(np.quantile(every, 0.995, method="higher"))
    width = max(1, -(-(longest + 1) // _BINS))
    bins = longest // width + 1
    labels = [_span(place * width, (place + 1) * width - 1) for place in range(bins)]
    beyond = bool((every >= bins * width).any())
    if beyond:
        labels.append(f"{bins * width}+")
    counts = {
        name: tuple(
            np.bincount(np.minimum(values // width, bins), minlength=bins + 1)[: bins + beyond].tolist()
        )
        for name, values in lengths.items()
    }
    return Counts(tuple(labels), counts, unit)


def rank_counts(runs: Sequence[RunFacts]) -> Counts:
    """Rank of the candidate with the highest label, over strictly parsed samples whose labels can rank."""
    last = max((int(facts.samples.best_rank.max(initial=0)) for facts in runs), default=0)
    return Counts(
        tuple(str(rank) for rank in range(1, last + 1)),
        {
            facts.name: tuple(np.bincount(facts.samples.best_rank, minlength=last + 1)[1:].tolist())
            for facts in runs
        },
        "strictly parsed samples",
    )


def outcome_counts(candidate: RunFacts, baseline: RunFacts) -> dict[Outcome, int]:
    """Answers that both have, by who parsed strictly; empty where the datasets differ."""
    found: dict[Outcome, int] = {"broken": 0, "fixed": 0, "both_fail": 0, "both_pass": 0}
    if candidate.dataset != baseline.dataset:
        return {}
    strict = [facts.samples.columns.values[CONTRACT] for facts in (baseline, candidate)]
    fails, withheld = [one < 1 for one in strict], [np.isnan(one) for one in strict]
    for place, row in candidate.samples.row.items():
        other = baseline.samples.row.get(place)
        if other is not None and not (withheld[0][other] or withheld[1][row]):
            found[_outcome(bool(fails[0][other]), bool(fails[1][row]))] += 1
    return found


def mean_tokens(facts: RunFacts) -> Estimate | None:
    """Completion tokens per sample with the bootstrap by task; None where they aren't known."""
    columns = facts.samples
    if not columns.n or (columns.tokens < 0).any():
        return None
    number: dict[str, int] = {}
    task = np.array([number.setdefault(task_id, len(number)) for task_id, _ in columns.row], dtype=np.int64)
    total = np.bincount(task, weights=columns.tokens).astype(np.float64)
    return bootstrap_ratio(total, np.bincount(task), n=columns.n, seed=_SEED)


def _outcome(baseline_fails: bool, candidate_fails: bool) -> Outcome:
    if baseline_fails:
        return "both_fail" if candidate_fails else "fixed"
    return "broken" if candidate_fails else "both_pass"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"
