"""Both Gemini libraries through their real HTTP path, against the tests' own service."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.errors import EngineUnavailableError, HarnessError
from harness.judge.answer import ranking_schema
from harness.judge.client import JudgeClient, Question, RequestFailedError
from harness.judge.key import ApiKey, key_from_environment
from harness.judge.libraries import open_client
from harness.judge.prompt import Prompt
from harness.judge.rubric import JudgeModel
from harness.judge.rubric_file import load_rubric
from tests.judge.fake_gemini import FakeGemini, Faults
from tests.judge.judge_runs import KEY

RUBRIC = load_rubric("listwise-relevance")
USER = (
    "<history>\n(nothing)\n</history>\n"
    '<candidates>\n{"candidate": "c1", "title": "a grade 1"}\n'
    '{"candidate": "c2", "title": "b"}\n</candidates>\n'
    '<ranking>\n{"rank": 1, "candidate": "c1", "title": "a grade 1"}\n'
    '{"rank": 2, "candidate": "c2", "title": "b"}\n</ranking>'
)


def question(model: JudgeModel | None = None) -> Question:
    return Question(model or RUBRIC.model, Prompt("You grade.", USER), ranking_schema(RUBRIC))


@contextmanager
def opened(
    name: str, url: str, *, timeout: float = 20.0, model: JudgeModel | None = None
) -> Iterator[JudgeClient]:
    client = open_client(
        name,  # type: ignore[arg-type]
        ApiKey(KEY),
        model or RUBRIC.model,
        endpoint=url,
        timeout=timeout,
        connections=16,
    )
    try:
        yield client
    finally:
        client.close()


def failure(client: JudgeClient) -> pytest.ExceptionInfo[RequestFailedError]:
    with pytest.raises(RequestFailedError) as caught:
        client.ask(question())
    return caught


def test_a_question_and_its_answer(client_name: str) -> None:
    with FakeGemini() as fake, opened(client_name, fake.url) as client:
        reply = client.ask(question())
        (arrival,) = fake.arrivals
        assert client.version
    assert json.loads(reply.text or "")["scores"] == {"top_choice": 5, "order": 5, "near_misses": 5}
    assert (reply.finish, reply.blocked) == ("STOP", None)
    assert (reply.prompt_tokens, reply.output_tokens) == (arrival.prompt_tokens, arrival.output_tokens)


def test_both_libraries_send_the_same_question() -> None:
    pytest.importorskip("google.generativeai")
    pytest.importorskip("google.genai")
    model = JudgeModel(name="gemini-3.5-flash-lite", temperature=0.5, top_p=0.9, max_output_tokens=100)
    sent = []
    with FakeGemini() as fake:
        for name in ("google-generativeai", "google-genai"):
            with opened(name, fake.url, model=model) as client:
                client.ask(question(model))
            sent.append(json.loads(fake.arrivals[-1].body))
    texts = [[part["text"] for content in body["contents"] for part in content["parts"]] for body in sent]
    assert texts[0] == texts[1] == [USER]
    settings = [body["generationConfig"] for body in sent]
    for body in settings:
        assert body["temperature"] == pytest.approx(0.5)
        assert body["topP"] == pytest.approx(0.9)
        assert body["maxOutputTokens"] == 100
        assert body["responseMimeType"] == "application/json"
        assert set(body["responseSchema"]["properties"]["scores"]["properties"]) == {
            "top_choice",
            "order",
            "near_misses",
        }


def test_what_the_rubric_leaves_open_is_not_sent(client_name: str) -> None:
    with FakeGemini() as fake, opened(client_name, fake.url) as client:
        client.ask(question())
        settings = json.loads(fake.arrivals[0].body)["generationConfig"]
    assert not {"temperature", "topP", "topK", "thinkingConfig", "candidateCount"} & set(settings)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "rejected"),
        (401, "fatal"),
        (403, "fatal"),
        (404, "fatal"),
        (408, "timeout"),
        (413, "rejected"),
        (429, "rate_limited"),
        (500, "server_error"),
        (502, "server_error"),
        (503, "server_error"),
        (504, "server_error"),
    ],
)
def test_one_call_is_one_request_whatever_the_status(client_name: str, status: int, kind: str) -> None:
    """Neither library may retry by itself: nobody would have counted those requests."""
    with FakeGemini(statuses=[status] * 5) as fake, opened(client_name, fake.url) as client:
        with pytest.raises(RequestFailedError) as caught:
            client.ask(question())
        assert len(fake.arrivals) == 1
    assert caught.value.kind == kind
    assert str(status) in caught.value.detail


def test_a_bad_key_concerns_every_request(client_name: str) -> None:
    message = "API key not valid. Please pass a valid API key."
    with FakeGemini(statuses=[400], message=message) as fake, opened(client_name, fake.url) as client:
        caught = failure(client)
    assert caught.value.kind == "fatal"


@pytest.mark.parametrize(("how", "seconds"), [("header", 1.0), ("body", 0.2), ("", None)])
def test_how_long_to_wait_is_understood(client_name: str, how: str, seconds: float | None) -> None:
    faults = Faults(refused=1.0, retry_after=(how,))
    with FakeGemini(faults=faults) as fake, opened(client_name, fake.url) as client:
        caught = failure(client)
    assert caught.value.kind == "rate_limited"
    assert caught.value.retry_after == (None if seconds is None else pytest.approx(seconds))


def test_a_silent_service_times_out_once(client_name: str) -> None:
    with FakeGemini(faults=Faults(hanging=1.0)) as fake:
        with (
            opened(client_name, fake.url, timeout=0.5) as client,
            pytest.raises(RequestFailedError) as caught,
        ):
            client.ask(question())
        assert len(fake.arrivals) == 1
    assert caught.value.kind == "timeout"


def test_nobody_there_is_a_broken_connection(client_name: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with opened(client_name, url) as client, pytest.raises(RequestFailedError) as caught:
            client.ask(question())
    assert caught.value.kind == "connection"


@pytest.mark.parametrize("body", ["<html>gateway</html>", "{", "[1, 2"])
def test_a_body_that_is_no_reply_is_told_from_an_answer(client_name: str, body: str) -> None:
    with FakeGemini(raw=body) as fake, opened(client_name, fake.url) as client:
        caught = failure(client)
    assert caught.value.kind == "bad_response"


def test_safety_blocks_are_replies(client_name: str) -> None:
    blocked, seeds = set(), range(12)
    for seed in seeds:
        with (
            FakeGemini(faults=Faults(blocked=1.0), seed=seed) as fake,
            opened(client_name, fake.url) as client,
        ):
            reply = client.ask(question())
        assert reply.text is None
        blocked.add((reply.finish, reply.blocked))
    assert blocked == {("SAFETY", None), ("", "SAFETY")}


def test_thinking_tokens_are_output(client_name: str) -> None:
    with FakeGemini(thinking=500) as fake, opened(client_name, fake.url) as client:
        reply = client.ask(question())
        (arrival,) = fake.arrivals
    assert reply.output_tokens == arrival.output_tokens > 500


def test_tokens_are_counted_by_the_service(client_name: str) -> None:
    with FakeGemini() as fake, opened(client_name, fake.url) as client:
        assert client.count_tokens("gemini-3.5-flash-lite", "one two, three") == 4
        assert (fake.counted, len(fake.arrivals)) == (1, 0)


def test_half_a_surrogate_pair_can_be_stored(client_name: str) -> None:
    """JSON can hold it, UTF-8 can't; protobuf refuses the whole reply."""
    raw = '{"candidates": [{"content": {"parts": [{"text": "half \\ud83d of it"}]}, "finishReason": "STOP"}]}'
    with FakeGemini(raw=raw) as fake, opened(client_name, fake.url) as client:
        if client_name == "google-generativeai":
            assert failure(client).value.kind == "bad_response"
        else:
            assert client.ask(question()).text == "half ? of it"


