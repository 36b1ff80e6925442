"""`measure_cliff(config)`: from three checkpoints and λ to a verdict, one model in memory at a time."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, replace

from harness.cliff import (
    CliffResult,
    ClipDemand,
    ClipEstimate,
    Limits,
    assess,
    clip_demand,
    estimate_cliff,
)
from harness.cliff.reached import Reached
from harness.cliff.readings import resampling
from harness.cliff.token_level import fixed_points
from harness.engines import Engine, EngineConfig, choose_common_engine, open_engine
from harness.engines.vocabulary import Vocabulary
from harness.errors import HarnessError
from harness.evaluate.job import evaluate
from harness.measure.clip_source import find_clip
from harness.measure.config import CliffConfig, ModelRole
from harness.measure.placing import SideBySide, check_models, placed_or_why, rollouts_for
from harness.measure.ratio_source import find_ratio
from harness.measure.report import CliffReport, token_strip
from harness.measure.score_log import ScoreLog
from harness.measure.scoring import ModelScores, Scoring
from harness.measure.token_level import target_masses
from harness.progress import OnProgress, Progress, ignore
from harness.rollouts import Positions, Walker, classes_identity, classes_of, require_classes, rollouts_of_run
from harness.runs import Run, RunDirectory


def settle_engine(config: CliffConfig) -> tuple[CliffConfig, str]:
    """Replace `auto` by one engine for all models, and say which and why.

    Raises:
        EngineUnavailableError: none can load them.
    """
    # Masses of different engines had better not be compared.
    name, reason = choose_common_engine(list(config.models().values()))
    engine = config.evaluation.engine.model_copy(update={"engine": name})
    evaluation = config.evaluation.model_copy(update={"engine": engine})
    return config.model_copy(update={"evaluation": evaluation}), reason


def measure_cliff(config: CliffConfig, on_progress: OnProgress = ignore) -> CliffReport:
    """Draw rollouts, score them under all models, and write `cliff.json` beside them.

    Args:
        config: models, λ, c, data.
        on_progress: told where the job stands.

    Raises:
        HarnessError: nothing was run, or a model can't be used; the message says why.
        IncompleteError: it stopped half-way; the same call goes on with the rollouts and scores there are.
    """
    given = _prepare(config)
    with closing(open_engine(given.drawer)) as engine:
        run = evaluate(config.rollout_evaluation(), on_progress, engine=engine)
        return _measure(given, run, run, engine, on_progress)


def evaluate_with_cliff(config: CliffConfig, on_progress: OnProgress = ignore) -> tuple[Run, CliffReport]:
    """Evaluate the student, then place it: `evaluate` and `cliff_of_run` with one start of its engine.

    Args:
        config: its student is the checkpoint of its evaluation.
        on_progress: told where the job stands.

    Raises:
        HarnessError: as `evaluate` and `measure_cliff`.
        IncompleteError: as `evaluate` and `measure_cliff`.
    """
    given = _prepare(config)
    with closing(open_engine(given.drawer)) as engine:
        run = evaluate(config.evaluation, on_progress, engine=engine)
        return run, _of_run(given, run, engine, on_progress)


def cliff_of_run(config: CliffConfig, run: Run, on_progress: OnProgress = ignore) -> CliffReport:
    """The verdict for the checkpoint of a finished run, written into that run.

    Where the run itself was drawn at T = 1, top_p = 1 its samples are the rollouts; else rollouts are drawn
    into a run of their own in its folder `rollouts`.

    Args:
        config: its student is the run's checkpoint, its evaluation the run's.
        run: a complete run.
        on_progress: told where the job stands.

    Raises:
        HarnessError: as `measure_cliff`.
        IncompleteError: as `measure_cliff`.
    """
    given = _prepare(config)
    with closing(open_engine(given.drawer)) as engine:
        return _of_run(given, run, engine, on_progress)


def check_cliff(config: CliffConfig) -> None:
    """Refuse what can be refused before anything runs: λ, c, missing files, differing vocabularies.

    Raises:
        HarnessError: the message says what is wrong.
    """
    _prepare(config)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A configuration that passed every check, and what the checks found."""

    config: CliffConfig
    clip: ClipEstimate
    clip_source: str
    vocabulary: Vocabulary

    @property
    def drawer(self) -> EngineConfig:
        """The model that draws the rollouts."""
        return self.config.models()[self.config.rollout_role]


def _prepare(config: CliffConfig) -> _Prepared:
    if not (math.isfinite(config.lam) and config.lam > 0):
        raise HarnessError(f"λ must be finite and above 0, not {config.lam}; give `lam=`")
    clip, source = find_clip(config)
    find_ratio(config)
    if clip.effective <= 1:
        raise HarnessError(f"no ratio in {config.ratios} exceeds 1, so nothing is known of c; give `clip=`")
    vocabulary = check_models(config)
    require_classes(vocabulary, config.evaluation.contract)
    return _Prepared(config, clip, source, vocabulary)


