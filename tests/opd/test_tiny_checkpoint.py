"""The tiny family: its tokenizer keeps any text, and transformers loads what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import DEFAULT
from harness.data.conversations import conversations
from harness.data.fashion_mini import BRANDS, CATEGORIES, COLOURS, generate_tasks
from harness.engines.checkpoint import Checkpoint
from harness.engines.tokenizer import ChatTokenizer
from harness.errors import HarnessError
from tools.zoo.recipe import family_tokenizer
from tools.zoo.tiny import EOS, PAD, SPECIAL_TOKENS, write_untrained_checkpoint

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return family_tokenizer()


@pytest.fixture(scope="module")
def folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_untrained_checkpoint(tmp_path_factory.mktemp("tiny") / "small", "small", tokenizer, seed=3)


@pytest.mark.parametrize(
    "title",
    [
        "Crème brûlée «édition» – señorita",
        "限定 新款 한정판 ワンピース",
        "👗🧵 ✨",
        "3 x 12,  1,234 \t“ﬁ”",
        "Ａ１ ① ²",
    ],
)
def test_titles_survive_the_tokenizer(folder: Path, title: str) -> None:
    chat = ChatTokenizer(folder)
    ids = chat.tokenizer(title, add_special_tokens=False)["input_ids"]
    assert chat.decode(ids) == title


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    encoding = tokenizer.encode(text)
    if not any(token in text for token in SPECIAL_TOKENS):
        assert tokenizer.decode(encoding.ids) == text


def test_transformers_reads_the_same_ids(tokenizer: Any, folder: Path) -> None:
    chat = ChatTokenizer(folder)
    [turns] = conversations([generate_tasks("test", 1)[0]], DEFAULT)
    prompt = turns[0].content
    expected = tokenizer.encode(f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n").ids
    assert chat.encode([turns]) == [tuple(expected)]
    assert len(chat.tokenizer) == tokenizer.get_vocab_size()


def test_end_and_padding_are_told_apart(folder: Path) -> None:
    chat = ChatTokenizer(folder)
    assert chat.eos_token_id == chat.tokenizer.convert_tokens_to_ids(EOS)
    assert chat.tokenizer.pad_token_id == chat.tokenizer.convert_tokens_to_ids(PAD)
    assert chat.eos_token_id != chat.tokenizer.pad_token_id
    assert chat.tokenizer.bos_token_id is None
    assert Checkpoint("tiny", folder).stop_token_ids == (chat.eos_token_id,)


def test_a_candidate_number_is_one_token_in_list_and_answer(tokenizer: Any) -> None:
    for number in range(1, 13):
        (token,) = tokenizer.encode(str(number)).ids
        assert token in tokenizer.encode(f"- a\n{number}. Red").ids
        assert token in tokenizer.encode(f'{{"ranking": [{number}]}}').ids
        assert token in tokenizer.encode(f'{{"ranking": [99, {number}]}}').ids


def test_an_attribute_is_one_token(tokenizer: Any) -> None:
    for text in (*(f" {value}" for value in (*CATEGORIES, *COLOURS)), *(f" – {brand}" for brand in BRANDS)):
        assert len(tokenizer.encode(text).ids) == 1, text


def test_tokenizer_is_built_the_same_again(tokenizer: Any) -> None:
    assert family_tokenizer().to_str() == tokenizer.to_str()


def test_checkpoint_loads_and_gives_finite_logits(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = ChatTokenizer(folder).encode(conversations([generate_tasks("test", 1)[0]], DEFAULT))
    logits = model(torch.tensor(ids)).logits
    assert logits.shape[-1] == len(ChatTokenizer(folder).tokenizer)
    assert torch.isfinite(logits).all()
    assert model.config.architectures == ["Qwen3ForCausalLM"]
    assert model.config.head_dim == 64
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_weights_depend_on_the_seed_alone(tokenizer: Any, folder: Path, tmp_path: Path) -> None:
    same = write_untrained_checkpoint(tmp_path / "same", "small", tokenizer, seed=3)
    other = write_untrained_checkpoint(tmp_path / "other", "small", tokenizer, seed=4)
    weights = (folder / "model.safetensors").read_bytes()
    assert (same / "model.safetensors").read_bytes() == weights
    assert (other / "model.safetensors").read_bytes() != weights


def test_unknown_size(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="unknown size 'huge'; choose one of small, medium"):
        write_untrained_checkpoint(tmp_path / "x", "huge", tokenizer, seed=0)
