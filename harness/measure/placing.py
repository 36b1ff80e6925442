"""Placing a student on the line of its teacher and base, as a part of `harness cliff` or by itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import fields
from pathlib import Path
from typing import cast

from harness.cliff.placement import Placement
from harness.cliff.reached import Reached
from harness.engines import IN_MEMORY, OF_TWO, Engine, EngineInfo, open_engine
from harness.engines.hf_engine import HfEngine
from harness.engines.hf_line import TooLittleMemoryError
from harness.engines.vocabulary import Vocabulary, read_vocabulary, require_same_vocabulary
from harness.errors import EngineUnavailableError, HarnessError
from harness.evaluate.job import evaluate
from harness.measure.config import LineConfig, ModelRole
from harness.measure.line_log import LineSumsLog, placer_of
from harness.measure.report import PlaceReport
from harness.progress import OnProgress, Progress, ignore
from harness.rollouts import Positions, Rollout, Walker, classes_of, rollouts_of_run
from harness.rollouts.grammar_engine import NoClassesError
from harness.rollouts.placing import Trio, place, token_roles
from harness.runs import Run, RunDirectory

ROLLOUTS = "rollouts"


def evaluate_with_place(config: LineConfig, on_progress: OnProgress = ignore) -> tuple[Run, PlaceReport]:
    """Evaluate the student, then place it on the line; no λ* and no clip in it.

    Args:
        config: its student is the checkpoint of its evaluation.
        on_progress: told where the job stands.

    Raises:
        HarnessError: nothing was run, or a model can't be used; the message says why.
        IncompleteError: it stopped half-way; the same call goes on.
        TooLittleMemoryError: the three models don't fit into memory together; the run is complete without.
    """
    vocabulary = check_models(config)
    with closing(open_engine(config.models()["student"])) as engine:
        run = evaluate(config.evaluation, on_progress, engine=engine)
        drawn = rollouts_for(config, run, engine, on_progress)
        rollouts = rollouts_of_run(drawn, engine.encode)
    contract = drawn.manifest.contract
    positions: Positions | None = None
    # λ reached needs no classes; where there are none, only the roles can't be told apart.
    with suppress(NoClassesError):
        positions = Positions.find(list(rollouts.values()), Walker(classes_of(vocabulary, contract)))
    with RunDirectory(drawn.path), SideBySide(config) as beside:
        found, models = place_student(config, beside, rollouts, positions, drawn.path, on_progress)
    strict = sum(one.strict for one in rollouts.values()) / len(rollouts)
    report = PlaceReport(
        path=run.path,
        rollouts=drawn.path,
        drawn=len(rollouts),
        strict=strict,
        placement=Placement(
            lam=config.lam,
            plausible=config.plausible,
            lambda_reached=found.lambda_reached,
            off_the_line=found.off_the_line,
            along_the_line=found.along_the_line,
            reached=found.words(config.lam, strict),
            reached_by_role=found.roles,
        ),
        models=tuple(
            {
                "roles": [role for role, other in models.items() if other == one],
                "checkpoint": one.checkpoint,
                "weights_sha256": one.weights_sha256,
                "dtype": one.options.get("dtype"),
            }
            for one in {id(info): info for info in models.values()}.values()
        ),
    )
    return report.write(run), report


def check_models(config: LineConfig) -> Vocabulary:
    """The vocabulary that all models share.

    Raises:
        HarnessError: one of them can't be scored, or has another vocabulary than the one that draws.
    """
    models = config.models()
    for role, engine in models.items():
        if engine.replays or engine.engine == OF_TWO:
            raise HarnessError("only single models can be scored; use `engine=hf`, vllm or openai")
        if engine.asks_servers and not engine.base_urls:
            raise HarnessError(f"the openai engine needs a server of the {role}; give `{role}_urls=`")
    vocabularies = {role: read_vocabulary(engine) for role, engine in models.items()}
    own = vocabularies[config.rollout_role]
    for role, vocabulary in vocabularies.items():
        if role != config.rollout_role:
            require_same_vocabulary(vocabulary, own)
    return own


def rollouts_for(config: LineConfig, run: Run, engine: Engine, on_progress: OnProgress) -> Run:
    """A run's own samples where they were drawn at T = 1, top_p = 1; else rollouts in its folder `rollouts`.

    Args:
        config: of the measurement.
        run: of the checkpoint that draws.
        engine: of that checkpoint.
        on_progress: told where it stands.

    Raises:
        HarnessError: the run isn't complete.
        IncompleteError: drawing stopped half-way.
    """
    if run.manifest.status != "complete":
        raise HarnessError(f"{run.path} isn't complete, and what a part of it says isn't the run's")
    if is_rollout(run.manifest.sampling):
        return run
    evaluation = config.rollout_evaluation().model_copy(update={"out": run.path / ROLLOUTS})
    return evaluate(evaluation, on_progress, engine=engine)


def is_rollout(sampling: Mapping[str, object]) -> bool:
    """Whether samples were drawn from the model's own distribution."""
    return (
        sampling["temperature"] == 1.0 and sampling["top_p"] == 1.0 and not sampling.get("constrained", False)
    )


