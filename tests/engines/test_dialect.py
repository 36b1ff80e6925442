"""What services refuse of a request, in their own words, and what is sent instead."""

from typing import Any

import pytest

from harness.engines.dialect import Dialect
from tests.engines.faulty_server import Fault, faulty
from tests.engines.test_openai_faults import SAMPLING, config, requests

pytest.importorskip("httpx")

from harness.engines import SamplingParams, open_engine
from harness.errors import RefusedError

BODY: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "temperature": 0.5,
    "top_p": 1.0,
    "seed": 1,
    "top_k": 0,
}
RENAME = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)


@pytest.mark.parametrize(
    ("said", "gone", "come"),
    [
        (RENAME, {"max_tokens"}, {"max_completion_tokens"}),
        ("Unrecognized request argument supplied: top_k", {"top_k"}, set()),
        ("Unrecognized request arguments supplied: seed, top_k", {"seed", "top_k"}, set()),
        (
            "[{'type': 'extra_forbidden', 'loc': ['body', 'seed'], 'msg': 'Extra inputs are not permitted'}]",
            {"seed"},
            set(),
        ),
        ("Unsupported parameter: 'top_p' is not supported with this model.", {"top_p"}, set()),
    ],
)
def test_what_a_service_does_not_take_is_left_out_or_renamed(
    said: str, gone: set[str], come: set[str]
) -> None:
    dialect = Dialect()
    sent = dialect.learnt(BODY, said)
    assert sent is not None
    assert (BODY.keys() - sent.keys(), sent.keys() - BODY.keys()) == (gone, come)
    assert dialect.spoken(BODY) == sent
    assert len(dialect.remarks()) == len(gone)
    # Nothing is learnt twice: a request is never sent again for ever.
    assert dialect.learnt(sent, said) is None


@pytest.mark.parametrize(
    "said",
    [
        # What is asked for would be changed.
        "Unsupported value: 'temperature' does not support 0.5 here. Only the default (1) is supported.",
        # vLLM, of a prompt that is too long.
        "'max_tokens' or 'max_completion_tokens' is too large: 9. This model's maximum context length is 8 "
        "tokens and your request has 7 input tokens.",
        "the prompt is too long",
        "seed must be positive",
        "model m is unknown",
        "",
    ],
)
def test_other_refusals_teach_nothing(said: str) -> None:
    dialect = Dialect()
    assert dialect.learnt(BODY, said) is None
    assert dialect.remarks() == []


def test_a_temperature_of_one_may_be_left_unsaid() -> None:
    sent = Dialect().learnt(BODY | {"temperature": 1.0}, "Unsupported parameter: 'temperature'")
    assert sent is not None
    assert "temperature" not in sent


def test_a_service_that_wants_other_words_is_asked_once_and_the_manifest_says_so() -> None:
    def script(_: int, body: dict[str, Any]) -> Fault | None:
        if "max_tokens" in body:
            return Fault(400, RENAME)
        return Fault(400, "Unknown parameter: 'seed'.") if "seed" in body else None

    with faulty(script) as server:
        engine = open_engine(config(server.url, concurrency=1))
        answers = list(engine.generate(requests(4), SAMPLING))
        assert len(server.bodies) == 6
        assert server.bodies[-1]["max_completion_tokens"] == SAMPLING.max_tokens
        remarks = engine.info().options["remarks"]
    assert len(answers) == 4
    assert [remark.split(" ")[0] for remark in remarks] == ["top_k,", "max_tokens", "seed"]


def test_a_temperature_that_is_refused_is_never_dropped() -> None:
    said = "Unsupported value: 'temperature' does not support 0.5 here. Only the default (1) is supported."
    with faulty(lambda *_: Fault(400, said)) as server, pytest.raises(RefusedError, match="temperature"):
        list(open_engine(config(server.url)).generate(requests(3), SamplingParams(temperature=0.5)))