def test_a_thinking_level_needs_the_successor(client_name: str) -> None:
    model = JudgeModel(name="gemini-3.8-flash", thinking_level="low")
    if client_name == "google-generativeai":
        with (
            pytest.raises(EngineUnavailableError, match="genai"),
            opened(client_name, "http://x", model=model),
        ):
            pass
        return
    with FakeGemini() as fake, opened(client_name, fake.url, model=model) as client:
        client.ask(question(model))
        thinking = json.loads(fake.arrivals[0].body)["generationConfig"]["thinkingConfig"]
    # google-genai spells it thinkingLevel or thinking_level by version; the API takes both.
    assert [value.lower() for value in thinking.values()] == ["low"]


def test_the_key_travels_in_a_header_and_nowhere_else(client_name: str) -> None:
    with FakeGemini() as fake, opened(client_name, fake.url) as client:
        client.ask(question())
        (arrival,) = fake.arrivals
    headers = {name.lower(): value for name, value in arrival.headers.items()}
    assert headers.pop("x-goog-api-key") == KEY
    assert KEY not in json.dumps(headers) + arrival.body + arrival.path


def test_an_echoed_key_is_masked(client_name: str) -> None:
    with (
        FakeGemini(statuses=[500], message=f"no quota for {KEY}") as fake,
        opened(client_name, fake.url) as client,
    ):
        caught = failure(client)
    assert KEY not in caught.value.detail + str(caught.value) + repr(caught.value.__cause__)
    assert "***" in caught.value.detail


def test_a_client_that_isnt_there_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineUnavailableError, match=r"pip install 'format-safety-harness\[gemini\]'"):
        open_client("auto", ApiKey(KEY), RUBRIC.model, endpoint=None, timeout=1.0, connections=1)
    with pytest.raises(EngineUnavailableError, match=r"\[genai\]"):
        open_client("google-genai", ApiKey(KEY), RUBRIC.model, endpoint=None, timeout=1.0, connections=1)


def test_the_key_comes_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", " first ")
    monkeypatch.setenv("GOOGLE_API_KEY", "second")
    found = key_from_environment()
    assert found is not None
    assert found.reveal() == "first"
    assert "first" not in f"{found!r} {found}"
    monkeypatch.delenv("GEMINI_API_KEY")
    assert (key_from_environment() or found).reveal() == "second"
    monkeypatch.setenv("GOOGLE_API_KEY", "")
    assert key_from_environment() is None


def test_a_key_that_is_none_isnt_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "sécret key")
    with pytest.raises(HarnessError) as caught:
        key_from_environment()
    assert "cret" not in str(caught.value)


def test_another_google_service_isnt_used_by_accident(any_client: str) -> None:
    """google-genai sends to Vertex AI when this is set; titles must go where the user said."""
    os.environ["GOOGLE_GENAI_USE_VERTEXAI"] = "true"
    try:
        with FakeGemini() as fake, opened(any_client, fake.url) as client:
            client.ask(question())
            assert fake.arrivals[0].path.startswith("/v1beta/models/")
    finally:
        del os.environ["GOOGLE_GENAI_USE_VERTEXAI"]
