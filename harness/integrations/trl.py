"""A callback for trainers of TRL and transformers: logs p, b, λ* and λ reached in training, and may stop it.

    trainer.add_callback(cliff_callback(teacher="./8b", base="./sft", lam=1.15, clip=5.0, stop=True))

It draws rollouts of its own from the model in training, so it works with any trainer, on policy or not. λ and
c must be told: trainers name them differently, if they have them at all (TRL's own distillation is λ = 1
without a clip).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from harness.contract import DEFAULT, Contract
from harness.data.choice import DataName, Split
from harness.engines.config import Plausible
from harness.engines.limits import MaxTokens
from harness.errors import EngineUnavailableError, HarnessError
from harness.files import append
from harness.settings import Count, Level, Natural, Positive, Settings
from harness.stats.estimate import Estimate

if TYPE_CHECKING:
    from harness.opd.loop.guard import LambdaGuard, RoleReading
    from harness.opd.rounds.drawing import Drawer

READINGS = "cliff.jsonl"


class CliffSettings(Settings):
    """What the callback reads, and when."""

    teacher: str
    """Checkpoint of π_T: folder, `zoo:NAME` or hub id."""
    base: str
    """Checkpoint of π_B, the warm start."""
    lam: Positive
    """λ of the run."""
    clip: Annotated[float, Field(gt=1, allow_inf_nan=False)]
    """Clip strength c of the run."""
    plausible: Plausible = 0.0
    every: Count = 50
    """Steps between readings; there is one before the first step too."""
    stop: bool = False
    """End training once λ lies above the limit."""
    epsilon: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The limit is (1 − ε) times the lower bound of λ*."""
    confidence: Level = 0.95
    """Two-sided level of the interval that bound belongs to."""
    data: DataName = "fashion-mini"
    split: Split = "train"
    limit: int = 64
    """How many of its tasks, at least 8: λ*'s interval is bootstrapped by task."""
    contract: Contract = DEFAULT
    max_tokens: MaxTokens = None
    seed: Natural = 0
    """Of the rollouts."""

    @field_validator("limit")
    @classmethod
    def _enough_tasks(cls, limit: int) -> int:
        _require_tasks(limit)
        return limit


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
        lambda_star: λ* there.
        limit: (1 − ε) times the lower bound of λ*, None where nothing bounds it.
        exceeded: whether λ lies above the limit.
        roles: p, b, q and λ* of every role.
        lambda_reached: where the model stands on the line of teacher and base.
        off_the_line: what of it is no extrapolation, in nats a token.
        reached: that in words.
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


