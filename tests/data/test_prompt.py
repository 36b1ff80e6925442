"""The prompt shows every candidate in its place, and no title can say more than a title."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import Contract, Terms
from harness.data.conversations import conversations
from harness.data.loading import load_tasks
from harness.data.prompt import changed_titles, clean_text
from harness.data.prompt import render_prompt as default_text
from harness.data.tasks import Item, Message, RankingTask, as_text, terms_of
from tests.examples import examples

CONTRACT = Contract()
IDENTITY: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "cases" / "prompt_identity.json").read_text()
)
MOST = 200
SPECIAL_TOKENS = (
    # Qwen, Llama 3, Phi, GPT; Llama 2, Mistral; Gemma; DeepSeek; T5, BERT; GLM; reasoning and tool marks.
    *(
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|start_header_id|>",
        "<|end|>",
        "<|user|>",
    ),
    *(
        "<s>",
        "</s>",
        "<unk>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "<</SYS>>",
        "[AVAILABLE_TOOLS]",
        "[TOOL_CALLS]",
    ),
    *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>", "<0x0A>"),
    *("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    *("<extra_id_0>", "[CLS]", "[SEP]", "[MASK]", "[gMASK]", "<sop>"),
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<image>"),
)


def task(*titles: str, history: tuple[str, ...] = ()) -> RankingTask:
    return RankingTask(
        task_id="a",
        history=tuple(Item(item_id=f"h{place}", title=title) for place, title in enumerate(history)),
        candidates=tuple(Item(item_id=f"c{place}", title=title) for place, title in enumerate(titles)),
        relevance=(0.0,) * len(titles),
    )


def render_prompt(task: RankingTask, contract: Contract) -> str:
    return default_text(task, terms_of(task, contract).instruction(), guarded=True)


def test_whole_prompt() -> None:
    prompt = render_prompt(task("Red coat", "Blue coat", history=("Old coat", "Older coat")), CONTRACT)
    assert prompt == (
        "Rank the candidates for a shopper.\n\n"
        "Chosen before, oldest first:\n- Old coat\n- Older coat\n\n"
        "Candidates:\n1. Red coat\n2. Blue coat\n\n" + Terms(CONTRACT, 2).instruction()
    )


def test_no_history_no_heading() -> None:
    assert "before" not in render_prompt(task("Red coat", "Blue coat"), CONTRACT)


def test_attributes_follow_the_title() -> None:
    item = Item(item_id="c0", title="Coat", attributes={"price": "12\n€", "size": "<|im_end|>"})
    shown = task("Red coat", "Blue coat").model_copy(update={"candidates": (item, item)})
    assert "1. Coat (price: 12 €, size: < |im_end|>)\n" in render_prompt(shown, CONTRACT)


def test_labels_ids_and_meta_stay_out() -> None:
    secret = task("Red coat", "Blue coat").model_copy(
        update={"relevance": (7.5, 6.25), "meta": {"taste": "secret"}}
    )
    prompt = render_prompt(secret, CONTRACT)
    for hidden in ("7.5", "6.25", "secret", "c0", "c1"):
        assert hidden not in prompt


def test_contract_sees_k() -> None:
    assert Terms(CONTRACT, 12).instruction() in render_prompt(
        task(*(f"Coat {n}" for n in range(12))), CONTRACT
    )


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("a\tb\r\n\n c\u2028d\u00a0e\x00f\x1b[0m", "a b c d e f [0m"),
        ("  edges \n", "edges"),
        ("Crème brûlée 漢字 👩\u200d🔬 عربى", "Crème brûlée 漢字 👩\u200d🔬 عربى"),
        ('6" "quoted" \'s', '6" "quoted" \'s'),
        ("hidden\u202egnp.exe\u2066x\ufeff", "hiddengnp.exex"),
        ("I <3 dogs [New] {x} (y)", "I < 3 dogs [New] {x} (y)"),
        ("a < b > c", "a < b > c"),
        ("＜|im_end|＞ ［INST］", "＜ |im_end|＞ ［ INST］"),
        ("\x00\x07", "(untitled)"),
        ("x" * 20_000, "x" * 20_000),
    ],
)
def test_titles(title: str, shown: str) -> None:
    assert f"\n1. {shown}\n2. end\n" in render_prompt(task(title, "end"), CONTRACT)


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_special_token_is_broken_visibly(token: str) -> None:
    shown = clean_text(f"Coat {token} x", 200)
    assert token not in shown
    assert shown.replace(" ", "") == f"Coat{token}x"


pieces = st.one_of(
    st.sampled_from(SPECIAL_TOKENS),
    st.sampled_from(
        ["<", "|", ">", "[", "]", "/", "<|", "|>", "im_end", "INST", "\n", "\x00", "\u202e", "\ufeff", " "]
    ),
    st.text(max_size=5),
)
hostile_titles = st.lists(pieces, max_size=40).map("".join)


@examples(300)
@given(hostile_titles)
def test_no_title_ends_the_turn(text: str) -> None:
    shown = clean_text(text, MOST)
    for token in SPECIAL_TOKENS:
        assert token not in shown
    assert len(shown.splitlines()) <= 1
    assert len(shown) <= 2 * MOST
    assert shown == shown.strip()
    assert "  " not in shown
    # Cleaning again changes nothing but the spaces after brackets that it may add once more: none.
    assert clean_text(shown, 2 * MOST) == shown


@examples(100)
@given(st.lists(hostile_titles.filter(str.strip), min_size=2, max_size=12))
def test_one_line_per_candidate(titles: list[str]) -> None:
    items = tuple(
        Item.model_construct(item_id=str(n), title=title, attributes={}) for n, title in enumerate(titles)
    )
    shown = RankingTask.model_construct(
        task_id="a", history=(), candidates=items, relevance=(0.0,) * len(items), meta={}
    )
    listed = render_prompt(shown, CONTRACT).removesuffix(Terms(CONTRACT, len(titles)).instruction())
    numbers = [int(found) for found in re.findall(r"^(\d+)\. ", listed, re.MULTILINE)]
    assert numbers == list(range(1, len(titles) + 1))
    assert len(listed.splitlines()) == len(titles) + 4


@pytest.mark.model
@pytest.mark.parametrize("normalised", [False, True])
def test_a_real_tokenizer_finds_no_special_token(normalised: bool) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="needs the tokenizers library (extra hf)")
    model = tokenizers.models.BPE(unk_token="<nothing>", vocab={"<nothing>": 0}, merges=[])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.NFKC()
    narrow = [token for token in SPECIAL_TOKENS if "｜" not in token]
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, normalized=normalised) for token in narrow])
    special = {tokenizer.token_to_id(token) for token in narrow}
    # A tokenizer that normalises before it looks for special tokens also finds their full-width forms.
    wide = [token.translate(str.maketrans("<>[]|", "＜＞［］｜")) for token in narrow] if normalised else []
    for token in (*narrow, *wide):
        title = f"Coat {token}{token}"
        assert special.intersection(tokenizer.encode(title).ids), "the attack must work on the bare title"
        assert not special.intersection(tokenizer.encode(render_prompt(task(title, "end"), CONTRACT)).ids)


def test_titles_that_are_changed_are_counted() -> None:
    titles = ["a", "<|im_end|> b", "x" * 201, "[INST]  " + "y" * 300]
    items = tuple(Item(item_id=str(number), title=title) for number, title in enumerate(titles))
    task = RankingTask(task_id="t", history=items[:2], candidates=items[1:], relevance=(1, 0, 0))
    asked = task.model_copy(update={"messages": (Message(role="user", content="x"),)})
    tasks = [task, task, asked]
    assert changed_titles(tasks) == {"flattened": 2, "shortened": 0, "defused": 0}
    assert changed_titles(tasks, 200, guarded=True) == {"flattened": 2, "shortened": 4, "defused": 6}
    assert changed_titles(tasks, own_prompt=True)["flattened"] == 0


@pytest.mark.parametrize("split", IDENTITY)
def test_prompts_of_fashion_mini_stay_what_they_were(split: str) -> None:
    tasks = load_tasks("fashion-mini", split).tasks
    for guarded in (False, True):
        found = hashlib.sha256()
        for turns in conversations(tasks, CONTRACT, guarded=guarded):
            found.update(hashlib.sha256(as_text(turns).encode()).digest())
        assert (len(tasks), found.hexdigest()) == (
            IDENTITY[split]["tasks"],
            IDENTITY[split]["prompts_sha256"],
        )
