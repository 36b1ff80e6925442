"""Chat templates are strangers' programs: what they render is right, or they are refused in one line."""

from __future__ import annotations

import json
import re
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.engines import chat_template
from harness.engines.chat_template import FIXED_DATE, lost, require_told_apart
from harness.engines.tokenizer import ChatTokenizer
from harness.engines.zoo import resolved
from harness.errors import EngineUnavailableError
from tests.asking import asked
from tests.checkpoints.template_folders import CASES, template_of, with_template

pytestmark = pytest.mark.model

MESSAGE = (
    'Rank the candidates.\n\nCandidates:\n1. Navy "crème" shirt\n2. <3 & more\n\n' + "long " * 30 + "Answer."
)


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_case(
    case: dict[str, Any], tiny_qwen3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "refused" in case:  # Among them those that don't end.
        monkeypatch.setattr(chat_template, "SECONDS", 0.5)
    chat = ChatTokenizer(with_template(tiny_qwen3, tmp_path / "it", template_of(case)))
    if "refused" in case:
        with pytest.raises(EngineUnavailableError, match=case["refused"]) as caught:
            chat.encode(asked(MESSAGE))
        assert "\n" not in str(caught.value)
        assert "tokenizer_config.json" in str(caught.value) or "`tokenizer=`" in str(caught.value)
        return
    [ids] = chat.encode(asked(MESSAGE))
    text = chat.tokenizer.decode(list(ids))
    assert " ".join(MESSAGE.split()) in " ".join(text.split())
    assert case.get("holds", "") in text
    assert chat.described["content_format"] == case["content"]


def test_a_clock_that_moves_changes_no_id(
    tiny_qwen3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers.utils.chat_template_utils as library

    clock = "{{ strftime_now('%d %B %Y') }}{{ messages[0].content }}"
    folder = with_template(tiny_qwen3, tmp_path / "it", clock)

    def ids_in(year: int) -> list[tuple[int, ...]]:
        class Then(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Then:
                return cls(year, 1, 2, tzinfo=tz)

        monkeypatch.setattr(library, "datetime", Then)
        return ChatTokenizer(folder).encode(asked(MESSAGE))

    assert ids_in(2031) == ids_in(2044)
    # The clock that was moved is the one that templates would be given.
    bare = ChatTokenizer(folder).tokenizer
    assert "2044" in bare.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert FIXED_DATE == "26 Jul 2024"


def test_the_prompt_that_a_template_fails_on_is_named(tiny_qwen3: Path, tmp_path: Path) -> None:
    template = "{% if 'R' in messages[0].content %}{{ 1 / 0 }}{% endif %}{{ messages[0].content }}"
    chat = ChatTokenizer(with_template(tiny_qwen3, tmp_path / "it", template))
    with pytest.raises(EngineUnavailableError, match="fails: ZeroDivisionError"):
        chat.encode(asked("a"))  # The probe holds an R.
    template = "{% if messages[0].content | length > 500 %}{{ 1 / 0 }}{% endif %}{{ messages[0].content }}"
    chat = ChatTokenizer(with_template(tiny_qwen3, tmp_path / "other", template))
    assert len(chat.encode(asked("a", "b"))) == 2
    with pytest.raises(EngineUnavailableError, match="fails on prompt 1: ZeroDivisionError"):
        chat.encode(asked("a", "b" * 501))


def test_a_slow_batch_is_no_runaway(
    tiny_qwen3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is for one prompt, not for all of them."""
    monkeypatch.setattr(chat_template, "SECONDS", 2.0)
    folder = with_template(tiny_qwen3, tmp_path / "it", "{{ messages[0].content }}")
    chat = ChatTokenizer(folder)
    bare = chat.tokenizer.apply_chat_template

    def slowly(*arguments: Any, **named: Any) -> Any:
        time.sleep(0.2)
        return bare(*arguments, **named)

    monkeypatch.setattr(chat.tokenizer, "apply_chat_template", slowly)
    assert len(chat.encode(asked(*["x"] * 12))) == 12


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_template_file_that_is_none_is_refused(kind: str, tiny_qwen3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "it"
    shutil.copytree(tiny_qwen3, folder)
    path = folder / "chat_template.jinja"
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "gone")
    with pytest.raises(EngineUnavailableError, match=r"chat_template\.jinja (is no file|leads nowhere)"):
        ChatTokenizer(folder).encode(asked("x"))


@pytest.mark.parametrize("text", ["", " \n"])
@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json"])
def test_an_empty_template_is_not_taken_for_none(
    text: str, place: str, tiny_qwen3: Path, tmp_path: Path
) -> None:
    folder = with_template(tiny_qwen3, tmp_path / "it", text if place == "tokenizer_config.json" else None)
    if place == "chat_template.jinja":
        (folder / place).write_text(text)
    with pytest.raises(EngineUnavailableError, match="is empty, so it drops the message"):
        ChatTokenizer(folder).encode(asked("x"))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    with_none = with_template(folder, tmp_path / "none", None)
    assert ChatTokenizer(with_none).chat_template is None


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"{", b"[]", b'{"model": 7}', b"null"])
def test_a_tokenizer_that_cannot_be_read_is_refused(content: bytes, tiny_qwen3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "it"
    shutil.copytree(tiny_qwen3, folder)
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(EngineUnavailableError) as caught:
        ChatTokenizer(folder).encode(asked("x"))
    assert re.search("no tokenizer", str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["LlamaTokenizer", "GPT2Tokenizer", "Qwen2TokenizerFast", None])
def test_a_tokenizer_made_by_another_class_than_its_own_is_refused(name: str | None, tmp_path: Path) -> None:
    """transformers 5 takes the vocabulary alone from tokenizer.json there: 100 % valid answers become 0."""
    folder = tmp_path / "it"
    shutil.copytree(resolved("zoo:listopd"), folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    assert ChatTokenizer(folder).encode(asked("x"))
    del config["tokenizer_class"]
    path.write_text(json.dumps(config if name is None else config | {"tokenizer_class": name}))
    with pytest.raises(EngineUnavailableError, match="another tokenizer of its tokenizer_class"):
        ChatTokenizer(folder).encode(asked("x"))


@pytest.mark.parametrize(
    ("message", "prompt", "found"),
    [
        ("a b", "<a b>", None),
        (" a\nb ", "x a b y", None),
        ("", "", None),
        ("one two three four", "nothing", "drops"),
        ("x", "nothing", "drops"),
        ("one two three four", "one two thr", "keeps 11 of the message's 18"),
        ("one two three four", "<one two, three four>", "changes the message, from character 7 on"),
        ("ONE TWO THREE FOUR", "one two three four", "changes the message, from character 0 on"),
    ],
)
def test_what_a_prompt_lacks(message: str, prompt: str, found: str | None) -> None:
    said = lost(message, prompt)
    assert said is None if found is None else found in str(said)


def test_manifests_can_hold_what_is_described(tiny_qwen3: Path) -> None:
    described = ChatTokenizer(tiny_qwen3).described
    assert json.loads(json.dumps(described)) == described
    assert described["special_tokens"]["<|im_end|>"] < described["vocabulary"]


def test_a_server_whose_prompts_are_all_the_same_is_refused() -> None:
    require_told_apart(["a", "b", " a "], [(1,), (2,), (1,)], "it")
    require_told_apart([], [], "it")
    with pytest.raises(EngineUnavailableError, match="drops the message"):
        require_told_apart(["a", "b"], [(1,), (1,)], "it")
    with pytest.raises(EngineUnavailableError, match="no token at all"):
        require_told_apart(["a"], [()], "it")
