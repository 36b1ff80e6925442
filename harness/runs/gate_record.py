"""`gate.json`: what a gate decided of a run, one result a rule and one for all of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from harness.runs.source import Source
from harness.stats import Estimate

Verdict = Literal["pass", "fail", "inconclusive"]
LookKind = Literal["fixed", "live", "continued"]


@dataclass(frozen=True, slots=True)
class More:
    """Further tasks (samples where each is a task of its own) that would settle a rule.

    Attributes:
        soonest: if the truth lies as far from the bar as the interval allows; None where none would.
        likely: if the truth is the estimate; None where none would.
        left: tasks that the dataset has beyond those of the run; None where nobody counted.
    """

    soonest: int | None
    likely: int | None
    left: int | None


@dataclass(frozen=True, slots=True)
class RuleResult:
    """How one rule came out.

    Attributes:
        rule: its text in the policy.
        metric: the metric it is about.
        bar: what the estimate is compared with: a value of the metric, or of the difference to the
            baseline's; None for a word.
        estimate: the metric, or candidate − baseline, with the interval at level 1 − 2 · alpha whose ends are
            those of the two tests; None for a word.
        verdict: `pass` where "the rule doesn't hold" is rejected at alpha, `fail` where "the rule
            holds" is (after Holm's correction over the rules), else `inconclusive`.
        why: one plain sentence.
        p_pass: p-value of "the rule doesn't hold"; None for a word.
        p_fail: Holm-adjusted p-value of "the rule holds"; None for a word.
        more: what would settle it; None where it is settled or more tasks aren't what it lacks.
    """

    rule: str
    metric: str
    bar: float | None
    estimate: Estimate | None
    verdict: Verdict
    why: str
    p_pass: float | None = None
    p_fail: float | None = None
    more: More | None = None

    @property
    def is_difference(self) -> bool:
        """Whether it compares with a baseline, so that its estimate is a difference."""
        return "baseline" in self.rule


@dataclass(frozen=True, slots=True)
class Subject:
    """Which run was judged.

    Attributes:
        run: its directory.
        checkpoint: as its manifest names it.
        dataset: name and split.
        samples: how many there are.
        planned: how many the full evaluation has.
        baseline: checkpoint and directory of the baseline, None without one.
    """

    run: str
    checkpoint: str
    dataset: str
    samples: int
    planned: int
    baseline: str | None = None


@dataclass(frozen=True, slots=True)
class LiveFacts:
    """What a live gate drew and what it saved.

    Attributes:
        tasks_used: tasks behind the verdict, in the order in which they were drawn.
        tasks: tasks of the dataset.
        samples_drawn: samples there are now, in this session or an earlier one.
        samples_saved: samples of the full evaluation that weren't drawn.
        stopped_early: whether the engine was stopped before its budget was used up.
    """

    tasks_used: int
    tasks: int
    samples_drawn: int
    samples_saved: int
    stopped_early: bool


@dataclass(frozen=True, slots=True)
class Look:
    """One gate on one state of a run.

    Attributes:
        decided: when.
        samples: how many there were.
        drawn_sha256: of what the engine had said by then, see `Source`.
        policy_sha256: of the policy.
        share: of the policy's alpha that it had, in [0, 1].
        alpha: that share of it, before a stream's.
        kind: `fixed`, a test for a size fixed beforehand; `live` or `continued`, one that may be looked at
            any time, in the order of drawing or with what each look added in random order.
        verdict: what it said.
    """

    decided: str
    samples: int
    drawn_sha256: str
    policy_sha256: str
    share: float
    alpha: float
    kind: LookKind
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """Where a checkpoint stands in a stream of checkpoints gated for one release.

    Attributes:
        stream: the file.
        place: which checkpoint of the stream it is, from 1.
        share: of alpha that it has for passing, in (0, 1].
    """

    stream: str
    place: int
    share: float


@dataclass(frozen=True, slots=True)
class GateResult:
    """How a gate came out.

    Attributes:
        verdict: `pass` where every rule passes, `fail` where any fails, else `inconclusive`.
        exit_code: 0 pass, 1 fail, 4 inconclusive, the last as the policy's `on_inconclusive` says.
        rules: one result a rule, in the policy's order.
        notes: what to know beside the verdict.
        subject: which run was judged.
        alpha: level of passing and at each end of the intervals: the policy's, or what this look or this
            checkpoint of a stream has of it.
        live: what a live gate saved; None for a stored run.
        source: digests of the run that was judged, as it was then; None in a record of an older version.
        read_sha256: of the entries of its `metrics.json` that the rules name.
        baseline_run: directory of the baseline, from the run's; None without one.
        baseline_source: digests of the baseline.
        looks: earlier ones at this run, then this one.
        stream: place and level in a stream of checkpoints; None outside of one.
    """

    verdict: Verdict
    exit_code: int
    rules: tuple[RuleResult, ...]
    notes: tuple[str, ...]
    subject: Subject
    alpha: float
    live: LiveFacts | None = None
    source: Source | None = None
    read_sha256: str | None = None
    baseline_run: str | None = None
    baseline_source: Source | None = None
    looks: tuple[Look, ...] = ()
    stream: StreamPlace | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GateRecord:
    """The last verdict on a run.

    Attributes:
        result: the verdict.
        decided: when.
        policy: what it was judged by.
    """

    result: GateResult
    decided: str
    policy: dict[str, Any]

    @classmethod
    def from_dict(cls, data: Any) -> GateRecord:
        """Read the content of `gate.json`.

        Raises:
            ValueError: it holds something else.
        """
        return cls(_RESULT.validate_python(data), str(data["decided"]), dict(data["policy"]))


_RESULT: TypeAdapter[GateResult] = TypeAdapter(GateResult)
