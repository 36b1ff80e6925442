"""Looks at a model that another trainer trains: what they are told, what they read, when they end a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator, model_validator

from harness.cliff.switch import RatioTo, given_ratio
from harness.contract import DEFAULT
from harness.data.choice import ContractChoice, DataName, PromptConfig, Split
from harness.engines.config import Plausible
from harness.engines.limits import MaxTokens
from harness.errors import HarnessError
from harness.settings import Count, Level, Natural, Positive, Settings
from harness.stats.estimate import Estimate

if TYPE_CHECKING:
    from harness.cliff import PositionRecords
    from harness.cliff.reached import Reached
    from harness.opd.loop.guard import LambdaGuard, RoleReading
    from harness.opd.loop.watch import RunWatch
    from harness.opd.rounds.drawing import Drawer
    from harness.rollouts import Rollout


class CliffSettings(Settings):
    """What the callback reads, and when."""

    teacher: str
    """Checkpoint of π_T: folder, `zoo:NAME` or hub id."""
    base: str
    """Checkpoint of π_B, the warm start."""
    lam: Positive
    """λ of the run."""
    clip: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = None
    """Clip strength c of the run; without it there is no λ*."""
    ratio_to: RatioTo = "teacher"
    """Policy that the run's importance ratio is taken to, as in `CliffConfig`: which clip edge it has."""
    plausible: Plausible = 0.0
    every: Count = 50
    """Steps between readings; there is one before the first step too."""
    stop: bool = False
    """End training where `forecast` says that it fell or is past it. Without a forecast: where λ, which the
    callback doesn't change, lies above the limit of the clip edge."""
    forecast: Path | None = None
    """Folder of a harness forecast of the same teacher and base."""
    epsilon: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Without a forecast the limit is (1 − ε) times the lower bound of λ*."""
    confidence: Level = 0.95
    """Two-sided level of the interval that bound belongs to; with a forecast one minus the chance that
    `stop` ends a run whose validity keeps what it reached."""
    data: DataName = "fashion-mini"
    split: Split = "train"
    limit: int = 64
    """How many of its tasks, at least 8: intervals are bootstrapped by task."""
    contract: ContractChoice = DEFAULT
    prompting: PromptConfig = PromptConfig()
    max_tokens: MaxTokens = None
    seed: Natural = 0
    """Of the rollouts."""

    @field_validator("limit")
    @classmethod
    def _enough_tasks(cls, limit: int) -> int:
        _require_tasks(limit)
        return limit

    @model_validator(mode="after")
    def _can_stop(self) -> CliffSettings:
        if self.forecast is not None and self.confidence <= 0.5:
            raise ValueError("with `forecast=` a `confidence=` of 0.5 or less means nothing; raise it")
        if not self.stop or self.forecast is not None:
            return self
        ratio, instead = given_ratio(self.ratio_to), "give `forecast=`, the folder of a harness forecast"
        if ratio.edge is None:
            raise ValueError(f"`stop=True` has nothing to stop at: {ratio.words}; {instead}")
        if self.clip is None:
            raise ValueError(f"`stop=True` needs something to stop at; {instead}, or `clip=`")
        if self.plausible > 0.0:
            raise ValueError(f"the edge of `stop=True` is of extrapolation everywhere; {instead}")
        return self


@dataclass(frozen=True, slots=True)
class CliffReading:
    """What one look at the model found; the keys of `cliff.jsonl` and of the trainer's log history.

    Attributes:
        step: optimizer steps done.
        parse_validity: strict, of the rollouts.
        role: binding role, None where no role has a finite λ*.
        p: teacher's class mass there.
        b: base's.
        q: the student's.
        lambda_star: λ* there, of a ratio to the teacher.
        limit: of λ: the forecast's; without one (1 − ε) times the lower bound of the λ* of the run's edge;
            None where nothing bounds it.
        exceeded: whether λ lies above the limit.
        roles: p, b, q and λ* of every role.
        lambda_reached: where the model stands on the line of teacher and base.
        off_the_line: what of it is no extrapolation, in nats a token.
        reached: that in words.
        kept: level of validity that had surely been reached before; None without a forecast or before that.
        evidence: log of the evidence of a fall; None without a forecast.
        alarm: why the run should end here, None where nothing says so.
        stopped: whether it ends here for that.
    """

    step: int
    parse_validity: float
    role: str | None
    p: float | None
    b: float | None
    q: float | None
    lambda_star: float | None
    limit: float | None
    exceeded: bool
    roles: dict[str, RoleReading]
    lambda_reached: Estimate
    off_the_line: Estimate
    reached: str
    kept: float | None
    evidence: float | None
    alarm: str | None
    stopped: bool


class CliffWatch:
    """Teacher and base, loaded once; `read` looks at a model in training."""

    def __init__(self, settings: CliffSettings, model: Any, looks: int) -> None:
        """Load teacher and base beside `model`, in its dtype and on its device.

        Args:
            settings: what is wanted.
            model: a transformers causal model.
            looks: how many times `read` will be called at most, ≥ 1.

        Raises:
            EngineUnavailableError: they can't be loaded, or their vocabularies differ from each other.
            DataError: tasks that can't be read or don't fit.
            HarnessError: too few of them for an interval, or a forecast that says nothing of this run.
        """
        from harness.data.loading import load_tasks
        from harness.engines.vocabulary import require_same_vocabulary
        from harness.opd.loop.guard import LambdaGuard
        from harness.opd.models.files import load_model
        from harness.opd.models.loading import find_whole, vocabulary_of
        from harness.opd.models.policy import Policy
        from harness.opd.optimisation import Placement
        from harness.opd.rounds.drawing import open_drawer
        from harness.rollouts import Walker, classes_of, require_classes

        self._settings = settings
        vocabulary = vocabulary_of(settings.base)
        require_same_vocabulary(vocabulary_of(settings.teacher), vocabulary)
        teacher, base = find_whole(settings.teacher), find_whole(settings.base)
        self._watch = _watch_of(settings, teacher.sha256, base.sha256, looks)
        tasks = load_tasks(settings.data, settings.split, limit=settings.limit).tasks
        _require_tasks(len(tasks))
        self._drawer: Drawer = open_drawer(
            base,
            (teacher,),
            tasks,
            settings.contract,
            settings.prompting.record(),
            max_tokens=settings.max_tokens,
        )
        require_classes(vocabulary, settings.contract)
        self._walker = Walker(classes_of(vocabulary, settings.contract))
        self._teacher, self._base = (
            Policy(load_model(one, Placement(), model.dtype).to(model.device).eval())
            for one in (teacher, base)
        )
        self._edge: LambdaGuard = LambdaGuard(
            "warn", settings.lam, settings.clip, settings.epsilon, settings.confidence, settings.seed
        )
        self._edge.ratio = given_ratio(settings.ratio_to)

    def read(self, model: Any, step: int) -> CliffReading:
        """Draw rollouts from `model`, read them under all three, estimate λ* and λ reached.

        Args:
            model: a transformers causal model; ends up in the mode it was in.
            step: optimizer steps done; each draws other rollouts.
        """
        from harness.cliff import MassBounds
        from harness.cliff.reached import lambda_reached
        from harness.opd.loop.guard import binding_role, read_roles
        from harness.opd.models.policy import Policy
        from harness.opd.rounds.drawing import round_orders
        from harness.opd.rounds.placing import Side, line_sums_of
        from harness.opd.rounds.scoring import Layout, score
        from harness.rollouts import Positions

        wanted, tasks = self._settings, len(self._drawer.prompts)
        rollouts = self._drawer.with_model(model, round_orders(tasks, tasks, 1, step, wanted.seed))
        layout, positions = Layout(rollouts, tasks, False), Positions.find(rollouts, self._walker)
        training = model.training
        model.eval()
        try:
            policies = Policy(model), self._teacher, self._base
            student, teacher, base = (
                score(policy, layout, layout.passes(0, tasks), positions).masses for policy in policies
            )
            sides = [Side(policy, layout) for policy in policies]
            sums = line_sums_of(sides, rollouts, wanted.plausible)
        finally:
            model.train(training)
        own = positions.merged(MassBounds.exact(student)).low
        records = positions.records(MassBounds.exact(teacher), MassBounds.exact(base))
        roles = read_roles(records, wanted.clip, own)
        name = binding_role(roles)
        found = None if name is None else roles[name]
        place = lambda_reached(
            [one.task for one in rollouts], sums, seed=wanted.seed, masked=wanted.plausible > 0.0
        )
        strict = sum(one.strict for one in rollouts) / tasks
        judged = self._judged(rollouts, place, records)
        return CliffReading(
            step=step,
            parse_validity=strict,
            role=name,
            p=None if found is None else found.p,
            b=None if found is None else found.b,
            q=None if found is None else found.q,
            lambda_star=None if found is None else found.lambda_star,
            limit=judged.limit,
            exceeded=judged.limit is not None and wanted.lam > judged.limit,
            roles=roles,
            lambda_reached=place.lambda_reached,
            off_the_line=place.off_the_line,
            reached=place.words(wanted.lam, strict),
            kept=judged.kept,
            evidence=judged.evidence,
            alarm=judged.alarm,
            stopped=wanted.stop and judged.alarm is not None,
        )

    def _judged(self, rollouts: list[Rollout], place: Reached, records: PositionRecords) -> _Judged:
        if self._watch is not None:
            past = self._watch.place(place)
            seen = self._watch.look([one.task for one in rollouts], [one.strict for one in rollouts])
            stop = seen.stop or past
            alarm = None if stop is None else stop.words
            return _Judged(self._watch.limit, seen.kept, seen.evidence, alarm)
        held, alarm = self._edge.hold(records), None
        if held.exceeded:
            alarm = (
                f"λ = {self._settings.lam:g} is above {held.limit:.4g}, {1 - self._settings.epsilon:g} times "
                f"the lower end of λ* ({self._edge.ratio.words})"
            )
        return _Judged(held.limit, None, None, alarm)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a look says of going on; see `CliffReading`."""

    limit: float | None
    kept: float | None
    evidence: float | None
    alarm: str | None


def _watch_of(settings: CliffSettings, teacher: str, base: str, looks: int) -> RunWatch | None:
    from harness.opd.forecast_limit import read_limit
    from harness.opd.loop.watch import RunWatch

    if settings.forecast is None:
        return None
    limit = read_limit(
        settings.forecast,
        teacher=teacher,
        base=base,
        plausible=settings.plausible,
        contract=settings.contract,
        prompt=settings.prompting.record(),
    )
    return RunWatch(limit, looks=looks, alpha=1.0 - settings.confidence)


def _require_tasks(tasks: int) -> None:
    """Without an interval there is no limit, and a run that was to be stopped never would be.

    Raises:
        HarnessError: fewer tasks than an interval needs.
    """
    from harness.cliff.resample import MIN_TASKS

    if tasks < MIN_TASKS:
        raise HarnessError(
            f"intervals of λ* and λ reached need at least {MIN_TASKS} tasks, not {tasks}; raise `limit=`"
        )
