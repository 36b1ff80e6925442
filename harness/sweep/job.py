"""`run_sweep`: a λ grid × seeds on one machine or many, resumable at any moment."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness import files
from harness.errors import HarnessError, IncompleteError, InternalError
from harness.progress import OnProgress, Progress, ignore
from harness.sweep.analysis import SweepAnalysis, analyse
from harness.sweep.folder import (
    SweepFolder,
    new_record,
    read_record,
    require_same,
    write_json,
)
from harness.sweep.plan import SweepPlan, SweepRun
from harness.sweep.prereg.check import require_lock
from harness.sweep.provenance import OnCodeChange, refuse
from harness.sweep.results import TABLE, read_results, write_table

ANALYSIS = "analysis.json"
_POLL_SECONDS = 1.0


def run_sweep(
    plan: SweepPlan,
    path: Path,
    *,
    jobs: int = 1,
    only: str | None = None,
    on_code_change: OnCodeChange = refuse,
    on_progress: OnProgress = ignore,
) -> SweepAnalysis | None:
    """Make the runs of a sweep that aren't there yet, then analyse them.

    Processes that work on one sweep at the same time, on one machine or on several with a common file
    system, share the runs among them; a killed one leaves its run to the next.

    Args:
        plan: the sweep.
        path: its folder.
        jobs: worker processes; 1 works in this one.
        only: make the run of this name alone (`SweepRun.name`).
        on_code_change: see `begin`.
        on_progress: told how many runs have a result.

    Returns:
        The analysis, None while other processes still make runs, or with `only`.

    Raises:
        HarnessError: the plan or the folder can't be used.
        IncompleteError: runs are missing; the same call goes on.
    """
    folder = SweepFolder(path)
    runs = _chosen(plan, only)
    training_code = begin(plan, folder, on_progress, on_code_change)
    if jobs > 1 and only is None:
        _employ(folder, plan, jobs, on_progress)
    else:
        from harness.sweep.work import work

        work(plan, folder, runs, training_code, on_progress)
    if only is not None or folder.finished(plan) < sum(1 for _ in plan.runs()):
        return None
    return conclude(plan, folder)


def begin(
    plan: SweepPlan,
    folder: SweepFolder,
    on_progress: OnProgress = ignore,
    on_code_change: OnCodeChange = refuse,
) -> str:
    """Write `sweep.json` and evaluate the base, or check that they are of this plan; one process at a time.

    Args:
        plan: the sweep.
        folder: where it is, or will be.
        on_progress: told how the base's evaluation goes.
        on_code_change: told what differs where the code means something else than the lock's or than the
            sweep's when it began, and `sweep.json` keeps it; refuses it by default.

    Returns:
        Hash of the training code.

    Raises:
        HarnessError: a lock that doesn't belong to this plan, these checkpoints and this code.
        RunMismatchError: another sweep is in the folder.
    """
    from harness.sweep.work import evaluate_base

    with files.output(folder.path, "choose another `out=`"):
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = files.lock(folder.path / "sweep.lock", wait=True)
    with lock:
        lock_sha256 = folder.lock_sha256()
        if not folder.record.exists():
            record = new_record(plan, lock_sha256)
            if lock_sha256 is not None:
                require_lock(folder, record, on_code_change)
            write_json(folder.record, record.model_dump(mode="json"))
        before = read_record(folder)
        record, training_code = require_same(before, plan, lock_sha256, on_code_change)
        if record != before:
            write_json(folder.record, record.model_dump(mode="json"))
        evaluate_base(plan, folder, on_progress)
    return training_code


def conclude(plan: SweepPlan, folder: SweepFolder) -> SweepAnalysis:
    """Write `results.csv` and `analysis.json` from the runs there are.

    Raises:
        DataError: a result can't be read, or the base isn't evaluated.
    """
    results = read_results(folder.path)
    analysis = analyse(plan, results, base_strict(folder))
    with files.resumable(folder.path):
        write_table(results, folder.path / TABLE)
    write_json(folder.path / ANALYSIS, analysis.to_dict())
    return analysis


def base_strict(folder: SweepFolder) -> float:
    """Strict parse validity of the base, from its run directory.

    Raises:
        DataError: it isn't evaluated.
    """
    from harness.runs import load

    strict = load(folder.base).metrics.get("parse_validity.strict")
    if strict is None or strict.estimate is None:
        raise HarnessError(f"{folder.base} has no result; run the sweep again")
    return strict.estimate


def commands(plan: SweepPlan, plan_file: Path, path: Path, more: Sequence[str] = ()) -> list[str]:
    """One shell command a run, with `more` options, for a scheduler; runs that have a result are left out."""
    folder = SweepFolder(path)
    parts = ["harness", "sweep", str(plan_file), "--out", str(path), *more, "--only"]
    return [shlex.join([*parts, run.name]) for run in plan.runs() if not folder.result(run).exists()]


def _chosen(plan: SweepPlan, only: str | None) -> list[SweepRun]:
    runs = [run for run in plan.runs() if only in (None, run.name)]
    if not runs:
        first = next(plan.runs()).name
        raise HarnessError(f"the plan has no run {only!r}; names look like {first}")
    return runs


def _employ(folder: SweepFolder, plan: SweepPlan, jobs: int, on_progress: OnProgress) -> None:
    """Let `jobs` processes make the runs, and tell of every result."""
    total, resumed = sum(1 for _ in plan.runs()), folder.finished(plan)
    on_progress(Progress("runs", resumed, total, resumed))
    logs = [folder.path / f"worker-{number}.log" for number in range(1, jobs + 1)]
    workers = [_start_worker(folder, log) for log in logs]
    try:
        while any(worker.poll() is None for worker in workers):
            time.sleep(_POLL_SECONDS)
            on_progress(Progress("runs", folder.finished(plan), total, resumed))
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
    for worker, log in zip(workers, logs, strict=True):
        if worker.returncode == InternalError.exit_code:
            raise InternalError(f"{_last_line(log, worker.returncode)} (traceback: {log})")
        if worker.returncode != 0:
            raise IncompleteError(
                f"{total - folder.finished(plan)} of {total} runs are missing, a worker stopped "
                f"({_last_line(log, worker.returncode)}); run the same command to go on"
            )


def _start_worker(folder: SweepFolder, log: Path) -> subprocess.Popen[bytes]:
    # One thread each: workers side by side would fight over the cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with files.child_log(log) as file:
        return subprocess.Popen(
            [sys.executable, "-m", "harness.sweep.work", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
        )


def _last_line(log: Path, returncode: int) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {returncode}"
