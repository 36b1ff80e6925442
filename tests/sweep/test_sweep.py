"""Real sweeps of random tiny models: killed and gone on with, shared, locked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import cli, main
from harness.data.fashion_mini import generate_tasks
from harness.data.writing import write_tasks
from harness.errors import HarnessError, InternalError, Interrupted, RunMismatchError
from harness.sweep import provenance
from harness.sweep.folder import SweepFolder, read_record
from harness.sweep.provenance import TRAINING, digest, source_file
from harness.sweep.results import SweepResult, read_results
from tests.forked import Forked

psutil = pytest.importorskip("psutil")

pytestmark = pytest.mark.model

LAMBDAS, SEEDS = (1.0, 1.5), (0, 1)
MISSING = "runs/small/lambda-1.5/seed-1"


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tools.zoo.recipe import family_tokenizer
    from tools.zoo.tiny import write_untrained_checkpoint

    folder = tmp_path_factory.mktemp("sweep")
    tokenizer = family_tokenizer()
    for seed, name in enumerate(("teacher", "base")):
        write_untrained_checkpoint(folder / name, "small", tokenizer, seed)
    write_tasks(folder / "rows.jsonl", generate_tasks("train", 8, seed=8, k=3))
    file = folder / "plan.yaml"
    file.write_text(f"""
teacher: {folder / "teacher"}
base: {folder / "base"}
seeds: {list(SEEDS)}
arms:
  - {{name: small, clip: 1.5, lambdas: {list(LAMBDAS)}, steps: 3}}
