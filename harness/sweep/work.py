"""Makes the runs of a sweep, one after the other; any number of such processes may work on one sweep.

`python -m harness.sweep.work SWEEP` is such a process.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from harness import files
from harness.errors import HarnessError, IncompleteError, InternalError
from harness.evaluate.job import evaluate
from harness.opd.config import OPDConfig
from harness.opd.loop.job import prepare_rollouts, train_opd
from harness.opd.loop.update import DivergenceError
from harness.plain_text import plain
from harness.progress import OnProgress, Progress, ignore
from harness.runs import Run
from harness.runs.manifest import now
from harness.stats import Estimate
from harness.streams import guarded
from harness.sweep.folder import SweepFolder, read_record, require_same
from harness.sweep.plan import SweepPlan, SweepRun, evaluation_config, training_config
from harness.sweep.results import SweepResult

RUN_LOCK = "claim.lock"
_STRICT, _PARSED, _ALL = "parse_validity.strict", "ndcg_at_1.parsed", "ndcg_at_1.all"


def work(
    plan: SweepPlan,
    folder: SweepFolder,
    runs: Sequence[SweepRun],
    training_code: str,
    on_progress: OnProgress = ignore,
    keep_going: Callable[[], bool] = lambda: True,
) -> int:
    """Make every run that has no result and that no other process is making.

    Args:
        plan: the sweep's.
        folder: of the sweep.
        runs: which of its runs, in this order.
        training_code: hash that goes into each result.
        on_progress: told after each run, and within runs.
        keep_going: asked before each run.

    Returns:
        Number of runs made here.

    Raises:
        HarnessError: a run can't be made; the others are as they were.
    """
    made = 0
    for run in runs:
        if not keep_going():
            break
        if folder.result(run).exists():
            continue
        with files.resumable(folder.run(run)):
            folder.run(run).mkdir(parents=True, exist_ok=True)
            try:
                claim = files.lock(folder.run(run) / RUN_LOCK)
            except files.LockedError:
                continue
        with claim:
            if not folder.result(run).exists():
                make_run(plan, folder, run, training_code, on_progress)
                made += 1
        done = folder.finished(plan)
        on_progress(Progress("runs", done, sum(1 for _ in plan.runs()), done - made))
    return made


def make_run(
    plan: SweepPlan,
    folder: SweepFolder,
    run: SweepRun,
    training_code: str,
    on_progress: OnProgress = ignore,
) -> SweepResult:
    """Train and evaluate one student; goes on where a killed process stopped.

    Args:
        plan: the sweep's.
        folder: of the sweep.
        run: which run; nobody else may be making it.
        training_code: hash that goes into the result.
        on_progress: told where training and evaluation stand.

    Raises:
        HarnessError: it can't be made.
    """
    place, started, clock = folder.run(run), now(), time.monotonic()
    rollouts = _shared_rollouts(plan, folder, run, on_progress)
    checkpoint = _train(training_config(plan, run, place / "train", rollouts), on_progress)
    trained = time.monotonic()
    measured = None
    if checkpoint is not None:
        measured = evaluate(evaluation_config(plan, str(checkpoint), place / "eval"), on_progress)
    seconds = (trained - clock, time.monotonic() - trained)
    result = _result(plan, run, measured, started, seconds, training_code)
    with files.resumable(place):
        files.write_text(folder.result(run), result.to_json() + "\n")
    if not plan.keep_checkpoints and checkpoint is not None:
        shutil.rmtree(checkpoint)
    return result


def _result(
    plan: SweepPlan,
    run: SweepRun,
    measured: Run | None,
    started: str,
    seconds: tuple[float, float],
    training_code: str,
) -> SweepResult:
    arm = plan.arm(run.arm)
    none = Estimate(0, None, None, None, "no student")
    metrics = {} if measured is None else measured.metrics
    strict, parsed, whole = (metrics.get(name, none) for name in (_STRICT, _PARSED, _ALL))
    return SweepResult(
        arm=run.arm,
        lam=run.lam,
        seed=run.seed,
        clip=arm.clip,
        learning_rate=arm.learning_rate,
        steps=arm.steps,
        staleness=arm.staleness,
        diverged=measured is None,
        tasks=strict.n,
        strict=strict.estimate,
        parsed=parsed.n,
        ndcg_parsed=parsed.estimate,
        ndcg_all=whole.estimate,
        train_seconds=round(seconds[0], 2),
        evaluate_seconds=round(seconds[1], 2),
        started=started,
        finished=now(),
        weights_sha256=None if measured is None else measured.manifest.engine.weights_sha256,
        training_code=training_code,
    )


def _shared_rollouts(
    plan: SweepPlan, folder: SweepFolder, run: SweepRun, on_progress: OnProgress
) -> Path | None:
    """The rollouts of the run's seed, drawn by the first process that needs them."""
    if plan.arm(run.arm).staleness != "fixed":
        return None
    place = folder.rollouts(plan, run)
    with files.resumable(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = files.lock(place.with_name(f"{place.name}.lock"), wait=True)
    with lock, files.resumable(place):
        return prepare_rollouts(training_config(plan, run, place, None), place, on_progress)


def _train(config: OPDConfig, on_progress: OnProgress) -> Path | None:
    """The trained student, None where training diverged."""
    going_on = config.changed(resume=config.out.exists())
    try:
        return train_opd(going_on, on_progress).checkpoint
    except DivergenceError:
        return None


def evaluate_base(plan: SweepPlan, folder: SweepFolder, on_progress: OnProgress = ignore) -> float:
    """Strict parse validity of the base on the plan's evaluation set; evaluated once per sweep."""
    strict = evaluate(evaluation_config(plan, plan.base, folder.base), on_progress).metrics[_STRICT]
    if strict.estimate is None:
        raise HarnessError(f"{folder.base} evaluated nothing; check the plan's evaluation set")
    return strict.estimate


def main(path: str) -> int:
    """Work on the sweep in `path` until no run is left; returns an exit code."""
    import torch

    signal.signal(signal.SIGTERM, _interrupt)
    torch.set_num_threads(1)
    folder, parent = SweepFolder(Path(path)), os.getppid()
    try:
        record = read_record(folder)
        _, training_code = require_same(record, record.plan, folder.lock_sha256())
        # Its parent killed, a worker would go on for nobody.
        work(
            record.plan,
            folder,
            tuple(record.plan.runs()),
            training_code,
            keep_going=lambda: os.getppid() == parent,
        )
    except HarnessError as error:
        sys.stderr.write(f"harness: error: {plain(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return IncompleteError.exit_code
    except Exception as error:
        traceback.print_exc()
        sys.stderr.write(f"harness: error: {plain(str(InternalError.of(error)))}\n")
        return InternalError.exit_code
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    with guarded():
        sys.exit(main(sys.argv[1]))