def why_not_placed(config: LineConfig) -> str | None:
    """Why a student can't be placed with these engines; None where it can."""
    if any(one.asks_servers for one in config.models().values()):
        return "that takes whole distributions of all three models, which no server gives"
    return None


class SideBySide:
    """A measurement's models in transformers, each loaded when it is started; a context that closes them.

    Whatever drew: whole distributions are to be had from transformers alone.
    """

    def __init__(self, config: LineConfig) -> None:
        self._models = {role: one.changed(engine=IN_MEMORY) for role, one in config.models().items()}
        self._opened: dict[ModelRole, HfEngine] = {}
        self._stack = ExitStack()

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __getitem__(self, role: ModelRole) -> HfEngine:
        """The engine of a part; parts with one checkpoint have one engine."""
        if role not in self._opened:
            mine = self._models[role]
            same = (self._opened[other] for other in self._opened if self._models[other] == mine)
            self._opened[role] = next(same, None) or self._stack.enter_context(closing(HfEngine(mine)))
        return self._opened[role]


def place_student(
    config: LineConfig,
    models: SideBySide,
    rollouts: Mapping[str, Rollout],
    positions: Positions | None,
    folder: Path,
    on_progress: OnProgress,
) -> tuple[Reached, dict[ModelRole, EngineInfo]]:
    """Where the student stands, with the three models in memory together (transformers).

    Args:
        config: with a student.
        models: its.
        rollouts: the student's.
        positions: of them; None tells no roles apart.
        folder: of their run, whose lock is held.
        on_progress: told where it stands.

    Raises:
        TooLittleMemoryError: they don't fit.
        EngineUnavailableError: transformers can't load one of them.
    """
    order = [cast(ModelRole, one.name) for one in fields(Trio)]

    def load() -> Trio:
        on_progress(Progress("loading all models side by side"))
        for role in order:
            models[role].start()
        return Trio(*(models[role].model for role in order))

    infos: dict[int, EngineInfo] = {id(models[role]): models[role].info() for role in order}
    info = {role: infos[id(models[role])] for role in order}
    placer = placer_of(
        [info[role].weights_sha256 for role in order],
        [info[role].options.get("dtype") for role in order],
        config.plausible,
    )
    with LineSumsLog(folder, placer) as log:
        found = place(
            rollouts,
            load,
            plausible=config.plausible,
            seed=config.evaluation.seed,
            confidence=config.confidence,
            roles={} if positions is None else dict(zip(rollouts, token_roles(positions), strict=True)),
            log=log,
            on_progress=on_progress,
        )
    return found, info


def placed_or_why(
    config: LineConfig,
    models: SideBySide,
    rollouts: Mapping[str, Rollout],
    positions: Positions,
    folder: Path,
    on_progress: OnProgress,
) -> Reached | str | None:
    """As `place_student`, or None without a student, or why it isn't known: a verdict stands without it.

    Args:
        config: of the measurement.
        models: its.
        rollouts: those it rests on.
        positions: of them.
        folder: of their run, whose lock is held.
        on_progress: told where it stands.
    """
    if config.student is None:
        return None
    if (why := why_not_placed(config)) is not None:
        return why
    try:
        return place_student(config, models, rollouts, positions, folder, on_progress)[0]
    except (EngineUnavailableError, TooLittleMemoryError) as error:
        return str(error)  # each of them has just been loaded alone
