"""`prereg lock`: measure teacher and base, predict, and write it down before the first run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.cliff import CliffResult, RoleEstimate
from harness.engines.config import EngineConfig
from harness.errors import HarnessError, RunMismatchError
from harness.evaluate.config import EvalConfig
from harness.evaluate.job import evaluate
from harness.progress import OnProgress, ignore
from harness.runs.manifest import describe_code, describe_git, describe_host, installed_packages, now
from harness.sweep.folder import SweepFolder, checkpoint_hashes, write_atomically
from harness.sweep.plan import SweepPlan, evaluation_config
from harness.sweep.prereg.lock_file import ClipPrediction, PreregLock, RolePrediction, Window
from harness.sweep.prereg.outcomes import make_tests
from harness.sweep.provenance import ANALYSIS, TRAINING, code_meanings

Measure = Callable[[EvalConfig, float], tuple[CliffResult, int]]
"""λ* of the plan's teacher and base at one clip strength, and the number of rollouts, which are made as the
configuration says. It is the same for every clip: the second finds them drawn."""


@dataclass(frozen=True, slots=True)
class LockSettings:
    """What a lock leaves to whoever makes it.

    Attributes:
        prompts: training prompts whose base rollouts p and b are measured on.
        seed: of those rollouts.
        band_share: share of the teacher's tail mass a role needs to count for the band.
        ratio_factor: > 1, half-width of the windows of ratios, as a factor.
        note: what was known before: pilot runs, other seeds.
    """

    prompts: int = 256
    seed: int = 20_260_501
    band_share: float = 0.05
    ratio_factor: float = 2.0
    note: str = ""


def lock(
    plan: SweepPlan,
    path: Path,
    measure: Measure,
    settings: LockSettings | None = None,
    on_progress: OnProgress = ignore,
) -> PreregLock:
    """Write `prereg.json` for a sweep that has not begun.

    Only teacher and base are evaluated and scored, never a trained student. A killed call goes on.

    Args:
        plan: the sweep.
        path: its folder.
        measure: estimates λ*, once for each clip strength.
        settings: defaults of `LockSettings` otherwise.
        on_progress: told where the measurement stands.

    Raises:
        RunMismatchError: a sweep or another lock is in the folder already.
        HarnessError: nothing can be predicted from these checkpoints, or the plan has no clip.
    """
    settings = settings or LockSettings()
    folder = SweepFolder(path)
    if folder.record.exists() or folder.lock.exists():
        raise RunMismatchError(f"{path} holds a sweep or a lock already; choose another --out")
    clips = list(dict.fromkeys(arm.clip for arm in plan.arms if arm.clip is not None))
    if not clips:
        raise HarnessError("no arm of the plan has a clip strength, and without one there is no λ*")
    checkpoints = checkpoint_hashes(plan)
    base = evaluate(evaluation_config(plan, plan.base, folder.base), on_progress)
    teacher = evaluate(evaluation_config(plan, plan.teacher, path / "prereg" / "teacher"), on_progress)
    measured = {clip: measure(_rollouts(plan, path, settings), clip) for clip in clips}
    predictions = [_prediction(result, clip, settings.band_share) for clip, (result, _) in measured.items()]
    base_strict = base.metrics["parse_validity.strict"]
    teacher_strict = teacher.metrics["parse_validity.strict"]
    if base_strict.estimate is None or teacher_strict.estimate is None:
        raise HarnessError("the evaluation set of the plan is empty")
    locked = PreregLock(
        version=2,
        locked=now(),
        plan=plan,
        checkpoints=checkpoints,
        analysis_code=code_meanings(ANALYSIS),
        training_code=code_meanings(TRAINING),
        harness=describe_code(),
        base_strict=base_strict.estimate,
        base_tasks=base_strict.n,
        teacher_strict=teacher_strict.estimate,
        threshold=plan.analysis.collapse_fraction * base_strict.estimate,
        rollouts=measured[clips[-1]][1],
        band_share=settings.band_share,
        ratio_factor=settings.ratio_factor,
        predictions=tuple(predictions),
        tests=make_tests(plan, predictions, settings.ratio_factor),
        note=settings.note,
        git=describe_git(Path.cwd()),
        packages=installed_packages(),
        host=describe_host(),
    )
    write_atomically(folder.lock, locked.model_dump_json(indent=1) + "\n")
    return locked


def _rollouts(plan: SweepPlan, path: Path, settings: LockSettings) -> EvalConfig:
    return EvalConfig(
        engine=EngineConfig(engine="hf"),
        data=plan.training.data,
        split=plan.training.split,
        limit=settings.prompts,
        temperature=1.0,
        seed=settings.seed,
        out=path / "prereg" / "rollouts",
    )


def _prediction(result: CliffResult, clip: float, band_share: float) -> ClipPrediction:
    reached = [role for role in result.estimate.role.roles if role.n_positions > 0]
    binding = result.estimate.role.binding
    star = result.estimate.role.lambda_star
    if binding is None or star.low is None or binding.lambda_star.value is None:
        raise HarnessError(
            f"no λ* can be predicted at c = {clip:g} ({star.status}); sample more prompts or check that the "
            "teacher keeps the contract better than the base"
        )
    counted = [
        role.lambda_star
        for role in reached
        if role.lambda_star.value is not None and (role == binding or role.teacher_tail_share >= band_share)
    ]
    ends = [end for one in counted for end in (one.value, one.low, one.high) if end is not None]
    return ClipPrediction(
        clip=clip,
        roles=tuple(_role(role) for role in reached),
        binding=binding.role,
        binding_window=Window(low=star.low, high=star.high),
        band=Window(low=min([*ends, star.low]), high=max(ends)),
        unmet=tuple(one.detail for one in result.preconditions if not one.met),
    )


def _role(role: RoleEstimate) -> RolePrediction:
    star = role.lambda_star
    return RolePrediction(
        role=role.role,
        positions=role.n_positions,
        p=role.p.estimate,
        b=role.b.estimate,
        lambda_star=star.value,
        low=star.low,
        high=star.high,
        status=star.status,
        teacher_tail_share=role.teacher_tail_share,
    )
