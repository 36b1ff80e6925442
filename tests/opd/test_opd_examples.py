"""What is learnt from a task: the completion and its EOS, nothing of the prompt, nothing of padding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import DEFAULT, Contract, Terms, parse
from harness.data.conversations import conversations
from harness.data.fashion_mini import generate_tasks
from harness.data.tasks import PromptTask
from harness.engines.tokenizer import ChatTokenizer
from harness.errors import DataError
from harness.metrics import ndcg_at
from harness.opd.sft.batching import BatchOrder, collate
from harness.opd.sft.examples import completion_example, ideal_ranking, sft_examples
from tools.zoo.matching import matching_examples
from tools.zoo.recipe import family_tokenizer
from tools.zoo.tiny import TAGS, write_tokenizer

pytestmark = pytest.mark.model

tokens = st.lists(st.integers(1, 99), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, family_tokenizer())
    return ChatTokenizer(folder)


@given(tokens, tokens)
def test_exactly_the_completion_is_learnt(prompt: list[int], completion: list[int]) -> None:
    example = completion_example(prompt, completion)
    text = prompt + completion
    assert list(example.token_ids) == text[:-1]
    assert list(example.targets) == text[1:]
    learnt = [target for target, weight in zip(example.targets, example.weights, strict=True) if weight]
    assert learnt == completion
    assert set(example.weights) <= {0.0, 1.0}


@given(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=6))
def test_a_batch_learns_what_its_examples_learn(rows: list[tuple[list[int], list[int]]]) -> None:
    batch = collate([completion_example(prompt, completion) for prompt, completion in rows])
    positions = batch.positions.tolist()
    assert positions == sorted({place for p, c in rows for place in range(len(p) - 1, len(p) + len(c) - 1)})
    for row, (prompt, completion) in enumerate(rows):
        learnt = [
            (positions[column], batch.targets[row, column].item())
            for column in range(len(positions))
            if batch.weights[row, column] > 0
        ]
        assert learnt == list(enumerate(completion, len(prompt) - 1))
        assert batch.token_ids[row, : len(prompt + completion) - 1].tolist() == (prompt + completion)[:-1]


@pytest.mark.parametrize("contract", [DEFAULT, Contract(key="order", id_style="string")])
def test_the_taught_answer_is_valid_and_ideal(chat: ChatTokenizer, contract: Contract) -> None:
    tasks = generate_tasks("train", 8, k=(3, 12))
    for task, example in zip(tasks, sft_examples(tasks, chat, contract), strict=True):
        completion = [t for t, weight in zip(example.targets, example.weights, strict=True) if weight]
        assert completion[-1] == chat.eos_token_id
        result = parse(chat.decode(completion), task.k, contract)
        assert result.tier == "strict"
        assert result.ranking is not None
        assert ndcg_at(task.relevance, result.ranking, at=task.k) == 1.0
        (prompt,) = chat.encode(conversations([task], contract))
        assert example.token_ids[: len(prompt)] == prompt


def test_ties_keep_the_order_of_the_prompt() -> None:
    assert ideal_ranking([0.0, 2.0, 0.0, 3.0, 2.0]) == (4, 2, 5, 1, 3)
    assert Terms(DEFAULT, 4).answer([4, 2, 1, 3]) == '{"ranking": [4, 2, 1, 3]}'


def test_a_task_beyond_the_context_is_named(chat: ChatTokenizer) -> None:
    tasks = generate_tasks("train", 3)
    with pytest.raises(DataError, match=rf"{tasks[0].task_id} takes \d+ tokens and the model 20"):
        sft_examples(tasks, chat, DEFAULT, context_length=20)


def test_tags_add_up_to_the_relevance(chat: ChatTokenizer) -> None:
    preferred, other = chat.tokenizer.convert_tokens_to_ids(list(TAGS))
    tasks = generate_tasks("train", 20, k=(3, 12))
    for task, example in zip(tasks, matching_examples(tasks, chat), strict=True):
        tags = [t for t, weight in zip(example.targets, example.weights, strict=True) if weight == 1]
        assert set(tags) <= {preferred, other}
        per_candidate = [tags[3 * i : 3 * i + 3].count(preferred) for i in range(task.k)]
        assert per_candidate == list(task.relevance)
        best = chat.decode([example.targets[-1]])
        assert task.relevance[int(best) - 1] == max(task.relevance)
        assert example.weights[-1] > 0


def test_tasks_of_another_kind_are_refused(chat: ChatTokenizer) -> None:
    task = generate_tasks("train", 1)[0]
    with pytest.raises(DataError, match="not one of fashion-mini"):
        matching_examples([task.model_copy(update={"meta": {}})], chat)


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=80),
    st.integers(1, 20),
    st.integers(0, 2**31),
    st.data(),
)
def test_order_is_a_permutation_an_epoch_and_a_function_of_the_step(
    lengths: list[int], batch_size: int, seed: int, data: st.DataObject
) -> None:
    order = BatchOrder(lengths, batch_size, seed)
    size = min(batch_size, len(lengths))
    steps = len(lengths) // size
    for epoch in range(2):
        batches = [order.step(epoch * steps + step) for step in range(steps)]
        seen = [index for batch in batches for index in batch]
        assert {len(batch) for batch in batches} == {size}
        assert len(set(seen)) == len(seen) == steps * size
    later = data.draw(st.integers(0, 3 * steps))
    assert BatchOrder(lengths, batch_size, seed).step(later) == order.step(later)


def test_batches_hold_similar_lengths() -> None:
    lengths = [length for length in range(100, 200) for _ in range(16)]
    order = BatchOrder(lengths, 16, seed=0)
    spreads = [
        max(picked) - min(picked)
        for picked in ([lengths[i] for i in order.step(step)] for step in range(100))
    ]
    assert sum(spreads) / len(spreads) < 20  # 88 on average if batches were drawn at random


def test_a_tokenizer_without_an_end_is_refused(chat: ChatTokenizer, tmp_path: Path) -> None:
    import json

    settings = json.loads((chat.folder / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "tokenizer.json").write_bytes((chat.folder / "tokenizer.json").read_bytes())
    with pytest.raises(DataError, match="no eos_token"):
        sft_examples(generate_tasks("train", 1), ChatTokenizer(tmp_path), DEFAULT)


def test_stored_answers_are_taught_in_place_of_the_ideal(chat: ChatTokenizer, tmp_path: Path) -> None:
    tasks = generate_tasks("train", 3, seed=9, k=3)
    answers = {task.task_id: f'{{"ranking": [{n}, 3, 2]}}' for task, n in zip(tasks, "111", strict=True)}
    stored = write_answers(tmp_path / "answers.jsonl", answers)
    for example in sft_examples(tasks, chat, DEFAULT, stored=stored):
        learnt = [one for one, weight in zip(example.targets, example.weights, strict=True) if weight]
        assert chat.decode(learnt) == '{"ranking": [1, 3, 2]}'


def test_stored_answers_that_break_the_contract_or_lack_one_are_refused(
    chat: ChatTokenizer, tmp_path: Path
) -> None:
    tasks = generate_tasks("train", 3, seed=9, k=3)
    answers = {task.task_id: '{"ranking": [1, 1, 2]}' for task in tasks}
    with pytest.raises(DataError, match=r"3 of 3 answers .* break the contract \(task .*duplicate_id"):
        sft_examples(tasks, chat, DEFAULT, stored=write_answers(tmp_path / "broken.jsonl", answers))
    del answers[tasks[1].task_id]
    with pytest.raises(DataError, match=f"no row for 1 of 3 samples.*{tasks[1].task_id}"):
        sft_examples(tasks, chat, DEFAULT, stored=write_answers(tmp_path / "lacking.jsonl", answers))


def test_right_answers_that_break_the_contract_are_refused(chat: ChatTokenizer) -> None:
    schema = Contract(kind="schema", schema={"properties": {"tool": {"enum": ["book", "cancel"]}}})
    tasks = [PromptTask(task_id="a", prompt="Book!", expected={"tool": "zzz"})]
    with pytest.raises(DataError, match=r"1 of 1 answers of the tasks break the contract \(task a: wrong_"):
        sft_examples(tasks, chat, schema)
    reasons = Contract(id_field="id", schema={"properties": {"ranking": {"items": {"required": ["reason"]}}}})
    with pytest.raises(DataError, match=r"break the contract .*missing_key.* give others with `answers=`"):
        sft_examples(generate_tasks("train", 2, seed=9, k=3), chat, reasons)


def write_answers(path: Path, answers: dict[str, str]) -> Path:
    rows = [json.dumps({"task_id": task_id, "text": text}) for task_id, text in answers.items()]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path
