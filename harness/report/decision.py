"""A sentence a run: first what went against it beside the baseline; contract, rubric and cliff."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from harness.cliff.placement import Placement
from harness.errors import DataError
from harness.judge import findings
from harness.metrics.stopped import STOPPED_EARLY
from harness.metrics.table import CONTRACT, CONTRACT_BAR, MATCH_OF_ALL, QUALITY, QUALITY_OF_ALL, RUBRIC_PREFIX
from harness.report.against import clauses_against
from harness.report.clause import Clause, Kind
from harness.report.comparison import ALPHA, Comparison
from harness.report.reading import RunFacts, compared
from harness.report.text import decimal, parameters, percent, threshold
from harness.runs.diagnosis import same_mistake
from harness.runs.directory import METRICS as METRICS_FILE
from harness.runs.gate_record import RuleResult

_KEPT: dict[str, tuple[str, Kind]] = {
    "pass": ("keeps its contract", "good"),
    "fail": ("breaks its contract", "bad"),
    "inconclusive": ("contract not settled", "open"),
}
_SIDES: dict[str, tuple[str, Kind]] = {
    "left": ("left of λ*", "known"),
    "right": ("right of λ*", "known"),
    "on_cliff": ("on the cliff", "known"),
    "undecided": ("side of λ* undecided", "known"),
    "out_of_scope": ("λ* out of scope", "known"),
}
"""Predictions, none of them a verdict on what the run did."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A run's sentence.

    Attributes:
        run: its name.
        baseline: what it is compared with, None for the baseline itself and for a single run.
        clauses: of the sentence, what goes against the run first.
        missing: what isn't known of it, such as a rubric's score.
        gate: verdict of the stored gate, `stale` where it no longer holds, None where there is none.
        stale: why the verdict no longer holds.
        unchecked: what of it can't be checked, None where all can.
        stopped: whether its own data decided when it ended.
        notes: what must be known beside it.
    """

    run: str
    baseline: str | None
    clauses: tuple[Clause, ...]
    missing: tuple[str, ...]
    gate: str | None
    stale: tuple[str, ...]
    unchecked: str | None
    stopped: bool
    notes: tuple[str, ...]

    @property
    def who(self) -> str:
        """The run, and what it is held against."""
        return self.run if self.baseline is None else f"{self.run} against {self.baseline}"

    @property
    def sentence(self) -> str:
        """The sentence as plain text."""
        parts = [f"{one.claim} ({one.detail})" if one.detail else one.claim for one in self.clauses]
        return f"{self.who}: {'; '.join(parts)}."

    @property
    def line(self) -> str:
        """The sentence with the gate's verdict, and that it was stopped early where it was."""
        return f"{self.sentence} [{self.gate_words}]" + (f" [{STOPPED_EARLY}]" if self.stopped else "")

    @property
    def gate_words(self) -> str:
        """`no gate`, `gate: pass`, `gate: stale (why)`, `gate: pass (what couldn't be checked)`."""
        if self.gate is None:
            return "no gate"
        doubts = [*self.stale, *([] if self.unchecked is None else [self.unchecked])]
        return f"gate: {self.gate}" + (f" ({'; '.join(doubts)})" if doubts else "")


def decide_run(
    facts: RunFacts, baseline: RunFacts | None, comparison: Comparison | None, *, margin: float
) -> Decided:
    """The sentence of a run.

    Beside a baseline it states the size, every paired test that went against the run, and format, ranking and
    rubrics whichever way they went; alone it states what the run is. Whether the contract is kept is what the
    run's gate said of `parse_validity.strict`; without such a rule, or where the verdict is stale, it is
    judged here by the default one, unless earlier gates on the run have spent of alpha.

    Args:
        facts: the run.
        baseline: what it is compared with, None for the baseline itself and for a single run.
        comparison: the two side by side.
        margin: of the equivalence.
    """
    contract, missing = _contract(facts), []
    clauses = [contract]
    if baseline is None or comparison is None:
        clauses += _alone(facts)
    else:
        clauses += clauses_against(facts, baseline, comparison, margin)
        format_change = comparison.differences.get(CONTRACT)
        if contract.kind == "good" and format_change is not None and format_change.against:
            # It holds of the run alone; a tick would outshine what the sentence says of the comparison.
            clauses[0] = Clause(contract.subject, contract.claim, "known", contract.detail)
    for found, nothing in ((_rubric(facts), "not judged"), (_cliff(facts), "cliff not measured")):
        if found is None:
            missing.append(nothing)
        else:
            clauses.append(found)
    ordered = sorted(clauses, key=_place)
    gate = None if facts.gate is None else "stale" if facts.stale else facts.gate.result.verdict
    return Decided(
        run=facts.name,
        baseline=None if baseline is None else baseline.name,
        clauses=tuple(ordered),
        missing=tuple(missing),
        gate=gate,
        stale=facts.stale,
        unchecked=facts.unchecked,
        stopped=facts.stopped,
        notes=tuple(_notes(facts)),
    )


def _place(clause: Clause) -> int:
    return -1 if clause.subject == "size" else get_args(Kind).index(clause.kind)