class CliffWatch:
    """Teacher and base, loaded once; `read` looks at a model in training."""

    def __init__(self, settings: CliffSettings, model: Any) -> None:
        """Load teacher and base beside `model`, in its dtype and on its device.

        Raises:
            EngineUnavailableError: they can't be loaded, or their vocabularies differ from each other.
            DataError: tasks that can't be read or don't fit.
            HarnessError: too few of them for an interval of λ*.
        """
        from harness.contract.tokens import TokenClasses
        from harness.data.loading import load_tasks
        from harness.engines.vocabulary import require_same_vocabulary
        from harness.opd.loop.guard import LambdaGuard
        from harness.opd.models.files import load_model
        from harness.opd.models.loading import find_whole, vocabulary_of
        from harness.opd.models.policy import Policy
        from harness.opd.optimisation import Placement
        from harness.opd.rounds.drawing import open_drawer
        from harness.rollouts import Walker

        self._settings = settings
        vocabulary = vocabulary_of(settings.base)
        require_same_vocabulary(vocabulary_of(settings.teacher), vocabulary)
        teacher, base = find_whole(settings.teacher), find_whole(settings.base)
        tasks = load_tasks(settings.data, settings.split, limit=settings.limit).tasks
        _require_tasks(len(tasks))
        self._drawer: Drawer = open_drawer(
            base, (teacher,), tasks, settings.contract, max_tokens=settings.max_tokens
        )
        self._walker = Walker(TokenClasses(vocabulary.contents, vocabulary.end_ids, settings.contract))
        self._teacher, self._base = (
            Policy(load_model(one, Placement(), model.dtype).to(model.device).eval())
            for one in (teacher, base)
        )
        self._guard: LambdaGuard = LambdaGuard(
            "warn", settings.lam, settings.clip, settings.epsilon, settings.confidence, settings.seed
        )

    def read(self, model: Any, step: int) -> CliffReading:
        """Draw rollouts from `model`, read them under all three, estimate λ*.

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

        tasks = len(self._drawer.prompts)
        rollouts = self._drawer.with_model(model, round_orders(tasks, tasks, 1, step, self._settings.seed))
        layout, positions = Layout(rollouts, tasks, False), Positions.find(rollouts, self._walker)
        training = model.training
        model.eval()
        try:
            policies = Policy(model), self._teacher, self._base
            student, teacher, base = (
                score(policy, layout, layout.passes(0, tasks), positions).masses for policy in policies
            )
            sides = [Side(policy, layout) for policy in policies]
            sums = line_sums_of(sides, rollouts, self._settings.plausible)
        finally:
            model.train(training)
        records = positions.records(MassBounds.exact(teacher), MassBounds.exact(base))
        own = positions.merged(MassBounds.exact(student)).low
        roles = read_roles(records, self._settings.clip, own)
        held = self._guard.hold(records)
        name = binding_role(roles)
        found = None if name is None else roles[name]
        strict = sum(one.strict for one in rollouts) / tasks
        place = lambda_reached(
            [one.task for one in rollouts],
            sums,
            seed=self._settings.seed,
            masked=self._settings.plausible > 0.0,
        )
        return CliffReading(
            step=step,
            parse_validity=strict,
            role=name,
            p=None if found is None else found.p,
            b=None if found is None else found.b,
            q=None if found is None else found.q,
            lambda_star=None if found is None else found.lambda_star,
            limit=held.limit,
            exceeded=held.exceeded,
            roles=roles,
            lambda_reached=place.lambda_reached,
            off_the_line=place.off_the_line,
            reached=place.words(self._settings.lam, strict),
        )


def cliff_callback(**settings: Any) -> Any:
    """A `transformers.TrainerCallback` with these `CliffSettings`.

    Readings go to `cliff.jsonl` in the trainer's output directory, to its `state.log_history`, and to the
    callback's `readings`. With several processes each reads the same and comes to the same end. A model
    shared out by FSDP or DeepSpeed ZeRO-3 can't be drawn from here and is refused as training begins.

    Raises:
        EngineUnavailableError: transformers isn't installed.
        HarnessError: as `CliffSettings`.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise EngineUnavailableError(
            "the callback needs transformers; run: pip install 'format-safety-harness[hf]'"
        ) from error

    wanted = CliffSettings(**settings)

    class CliffCallback(TrainerCallback):  # type: ignore[misc]
        """See `cliff_callback`."""

        def __init__(self) -> None:
            self.readings: list[CliffReading] = []
            self._watch: CliffWatch | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Load teacher and base, and look once before anything is trained."""
            _require_whole(kwargs["model"])
            _require_same_tokens(kwargs.get("processing_class"), wanted)
            self._watch = CliffWatch(wanted, kwargs["model"])
            self._look(args, state, control, kwargs["model"])

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Look at every `every`-th step."""
            if state.global_step % wanted.every == 0:
                self._look(args, state, control, kwargs["model"])

        def _look(self, args: Any, state: Any, control: Any, model: Any) -> None:
            assert self._watch is not None
            reading = self._watch.read(model, state.global_step)
            self.readings.append(reading)
            if state.is_world_process_zero:
                _note(Path(args.output_dir), state.log_history, reading)
            if reading.exceeded and wanted.stop:
                control.should_training_stop = True

    return CliffCallback()


def _require_tasks(tasks: int) -> None:
    """Without an interval there is no limit, and a run that was to be stopped never would be.

    Raises:
        HarnessError: fewer tasks than an interval of λ* needs.
    """
    from harness.cliff.resample import MIN_TASKS

    if tasks < MIN_TASKS:
        raise HarnessError(f"λ*'s interval needs at least {MIN_TASKS} tasks, not {tasks}; raise limit")


def _require_whole(model: Any) -> None:
    """Refuse a model of which each process holds only a part.

    Raises:
        EngineUnavailableError: shared out by FSDP or DeepSpeed ZeRO-3.
    """
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    shared_out = any(isinstance(part, FSDPModule | FullyShardedDataParallel) for part in model.modules())
    if shared_out or any(hasattr(one, "ds_id") for one in model.parameters()):
        raise EngineUnavailableError(
            "the callback can't draw from a model shared out by FSDP or ZeRO-3; train with plain data "
            "parallelism or ZeRO-2, or evaluate saved checkpoints with harness cliff"
        )


def _note(folder: Path, history: list[dict[str, Any]], reading: CliffReading) -> None:
    row = asdict(reading)
    append(folder / READINGS, f"{json.dumps(row, allow_nan=False)}\n".encode())
    apart = ("roles", "step", "lambda_reached", "off_the_line")
    flat = {name: value for name, value in row.items() if name not in apart}
    for name in ("lambda_reached", "off_the_line"):
        estimate: Estimate = getattr(reading, name)
        flat |= {name: estimate.estimate, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    told = {f"cliff/{name}": value for name, value in flat.items() if value is not None}
    history.append(told | {"step": reading.step})


def _require_same_tokens(tokenizer: Any, settings: CliffSettings) -> None:
    """Refuse a trainer whose tokenizer isn't the base's."""
    from harness.engines.vocabulary import token_pieces
    from harness.opd.models.loading import vocabulary_of

    if tokenizer is None:
        return
    pieces: Sequence[str | None] = token_pieces(getattr(tokenizer, "tokenizer", tokenizer))
    if pieces != vocabulary_of(settings.base).pieces:
        raise EngineUnavailableError(
            f"the trainer's tokenizer isn't that of {settings.base}, so the same token ids mean different "
            "text; student, teacher and base must share one"
        )
