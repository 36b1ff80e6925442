"""`prereg lock`: measure teacher and base, predict, ask, and write it down before the first run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from harness import files
from harness.cliff import CliffResult, LambdaStarEstimate, RoleEstimate
from harness.engines.config import EngineConfig
from harness.errors import HarnessError, RunMismatchError
from harness.evaluate.config import EvalConfig
from harness.evaluate.job import evaluate
from harness.masking import masked
from harness.progress import OnProgress, ignore
from harness.runs.manifest import describe_code, describe_git, describe_host, installed_packages, now
from harness.settings import Natural, Settings, Share
from harness.sweep.folder import SweepFolder, checkpoint_hashes
from harness.sweep.onsets import ENOUGH_SEEDS, LEAST_SEEDS
from harness.sweep.plan import FACTORS, SweepArm, SweepPlan, evaluation_config
from harness.sweep.prereg.lock_file import (
    ClipPrediction,
    PreregLock,
    PreregTest,
    RolePrediction,
    TestName,
    Window,
)
from harness.sweep.provenance import ANALYSIS, TRAINING, code_meanings

Measure = Callable[[EvalConfig, float], tuple[CliffResult, int]]
"""λ* of the plan's teacher and base at one clip strength, and the number of rollouts, which are made as the
configuration says. It is the same for every clip: the second finds them drawn."""


class LockSettings(Settings):
    """What a lock leaves to whoever makes it."""

    prompts: Annotated[int, Field(ge=8)] = 256
    """Training prompts whose base rollouts p and b are measured on."""
    seed: Natural = 20_260_501
    """Of those rollouts."""
    band_share: Share = 0.05
    """Share of the teacher's tail mass that a role needs to widen the band."""
    ratio_factor: Annotated[float, Field(gt=1)] = 2.0
    """Windows of ratios reach from prediction / factor to prediction × factor."""
    note: str = ""
    """What was known before: pilot runs and their seeds."""


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
        HarnessError: nothing can be predicted from these checkpoints, or the plan has no clip or too few
            seeds.
    """
    settings = settings or LockSettings()
    if len(plan.seeds) < LEAST_SEEDS:
        raise HarnessError(
            f"the plan has {len(plan.seeds)} of the {LEAST_SEEDS} seeds that an onset needs; add some to "
            f"`seeds` ({ENOUGH_SEEDS} or more give an interval that covers what it says)"
        )
    folder = SweepFolder(path)
    if folder.record.exists() or folder.lock.exists():
        raise RunMismatchError(f"{path} holds a sweep or a lock already; choose another `out=`")
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
        version=3,
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
        note=masked(settings.note),
        git=describe_git(Path.cwd()),
        packages=installed_packages(),
        host=describe_host(),
    )
    with files.resumable(folder.lock):
        files.write_text(folder.lock, locked.model_dump_json(indent=1) + "\n")
    return locked


def _rollouts(plan: SweepPlan, path: Path, settings: LockSettings) -> EvalConfig:
    return EvalConfig(
        engine=EngineConfig(engine="hf", trust_remote_code=plan.training.trust_remote_code),
        data=plan.training.data,
        split=plan.training.split,
        limit=settings.prompts,
        temperature=1.0,
        seed=settings.seed,
        out=path / "prereg" / "rollouts",
    )


def _prediction(result: CliffResult, clip: float, band_share: float) -> ClipPrediction:
    reached = [role for role in result.estimate.role.roles if role.n_positions > 0]
    binding = result.estimate.role.first
    star = result.estimate.role.lambda_star
    if binding is None or star.low is None or binding.lambda_star.value is None:
        raise HarnessError(
            f"no λ* can be predicted at c = {clip:g} ({star.status}); sample more prompts or check that the "
            "teacher keeps the contract better than the base"
        )
    counted = [
        role.lambda_star for role in reached if role == binding or role.teacher_tail_share >= band_share
    ]
    return ClipPrediction(
        clip=clip,
        roles=tuple(_role(role) for role in reached),
        binding=binding.role,
        binding_window=Window(low=star.low, high=star.high),
        band=band_of([star, *counted]),
        unmet=tuple(one.detail for one in result.preconditions if not one.met),
    )


def band_of(stars: Sequence[LambdaStarEstimate]) -> Window:
    """From the lowest to the highest end of these intervals; an end that one of them lacks is open.

    Below, that is 1: no λ* is smaller.
    """
    lows = [1.0 if one.low is None else min(one.low, one.value or one.low) for one in stars]
    highs = [None if one.high is None else max(one.high, one.value or one.high) for one in stars]
    bounded = [high for high in highs if high is not None]
    return Window(low=min(lows), high=max(bounded) if len(bounded) == len(highs) else None)


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


def make_tests(
    plan: SweepPlan, predictions: Sequence[ClipPrediction], ratio_factor: float
) -> tuple[PreregTest, ...]:
    """The tests of a plan. Its first arm is the fine grid; what another differs in says what it tests.

    The paper (arXiv 2605.08737) has three: the onset on a fine grid, with a longer budget, and at another
    clip strength predicted from the same p and b. An arm that changes what λ* doesn't depend on (learning
    rate) tests the rival explanation, that the onset is one of optimisation.

    Args:
        plan: the sweep.
        predictions: λ* at each of its clip strengths.
        ratio_factor: > 1.
    """
    at: dict[float | None, ClipPrediction] = {one.clip: one for one in predictions}
    return tuple(
        test for arm in plan.arms if arm.clip in at for test in _asked_of(arm, plan.arms[0], at, ratio_factor)
    )


def _asked_of(
    arm: SweepArm, first: SweepArm, at: Mapping[float | None, ClipPrediction], ratio_factor: float
) -> list[PreregTest]:
    band, within = at[arm.clip].band, f"within a factor of {ratio_factor:g}?"
    changed = {name for name in FACTORS if getattr(arm, name) != getattr(first, name)}
    if arm.plausible > 0.0:
        return []  # λ* is of extrapolation everywhere
    if arm is first:
        in_band = f"c = {arm.clip:g}: does the onset lie in the λ* band of the roles?"
        binding = at[arm.clip].binding
        in_window = f"c = {arm.clip:g}: does it lie in the interval of the binding role's λ* ({binding})?"
        return [
            _test("fine_grid", arm, band, in_band),
            _test("fine_grid_binding", arm, at[arm.clip].binding_window, in_window),
        ]
    if changed == {"steps"}:
        question = f"{arm.steps} instead of {first.steps} steps: does the onset lie in the λ* band?"
        return [_test("budget_extension", arm, band, question)]
    if changed == {"clip"}:
        ratio = (_binding_value(at[arm.clip]) - 1.0) / (_binding_value(at[first.clip]) - 1.0)
        in_band = f"c = {arm.clip:g} from the same p and b: does the onset lie in the λ* band?"
        shift = (
            f"from c = {first.clip:g} to c = {arm.clip:g}: does the onset's distance from 1 grow "
            f"{ratio:.2f}-fold, as that of λ* does, {within}"
        )
        window = Window(low=ratio / ratio_factor, high=ratio * ratio_factor)
        return [
            _test("small_clip", arm, band, in_band),
            _test("small_clip_shift", arm, window, shift, first),
        ]
    if changed and "clip" not in changed:
        named = ", ".join(
            f"{name.replace('_', ' ')} {getattr(first, name)} → {getattr(arm, name)}"
            for name in sorted(changed)
        )
        window = Window(low=1.0 / ratio_factor, high=ratio_factor)
        return [_test("rival", arm, window, f"{named}: does the onset stay, as λ* does, {within}", first)]
    question = f"{arm.name}: does the onset lie in the λ* band at c = {arm.clip:g}?"
    return [_test("onset", arm, band, question)]


def _test(
    name: TestName, arm: SweepArm, window: Window, question: str, against: SweepArm | None = None
) -> PreregTest:
    other = None if against is None else against.name
    return PreregTest(name=name, arm=arm.name, against=other, window=window, question=question)


def _binding_value(prediction: ClipPrediction) -> float:
    value = next(role.lambda_star for role in prediction.roles if role.role == prediction.binding)
    assert value is not None
    return value
