"""Judging whole runs through both libraries, a faulty service, caps and interruptions."""

import json
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import DataError, HarnessError, IncompleteError, RunMismatchError
from harness.judge import JudgeConfig, forecast_judging, judge, load_rubric, rubric_metrics
from harness.judge.cost import Price
from harness.judge.records import Judgement, PairJudgement, read_records
from harness.judge.store import Store
from harness.retrying import RetryPolicy
from harness.runs import RunDirectory, load, read_samples
from tests.judge.fake_gemini import FakeGemini, Faults, fair, graded
from tests.judge.judge_runs import CHECKPOINT, RAW_MARK, make_run, make_tasks

NAME = "listwise-relevance"
FAULTY = Faults(refused=0.10, broken=0.05, hanging=0.02, malformed=0.02, blocked=0.01)
PRICE = Price(0.30, 2.50)
Configure = Callable[..., JudgeConfig]


def judgements(run: Path) -> list[Judgement]:
    return [record for record in read_records(run) if isinstance(record, Judgement)]


def judged(config: JudgeConfig) -> str:
    """Judge; returns the message when it stopped early, else nothing."""
    try:
        judge(config)
    except IncompleteError as error:
        return str(error)
    return ""


def test_two_thousand_questions_to_a_faulty_service(
    client_name: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(1000), failures=0.0)
    with FakeGemini(faults=FAULTY) as fake:
        result = judge(config_for(run, fake.url, client_name, timeout=2.0))
    rows = judgements(run)
    units = Counter((row.sample, row.repeat) for row in rows)
    assert len(units) == 2000
    assert set(units.values()) == {1}
    assert all((row.scores is None) == (row.unscored is not None) for row in rows)
    assert all(row.note for row in rows)
    # Every request is in the ledger, and every answer was asked for once.
    outcomes = fake.outcomes()
    assert result.spent.requests == len(fake.arrivals)
    assert max(Counter(arrival.prompt for arrival in fake.charged).values()) == 1
    # What went wrong for good is unscored by its reason; what went wrong for a while was asked again.
    unscored = Counter(row.unscored for row in rows if row.unscored)
    assert unscored["not_json"] == outcomes["malformed"] > 0
    assert unscored["blocked_answer"] == outcomes["blocked_answer"] > 0
    assert unscored["blocked_prompt"] == outcomes["blocked_prompt"] > 0
    assert (
        sum(unscored.values())
        == outcomes["malformed"] + outcomes["blocked_answer"] + outcomes["blocked_prompt"]
    )
    for kind in ("refused", "broken", "hanging"):
        assert outcomes[kind] > 0
    assert result.spent.in_doubt >= outcomes["hanging"]
    assert result.cost == pytest.approx(fake.cost(PRICE.input, PRICE.output))
    assert result.run.metrics[f"rubric.{NAME}"].n <= 1000


def test_no_request_beyond_the_cap(client_name: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(60))
    with FakeGemini(faults=FAULTY) as fake:
        for cap in (0, 1, 40):
            assert "`max_requests=`" in judged(
                config_for(run, fake.url, client_name, timeout=0.5, max_requests=cap)
            )
            assert len(fake.arrivals) == cap
        assert judged(config_for(run, fake.url, client_name, timeout=0.5)) == ""
        assert max(Counter(arrival.prompt for arrival in fake.charged).values()) == 1


def test_the_cost_stops_before_its_limit(client_name: str, config_for: Configure, tmp_path: Path) -> None:
    """Also where the service charges for answers that never arrived, which nobody told us."""
    run = make_run(tmp_path / "run", make_tasks(150), failures=0.0)
    faults = Faults(refused=0.1, broken=0.05, hanging=0.05)
    with FakeGemini(faults=faults, charge_hanging=True) as fake:
        for cap in (0.001, 0.03, 0.08):
            assert "`max_cost=`" in judged(config_for(run, fake.url, client_name, timeout=0.5, max_cost=cap))
            billed = fake.cost(PRICE.input, PRICE.output)
            assert billed <= cap
        assert billed > 0.02
        partial = load(run).metrics
    assert 0 < partial[f"judge.{NAME}.coverage"].estimate < 1
    assert partial[f"rubric.{NAME}"].n > 0