def _of_run(given: _Prepared, run: Run, engine: Engine, on_progress: OnProgress) -> CliffReport:
    rollouts = rollouts_for(given.config, run, engine, on_progress)
    return _measure(given, run, rollouts, engine, on_progress)


def _measure(
    given: _Prepared, run: Run, rollout_run: Run, engine: Engine, on_progress: OnProgress
) -> CliffReport:
    """Score, estimate, judge, write; `engine` is of the model that drew the rollouts, and is closed."""
    config, vocabulary = given.config, given.vocabulary
    contract = rollout_run.manifest.contract
    on_progress(Progress("finding classes"))
    rollouts = rollouts_of_run(rollout_run, engine.encode)
    classes = classes_of(vocabulary, contract)
    held_to = dict.fromkeys(one.terms for one in rollouts.values())
    positions = Positions.find(list(rollouts.values()), Walker(classes))
    # The lock keeps a second process out for as long as scores are added.
    with RunDirectory(rollout_run.path), ScoreLog(rollout_run.path) as log:
        scoring = Scoring(
            requests=positions.score_requests(list(rollouts)),
            classes=classes_identity(vocabulary, contract, held_to),
            vocabulary=len(vocabulary.pieces),
            top_k=min(config.top_k, len(vocabulary.pieces)),
            max_top_k=config.max_top_k,
            log=log,
            on_progress=on_progress,
        )
        scores = _scores(config, scoring, engine)
        with SideBySide(config) as models:
            placed = placed_or_why(config, models, rollouts, positions, rollout_run.path, on_progress)
            target = target_masses(config, models, positions, scoring, rollout_run.path)
    student = scores.get("student")
    records = positions.records(
        scores["teacher"].masses,
        scores["base"].masses,
        None if student is None else student.masses,
    )
    on_progress(Progress("estimating λ*"))
    estimate = estimate_cliff(
        records,
        given.clip,
        confidence=config.confidence,
        resamples=config.resamples,
        seed=config.evaluation.seed,
    )
    ratio, ratio_source = find_ratio(config)
    settings = resampling(given.clip, config.confidence, config.resamples, config.evaluation.seed)
    fixed = fixed_points(records, config.lam, settings, ratio=ratio, ratio_source=ratio_source, target=target)
    strict = sum(rollout.strict for rollout in rollouts.values()) / len(rollouts)
    result = assess(
        estimate,
        config.lam,
        calibration=config.calibration,
        limits=Limits(grid=config.grid),
        clip_demand=_demand(positions, scores["teacher"], scores[config.rollout_role], given.clip),
        fixed_points=fixed,
    )
    report = CliffReport(
        path=run.path,
        rollouts=rollout_run.path,
        rollouts_from=config.rollout_role,
        drawn=len(rollouts),
        strict=strict,
        clip_source=given.clip_source,
        result=_with_place(result, placed, strict),
        models=tuple(dict.fromkeys(one.cost for one in scores.values())),
        strip=token_strip(
            positions,
            (scores["teacher"].masses, scores["base"].masses),
            given.clip.effective,
            vocabulary.contents,
        ),
        unsaid=tuple(sorted({one for terms in held_to for one in classes.unsaid(terms)})),
    )
    report.write(run)
    return report


def _scores(config: CliffConfig, scoring: Scoring, drawer: Engine) -> dict[ModelRole, ModelScores]:
    """Scores of each model, one in memory at a time; a checkpoint with several parts is scored once.

    The model that drew the rollouts comes first: it is in memory already.
    """
    parts: dict[ModelRole, list[ModelRole]] = {}
    models = config.models()
    for role, settings in models.items():
        first = next(other for other, known in models.items() if known == settings)
        parts.setdefault(first, []).append(role)
    found: dict[ModelRole, ModelScores] = {}
    for first, roles in sorted(parts.items(), key=lambda part: config.rollout_role not in part[1]):
        own = config.rollout_role in roles
        with closing(drawer if own else open_engine(models[first])) as engine:
            scores = scoring.run(roles, engine)
        found |= dict.fromkeys(roles, scores)
    return {role: found[role] for role in models}


def _with_place(result: CliffResult, found: Reached | str | None, strict: float) -> CliffResult:
    """The result with what is known of λ reached.

    Args:
        result: of the same rollouts.
        found: what `placed_or_why` gave.
        strict: share of the rollouts that keep the contract.
    """
    if found is None:
        return result
    if isinstance(found, str):
        return replace(result, reached=f"not placed on the line: {found}")
    return replace(
        result,
        lambda_reached=found.lambda_reached,
        off_the_line=found.off_the_line,
        along_the_line=found.along_the_line,
        reached=found.words(result.lam, strict),
        reached_by_role=found.roles,
    )


def _demand(
    positions: Positions, teacher: ModelScores, student: ModelScores, clip: ClipEstimate
) -> ClipDemand | None:
    """Teacher-to-student ratios on the tokens that left the contract, None where no token did."""
    if positions.members.all():
        return None
    return clip_demand((teacher.logprobs - student.logprobs)[~positions.members], clip.effective)