def _alone(facts: RunFacts) -> Iterator[Clause]:
    """What a run is by itself, without a claim about another."""
    size = facts.run.manifest.engine.parameters
    if size:
        yield Clause("size", f"{parameters(size)(size)} parameters", "known")
    for name, words in ((QUALITY_OF_ALL, "on all answers, failures as 0"), (QUALITY, "on what it parsed")):
        stored = facts.run.metrics.get(name)
        if stored is not None and stored.estimate is not None:
            ends = (
                ""
                if stored.low is None or stored.high is None
                else (f"{decimal(stored.low)} … {decimal(stored.high)}, ")
            )
            claim = f"NDCG@1 {decimal(stored.estimate)} {words}"
            yield Clause("ranking", claim, "known", f"{ends}n {stored.n:,}")
    stored = facts.run.metrics.get(MATCH_OF_ALL)
    if stored is not None and stored.estimate is not None:
        ends = (
            ""
            if stored.low is None or stored.high is None
            else f"{percent(stored.low)} … {percent(stored.high)}, "
        )
        claim = f"right in {percent(stored.estimate)} of all answers, failures as wrong"
        yield Clause("right answers", claim, "known", f"{ends}n {stored.n:,}")


def _contract(facts: RunFacts) -> Clause:
    gated = None if facts.stale else _strict_rule(facts)
    if gated is not None:
        seen = None if gated.estimate is None else gated.estimate.estimate
        verdict, rule = gated.verdict, f"gated by {gated.rule}"
    else:
        table = facts.samples.columns.by_task(compared()[CONTRACT])
        seen = table.estimate
        why = _unjudged(facts, seen, missing=bool(facts.samples.columns.missing.any()))
        if why is not None:
            return Clause("contract", "contract not judged", "open", why)
        # What was withheld is taken at its worst before it passes, and at its best before it fails.
        worst, best = (table.filled(value).against_bar(CONTRACT_BAR, ">=", ALPHA) for value in (0.0, 1.0))
        verdict = "pass" if worst.verdict == "pass" else "fail" if best.verdict == "fail" else "inconclusive"
        rule = f"default rule {CONTRACT} >= {CONTRACT_BAR}"
    claim, kind = _KEPT[verdict]
    return Clause("contract", claim, kind, f"{_strict(seen)}{rule}")


def _unjudged(facts: RunFacts, seen: float | None, *, missing: bool) -> str | None:
    """Why the default rule isn't judged, None where it is."""
    if facts.stopped:
        return "stopped early by the gate"
    if facts.run.manifest.status != "complete" or missing:
        return f"{facts.samples.n} of {facts.run.manifest.planned} samples are there"
    try:
        if CONTRACT in facts.run.metrics:
            facts.run.require_current(CONTRACT, seen)
    except DataError as error:
        return str(error)
    if facts.looked:
        # How much of alpha is left is the gate's to say; judged here at all of it, it would be had twice.
        return f"{_strict(seen)}gate it again: earlier gates on this run share alpha"
    return None


def _strict(seen: float | None) -> str:
    return "" if seen is None else f"strict {percent(seen)}, "


def _strict_rule(facts: RunFacts) -> RuleResult | None:
    """What the run's gate said of strict validity by itself."""
    for rule in () if facts.gate is None else facts.gate.result.rules:
        if rule.metric == CONTRACT and not rule.is_difference:
            return rule
    return None


def _rubric(facts: RunFacts) -> Clause | None:
    shown = []
    for name in facts.rubrics:
        score = facts.run.metrics[f"{RUBRIC_PREFIX}{name}"]
        against = len(findings(facts.run.metrics, name))
        doubt = f", {against} finding{'s' if against != 1 else ''} against the judge" if against else ""
        value = "unscored" if score.estimate is None else decimal(score.estimate)
        shown.append(f"{name} {value}, n {score.n}{doubt}")
    return Clause("rubric", "judged", "known", "; ".join(shown)) if shown else None


def _cliff(facts: RunFacts) -> Clause | None:
    cliff = facts.cliff
    if cliff is None:
        return None if facts.place is None else _place_of(facts.place)
    claim, kind = _SIDES[cliff.verdict]
    star = cliff.lambda_star
    detail = f"λ {cliff.lam:g}"
    if star.low is not None:
        end = "no upper end" if star.high is None else threshold(star.high)
        detail += f", λ* {threshold(star.low)} … {end}"
    return Clause("cliff", claim, kind, detail)


def _place_of(place: Placement) -> Clause:
    claim, _, detail = place.reached.partition(": ")
    return Clause("cliff", claim, "known", detail)


def _notes(facts: RunFacts) -> Iterator[str]:
    manifest = facts.run.manifest
    if facts.stopped:
        yield STOPPED_EARLY
    elif manifest.status != "complete":
        yield f"the run is {manifest.status}: {facts.samples.n} of {manifest.planned} samples; it has " + (
            "metrics of an earlier state" if facts.run.metrics else "no metrics yet"
        )
    if not facts.run.metrics and (facts.stopped or manifest.status == "complete"):
        yield f"no {METRICS_FILE} lies in it: `harness rescore {facts.run.path}` computes its metrics"
    if missing := manifest.missing if manifest.status == "complete" else ():
        yield (
            f"{len(missing)} of {manifest.planned} samples couldn't be had and are in no number here "
            f"(first: of task {missing[0].task_id}, {missing[0].cause})"
        )
    yield from manifest.remarks
    if mistake := same_mistake(facts.run):
        yield mistake
    if facts.hidden is not None:
        yield facts.hidden
    if withheld := facts.samples.columns.withheld_samples:
        yield (
            f"{withheld:,} of {facts.samples.n:,} answers were withheld by the provider (a filter or a "
            "refusal): rates and means are of the rest, verdicts allow for what they could have been"
        )
    if facts.constrained:
        yield (
            "answers were held to the schema while they were drawn: the form can't fail by construction, "
            "only a repeated id or a cut-off answer can; so parse validity isn't the checkpoint's own"
        )
    if facts.samples.n and not (facts.samples.columns.values[CONTRACT] > 0).any():
        yield "no sample parsed strictly: there is nothing to score and nothing for a judge"
