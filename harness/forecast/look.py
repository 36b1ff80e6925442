"""`first_look(config)`: parse validity of the target near stored rollouts' own λ, without drawing anything.

Rollouts of a policy on the line, π_λ₀, are weighted by w(y) = π_λ(y) / π_λ₀(y), exact from one pass of
teacher and base, with log Z of every state over the whole vocabulary. Validity is the mean of w · valid:
failures that the target has and λ₀ hadn't show as weight that the valid ones lost. The further λ is from λ₀,
the fewer answers count; where too few do, no number is given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness import files
from harness.engines import ScoreRequest
from harness.engines.hf_weights import target_logprobs
from harness.engines.target_engine import TargetEngine, target_sha256
from harness.errors import DataError, HarnessError
from harness.files import LineLog, resumable
from harness.forecast.config import ForecastConfig
from harness.forecast.notes import BASE, TEACHER
from harness.metrics.table import CONTRACT
from harness.progress import OnProgress, Progress, ignore
from harness.rollouts import Rollout, rollouts_of_run
from harness.runs import Run, open_run, source_of
from harness.runs.integrity import require_sound
from harness.runs.kept_rows import kept_rows
from harness.runs.manifest import EngineRecord
from harness.stats import Estimate
from harness.stats.importance import WeightedRate, weighted_rate

LOOK = "first-look.json"
LOGPROBS = "line-logprobs.jsonl"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Looked:
    """The target at one λ, seen from stored rollouts.

    Attributes:
        lam: λ.
        run: the stored run whose rollouts count most there.
        drawn_at: their λ.
        parse_validity: strict; without numbers where too few of them count, `method` says why.
        effective: effective number of answers.
        unseen: share of the target's answers that are unlike any of theirs, and count as failing; None
            without numbers.
        refused: why there is no number, empty where there is one.
    """

    lam: float
    run: str
    drawn_at: float
    parse_validity: Estimate
    effective: float
    unseen: float | None
    refused: str


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What stored rollouts say of the targets.

    Attributes:
        teacher: checkpoint.
        base: checkpoint.
        plausible: see `Forecast`.
        points: by ascending λ.
        sources: run → digest of its answers.
        checkpoints: digests of teacher and base.
    """

    teacher: str
    base: str
    plausible: float
    points: tuple[Looked, ...]
    sources: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, str | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers for JSON."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}


@dataclass(frozen=True, slots=True)
class _Stored:
    """Rollouts of a policy on the line.

    Attributes:
        run: where they are.
        lam: their λ.
        rollouts: by key.
        logprobs: key → [λ of the grid] log π_λ of the whole completion, then that at `lam`.
    """

    run: Run
    lam: float
    rollouts: Mapping[str, Rollout]
    logprobs: Mapping[str, Sequence[float]]

    def at(self, place: int, seed: int) -> WeightedRate:
        """Strict validity at the λ of a place in the grid."""
        rows = [self.logprobs[key] for key in self.rollouts]
        return weighted_rate(
            [one.task for one in self.rollouts.values()],
            np.array([row[place] - row[-1] for row in rows]),
            [one.strict for one in self.rollouts.values()],
            seed=seed,
        )


