"""`measure_cliff(config)`: from three checkpoints and λ to a verdict, one model in memory at a time."""

from __future__ import annotations

import math

import numpy as np

from harness.cliff import (
    ClipDemand,
    ClipEstimate,
    Limits,
    assess,
    clip_demand,
    estimate_cliff,
)
from harness.contract.tokens import TokenClasses
from harness.engines.config import EngineConfig, choose_engine
from harness.engines.vocabulary import Vocabulary, read_vocabulary, require_same_vocabulary
from harness.errors import HarnessError
from harness.evaluate.cliff_job.clip_source import find_clip
from harness.evaluate.cliff_job.config import CliffConfig, ModelRole
from harness.evaluate.cliff_job.positions import Rollout, read_rollouts
from harness.evaluate.cliff_job.report import CliffReport, token_strip
from harness.evaluate.cliff_job.scoring import ModelScores, position_records, score_model
from harness.evaluate.job import evaluate
from harness.evaluate.progress import OnProgress, Progress, ignore
from harness.runs import Run

ROLLOUTS = "rollouts"


def settle_engine(config: CliffConfig) -> tuple[CliffConfig, str]:
    """Replace `auto` by one engine for all models, and say which and why.

    Raises:
        EngineUnavailableError: none can load them.
    """
    chosen = [choose_engine(engine) for engine in config.models().values()]
    # An adapter is only taken by hf, and masses of different engines had better not be compared.
    name, reason = next((one for one in chosen if one[0] == "hf"), chosen[0])
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
        IncompleteError: it stopped half-way; the same call goes on with the rollouts there are.
    """
    clip, source, vocabulary = _prepare(config)
    run = evaluate(config.rollout_evaluation(), on_progress)
    report = _measure(config, run, run, clip, source, vocabulary, on_progress)
    report.write(run)
    return report


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
    clip, source, vocabulary = _prepare(config)
    rollouts = run
    if not _is_rollout(run.manifest.sampling):
        evaluation = config.rollout_evaluation().model_copy(update={"out": run.path / ROLLOUTS})
        rollouts = evaluate(evaluation, on_progress)
    report = _measure(config, run, rollouts, clip, source, vocabulary, on_progress)
    report.write(run)
    return report


def check_cliff(config: CliffConfig) -> None:
    """Refuse what can be refused before anything runs: λ, c, missing files, differing vocabularies.

    Raises:
        HarnessError: the message says what is wrong.
    """
    _prepare(config)


def _prepare(config: CliffConfig) -> tuple[ClipEstimate, str, Vocabulary]:
    if not (math.isfinite(config.lam) and config.lam > 0):
        raise HarnessError(f"λ must be finite and above 0, not {config.lam}; give --lambda")
    clip, source = find_clip(config)
    models = config.models()
    for role, engine in models.items():
        if engine.engine == "replay":
            raise HarnessError("stored outputs can't be scored; use --engine hf, vllm or openai")
        if engine.engine == "openai" and not engine.base_urls:
            raise HarnessError(f"the openai engine needs a server of the {role}; give --{role}-url")
    vocabularies = {role: read_vocabulary(engine) for role, engine in models.items()}
    own = vocabularies[config.rollout_role]
    for role, vocabulary in vocabularies.items():
        if role != config.rollout_role:
            require_same_vocabulary(vocabulary, own)
    return clip, source, own


def _measure(
    config: CliffConfig,
    run: Run,
    rollout_run: Run,
    clip: ClipEstimate,
    clip_source: str,
    vocabulary: Vocabulary,
    on_progress: OnProgress,
) -> CliffReport:
    contract = rollout_run.manifest.contract
    classes = TokenClasses(vocabulary.contents, vocabulary.end_ids, contract)
    on_progress(Progress("finding classes"))
    rollouts = read_rollouts(rollout_run, config.models()[config.rollout_role], classes)
    scores = _scores(config, rollouts, on_progress)
    student = scores.get("student")
    records = position_records(
        rollouts,
        scores["teacher"].masses,
        scores["base"].masses,
        None if student is None else student.masses,
    )
    on_progress(Progress("estimating λ*"))
    estimate = estimate_cliff(
        records,
        clip,
        confidence=config.confidence,
        resamples=config.resamples,
        seed=config.evaluation.seed,
    )
    strict = sum(rollout.valid for rollout in rollouts) / len(rollouts)
    result = assess(
        estimate,
        config.lam,
        calibration=config.calibration,
        limits=Limits(grid=config.grid),
        base_parse_validity=strict if config.rollout_role == "base" else None,
        clip_demand=_demand(rollouts, scores["teacher"], scores[config.rollout_role], clip),
    )
    return CliffReport(
        path=run.path,
        rollouts=rollout_run.path,
        rollouts_from=config.rollout_role,
        drawn=len(rollouts),
        strict=strict,
        clip_source=clip_source,
        result=result,
        models=tuple(dict.fromkeys(one.cost for one in scores.values())),
        strip=token_strip(rollouts, records, clip.effective, vocabulary.contents),
    )


def _scores(
    config: CliffConfig, rollouts: list[Rollout], on_progress: OnProgress
) -> dict[ModelRole, ModelScores]:
    """Scores of each model, one after the other; a checkpoint with two parts is scored once."""
    scored: list[tuple[EngineConfig, ModelScores]] = []
    found: dict[ModelRole, ModelScores] = {}
    for role, engine in config.models().items():
        known = next((scores for other, scores in scored if other == engine), None)
        if known is None:
            known = score_model(role, engine, rollouts, config.top_k, config.max_top_k, on_progress)
            scored.append((engine, known))
        found[role] = known
    return found


def _demand(
    rollouts: list[Rollout], teacher: ModelScores, student: ModelScores, clip: ClipEstimate
) -> ClipDemand | None:
    """Teacher-to-student ratios on the tokens that left the contract, None where no token did."""
    members = np.array([member for rollout in rollouts for member in rollout.walk.members])
    if members.all() or clip.effective <= 1:
        return None
    return clip_demand((teacher.logprobs - student.logprobs)[~members], clip.effective)


def _is_rollout(sampling: dict[str, object]) -> bool:
    return (
        sampling["temperature"] == 1.0 and sampling["top_p"] == 1.0 and not sampling.get("constrained", False)
    )
