"""A service that fails, refuses, keeps silent or isn't there."""

import socket
from collections import Counter
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.judge import judge
from harness.retrying import RetryPolicy
from tests.judge.fake_gemini import FAULTY, FakeGemini, Faults
from tests.judge.judge_runs import NAME, PRICE, Configure, judged, judgements, make_run, make_tasks


def test_two_thousand_questions_to_a_faulty_service(
    client_name: str, config_for: Configure, tmp_path: Path
) -> None:
    # The older client takes the same way through the harness: half as many show it.
    tasks = 1000 if client_name == "google-genai" else 500
    run = make_run(tmp_path / "run", make_tasks(tasks), failures=0.0)
    with FakeGemini(faults=FAULTY) as fake:
        result = judge(config_for(run, fake.url, client_name, timeout=2.0))
    rows = judgements(run)
    units = Counter((row.sample, row.repeat) for row in rows)
    assert len(units) == 2 * tasks
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
    assert result.run.metrics[f"rubric.{NAME}"].n <= tasks


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
