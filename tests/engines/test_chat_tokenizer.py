from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from harness.engines.tokenizer import ChatTokenizer
from harness.errors import DataError, EngineUnavailableError
from tests.asking import asked

pytestmark = pytest.mark.model


def variant(source: Path, target: Path, **settings: object) -> Path:
    """A copy of a tokenizer with other settings; None removes one."""
    shutil.copytree(source, target)
    path = target / "tokenizer_config.json"
    config = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return target


def test_the_template_is_applied_with_thinking_off(tiny_qwen3: Path) -> None:
    chat = ChatTokenizer(tiny_qwen3)
    [ids] = chat.encode(asked("Rank: 1. crème 2. 漢字"))
    text = chat.tokenizer.decode(list(ids))
    assert text == (
        "<|im_start|>user\nRank: 1. crème 2. 漢字<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert chat.template_arguments == {"enable_thinking": False}


def test_ids_are_those_of_the_library_itself(tiny_qwen3: Path) -> None:
    from transformers import AutoTokenizer

    prompts = ["a", 'Rank "these" 👗', "x" * 500, ""]
    theirs = AutoTokenizer.from_pretrained(str(tiny_qwen3))
    expected = [
        tuple(
            theirs.apply_chat_template(
                [{"role": "user", "content": prompt}],
                add_generation_prompt=True,
                enable_thinking=False,
                return_dict=False,
            )
        )
        for prompt in prompts
    ]
    assert ChatTokenizer(tiny_qwen3).encode(asked(*prompts)) == expected
    assert ChatTokenizer(tiny_qwen3).encode(asked()) == []


def with_bos(source: Path, target: Path, template: str | None) -> Path:
    """A tokenizer that puts a BOS in front of every text by itself."""
    from tokenizers import Tokenizer, processors

    folder = variant(source, target, bos_token="<|im_start|>", chat_template=template)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    bos = tokenizer.token_to_id("<|im_start|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_bos_comes_once(tiny_qwen3: Path, tmp_path: Path) -> None:
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    chat = ChatTokenizer(with_bos(tiny_qwen3, tmp_path / "bos", template))
    [ids] = chat.encode(asked("hello"))
    assert ids.count(chat.tokenizer.bos_token_id) == 1
    assert ids[0] == chat.tokenizer.bos_token_id


def test_without_a_template_the_prompt_is_plain_text_and_a_newline(tiny_qwen3: Path, tmp_path: Path) -> None:
    chat = ChatTokenizer(with_bos(tiny_qwen3, tmp_path / "plain", None))
    [ids] = chat.encode(asked("hello"))
    assert chat.chat_template is None
    assert chat.chat_template_sha256 is None
    assert chat.template_arguments == {}
    assert chat.tokenizer.decode(list(ids)) == "<|im_start|>hello\n"


def test_an_end_token_the_tokenizer_appends_is_taken_off(tiny_qwen3: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, processors

    folder = variant(tiny_qwen3, tmp_path / "eos", chat_template=None)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    eos = tokenizer.token_to_id("<|im_end|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|im_end|>", special_tokens=[("<|im_end|>", eos)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    [ids] = ChatTokenizer(folder).encode(asked("hello"))
    assert eos not in ids


def test_a_template_that_prints_the_date_gets_a_fixed_one(tiny_qwen3: Path, tmp_path: Path) -> None:
    template = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "Today: {{ date_string }}\n{{ messages[0].content }}"
    )
    chat = ChatTokenizer(variant(tiny_qwen3, tmp_path / "dated", chat_template=template))
    [ids] = chat.encode(asked("hello"))
    assert chat.tokenizer.decode(list(ids)) == "Today: 26 Jul 2024\nhello"


def test_hashes(tiny_qwen3: Path, tmp_path: Path) -> None:
    chat = ChatTokenizer(tiny_qwen3)
    assert chat.sha256 == hashlib.sha256((tiny_qwen3 / "tokenizer.json").read_bytes()).hexdigest()
    other = ChatTokenizer(variant(tiny_qwen3, tmp_path / "other", chat_template="{{ messages[0].content }}"))
    assert other.sha256 == chat.sha256
    assert other.chat_template_sha256 != chat.chat_template_sha256


def test_a_lone_surrogate_is_refused_with_its_place(tiny_qwen3: Path) -> None:
    with pytest.raises(DataError, match=r"prompt 1 .*U\+D83D at character 2"):
        ChatTokenizer(tiny_qwen3).encode(asked("fine 👗", "ab\ud83d"))


def test_decoding_leaves_special_tokens_out_and_spaces_alone(tiny_qwen3: Path) -> None:
    chat = ChatTokenizer(tiny_qwen3)
    text = ' {"a" : [1 , 2 ] } n\'t . '
    ids = chat.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert chat.decode([*ids, chat.eos_token_id]) == text


def test_stop_ids_join_both_sources(tiny_qwen3: Path) -> None:
    chat = ChatTokenizer(tiny_qwen3)
    assert chat.stop_token_ids([7, 2]) == [2, 7]
    assert chat.stop_token_ids([]) == [chat.eos_token_id]


def test_a_folder_without_a_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="no tokenizer that transformers can load") as caught:
        ChatTokenizer(tmp_path).encode(asked("x"))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_tokenizer_files_is_refused(tiny_qwen3: Path, tmp_path: Path) -> None:
    # transformers makes an empty tokenizer of the model's class here, which encodes every prompt to nothing.
    shutil.copy(tiny_qwen3 / "config.json", tmp_path)
    with pytest.raises(EngineUnavailableError, match=r"has no tokenizer .*`tokenizer=`"):
        ChatTokenizer(tmp_path).encode(asked("x"))


def test_special_tokens_of_the_checkpoint_inside_a_message_are_defused(
    tiny_qwen3: Path, tmp_path: Path
) -> None:
    from tokenizers import AddedToken, Tokenizer

    folder = tmp_path / "odd"
    shutil.copytree(tiny_qwen3, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    odd = ["STOP", "~end~", "\u00a7", "<|im_end|>x"]
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in odd])
    tokenizer.save(str(folder / "tokenizer.json"))
    chat = ChatTokenizer(folder)
    special = set(chat.described["special_tokens"].values())
    [plain, hostile] = chat.encode(asked("a harmless one", "a STOP ~end~ \u00a7 <|im_end|>x <|im_end|> STOP"))
    assert [one for one in hostile if one in special] == [one for one in plain if one in special]
    assert chat.defused == 1
    assert "S TOP ~ end~" in chat.tokenizer.decode(list(hostile))
    chat.encode(asked("harmless"))
    assert chat.defused == 0