training: {{data: {folder / "rows.jsonl"}, split: null, batch_size: 4, rollout_batch: 8, max_tokens: 8}}
evaluation: {{data: {folder / "rows.jsonl"}, split: null, limit: 4}}
""")
    return file


def sweep(plan: Path, out: Path, *more: str) -> None:
    result = CliRunner().invoke(cli, ["sweep", str(plan), "--out", str(out), *more])
    if result.exception is not None:
        raise result.exception


def what_counts(results: list[SweepResult]) -> list[SweepResult]:
    return [replace(one, train_seconds=0.0, evaluate_seconds=0.0, started="", finished="") for one in results]


@pytest.fixture(scope="module")
def finished(plan_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "sweep"
    sweep(plan_file, out)
    return out


def test_every_run_is_made_and_kept(finished: Path) -> None:
    results = read_results(finished)
    assert [(one.lam, one.seed) for one in results] == [(lam, seed) for lam in LAMBDAS for seed in SEEDS]
    assert all(one.tasks == 4 and one.strict is not None for one in results)
    weights = {one.weights_sha256 for one in results}
    assert len(weights) == len(results)
    for name in ("results.csv", "analysis.json", "sweep.svg", "sweep.json"):
        assert (finished / name).stat().st_size > 0


def test_two_seeds_are_said_to_give_no_onset_before_and_after(plan_file: Path, finished: Path) -> None:
    done = CliRunner().invoke(cli, ["sweep", str(plan_file), "--out", str(finished)])
    assert "seeds: 2; from fewer than 3 no onset will be given" in " ".join(done.stderr.split())
    assert "no onset: 2 seeds have all their runs" in " ".join(done.stdout.split())
    (arm,) = json.loads((finished / "analysis.json").read_text())["arms"]
    assert (arm["onset"], arm["change_point"]) == (None, None)
    assert [doubt["code"] for doubt in arm["doubts"]] == ["seeds"]


def test_runs_of_a_seed_share_their_rollouts(finished: Path) -> None:
    pools = sorted(path.name for path in (finished / "rollouts").glob("*/seed-?"))
    assert pools == ["seed-0", "seed-1"]
    assert not list((finished / "runs").rglob("train/rollouts"))


def test_a_sweep_killed_outright_goes_on_to_the_same_results(
    plan_file: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    command = ["sweep", str(plan_file), "--out", str(out), "--jobs", "2"]
    process = Forked(command, tmp_path / "said", session=True)
    while process.poll() is None and not list(out.glob("runs/*/*/*/train/train.jsonl")):
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(read_results(out)) < len(LAMBDAS) * len(SEEDS)
    sweep(plan_file, out, "--jobs", "2")
    assert what_counts(read_results(out)) == what_counts(read_results(finished))


def test_a_finished_sweep_is_not_run_again(plan_file: Path, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "runs").rglob("result.json")}
    sweep(plan_file, finished)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_commands_for_a_scheduler_are_the_missing_runs(
    plan_file: Path, finished: Path, tmp_path: Path
) -> None:
    runner = CliRunner()
    arguments = ["sweep", str(plan_file), "--print-commands", "--out"]
    assert runner.invoke(cli, [*arguments, str(finished)]).output == ""
    lines = runner.invoke(cli, [*arguments, str(tmp_path / "new")]).output.splitlines()
    assert lines[0].endswith("--only small/lambda-1.0/seed-0")
    assert len(lines) == len(LAMBDAS) * len(SEEDS)


def test_a_single_run_by_name(plan_file: Path, finished: Path, tmp_path: Path) -> None:
    sweep(plan_file, tmp_path / "one", "--only", "small/lambda-1.5/seed-1")
    expected = [one for one in read_results(finished) if (one.lam, one.seed) == (1.5, 1)]
    assert what_counts(read_results(tmp_path / "one")) == what_counts(expected)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("steps: 3", "steps: 4", "plan is not the one"), ("name: small", "name: other", "plan is not the one")],
)
def test_another_plan_in_the_same_folder_is_refused(
    old: str, new: str, message: str, plan_file: Path, finished: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(plan_file.read_text().replace(old, new))
    with pytest.raises(RunMismatchError, match=message):
        sweep(other, finished)


@pytest.fixture
def unfinished(finished: Path, tmp_path: Path) -> Path:
    """A sweep that lacks its last run."""
    out = tmp_path / "sweep"
    shutil.copytree(finished, out)
    shutil.rmtree(out / MISSING)
    return out


def edit_loss(monkeypatch: pytest.MonkeyPatch, folder: Path, old: str, new: str) -> None:
    """As if somebody had edited the loss in the middle of a sweep."""
    source, copy = source_file(TRAINING["loss"]), folder / "edited.py"
    assert old in source.read_text()
    copy.write_text(source.read_text().replace(old, new))
    monkeypatch.setattr(
        provenance,
        "source_file",
        lambda module: copy if module == TRAINING["loss"] else source_file(module),
    )


def test_a_sweep_goes_on_after_a_comment_was_edited(
    plan_file: Path, finished: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    edit_loss(monkeypatch, tmp_path, "\nimport torch\n", "\n# a typo, mended\nimport torch\n")
    sweep(plan_file, unfinished)
    assert what_counts(read_results(unfinished)) == what_counts(read_results(finished))
    assert (unfinished / "sweep.json").read_bytes() == (finished / "sweep.json").read_bytes()


def test_a_sweep_does_not_go_on_with_code_that_means_something_else_unless_told_to(
    plan_file: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = read_record(SweepFolder(unfinished))
    edit_loss(monkeypatch, tmp_path, "1.0", "1.25")
    with pytest.raises(RunMismatchError, match=r"since this sweep began: loss .*--allow-code-change"):
        sweep(plan_file, unfinished)
    assert read_record(SweepFolder(unfinished)) == before
    told = CliRunner().invoke(cli, ["sweep", str(plan_file), "--out", str(unfinished), "--allow-code-change"])
    assert told.stderr.count("warning: the training code has changed since this sweep began: loss") == 1
    record = read_record(SweepFolder(unfinished))
    assert [change.changed for change in record.code_changes] == [("loss",)]
    made = {one.training_code for one in read_results(unfinished)}
    assert made == {digest(record.training_code), digest(record.code_changes[0].training_code)}
    # Noted once, the new code is one of the sweep's.
    shutil.rmtree(unfinished / MISSING)
    sweep(plan_file, unfinished)
    assert read_record(SweepFolder(unfinished)) == record


def test_a_sweep_of_the_first_format_goes_on_where_its_files_meant_the_same(
    plan_file: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SweepFolder(unfinished)
    record = read_record(folder)
    files = {
        f"{name}.py": {"module": name, "meanings": {f"bytes of {name}": meaning}}
        for name, meaning in record.training_code.items()
    }
    monkeypatch.setattr(provenance, "_lineage", lambda: {"files": files, "equal": {}})
    hashes = {f"{name}.py": f"bytes of {name}" for name in record.training_code} | {"opd/zoo.py": "whatever"}
    old = record.model_copy(update={"version": 1, "training_code": hashes})
    folder.record.write_text(old.model_dump_json())
    sweep(plan_file, unfinished)
    assert {one.training_code for one in read_results(unfinished)} >= {digest(hashes)}
    other = old.model_copy(update={"training_code": hashes | {"loss.py": "other"}})
    folder.record.write_text(other.model_dump_json())
    with pytest.raises(RunMismatchError, match="since this sweep began: loss file"):
        sweep(plan_file, unfinished)


def test_a_single_run_is_the_only_one_with_several_jobs_too(plan_file: Path, tmp_path: Path) -> None:
    sweep(plan_file, tmp_path / "one", "--only", "small/lambda-1.0/seed-0", "--jobs", "2")
    assert [(one.lam, one.seed) for one in read_results(tmp_path / "one")] == [(1.0, 0)]


def test_a_bug_in_a_worker_is_no_incomplete_sweep(
    plan_file: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import sys; from unittest import mock; from harness.sweep import work\n"
        "with mock.patch.object(work, 'make_run', side_effect=RuntimeError('a bug')):\n"
        "    sys.exit(work.main(sys.argv[1]))"
    )

    def start(folder: SweepFolder, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as said:
            return subprocess.Popen([sys.executable, "-c", program, str(folder.path)], stderr=said)

    monkeypatch.setattr("harness.sweep.job._start_worker", start)
    with pytest.raises(InternalError, match=r"internal: RuntimeError: a bug at .*traceback: .*worker-1\.log"):
        sweep(plan_file, unfinished, "--jobs", "2")
    assert "Traceback" in (unfinished / "worker-1.log").read_text()


def test_an_interrupted_run_is_no_collapse(plan_file: Path, finished: Path, tmp_path: Path) -> None:
    """Killed between checkpoint and manifest it leaves a checkpoint; interrupted then, it hasn't diverged."""
    from harness.opd.loop.job import train_opd
    from harness.progress import Progress
    from harness.sweep.job import begin
    from harness.sweep.plan import read_plan, training_config
    from harness.sweep.work import make_run

    def interrupt(progress: Progress) -> None:
        if progress.stage == "distilling":
            raise KeyboardInterrupt

    plan, folder = read_plan(plan_file), SweepFolder(tmp_path / "sweep")
    code = begin(plan, folder)
    run = next(plan.runs())
    shutil.copytree(finished / "rollouts", folder.path / "rollouts")
    config = training_config(plan, run, folder.run(run) / "train", folder.rollouts(plan, run))
    manifest = train_opd(config).out / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete"', '"running"'))
    with pytest.raises(Interrupted, match="interrupted"):
        make_run(plan, folder, run, code, interrupt)
    assert not folder.result(run).exists()
    expected = next(one for one in read_results(finished) if (one.lam, one.seed) == (run.lam, run.seed))
    assert what_counts([make_run(plan, folder, run, code)]) == what_counts([expected])