def test_a_cap_needs_a_price(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(3), failures=0.0)
    rubric = load_rubric(NAME).with_model("gemini-unheard-of")
    with FakeGemini() as fake:
        with pytest.raises(HarnessError, match="`price=INPUT OUTPUT`"):
            judge(config_for(run, fake.url, any_client, rubric=rubric, max_cost=1.0))
        assert fake.arrivals == []
        # What was spent before there was a price counts once there is one.
        judge(config_for(run, fake.url, any_client, rubric=rubric, limit=1))
        sent = len(fake.arrivals)
        assert sent > 0
        bill = fake.cost(PRICE.input, PRICE.output)
        assert "`max_cost=`" in judged(
            config_for(run, fake.url, any_client, rubric=rubric, max_cost=bill, price=PRICE)
        )
        assert len(fake.arrivals) == sent
        judge(config_for(run, fake.url, any_client, rubric=rubric, max_cost=1.0, price=PRICE))


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
        spent = finished(harness_judge(*arguments))
        charges = Counter(arrival.prompt for arrival in fake.charged)
        assert set(charges.values()) == {1}
        doubtful = [row for row in judgements(run) if row.unscored == "in_doubt"]
        assert len(judgements(run)) == 200
        # Under way at a kill: at most as many as there may be at once.
        assert len(doubtful) == spent["in_doubt"] <= 3 * 8
        assert 200 - len(doubtful) <= len(charges) <= 200
        # A request is written down before it is sent: the ledger can only be ahead of the service.
        assert len(fake.arrivals) <= spent["requests"] <= len(fake.arrivals) + spent["in_doubt"]
        assert spent["cost"] <= fake.cost(PRICE.input, PRICE.output) <= spent["cost"] + spent["in_doubt_cost"]
        # Nothing changes by itself; asked to, it asks those questions and no other.
        sent = len(charges)
        finished(harness_judge(*arguments))
        assert len(fake.charged) == sent
        finished(harness_judge(*arguments, "--ask-again"))
        assert len(fake.charged) == sent + len(doubtful)

    calm = make_run(tmp_path / "calm", make_tasks(100), failures=0.0)
    with FakeGemini(faults=faults) as fake:
        judge(config_for(calm, fake.url, client_name, store=tmp_path / "calm.sqlite"))
    assert load(run).metrics == load(calm).metrics


def finished(process: subprocess.Popen[str]) -> dict:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return dict(json.loads(output)["spent"])


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