def first_look(config: ForecastConfig, on_progress: OnProgress = ignore) -> FirstLook:
    """Weigh the rollouts of `config.stored` at each λ and write `first-look.json`.

    Args:
        config: teacher, base, λ; its evaluation says the engine and the seed of the bootstrap alone.
        on_progress: told where the job stands.

    Raises:
        HarnessError: a run that isn't on the line or wasn't drawn at T = 1, or a model that can't be used.
        IncompleteError: it stopped half-way; the same call goes on.
    """
    config.require_taken()
    with closing(TargetEngine(config.at(TEACHER).engine)) as engine:
        told = engine.info().options
        own = {role: told[f"{role}_sha256"] for role in ("teacher", "base")}
        runs = [(_sound(path), path) for path in config.stored]
        places = [_place(run, own, config.plausible) for run, _ in runs]
        stored = [
            _weighed(config, run, lam, engine, own, on_progress)
            for (run, _), lam in zip(runs, places, strict=True)
        ]
    points = []
    for place, lam in enumerate(config.first_lambdas):
        seen = [(one.at(place, config.evaluation.seed), one) for one in stored]
        rate, best = max(seen, key=lambda pair: pair[0].effective)
        points.append(
            Looked(lam, str(best.run.path), best.lam, rate.rate, rate.effective, rate.unseen, rate.refused)
        )
    found = FirstLook(
        config.teacher,
        config.base,
        config.plausible,
        tuple(points),
        {str(run.path): source_of(run.path, run.manifest).drawn_sha256 for run, _ in runs},
        own,
    )
    with resumable(config.out):
        files.write_text(config.out / LOOK, json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n")
    return found


def _sound(path: Path) -> Run:
    run = open_run(path)
    require_sound(run)
    sampling = run.manifest.sampling
    if sampling.get("temperature") != 1.0 or sampling.get("top_p") != 1.0 or sampling.get("constrained"):
        how = "greedily" if sampling.get("temperature") == 0 else "with changed probabilities"
        raise HarnessError(
            f"{path} was drawn {how}; weights take answers drawn at `temperature=1`, `top_p=1` and "
            "unconstrained: draw them anew"
        )
    if CONTRACT not in run.metrics:
        raise DataError(f"{path} isn't complete; let its evaluation finish first")
    return run


def _place(run: Run, own: Mapping[str, str | None], plausible: float) -> float:
    """λ of the policy that drew a run.

    Raises:
        HarnessError: it isn't on the line of these two.
    """
    engine = run.manifest.engine
    lam = _on_the_line(engine, own, plausible)
    if lam is not None:
        return lam
    raise HarnessError(
        f"{run.path} was drawn by {engine.checkpoint}, which isn't on the line of this teacher and base"
        + (f" with `plausible={plausible:g}`" if plausible else "")
        + "; give a run of the teacher, the base or their target"
    )


def _on_the_line(engine: EngineRecord, own: Mapping[str, str | None], plausible: float) -> float | None:
    """λ of what drew, None where its digest is of none of this line's policies."""
    weights, told = engine.weights_sha256, engine.options
    if weights is None:
        return None
    if weights == own["teacher"]:
        return TEACHER
    # Where only plausible tokens are extrapolated, the line doesn't end at the base.
    if weights == own["base"] and plausible == 0.0:
        return BASE
    lam, mask = told.get("lam"), told.get("plausible", 0.0)
    drew = {role: told.get(f"{role}_sha256") for role in ("teacher", "base")}
    if not isinstance(lam, float) or weights != target_sha256(drew["teacher"], drew["base"], lam, mask):
        return None
    # At λ = 1 nothing is extrapolated, with whatever mask and from whatever base.
    if lam == TEACHER and drew["teacher"] == own["teacher"]:
        return TEACHER
    return lam if drew == dict(own) and mask == plausible else None


def _weighed(
    config: ForecastConfig,
    run: Run,
    lam: float,
    engine: TargetEngine,
    own: Mapping[str, str | None],
    on_progress: OnProgress,
) -> _Stored:
    rollouts = rollouts_of_run(run, engine.encode)
    lams = (*config.first_lambdas, lam)
    options = engine.info().options
    decides = [own, config.plausible, lams, options["dtype"], source_of(run.path, run.manifest).drawn_sha256]
    scorer = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    file = config.out / LOGPROBS
    known: dict[str, list[float]] = {}
    with resumable(config.out):
        config.out.mkdir(parents=True, exist_ok=True)
        log = LineLog(file)
    with log:
        known |= {key: row for by, key, row in kept_rows(file, _read) if by == scorer}
        missing = [
            ScoreRequest(key, one.prompt_ids, one.token_ids)
            for key, one in rollouts.items()
            if key not in known
        ]
        if missing:
            on_progress(Progress("loading the models"))
            engine.start()
            resumed, doing = len(known), f"weighing rollouts at λ = {lam:g}"
            size = engine.capabilities.batch_size or 1
            pair = engine.model, engine.base_model
            for key, row in target_logprobs(
                *pair, missing, lams, plausible=config.plausible, batch_size=size
            ):
                known[key] = row.tolist()
                line = json.dumps([scorer, key, known[key]], allow_nan=False) + "\n"
                with resumable(config.out):
                    log.append(line.encode("ascii"))
                on_progress(Progress(doing, len(known), len(rollouts), resumed))
    return _Stored(run, lam, rollouts, known)


def _read(row: Any) -> tuple[str, str, list[float]]:
    by, key, values = row
    return str(by), str(key), [float(one) for one in values]