def test_a_sweep_outlives_the_shell_it_was_started_from(plan_file: Path, tmp_path: Path) -> None:
    """As after `nohup harness sweep … &` and a logout."""
    out = tmp_path / "sweep"
    command = f"{sys.executable} -m harness sweep {plan_file} --out {out}"
    line = f"{command} > {tmp_path}/said 2>&1 & echo $! > {tmp_path}/pid; read end"
    shell = subprocess.Popen(["sh", "-c", line], stdin=subprocess.PIPE)
    while not list(out.glob("runs/*/*/*/train")):
        assert shell.poll() is None
    shell.communicate()
    # Not our child: its end can be waited for, its exit code not known.
    psutil.Process(int((tmp_path / "pid").read_text())).wait()
    assert (out / "analysis.json").exists(), (tmp_path / "said").read_text()


@pytest.mark.parametrize(
    "option",
    [
        ("--staleness", "fixed"),
        ("--learning-rate", "1e-3"),
        ("--seeds", "2"),
        ("--steps", "3"),
        ("--lambda", "1"),
        ("--clip", "2"),
        ("--base", "x"),
    ],
)
def test_options_beside_a_plan_are_named_as_they_were_given(
    option: tuple[str, str], plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(plan_file), "--out", str(tmp_path / "sweep"), *option]) == 2
    assert f"error: {option[0]} goes without a plan file" in capsys.readouterr().err


def test_commands_are_json_where_asked(plan_file: Path, finished: Path, tmp_path: Path) -> None:
    arguments = ["sweep", str(plan_file), "--print-commands", "--json", "--out"]
    assert json.loads(CliRunner().invoke(cli, [*arguments, str(finished)]).output) == []
    assert len(json.loads(CliRunner().invoke(cli, [*arguments, str(tmp_path)]).output)) == 4


def test_a_folder_that_cannot_be_made_is_said(plan_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HarnessError, match="choose another `out=`"):
        sweep(plan_file, tmp_path / "file" / "sweep")
