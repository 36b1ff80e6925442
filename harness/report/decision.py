"""One sentence per run: contract, ranking, rubric and cliff, each answered on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import DataError
from harness.judge import findings
from harness.metrics.table import CONTRACT, CONTRACT_BAR, QUALITY, RUBRIC_PREFIX
from harness.report.comparison import ALPHA, Comparison
from harness.report.reading import RunFacts, compared
from harness.report.text import percent, signed, threshold
from harness.runs import stale_reasons
from harness.runs.gate_record import RuleResult

Kind = Literal["good", "bad", "open", "known", "missing"]

_KEPT: dict[str, tuple[str, Kind]] = {
    "pass": ("keeps its contract", "good"),
    "fail": ("breaks its contract", "bad"),
    "inconclusive": ("contract not settled", "open"),
}
_RANKS: dict[str, tuple[str, Kind]] = {
    "better": ("ranks better than", "good"),
    "worse": ("ranks worse than", "bad"),
    "equivalent": ("ranks as well as", "good"),
    "not settled": ("ranking not settled against", "open"),
    "no pairs": ("ranking can't be compared with", "missing"),
}
_SIDES: dict[str, tuple[str, Kind]] = {
    "left": ("left of λ*", "good"),
    "right": ("right of λ*", "bad"),
    "on_cliff": ("on the cliff", "open"),
    "undecided": ("side of λ* undecided", "open"),
    "out_of_scope": ("λ* out of scope", "open"),
}


@dataclass(frozen=True, slots=True)
class Clause:
    """One part of the sentence.

    Attributes:
        subject: `contract`, `ranking`, `rubric` or `cliff`.
        claim: the words that carry it.
        kind: whether it speaks for the run or against it, leaves the question open, is a fact without a
            verdict, or says that nothing is known.
        detail: the numbers behind it.
    """

    subject: str
    claim: str
    kind: Kind
    detail: str


@dataclass(frozen=True, slots=True)
class Decided:
    """A run's sentence.

    Attributes:
        run: its name.
        clauses: contract, ranking, rubric, cliff, in this order.
        gate: verdict of the stored gate, None where the run was never gated.
        notes: what must be known beside it.
    """

    run: str
    clauses: tuple[Clause, ...]
    gate: str | None
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The sentence as plain text."""
        parts = [f"{one.claim} ({one.detail})" if one.detail else one.claim for one in self.clauses]
        return f"{self.run}: {'; '.join(parts)}."


def decide_run(
    facts: RunFacts, comparison: Comparison | None, *, margin: float, is_baseline: bool
) -> Decided:
    """The sentence of a run.

    Whether the contract is kept is what the run's gate said of `parse_validity.strict`; without such a rule
    it is judged here by the default one.
    """
    clauses = (
        _contract(facts),
        _ranking(comparison, margin, is_baseline),
        _rubric(facts),
        _cliff(facts),
    )
    gate = None if facts.gate is None else facts.gate.result.verdict
    return Decided(facts.name, clauses, gate, tuple(_notes(facts)))


def _contract(facts: RunFacts) -> Clause:
    gated = _strict_rule(facts)
    if gated is not None:
        seen = None if gated.estimate is None else gated.estimate.estimate
        verdict, rule = gated.verdict, f"gated by {gated.rule}"
    else:
        table = facts.samples.columns.by_task(compared()[CONTRACT])
        if facts.run.manifest.status != "complete" or table.missing.any():
            why = f"{facts.samples.n} of {facts.run.manifest.planned} samples are there"
            return Clause("contract", "contract not judged", "missing", why)
        seen = table.estimate
        try:
            if CONTRACT in facts.run.metrics:
                facts.run.require_current(CONTRACT, seen)
        except DataError as error:
            return Clause("contract", "contract not judged", "missing", str(error))
        decision = table.against_bar(CONTRACT_BAR, ">=", ALPHA)
        verdict = "inconclusive" if decision.verdict == "undecided" else decision.verdict
        rule = f"default rule {CONTRACT} >= {CONTRACT_BAR}"
    claim, kind = _KEPT[verdict]
    stored = facts.run.metrics.get(CONTRACT)
    value = seen if stored is None else stored.estimate
    shown = "" if value is None else f"strict {percent(value)}, "
    return Clause("contract", claim, kind, f"{shown}{rule}")


def _strict_rule(facts: RunFacts) -> RuleResult | None:
    """What the run's gate said of strict validity by itself."""
    for rule in () if facts.gate is None else facts.gate.result.rules:
        if rule.metric == CONTRACT and not rule.is_difference:
            return rule
    return None


def _ranking(comparison: Comparison | None, margin: float, is_baseline: bool) -> Clause:
    if is_baseline:
        return Clause("ranking", "the baseline", "missing", "")
    if comparison is None:
        return Clause("ranking", "ranking compared with nothing", "missing", "one run only")
    if comparison.unpaired is not None:
        return Clause("ranking", f"ranking not compared with {comparison.baseline}", "missing", "not paired")
    difference = comparison.differences[QUALITY]
    claim, kind = _RANKS[difference.word]
    estimate = difference.comparison.difference
    if estimate.estimate is None:
        detail = "no task parsed in both"
    else:
        detail = (
            f"NDCG@1 {signed(estimate.estimate)} where both parsed, {estimate.n} tasks, margin ±{margin:g}"
        )
    return Clause("ranking", f"{claim} {comparison.baseline}", kind, detail)


def _rubric(facts: RunFacts) -> Clause:
    shown = []
    for name in facts.rubrics:
        score = facts.run.metrics[f"{RUBRIC_PREFIX}{name}"]
        against = len(findings(facts.run.metrics, name))
        doubt = f", {against} finding{'s' if against != 1 else ''} against the judge" if against else ""
        value = "unscored" if score.estimate is None else f"{score.estimate:.3f}"
        shown.append(f"{name} {value}, n {score.n}{doubt}")
    if not shown:
        return Clause("rubric", "not judged", "missing", "")
    return Clause("rubric", "judged", "known", "; ".join(shown))


def _cliff(facts: RunFacts) -> Clause:
    cliff = facts.cliff
    if cliff is None:
        return Clause("cliff", "cliff not measured", "missing", "")
    claim, kind = _SIDES[cliff.verdict]
    star = cliff.lambda_star
    detail = f"λ {cliff.lam:g}"
    if star.low is not None:
        end = "no upper end" if star.high is None else threshold(star.high)
        detail += f", λ* {threshold(star.low)} … {end}"
    return Clause("cliff", claim, kind, detail)


def _notes(facts: RunFacts) -> list[str]:
    manifest, notes = facts.run.manifest, []
    if manifest.status != "complete":
        notes.append(
            f"the run is {manifest.status}: {facts.samples.n} of {manifest.planned} samples; it has "
            + ("metrics of an earlier state" if facts.run.metrics else "no metrics yet")
        )
    if facts.constrained:
        notes.append(
            "answers were held to the schema while they were drawn: the form can't fail by construction, "
            "only a repeated id or a cut-off answer can; so parse validity isn't the checkpoint's own"
        )
    if facts.samples.n and not (facts.samples.columns.values[CONTRACT] > 0).any():
        notes.append("no sample parsed strictly: there is no ranking to score and nothing for a judge")
    gate = facts.gate
    if gate is not None and (stale := stale_reasons(facts.run, gate)):
        notes.append(f"the gate's verdict is stale: {'; '.join(stale)}; gate the run again")
    return notes
