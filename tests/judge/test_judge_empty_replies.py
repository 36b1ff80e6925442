"""Replies with status 200 that say nothing: asked again like a refusal, and never passed over in silence."""

import json
from collections import Counter
from pathlib import Path

import pytest

from harness.errors import EngineUnavailableError
from harness.judge import judge
from harness.judge.client import Reply, empty_reply
from harness.judge.cost import Tokens
from harness.judge.plan import Plan
from harness.judge.store import Store
from tests.judge.fake_gemini import FakeGemini
from tests.judge.judge_runs import NAME, PRICE, Configure, judged, judgements, make_run, make_tasks

SAYING_NOTHING = {
    "an error": '{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}',
    "a quota's error": '{"error": {"code": 429, "message": "Exhausted"}}',
    "nothing": "{}",
    "no bytes": "",
    "no candidates": '{"candidates": []}',
    "null": '{"candidates": null}',
    "an empty candidate": '{"candidates": [{}]}',
    "a finished, empty one": '{"candidates": [{"finishReason": "STOP", "content": {"role": "model"}}]}',
    "blanks": '{"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": " \\n"}]}}]}',
    "a page": "<html><body>502 Bad Gateway</body></html>",
    "half a reply": '{"candidates": [{"finishReason": "STO',
}


@pytest.mark.parametrize("body", SAYING_NOTHING.values(), ids=SAYING_NOTHING)
def test_a_reply_that_says_nothing_is_asked_again(
    body: str, client_name: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(4), failures=0.0)
    with FakeGemini(first=[body] * 3) as fake:
        result = judge(config_for(run, fake.url, client_name))
        assert fake.outcomes() == {"raw": 3, "answered": 8}
    assert (result.open, result.unscored) == (0, {})
    assert result.spent.requests == 11
    assert result.spent.in_doubt == 3  # nobody said whether they were charged


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(None, "", None, None, None), "bad_response"),
        (Reply(None, "", None, 10, 0), "empty"),
        (Reply(None, "STOP", None, None, None), "empty"),
        (Reply(" ", "STOP", None, 10, 1), "empty"),
        (Reply(None, "STOP", "SAFETY", 10, 0), None),
        (Reply(None, "SAFETY", None, 10, 0), None),
        (Reply(None, "MAX_TOKENS", None, 10, 5), None),
        (Reply(None, "OTHER", None, 10, 5), None),
        (Reply("{}", "", None, None, None), None),
    ],
)
def test_a_block_or_a_cut_is_an_answer_and_silence_is_none(reply: Reply, kind: str | None) -> None:
    found = empty_reply(reply)
    assert (None if found is None else found.kind) == kind


BLOCKED = {
    "by a known name": '{"promptFeedback": {"blockReason": "SAFETY"}}',
    "by a new name": '{"promptFeedback": {"blockReason": "NEWER_THAN_THE_LIBRARY"}}',
}


@pytest.mark.filterwarnings("ignore:Unrecognized|.* is not a valid BlockedReason:UserWarning")
@pytest.mark.parametrize("body", BLOCKED.values(), ids=BLOCKED)
def test_a_block_is_one_whatever_the_library_knows_of_it(
    body: str, client_name: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(2), failures=0.0)
    with FakeGemini(first=[body]) as fake:
        result = judge(config_for(run, fake.url, client_name))
        assert fake.outcomes() == {"raw": 1, "answered": 3}
    assert result.unscored == {"blocked_prompt": 1}


def test_a_question_that_stays_unanswered_is_paid_for_so_often_and_then_left_to_the_user(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(6), failures=0.0)
    prompts: list[str] = []

    def silent(prompt: str) -> bool:
        prompts.append(prompt)
        return prompt == prompts[0]

    with FakeGemini(silent=silent) as fake:
        result = judge(config_for(run, fake.url, any_client, attempts=3, price=PRICE))
        assert fake.outcomes() == {"silent": 3, "answered": 11}
        assert result.unscored == {"empty": 1}
        assert result.open == 1
        # Each reply said what it took, so all of it is known.
        assert result.cost == pytest.approx(fake.cost(PRICE.input, PRICE.output))
        assert result.spent.in_doubt == 0
        fake.silent = lambda prompt: False
        same = judge(config_for(run, fake.url, any_client, attempts=3))
        assert len(fake.arrivals) == 14
        assert same.unscored == {"empty": 1}
        again = judge(config_for(run, fake.url, any_client, ask_again=True))
        assert len(fake.arrivals) == 15
    assert again.unscored == {}
    assert f"judge.{NAME}.unscored.empty" not in again.run.metrics


