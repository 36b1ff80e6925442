"""Judgings that are killed or interrupted, and how they go on."""

import json
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

from harness.judge import judge
from harness.judge.records import read_records
from harness.judge.store import Store
from harness.runs import load
from tests.judge.fake_gemini import FakeGemini, Faults
from tests.judge.judge_runs import (
    NAME,
    PRICE,
    Configure,
    judgements,
    make_run,
    make_tasks,
)
from tests.killing import killed_at


def test_kill_and_resume_pay_for_nothing_twice(
    client_name: str,
    config_for: Configure,
    harness_judge: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    """SIGKILL at three moments, then to the end; compared with a judging that was left alone."""
    run = make_run(tmp_path / "run", make_tasks(100), failures=0.0)
    faults = Faults(refused=0.05, broken=0.05, malformed=0.02, blocked=0.01)
    with FakeGemini(faults=faults, latency=0.01) as fake:
        arguments = [str(run), "--rubric", NAME, "--endpoint", fake.url, "--client", client_name]
        arguments += ["--cache", str(tmp_path / "judge.sqlite"), "--concurrency", "8", "--json"]
        for answered in (20, 70, 120):
            process = harness_judge(*arguments)
            reached = threading.Event()
            fake.after = lambda count, at=answered, event=reached: event.set() if count >= at else None
            assert reached.wait(60)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert process.returncode == -signal.SIGKILL
        fake.after = None
        spent, code = finished(harness_judge(*arguments))
        charges = Counter(arrival.prompt for arrival in fake.charged)
        assert set(charges.values()) == {1}
        doubtful = [row for row in judgements(run) if row.unscored == "in_doubt"]
        assert len(judgements(run)) == 200
        # Under way at a kill: at most as many as there may be at once.
        assert len(doubtful) == spent["in_doubt"] <= 3 * 8
        # What may have been paid for without an answer is left open, and the exit code says so.
        assert code == (3 if doubtful else 0)
        assert 200 - len(doubtful) <= len(charges) <= 200
        # A request is written down before it is sent: the ledger can only be ahead of the service.
        assert len(fake.arrivals) <= spent["requests"] <= len(fake.arrivals) + spent["in_doubt"]
        assert spent["cost"] <= fake.cost(PRICE.input, PRICE.output) <= spent["cost"] + spent["in_doubt_cost"]
        # Nothing changes by itself; asked to, it asks those questions and no other.
        sent = len(charges)
        assert finished(harness_judge(*arguments))[1] == code
        assert len(fake.charged) == sent
        assert finished(harness_judge(*arguments, "--ask-again"))[1] == 0
        assert len(fake.charged) == sent + len(doubtful)

    calm = make_run(tmp_path / "calm", make_tasks(100), failures=0.0)
    with FakeGemini(faults=faults) as fake:
        judge(config_for(calm, fake.url, client_name, store=tmp_path / "calm.sqlite"))
    assert load(run).metrics == load(calm).metrics


def finished(process: subprocess.Popen[str]) -> tuple[dict, int]:
    """What a judging that came to its end spent, and its exit code."""
    output, errors = process.communicate(timeout=120)
    assert process.returncode in (0, 3), errors
    return dict(json.loads(output)["spent"]), process.returncode


def test_an_interrupt_waits_for_the_answers_under_way(
    any_client: str, harness_judge: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(50), failures=0.0)
    with FakeGemini() as fake:
        fake.gate = threading.Event()
        arguments = [str(run), "--rubric", NAME, "--endpoint", fake.url, "--client", any_client]
        arguments += ["--cache", str(tmp_path / "judge.sqlite"), "--concurrency", "4"]
        process = harness_judge(*arguments)
        assert fake.wait_for_arrivals(4)
        process.send_signal(signal.SIGINT)
        # The session hears the signal while four answers are under way, and asks nothing more.
        fake.gate.set()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 3, errors
        assert "run the same command to go on" in errors
        answered = len(fake.charged)
        assert 4 <= answered < 100
    assert len(judgements(run)) == answered
    with Store(tmp_path / "judge.sqlite") as store:
        (job,) = {record.job for record in read_records(run) if hasattr(record, "job")}
        assert store.spent(job).in_doubt == 0


def test_a_second_interrupt_doesnt_wait(
    any_client: str, harness_judge: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(10), failures=0.0)
    with FakeGemini() as fake:
        fake.gate = threading.Event()
        process = harness_judge(
            str(run), "--rubric", NAME, "--endpoint", fake.url, "--client", any_client, "--concurrency", "2"
        )
        assert fake.wait_for_arrivals(2)
        while process.poll() is None:
            # Two signals at once are one to the process; so they are sent until it ends.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue
        _, errors = process.communicate()
        fake.gate.set()
    assert "interrupted while waiting" in errors
    # One signal more can meet an interpreter that is already shutting down.
    assert process.returncode in (3, -signal.SIGINT)


def test_a_torn_line_is_redone_from_the_store(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(10))
    with FakeGemini() as fake:
        before = judge(config_for(run, fake.url, any_client)).run.metrics
        sent = len(fake.arrivals)
        log = run / "judge.jsonl"
        log.write_bytes(log.read_bytes()[:-30])
        assert judge(config_for(run, fake.url, any_client)).run.metrics == before
        assert len(fake.arrivals) == sent


def test_killed_anywhere_a_judging_leaves_no_numbers_of_an_earlier_one(
    any_client: str,
    config_for: Configure,
    harness_judge: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    """Judged by halves: killed after the second half's judgements, it must not show the first half's."""
    first = make_run(tmp_path / "first", make_tasks(20), failures=0.0)
    calm = shutil.copytree(first, tmp_path / "calm")
    with FakeGemini() as fake:
        for run, limit in ((first, 10), (calm, 20)):
            arguments = [str(run), "--rubric", NAME, "--endpoint", fake.url, "--client", any_client]
            arguments += ["--limit", str(limit), "--cache", str(tmp_path / "judge.sqlite")]
            _, errors = harness_judge(*arguments).communicate()
            assert "error" not in errors
        url = fake.url
    # All answers are there: what is judged from here on asks nobody.
    half, whole = load(first).metrics, load(calm).metrics
    assert half[f"rubric.{NAME}"] != whole[f"rubric.{NAME}"]
    silent = 0
    for point in count():
        run = shutil.copytree(first, tmp_path / f"run-{point}")
        if not killed_at(point, lambda run=run: judge(config_for(run, url, any_client))):  # type: ignore[misc]
            break
        seen = load(run).metrics
        if any(name.startswith("rubric.") for name in seen):
            assert seen == (half if len(judgements(run)) == len(judgements(first)) else whole)
        else:
            silent += 1
        judge(config_for(run, url, any_client))
        assert load(run).metrics == whole
    assert silent >= 2
    assert load(run).metrics == whole
