"""Everything that a report says, before it is written as HTML, Markdown or JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.comparison import Comparison, compare_runs
from harness.report.config import ReportConfig
from harness.report.decision import Decided, decide_run
from harness.report.forecasts import Foreseen, find_forecasts, with_place
from harness.report.reading import RunFacts, find_baseline, read_runs
from harness.report.sweep import Sweep, find_sweep
from harness.report.text import one_line

_NAMES_IN_TITLE = 4


@dataclass(frozen=True, slots=True)
class Content:
    """What a report says.

    Attributes:
        title: of the page.
        runs: in the order given.
        baseline: the run that the others are compared with, None for a single run.
        comparisons: every other run beside it.
        decided: a sentence a run.
        sweep: the runs along λ, None where they form no sweep.
        forecasts: that lie in the folders of its runs.
        config: what was asked for.
    """

    title: str
    runs: tuple[RunFacts, ...]
    baseline: RunFacts | None
    comparisons: tuple[Comparison, ...]
    decided: tuple[Decided, ...]
    sweep: Sweep | None
    forecasts: tuple[Foreseen, ...]
    config: ReportConfig

    @property
    def missing(self) -> dict[str, tuple[str, ...]]:
        """What isn't known, and of which runs."""
        kinds = dict.fromkeys(one for decided in self.decided for one in decided.missing)
        return {kind: tuple(one.run for one in self.decided if kind in one.missing) for kind in kinds}

    @property
    def baseline_place(self) -> int:
        """Index of the baseline among the runs, 0 for a single run."""
        return 0 if self.baseline is None else self.runs.index(self.baseline)


def gather(config: ReportConfig) -> Content:
    """Read the runs and compare them.

    Raises:
        HarnessError: a run can't be read, a name is unknown, or λ is asked for and not known.
    """
    runs = read_runs(config.runs)
    forecasts = find_forecasts(runs, show_texts=config.redact is None)
    runs = [with_place(facts, forecasts) for facts in runs]
    baseline = find_baseline(runs, config.baseline)
    sweep = find_sweep(runs, config.lambdas, wanted=config.x == "lambda")
    compared = {} if baseline is None else compare_runs(runs, baseline, config.margin)
    decided = tuple(
        decide_run(
            facts,
            None if facts is baseline else baseline,
            compared.get(facts.name),
            margin=config.margin,
        )
        for facts in runs
    )
    title = one_line(config.title) if config.title else _title(runs, baseline)
    return Content(title, tuple(runs), baseline, tuple(compared.values()), decided, sweep, forecasts, config)


def _title(runs: Sequence[RunFacts], baseline: RunFacts | None) -> str:
    candidates = [facts for facts in runs if facts is not baseline]
    names = [facts.name for facts in candidates if facts.folder is None]
    folders = Counter(
        one_line(facts.folder.resolve().name) for facts in candidates if facts.folder is not None
    )
    names += [f"{count} run{'s' if count != 1 else ''} of {folder}" for folder, count in folders.items()]
    if len(names) > _NAMES_IN_TITLE:
        names = [*names[: _NAMES_IN_TITLE - 1], f"{len(names) - _NAMES_IN_TITLE + 1} more"]
    return ", ".join(names) + ("" if baseline is None else f" against {baseline.name}")