def test_empty_answers_that_were_kept_once_are_asked_again_on_demand(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(2), failures=0.0)
    with FakeGemini() as fake:
        config = config_for(run, fake.url, any_client)
        with Store(config.store) as store:
            plan = Plan(config)
            first = plan.asks(plan.units)[0]
            store.settle_answered(
                store.send("job", first.key, Tokens(9, 9)),
                first.key,
                Reply(None, "STOP", None, 9, 0),
                Tokens(9, 0),
                rubric=config.rubric.digest,
                model=config.rubric.model.name,
                mode=plan.mode,
                size=9,
            )
        assert judge(config).unscored == {"empty": 1}
        assert len(fake.arrivals) == 3
        assert judge(config.changed(ask_again=True)).unscored == {}
        assert len(fake.arrivals) == 4
        # The answer took the empty one's place: another run on these tasks doesn't ask either.
        other = make_run(tmp_path / "other", make_tasks(2), failures=0.0)
        assert judge(config_for(other, fake.url, any_client)).unscored == {}
        assert len(fake.arrivals) == 4


def test_a_service_that_never_says_anything_ends_it(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(200), failures=0.0)
    with FakeGemini(silent=lambda prompt: True) as fake:
        message = judged(config_for(run, fake.url, any_client, attempts=2, concurrency=4))
        assert len(fake.arrivals) < 40
    assert "the service gives no answers (an empty answer, and no reason for it)" in message


def test_the_command_says_what_is_left_open_and_exits_with_3(
    any_client: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """In this process, where the pauses between attempts can be had shorter."""
    from harness.cli import main
    from harness.retrying import RetryPolicy

    monkeypatch.setattr(RetryPolicy, "pause", lambda *_: 0.01)
    run = make_run(tmp_path / "run", make_tasks(6), failures=0.0)
    seen: Counter[str] = Counter()

    def silent(prompt: str) -> bool:
        seen[prompt] += 1
        return prompt == next(iter(seen))

    with FakeGemini(silent=silent) as fake:
        arguments = ["judge", str(run), "--rubric", NAME, "--client", any_client, "--endpoint", fake.url]
        assert main(arguments) == 3
        output = capsys.readouterr().out
        assert "unscored and perhaps paid for all the same: 1 (empty 1)" in output
        assert "--ask-again" in output
        fake.silent = lambda prompt: False
        assert main([*arguments, "--ask-again", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["open"] == 0


@pytest.mark.parametrize("labels", [False, True])
def test_without_a_key_the_run_stays_as_it_was(
    labels: bool, config_for: Configure, any_client: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(3))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.delenv("GEMINI_API_KEY")
    changes = {}
    if labels:
        (tmp_path / "labels.csv").write_text("task_id,score\nt0,3\n")
        changes["labels"] = tmp_path / "labels.csv"
    with pytest.raises(EngineUnavailableError, match="there is no key"):
        judge(config_for(run, "http://127.0.0.1:9", any_client, **changes))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_labels_of_a_judged_run_need_no_key(
    config_for: Configure, any_client: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(12), failures=0.0)
    (tmp_path / "labels.csv").write_text("task_id,score\n" + "".join(f"t{n},{n % 5}\n" for n in range(12)))
    with FakeGemini() as fake:
        judge(config_for(run, fake.url, any_client))
        monkeypatch.delenv("GEMINI_API_KEY")
        metrics = judge(config_for(run, fake.url, any_client, labels=tmp_path / "labels.csv")).run.metrics
    assert metrics[f"judge.{NAME}.human_correlation"].n == 12
    assert len(judgements(run)) == 24
