"""Conversations of several turns, arguments of chat templates, and reasoning apart from answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")

from harness.data.tasks import Conversation, Message, as_user
from harness.engines import GenerationRequest, SamplingParams, open_engine
from harness.engines.tokenizer import ChatTokenizer, Thoughts
from harness.errors import EngineUnavailableError
from tests.checkpoints.template_folders import CHATML, with_template
from tests.engines.faulty_server import FaultyServer
from tests.engines.test_openai_faults import config

FEW: Conversation = (
    Message(role="user", content="1. a 2. b"),
    Message(role="assistant", content='{"ranking": [2, 1]}'),
    Message(role="user", content="1. c 2. d"),
)
RULED: Conversation = (Message(role="system", content="Sort them."), *FEW)
PLAIN = CHATML.replace("@@", "{{ message.content }}")
# As Gemma, Mistral, and templates that take the first turn for the user's do.
RAISES = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
DROPS = PLAIN.replace("in messages %}", "in messages if message.role != 'system' %}")
ALTERNATES = (
    "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + PLAIN
)
LAST_ONLY = "<|im_start|>user\n{{ messages[-1].content }}<|im_end|>\n<|im_start|>assistant\n"


def text_of(chat: ChatTokenizer, turns: Conversation, **arguments: Any) -> str:
    [ids] = chat.encode([turns], arguments)
    return str(chat.tokenizer.decode(list(ids)))


@pytest.mark.model
def test_all_turns_are_read_in_their_roles(tiny_qwen3: Path) -> None:
    text = text_of(ChatTokenizer(tiny_qwen3), RULED)
    turns = "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in RULED)
    assert text == f"{turns}<|im_start|>assistant\n<think>\n\n</think>\n\n"


@pytest.mark.model
@pytest.mark.parametrize("template", [RAISES, DROPS, ALTERNATES])
def test_a_template_without_a_system_turn_says_what_to_do(
    template: str, tiny_qwen3: Path, tmp_path: Path
) -> None:
    chat = ChatTokenizer(with_template(tiny_qwen3, tmp_path / "it", template))
    assert "1. c 2. d" in text_of(chat, FEW)
    with pytest.raises(EngineUnavailableError, match=r"has no system turn.*user's first turn") as caught:
        chat.encode([RULED])
    assert "\n" not in str(caught.value)


@pytest.mark.model
def test_turns_that_a_template_drops_are_missed(tiny_qwen3: Path, tmp_path: Path) -> None:
    chat = ChatTokenizer(with_template(tiny_qwen3, tmp_path / "it", LAST_ONLY))
    assert chat.encode([as_user("x")])
    with pytest.raises(EngineUnavailableError, match=r"of the user's turn|of the assistant's turn"):
        chat.encode([FEW])


@pytest.mark.model
def test_without_a_template_there_is_one_turn(tiny_qwen3: Path, tmp_path: Path) -> None:
    chat = ChatTokenizer(with_template(tiny_qwen3, tmp_path / "it", None))
    assert text_of(chat, as_user("hi")) == "hi\n"
    with pytest.raises(EngineUnavailableError, match=r"asked in a single turn, and prompt 0 has 3"):
        chat.encode([FEW])
    with pytest.raises(EngineUnavailableError, match=r"no chat template that could be told enable_thinking"):
        chat.encode([as_user("hi")], {"enable_thinking": True})


@pytest.mark.model
def test_a_template_is_told_what_a_user_asks_for(tiny_qwen3: Path) -> None:
    chat = ChatTokenizer(tiny_qwen3)
    assert chat.reasoning_end == "</think>"
    assert text_of(chat, as_user("hi"), enable_thinking=True).endswith("<|im_start|>assistant\n")
    assert chat.described["chat_template_arguments"] == {"enable_thinking": True}
    with pytest.raises(EngineUnavailableError, match=r"never mentions `enable_thinkin`.*leave it out"):
        chat.encode([as_user("hi")], {"enable_thinkin": True})
    assert text_of(chat, as_user("hi")).endswith("</think>\n\n")
    assert chat.described["chat_template_arguments"] == {"enable_thinking": False}


@pytest.mark.model
@pytest.mark.parametrize("end", ["</think>", "<|pad|>"])
def test_reasoning_is_cut_by_the_first_mark_and_counted(end: str, tiny_qwen3: Path) -> None:
    chat = ChatTokenizer(tiny_qwen3)
    before, answer = f"hm, {{}} 漢字{end}", f'\n{{"ranking": [1]}} {end} x'
    ids = chat.tokenizer(before + answer, add_special_tokens=False)["input_ids"]
    found = chat.apart(ids, end)
    assert found is not None
    # A special token leaves no text.
    seen = "" if end == "<|pad|>" else end
    assert found.reasoning == before.replace(end, seen)
    assert found.answer == answer.replace(end, seen)
    alone = chat.tokenizer(before, add_special_tokens=False)["input_ids"]
    assert found == Thoughts(found.reasoning, found.answer, len(alone))
    assert chat.apart(ids[: len(alone) - 1], end) is None


@pytest.mark.parametrize("arguments", [{}, {"enable_thinking": True}])
def test_a_server_is_sent_all_turns(arguments: dict[str, Any]) -> None:
    server = FaultyServer(lambda *_: None)
    try:
        engine = open_engine(config(server.url))
        [ids] = engine.encode([RULED], arguments)
        request = GenerationRequest("k", "t", 0, "", ids, 1, messages=RULED)
        assert len(list(engine.generate([request], SamplingParams()))) == 1
        [body] = [one for one in server.bodies if len(one.get("messages", ())) > 1]
        assert body["messages"] == [turn.model_dump() for turn in RULED]
        told = {"enable_thinking": True, "date_string": "26 Jul 2024"} if arguments else None
        assert body.get("chat_template_kwargs") == told
    finally:
        server.close()