def test_what_was_answered_is_never_paid_for_again(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    """Not after the judge's log is lost, and not for another run with the same rankings."""
    tasks = make_tasks(30)
    run = make_run(tmp_path / "run", tasks)
    with FakeGemini() as fake:
        first = judge(config_for(run, fake.url, any_client))
        sent = len(fake.arrivals)
        assert judge(config_for(run, fake.url, any_client)).run.metrics == first.run.metrics
        (run / "judge.jsonl").unlink()
        again = judge(config_for(run, fake.url, any_client))
        twin = judge(config_for(make_run(tmp_path / "twin", tasks), fake.url, any_client))
        assert len(fake.arrivals) == sent
        assert again.from_cache == twin.from_cache == sent
        assert again.run.metrics == twin.run.metrics == first.run.metrics
        # Another endpoint is another judge.
        with FakeGemini() as other:
            judge(config_for(make_run(tmp_path / "third", tasks), other.url, any_client))
            assert len(other.arrivals) == sent


def test_a_cached_run_needs_no_key(
    any_client: str, config_for: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", make_tasks(5))
    with FakeGemini() as fake:
        judge(config_for(run, fake.url, any_client))
        (run / "judge.jsonl").unlink()
        monkeypatch.delenv("GEMINI_API_KEY")
        judge(config_for(run, fake.url, any_client))


def test_without_a_key_nothing_is_asked_and_nothing_breaks(
    config_for: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    run = make_run(tmp_path / "run", make_tasks(5), failures=0.0)
    before = load(run).metrics
    config = config_for(run, "http://127.0.0.1:9", "auto")
    assert rubric_metrics(load(run)) == {}
    expected = forecast_judging(config)
    assert (expected.requests, expected.basis) == (10, "a rule of thumb")
    with pytest.raises(HarnessError, match="GEMINI_API_KEY or GOOGLE_API_KEY"):
        judge(config)
    assert load(run).metrics == before


def test_a_question_that_repeats_is_drawn_anew(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    """Two candidates have two orders: of four repeats two see one prompt, and must not share an answer."""
    run = make_run(tmp_path / "run", make_tasks(6, k=2), failures=0.0)
    with FakeGemini() as fake:
        judge(config_for(run, fake.url, any_client, repeats=4))
        prompts = Counter(arrival.prompt for arrival in fake.arrivals)
    assert sum(prompts.values()) == 24
    assert max(prompts.values()) == 2


def test_equal_rankings_of_a_task_share_an_answer(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(8, k=2), samples=6, failures=0.0)
    with FakeGemini() as fake:
        result = judge(config_for(run, fake.url, any_client))
        distinct = {(s.task_id, s.parse.ranking) for s in read_samples(run / "samples.jsonl")}
        assert len(fake.arrivals) == 2 * len(distinct) < 2 * 48
    assert result.run.metrics[f"rubric.{NAME}"].n == 48
    assert sum(not row.cached for row in judgements(run)) == len(fake.arrivals)


def test_only_strict_rankings_are_judged_and_nothing_else_is_shown(
    client_name: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "telling-run-name", make_tasks(40), failures=0.4)
    strict = [s for s in read_samples(run / "samples.jsonl") if s.parse.tier == "strict"]
    assert 10 < len(strict) < 35
    with FakeGemini() as fake:
        result = judge(config_for(run, fake.url, client_name))
        sent = " ".join(arrival.body + json.dumps(arrival.headers) for arrival in fake.arrivals)
    assert {row.sample for row in judgements(run)} == {sample.key for sample in strict}
    assert result.run.metrics[f"rubric.{NAME}"].n == len(strict)
    for secret in (
        CHECKPOINT,
        RAW_MARK,
        "telling-run-name",
        *(sample.key for sample in strict),
        '"ranking": [',
    ):
        assert secret not in sent


def test_metrics_come_from_the_run_alone(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(30))
    with FakeGemini(faults=Faults(malformed=0.1)) as fake:
        stored = judge(config_for(run, fake.url, any_client)).run
    again = rubric_metrics(load(run))
    assert again
    assert {name: stored.metrics[name] for name in again} == again
    assert set(stored.metrics) - set(again) == {"parse_validity.strict"}
    # The order of lines says nothing.
    lines = (run / "judge.jsonl").read_text().splitlines(keepends=True)
    (run / "judge.jsonl").write_text("".join([lines[0], *reversed(lines[1:])]))
    assert rubric_metrics(load(run)) == again


def test_a_torn_line_is_redone_from_the_store(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(10))
    with FakeGemini() as fake:
        before = judge(config_for(run, fake.url, any_client)).run.metrics
        sent = len(fake.arrivals)
        log = run / "judge.jsonl"
        log.write_bytes(log.read_bytes()[:-30])
        assert judge(config_for(run, fake.url, any_client)).run.metrics == before
        assert len(fake.arrivals) == sent


def test_a_broken_line_is_named(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(3))
    (run / "judge.jsonl").write_text('{"kind": "ranking"}\n{"kind": "odd"}\n')
    with pytest.raises(DataError, match=r"judge\.jsonl:1"):
        judge(config_for(run, "http://127.0.0.1:9", any_client))


def test_a_ranking_that_changed_since_doesnt_count(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    """As after a rescore with another parser: a sample that isn't strict any more leaves the score."""
    run = make_run(tmp_path / "run", make_tasks(20), failures=0.0)
    with FakeGemini() as fake:
        judge(config_for(run, fake.url, any_client))
        with RunDirectory(run) as directory:
            samples = list(read_samples(run / "samples.jsonl"))
            text = samples[0].to_line().decode().replace('"tier":"strict"', '"tier":"repaired"')
            directory.replace_samples([type(samples[0]).from_line(text), *samples[1:]])
        assert rubric_metrics(load(run))[f"rubric.{NAME}"].n == 19


def test_an_edited_rubric_replaces_the_scores_of_the_old_one(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(10), failures=0.0)
    rubric = load_rubric(NAME)
    edited = rubric.model_copy(update={"version": 2, "reason_words": 20})
    with FakeGemini(lambda seen, rng: graded(seen, 0.25 if "about 20 words" in seen.user else 1.0)) as fake:
        judge(config_for(run, fake.url, any_client))
        second = judge(config_for(run, fake.url, any_client, rubric=edited)).run.metrics
        assert second[f"rubric.{NAME}"].estimate == pytest.approx(0.25)
        sent = len(fake.arrivals)
        back = judge(config_for(run, fake.url, any_client)).run.metrics
        assert back[f"rubric.{NAME}"].estimate == pytest.approx(1.0)
        assert len(fake.arrivals) == sent


def test_two_rubrics_stand_side_by_side(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(10), failures=0.0)
    with FakeGemini() as fake:
        judge(config_for(run, fake.url, any_client))
        judge(config_for(run, fake.url, any_client, rubric=load_rubric("listwise-diversity")))
    metrics = load(run).metrics
    assert f"rubric.{NAME}" in metrics
    assert "rubric.listwise-diversity.variety" in metrics
    assert "parse_validity.strict" in metrics


def test_a_limit_judges_the_same_random_tasks_in_every_run(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    tasks = make_tasks(60)
    chosen = []
    with FakeGemini() as fake:
        for number in range(2):
            run = make_run(tmp_path / f"run{number}", tasks, seed=number, failures=0.0)
            judge(config_for(run, fake.url, any_client, limit=12))
            chosen.append({row.task_id for row in judgements(run)})
            assert load(run).metrics[f"judge.{NAME}.coverage"].estimate == pytest.approx(12 / 60)
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 12
    assert chosen[0] != {f"t{index}" for index in range(12)}


def test_passing_failures_are_asked_again_and_lasting_ones_not(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(8), failures=0.0)
    with FakeGemini(statuses=[503, 400, 503]) as fake:
        result = judge(config_for(run, fake.url, any_client, attempts=1))
        reasons = Counter(row.unscored for row in judgements(run) if row.unscored)
        assert reasons == {"server_error": 2, "rejected": 1}
        assert result.run.metrics[f"judge.{NAME}.unscored.server_error"].estimate == pytest.approx(2 / 16)
        sent = len(fake.arrivals)
        metrics = judge(config_for(run, fake.url, any_client, attempts=1)).run.metrics
        assert len(fake.arrivals) == sent + 2
    assert f"judge.{NAME}.unscored.server_error" not in metrics
    assert metrics[f"judge.{NAME}.unscored.rejected"].estimate == pytest.approx(1 / 16)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_ends_it_at_once(
    client_name: str, status: int, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(200))
    with FakeGemini(statuses=[status] * 1000) as fake:
        with pytest.raises(HarnessError, match="check the key and the model's name") as caught:
            judge(config_for(run, fake.url, client_name))
        assert len(fake.arrivals) <= 8
    assert caught.value.exit_code == 2


def test_a_request_that_is_wrong_for_all_ends_it_soon(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(200))
    with FakeGemini(statuses=[400] * 1000, message="Unknown parameter") as fake:
        with pytest.raises(HarnessError, match="Unknown parameter"):
            judge(config_for(run, fake.url, any_client))
        assert len(fake.arrivals) < 100


def test_a_service_that_isnt_there_can_be_tried_later(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(50))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        message = judged(config_for(run, f"http://127.0.0.1:{unused.getsockname()[1]}", any_client))
    assert "can't be reached" in message


def test_an_exhausted_quota_ends_it_rather_than_waiting_for_a_day(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(50))
    policy = RetryPolicy(base=0.01, patience=0.1)
    with FakeGemini(faults=Faults(refused=1.0, retry_after=("body",))) as fake:
        message = judged(config_for(run, fake.url, any_client, retry=policy))
    assert "keeps refusing" in message


def test_two_judgings_of_one_run_at_once_are_refused(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(3))
    with RunDirectory(run), pytest.raises(RunMismatchError, match="another process"):
        judge(config_for(run, "http://127.0.0.1:9", any_client))


def test_an_unfinished_run_isnt_judged(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(3))
    with RunDirectory(run) as directory:
        manifest = directory.read_manifest()
        assert manifest is not None
        directory.write_manifest(manifest.model_copy(update={"status": "incomplete"}))
    with pytest.raises(HarnessError, match="harness eval"):
        judge(config_for(run, "http://127.0.0.1:9", any_client))
    with pytest.raises(DataError, match="isn't a run"):
        judge(config_for(tmp_path / "nothing", "http://127.0.0.1:9", any_client))
    assert not (tmp_path / "nothing").exists()


def test_a_dry_run_comes_close_with_the_services_own_count(
    client_name: str, config_for: Configure, tmp_path: Path
) -> None:
    """The judge uses 24 to 30 of the 30 words it is asked for; its tokenizer is the service's."""

    def wordy(seen, rng):  # type: ignore[no-untyped-def]
        return fair(seen, rng) | {"reason": " ".join(["word"] * rng.randint(24, 30))}

    run = make_run(tmp_path / "run", make_tasks(100))
    with FakeGemini(wordy, faults=Faults(refused=0.05, malformed=0.02)) as fake:
        config = config_for(run, fake.url, client_name)
        expected = forecast_judging(config)
        assert expected.basis == "the service's own count"
        assert fake.arrivals == []
        assert not (run / "judge.jsonl").exists()
        spent = judge(config)
        assert expected.requests == len(fake.charged)
        assert expected.cost == pytest.approx(spent.cost, rel=0.05)
        assert spent.cost <= expected.highest_cost
        assert expected.tokens.prompt == pytest.approx(sum(a.prompt_tokens for a in fake.charged), rel=0.05)
        assert forecast_judging(config).requests == 0


def test_a_dry_run_learns_from_earlier_answers(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    """A judge that thinks, at length and against what it was asked: known after a few answers."""

    def verbose(seen, rng):  # type: ignore[no-untyped-def]
        return fair(seen, rng) | {"reason": " ".join(["word"] * rng.randint(80, 120))}

    run = make_run(tmp_path / "run", make_tasks(150), failures=0.0)
    with FakeGemini(verbose, thinking=300) as fake:
        cold = forecast_judging(config_for(run, fake.url, any_client))
        judge(config_for(run, fake.url, any_client, limit=15))
        pilot = fake.cost(PRICE.input, PRICE.output)
        warm = forecast_judging(config_for(run, fake.url, any_client))
        judge(config_for(run, fake.url, any_client))
        rest = fake.cost(PRICE.input, PRICE.output) - pilot
    assert warm.basis == "earlier answers"
    assert warm.cost == pytest.approx(rest, rel=0.05)
    assert cold.cost < 0.6 * (rest + pilot)


def test_progress_counts_every_judgement(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(20), failures=0.0)
    reports = []
    with FakeGemini(faults=Faults(malformed=0.2)) as fake:
        judge(config_for(run, fake.url, any_client), reports.append)
    last = reports[-1]
    assert (last.done, last.total, last.in_flight) == (40, 40, 0)
    assert last.unscored == fake.outcomes()["malformed"]
    assert last.cost == pytest.approx(fake.cost(PRICE.input, PRICE.output))
    done = [report.done for report in reports]
    assert done == sorted(done)


def test_pairs_need_the_same_tasks(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", make_tasks(5))
    other = make_run(tmp_path / "b", make_tasks(5, seed=1), seed=1)
    with pytest.raises(DataError, match="isn't the same in both runs"):
        judge(config_for(run, "http://127.0.0.1:9", any_client, pairwise=other))


def test_identical_rankings_are_ties_that_nobody_pays_for(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    tasks = make_tasks(10)
    run, twin = make_run(tmp_path / "a", tasks), make_run(tmp_path / "b", tasks)
    result = judge(config_for(run, "http://127.0.0.1:9", any_client, pairwise=twin))
    (preference,) = (value for name, value in result.run.metrics.items() if name.endswith(".preference"))
    assert (preference.estimate, result.spent.requests) == (0.5, 0)
    rows = [record for record in read_records(run) if isinstance(record, PairJudgement)]
    assert {(row.better, row.shown, row.model) for row in rows} == {("tie", None, "")}
